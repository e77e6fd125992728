//! How many requests the kernel sends to Spinney for W.

use serde_json::json;

use crate::ground::{Ground, requests_total, run, run_report, text};
use crate::rows::Figure;

/// Processes at once in the row of that name.
const AT_ONCE: usize = 32;

/// Repeats of a count: it should be the same each time, and if it is not, the largest counts.
const REPEATS: usize = 3;

/// The first process in a job of one, and what a second adds in a job of two.
pub fn requests(ground: &Ground) -> anyhow::Result<Vec<Figure>> {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for _ in 0..REPEATS {
        let one = requests_of(ground, &["repeat", "1"])?;
        let two = requests_of(ground, &["repeat", "2"])?;
        first.push(one);
        // The two jobs may differ by a request or two of timing; a second process cannot take any back.
        second.push((two - one).max(0.0));
    }
    Ok(vec![
        Figure { row: "requests_first", samples: first, beside: json!({}) },
        Figure { row: "requests_second", samples: second, beside: json!({}) },
    ])
}

/// Many processes that all start with nothing known.
pub fn requests_at_once(ground: &Ground) -> anyhow::Result<Vec<Figure>> {
    let words = ["at-once", &AT_ONCE.to_string()];
    let counts: anyhow::Result<Vec<f64>> = (0..REPEATS).map(|_| requests_of(ground, &words)).collect();
    Ok(vec![Figure { row: "requests_32", samples: counts?, beside: json!({ "processes": AT_ONCE }) }])
}

fn requests_of(ground: &Ground, words: &[&str; 2]) -> anyhow::Result<f64> {
    let scratch = ground.scratch()?;
    let (out, report) = (text(scratch.path().join("out")), text(scratch.path().join("report")));
    let mut command = vec!["--".to_owned()];
    command.extend(ground.workload(&ground.tree));
    let inside = ground.inside(&[words[0], words[1], &out], &command);
    run(&ground.with_spinney(&ground.tree, &["--report", &report], &inside))?;
    requests_total(&run_report(report.as_ref())?)
}
