//! How many requests the kernel sends to Spinney for W.

use serde_json::json;

use crate::ground::rows::Figure;
use crate::ground::{Ground, requests_total, run, run_report, text};

/// Processes at once in the row of that name.
const AT_ONCE: usize = 32;

/// Repeats of a count: it should be the same each time, and if it is not, the largest counts.
const REPEATS: usize = 3;

/// Requests of the kernel, and how many of them are ioctls: Python asks each file it opens whether it is a
/// terminal, and no kernel lets a file system answer that for good.
#[derive(Clone, Copy)]
struct Requests {
    all: f64,
    ioctls: f64,
}

impl Requests {
    fn beyond(self, other: Requests) -> Requests {
        // Two jobs may differ by a few requests of timing; a second process cannot take any back.
        Requests { all: (self.all - other.all).max(0.0), ioctls: (self.ioctls - other.ioctls).max(0.0) }
    }
}

fn figures(all: &'static str, without_ioctls: &'static str, samples: &[Requests]) -> Vec<Figure> {
    let rest = samples.iter().map(|r| r.all - r.ioctls).collect();
    vec![
        Figure { row: all, samples: samples.iter().map(|r| r.all).collect(), beside: json!({}) },
        Figure { row: without_ioctls, samples: rest, beside: json!({}) },
    ]
}

/// The first process in a job of one, and what a second adds in a job of two.
pub fn requests(ground: &Ground) -> anyhow::Result<Vec<Figure>> {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for _ in 0..REPEATS {
        let one = requests_of(ground, &["repeat", "1"])?;
        let two = requests_of(ground, &["repeat", "2"])?;
        first.push(one);
        second.push(two.beyond(one));
    }
    let mut rows = figures("requests_first", "requests_first_rest", &first);
    rows.extend(figures("requests_second", "requests_second_rest", &second));
    Ok(rows)
}

/// Many processes that all start with nothing known.
pub fn requests_at_once(ground: &Ground) -> anyhow::Result<Vec<Figure>> {
    let words = ["at-once", &AT_ONCE.to_string()];
    let counts: anyhow::Result<Vec<_>> = (0..REPEATS).map(|_| requests_of(ground, &words)).collect();
    Ok(figures("requests_32", "requests_32_rest", &counts?))
}

fn requests_of(ground: &Ground, words: &[&str; 2]) -> anyhow::Result<Requests> {
    let scratch = ground.scratch()?;
    let (out, report) = (text(scratch.path().join("out")), text(scratch.path().join("report")));
    let mut command = vec!["--".to_owned()];
    command.extend(ground.workload(&ground.tree));
    let inside = ground.inside(&[words[0], words[1], &out], &command);
    run(&ground.with_spinney(&ground.tree, &["--report", &report], &inside))?;
    let report = run_report(report.as_ref())?;
    let ioctls = report["totals"]["fuse"]["by_kind"]["ioctl"].as_f64().unwrap_or(0.0);
    Ok(Requests { all: requests_total(&report)?, ioctls })
}
