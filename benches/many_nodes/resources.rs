//! What the daemons of 8 nodes cost.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use anyhow::ensure;
use serde_json::json;

use crate::ground::probe::daemons;
use crate::ground::processes::processes;
use crate::ground::rows::{Figure, quantile};
use crate::ground::{Ground, Job, run, text, wait_for};
use crate::hosts::NODES;

/// How often daemons are looked at while they run: every 50 ms, so that little of their last moments is missed.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// What `/proc` counts CPU time in: USER_HZ, 100 on x86_64 and aarch64.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time of the daemons against that of everything that was started and waited for: wrappers and tasks.
pub fn cpu(ground: &Ground) -> anyhow::Result<Vec<Figure>> {
    let workload = ground.workload(&ground.tree);
    let command = ground.with_spinney(&ground.tree, &["--local-nodes", &NODES.to_string()], &workload);
    run(&workload)?;
    let (mut ratios, mut daemons_seconds, mut tasks_seconds) = (vec![], vec![], vec![]);
    for _ in 0..ground.pairs {
        let before = processes(&ground.spinney);
        let children_before = children_seconds();
        let mut job = Job::start(&command)?;
        let mut ticks = HashMap::new();
        while !job.is_over() {
            for daemon in daemons(&ground.spinney, &before) {
                ticks.extend(daemon.cpu_ticks().map(|count| (daemon, count)));
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        let output = job.end()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let tasks = children_seconds() - children_before;
        let daemons = ticks.values().sum::<u64>() as f64 / TICKS_PER_SECOND;
        ratios.push(daemons / tasks);
        daemons_seconds.push(daemons);
        tasks_seconds.push(tasks);
    }
    let beside = json!({
        "daemons_seconds": quantile(&daemons_seconds, 0.5),
        "tasks_seconds": quantile(&tasks_seconds, 0.5),
    });
    Ok(vec![Figure { row: "cpu", samples: ratios, beside }])
}

/// CPU seconds of all children of this process that have ended and of theirs.
fn children_seconds() -> f64 {
    // SAFETY: the kernel fills the structure it is given.
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// Resident memory of each daemon, without and with an import behind it.
pub fn memory(ground: &Ground) -> anyhow::Result<Vec<Figure>> {
    let import = ground.workload(&ground.tree);
    Ok(vec![
        resident(ground, "memory_idle", &[], &[])?,
        resident(ground, "memory_import", &["--cache-bytes", "16MiB"], &import)?,
    ])
}

fn resident(ground: &Ground, row: &'static str, flags: &[&str], first: &[String]) -> anyhow::Result<Figure> {
    let scratch = ground.scratch()?;
    let mut command = vec!["--".to_owned()];
    command.extend_from_slice(first);
    let held = ground.inside(&["hold", &text(scratch.path())], &command);
    let nodes = NODES.to_string();
    let flags = [&["--local-nodes", &nodes], flags].concat();
    let before = processes(&ground.spinney);
    let mut job = Job::start(&ground.with_spinney(&ground.tree, &flags, &held))?;
    let is_ready = |node: usize| scratch.path().join(format!("ready{node}")).exists();
    wait_for("all nodes", 120, || (job.is_over() || (0..NODES).all(is_ready)).then_some(()))?;
    std::thread::sleep(Duration::from_secs(1));
    let seen = daemons(&ground.spinney, &before);
    let sizes = seen.iter().map(|daemon| daemon.figure_mb("Rss:")).collect::<anyhow::Result<Vec<_>>>();
    let private =
        seen.iter().filter_map(|daemon| daemon.figure_mb("Private_Dirty:").ok()).fold(0.0, f64::max);
    fs::write(scratch.path().join("go"), "")?;
    let output = job.end()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let sizes = sizes?;
    ensure!(sizes.len() == NODES, "{} daemons were seen", sizes.len());
    Ok(Figure { row, samples: sizes, beside: json!({ "largest_private_mb": private }) })
}
