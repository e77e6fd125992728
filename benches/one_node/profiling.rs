//! What recording adds to the processor time of the daemon over W.
//!
//! Seen from outside, when W has ended and the daemon still lives, so without the file that is written at the end. All
//! modes take turns. As `full` has the kernel ask everything anew, it is held against a run that does the same and records
//! nothing (`--observe`), and so are the others once more: of so many answers each costs most.

use std::fs;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::ground::processes::{DAEMON, processes};
use crate::ground::rows::{Figure, quantile};
use crate::ground::{Ground, Job, run_report, text, wait_for};

/// The row that a mode has, and its flags; the first of a group records nothing.
type Case = (&'static str, &'static [&'static str]);

const USUAL: [Case; 3] = [
    ("", &[]),
    ("profile_aggregate", &["--profile", "aggregate"]),
    ("profile_top", &["--profile", "top=1000"]),
];

const OBSERVED: [Case; 4] = [
    ("", &["--observe"]),
    ("profile_aggregate_observed", &["--observe", "--profile", "aggregate"]),
    ("profile_top_observed", &["--observe", "--profile", "top=1000"]),
    ("profile_full", &["--profile", "full"]),
];

/// W with each mode, against W without.
pub fn cost(ground: &Ground) -> anyhow::Result<Vec<Figure>> {
    let mut figures = compared(ground, &USUAL)?;
    figures.extend(compared(ground, &OBSERVED)?);
    Ok(figures)
}

/// Seconds of the daemon, and answers that it gave.
struct Spent {
    seconds: f64,
    answers: f64,
}

fn compared(ground: &Ground, cases: &[Case]) -> anyhow::Result<Vec<Figure>> {
    // Once without looking: the tree is to be in memory for all.
    spent(ground, cases[0].1)?;
    let mut all: Vec<Vec<Spent>> = cases.iter().map(|_| Vec::new()).collect();
    for turn in 0..ground.pairs {
        for nth in 0..cases.len() {
            // Each comes first once in a while.
            let case = (nth + turn) % cases.len();
            all[case].push(spent(ground, cases[case].1)?);
        }
    }
    let off = &all[0];
    let figure = |(case, with): (&Case, &Vec<Spent>)| {
        let pairs = || with.iter().zip(off);
        let ratios = pairs().map(|(with, off)| with.seconds / off.seconds).collect();
        let more: Vec<f64> =
            pairs().map(|(with, off)| (with.seconds - off.seconds) * 1e9 / with.answers).collect();
        let median =
            |of: &[Spent], what: fn(&Spent) -> f64| quantile(&of.iter().map(what).collect::<Vec<f64>>(), 0.5);
        let beside: Value = json!({
            "answers": median(with, |spent| spent.answers),
            "daemon_seconds": median(with, |spent| spent.seconds),
            "daemon_seconds_off": median(off, |spent| spent.seconds),
            "more_ns_an_answer": quantile(&more, 0.5),
        });
        Figure { row: case.0, samples: ratios, beside }
    };
    Ok(cases.iter().zip(&all).skip(1).map(figure).collect())
}

fn spent(ground: &Ground, flags: &[&str]) -> anyhow::Result<Spent> {
    let scratch = ground.scratch()?;
    let [ready, go, report] = ["ready", "go", "report"].map(|name| scratch.path().join(name));
    let mut command = vec!["--".to_owned()];
    command.extend(ground.workload(&ground.tree));
    let held = ground.inside(&["hold", &text(&ready), &text(&go)], &command);
    let report_word = text(&report);
    let report_words = [&["--report", &report_word], flags].concat();
    let before = processes(&ground.spinney);
    let mut job = Job::start(&ground.with_spinney(&ground.tree, &report_words, &held))?;
    wait_for("W", 120, || (ready.exists() || job.is_over()).then_some(()))?;
    let daemon = processes(&ground.spinney)
        .into_iter()
        .find(|process| process.role == DAEMON && !before.contains(process));
    let seconds = daemon.and_then(|daemon| daemon.cpu_seconds());
    fs::write(go, "")?;
    let output = job.end()?;
    ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    let answers = &run_report(&report)?["totals"]["answers"];
    let of = |by: &str| answers[by].as_f64().context("the report has no totals.answers");
    Ok(Spent {
        seconds: seconds.context("the daemon was not there")?,
        answers: of("cache")? + of("parent")? + of("storage")?,
    })
}
