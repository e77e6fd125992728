//! Somebody within the view who asks it all the time: how long did it make a reader wait, and was it ever wrong?
//!
//! Not here: killing whom it asks (`faults` of each benchmark).

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::processes::{DAEMON, Process, processes};

/// How often the view is asked meanwhile: every 2 ms, finer than any stall worth seeing, and little work.
const PROBE_EVERY: Duration = Duration::from_millis(2);

/// Ends as COMMAND does, so that the caller sees its failure.
pub fn run(out: &str, tree: &Path, file: &Path, command: &[String]) -> anyhow::Result<ExitCode> {
    let is_done = AtomicBool::new(false);
    let (status, probed) = std::thread::scope(|scope| {
        let prober = scope.spawn(|| probe_until(&is_done, tree, file));
        let status = Command::new(&command[0]).args(&command[1..]).status();
        is_done.store(true, Relaxed);
        (status, prober.join().expect("it does not panic"))
    });
    fs::write(out, probed?.to_string())?;
    Ok(ExitCode::from(status?.code().map_or(255, |code| code as u8)))
}

/// Asks what no cache of the kernel can answer: names never asked before, and bytes just thrown out.
fn probe_until(is_done: &AtomicBool, tree: &Path, path: &Path) -> anyhow::Result<serde_json::Value> {
    let file = File::open(path)?;
    let right = fs::read(path)?;
    let (mut stall, mut probes, mut wrong) = (Duration::ZERO, 0, Vec::new());
    while !is_done.load(Relaxed) {
        let start = Instant::now();
        match fs::symlink_metadata(tree.join(format!("probe-{}-{probes}", std::process::id()))) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            other => wrong.push(format!("a name that does not exist gave {other:?}")),
        }
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        let mut read = vec![0; right.len()];
        match file.read_exact_at(&mut read, 0) {
            Ok(()) if read == right => {}
            other => wrong.push(format!("a read gave {other:?}, or other bytes")),
        }
        stall = stall.max(start.elapsed());
        probes += 1;
        std::thread::sleep(PROBE_EVERY);
    }
    Ok(json!({ "stall_seconds": stall.as_secs_f64(), "probes": probes, "wrong": wrong }))
}

/// What a prober found wrong.
pub fn wrongs(probe: &Value) -> Vec<String> {
    probe["wrong"].as_array().into_iter().flatten().map(Value::to_string).collect()
}

/// The daemons that were not there `before`, of whatever node.
pub fn daemons(spinney: &Path, before: &HashSet<Process>) -> Vec<Process> {
    let all = processes(spinney).into_iter();
    all.filter(|process| process.role == DAEMON && !before.contains(process)).collect()
}

/// Ends it at once; `false` if it had just ended by itself, with its job.
pub fn kill(process: &Process) -> bool {
    let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok())
}

/// What the kernel holds it does not ask for; only root can make it forget.
pub fn forget_in_the_kernel() {
    let _ = fs::write("/proc/sys/vm/drop_caches", "3");
}

/// The list that `sha256sum` wrote: name to sum.
pub fn sums(list: impl AsRef<Path>) -> anyhow::Result<BTreeMap<String, String>> {
    let list = fs::read_to_string(list)?;
    Ok(list
        .lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(sum, name)| (name.into(), sum.into()))
        .collect())
}
