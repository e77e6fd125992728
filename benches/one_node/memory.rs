//! How much memory Spinney's own processes hold, seen from outside.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use serde_json::json;

use crate::ground::{Ground, Job, text, wait_for};
use crate::rows::Figure;

/// The hidden subcommands that the processes of a node run under.
pub const DAEMON: &str = "daemon-process";
const HOLDER: &str = "holder-process";

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

/// One of Spinney's own processes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Which it is.
    pub role: &'static str,
}

impl Process {
    fn figure_mb(&self, name: &str) -> anyhow::Result<f64> {
        let all = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid))?;
        let line = all.lines().find_map(|line| line.strip_prefix(name)).context("no such figure")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1024.0 / 1e6)
    }
}

/// The holders and daemons that are running from this program file, of whatever job.
pub fn processes(spinney: &Path) -> HashSet<Process> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let mut words = command.split(|byte| *byte == 0);
        let word = words.nth(1)?;
        let role = [DAEMON, HOLDER].into_iter().find(|role| role.as_bytes() == word)?;
        // By the file, not the name: somebody else's may be running meanwhile.
        let exe = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        (exe == spinney).then_some(Process { pid, role })
    })
    .collect()
}
