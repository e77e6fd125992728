//! How much memory Spinney's own processes hold, seen from outside.

use std::fs;
use std::path::Path;

use anyhow::ensure;
use serde_json::json;

use crate::ground::processes::{DAEMON, HOLDER, Process, processes};
use crate::ground::rows::Figure;
use crate::ground::{Ground, Job, text, wait_for};

/// The cache that the limits are given for.
const CACHE: &[&str] = &["--cache-bytes", "16MiB"];

/// After one W.
pub fn after_workload(ground: &Ground) -> anyhow::Result<Vec<Figure>> {
    after(ground, "memory_w", &ground.tree, &ground.workload(&ground.tree))
}

/// After the names and attributes of 200,000 files; the question asks for each size and prints none.
pub fn after_walk(ground: &Ground) -> anyhow::Result<Vec<Figure>> {
    let tree = ground.large_tree()?;
    let walk: Vec<String> = ["find", &text(&tree), "-type", "f", "-size", "+1k"].map(str::to_owned).into();
    after(ground, "memory_walk", &tree, &walk)
}

fn after(ground: &Ground, row: &'static str, view: &Path, what: &[String]) -> anyhow::Result<Vec<Figure>> {
    let scratch = ground.scratch()?;
    let (ready, go) = (scratch.path().join("ready"), scratch.path().join("go"));
    let mut command = vec!["--".to_owned()];
    command.extend_from_slice(what);
    let held = ground.inside(&["hold", &text(&ready), &text(&go)], &command);
    let before = processes(&ground.spinney);
    let mut job = Job::start(&ground.with_spinney(view, CACHE, &held))?;
    wait_for("the command to be done", 120, || (ready.exists() || job.is_over()).then_some(()))?;
    let seen: Vec<Process> =
        processes(&ground.spinney).into_iter().filter(|process| !before.contains(process)).collect();
    let figure = sum(row, &seen);
    fs::write(go, "")?;
    let output = job.end()?;
    ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(vec![figure?])
}

fn sum(row: &'static str, processes: &[Process]) -> anyhow::Result<Figure> {
    ensure!(!processes.is_empty(), "neither `{DAEMON}` nor `{HOLDER}` is running");
    let (mut resident, mut beside) = (0.0, serde_json::Map::new());
    for process in processes {
        let (rss, pss) = (process.figure_mb("Rss:")?, process.figure_mb("Pss:")?);
        resident += rss;
        beside.insert(process.role.into(), json!({ "rss_mb": rss, "pss_mb": pss }));
    }
    Ok(Figure { row, samples: vec![resident], beside: beside.into() })
}
