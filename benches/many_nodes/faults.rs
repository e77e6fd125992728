//! Daemons are killed while tasks of all nodes read: are they told anything wrong, and how long do they wait?

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::ground::probe::{self, daemons, kill};
use crate::ground::processes::{Process, processes};
use crate::ground::rows::Figure;
use crate::ground::{Ground, Job, run, text};
use crate::hosts::NODES;
use crate::import::at_once;

/// One daemon of eight is killed every 400 ms, fewer than a daemon takes to come back.
const KILL_INTERVAL: Duration = Duration::from_millis(400);

/// One of four every second: each lives four seconds, longer than it waits for a node above it that was killed too.
const COMPARED_KILL_INTERVAL: Duration = Duration::from_secs(1);

/// Nodes of the jobs that are compared byte by byte: half as many as elsewhere, since all share the processors.
const COMPARED_NODES: usize = 4;

/// Imports of each of them, 200 together.
const IMPORTS: usize = 200 / COMPARED_NODES;

/// Imports a module, chosen at random, in a new process each, and prints what came of it: all modules and where they
/// came from, so that one that silently was not found is missed.
const RANDOM_IMPORTS: &str = r#"
import os, random, subprocess, sys
choice = random.Random(int(os.environ["SPINNEY_NODE"]))
names = sorted(sys.stdlib_module_names - {"antigravity", "this", "idlelib", "turtle", "turtledemo", "tkinter"})
names = [name for name in names if not name.startswith("_")]
names += ["numpy", "numpy.fft", "scipy.stats", "scipy.linalg", "scipy.optimize", "scipy.signal", "pandas"] * 8
look = """
import hashlib, importlib, sys
try:
    importlib.import_module(sys.argv[1])
except ImportError as error:
    print(error)
found = sorted((name, getattr(module, "__file__", "")) for name, module in sys.modules.items())
print(sys.argv[1], len(found), hashlib.sha256(repr(found).encode()).hexdigest())
"""
for _ in range(int(sys.argv[1])):
    done = subprocess.run([sys.executable, "-c", look, choice.choice(names)], capture_output=True, text=True)
    print(done.stdout, done.stderr, done.returncode, flush=True)
"#;

/// Runs of W in which a daemon after another is killed.
pub fn during_workload(ground: &Ground) -> anyhow::Result<Vec<Figure>> {
    let workload = ground.workload(&ground.tree);
    let command = ground.with_spinney(&ground.tree, &["--local-nodes", &NODES.to_string()], &workload);
    let usual = run(&command)?.seconds;
    let (mut wrong, mut seconds, mut killed) = (vec![], vec![], 0);
    for _ in 0..ground.pairs {
        let before = processes(&ground.spinney);
        let started = Instant::now();
        let mut job = Job::start(&command)?;
        killed += kill_at_random(ground, &mut job, &before, KILL_INTERVAL, || ());
        let output = job.end()?;
        seconds.push(started.elapsed().as_secs_f64());
        wrong.push(if output.status.success() { 0.0 } else { 1.0 });
    }
    let beside = json!({ "killed": killed, "usual_seconds": usual });
    Ok(vec![
        Figure { row: "kills_wrong", samples: wrong, beside: beside.clone() },
        Figure { row: "kills_slowest", samples: seconds, beside },
    ])
}

/// 200 random imports, 50 on each of four nodes.
pub fn during_imports(ground: &Ground) -> anyhow::Result<Vec<Figure>> {
    let python = text(ground.tree.join("bin/python3"));
    let script = format!("exec '{python}' -c \"$1\" {IMPORTS}");
    compared(ground, &script, RANDOM_IMPORTS, ["kill_imports_wrong", "kill_imports_stall"])
}

/// Checksums of every file, on four nodes.
pub fn during_checksums(ground: &Ground) -> anyhow::Result<Vec<Figure>> {
    let script = "cd \"$1\" && find . -type f -print0 | sort -z | xargs -0 -n 500 sha256sum";
    compared(ground, script, &text(&ground.tree), ["kill_sums_wrong", "kill_sums_stall"])
}

/// What `script`, with `argument` as its `$1`, writes on each node while daemons are killed, against what it writes
/// natively; and the longest wait of those who asked the view meanwhile.
fn compared(
    ground: &Ground,
    script: &str,
    argument: &str,
    rows: [&'static str; 2],
) -> anyhow::Result<Vec<Figure>> {
    let scratch = ground.scratch()?;
    let out = |name: &str| text(scratch.path().join(name));
    let command = |name: &str| -> Vec<String> {
        let script = format!("exec > '{}'$SPINNEY_NODE; {script}", out(name));
        ["sh", "-c", &script, "sh", argument].map(str::to_owned).into()
    };
    let native = |node| [vec!["env".to_owned(), format!("SPINNEY_NODE={node}")], command("native")].concat();
    at_once(&(0..COMPARED_NODES).map(native).collect::<Vec<_>>())?;
    let words = [vec!["--".to_owned()], command("spinney")].concat();
    let file = text(ground.tree.join("workload.json"));
    let nodes = COMPARED_NODES.to_string();
    let inside = ground.inside(&["probe", &out("probe"), &nodes, &text(&ground.tree), &file], &words);
    let before = processes(&ground.spinney);
    let mut job = Job::start(&ground.with_spinney(&ground.tree, &["--local-nodes", &nodes], &inside))?;
    let killed =
        kill_at_random(ground, &mut job, &before, COMPARED_KILL_INTERVAL, probe::forget_in_the_kernel);
    let output = job.end()?;
    ensure!(killed > 0, "no daemon could be killed");
    let (mut complaints, mut wrong, mut stall, mut lines) = (Vec::new(), 0, 0.0f64, 0);
    for node in 0..COMPARED_NODES {
        let of_node = |name: &str| scratch.path().join(format!("{name}{node}"));
        let differing = differing_lines(&of_node("native"), &of_node("spinney"))?;
        lines += fs::read_to_string(of_node("native"))?.lines().count();
        let probe = fs::read(of_node("probe")).context("a prober said nothing")?;
        let probe: Value = serde_json::from_slice(&probe)?;
        wrong += differing.len() + probe::wrongs(&probe).len();
        complaints.extend(differing.into_iter().chain(probe::wrongs(&probe)));
        stall = stall.max(probe["stall_seconds"].as_f64().unwrap_or(f64::INFINITY));
    }
    if !output.status.success() {
        wrong += 1;
        complaints.push(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()));
    }
    complaints.truncate(10);
    let beside =
        json!({ "killed": killed, "lines": lines, "nodes": COMPARED_NODES, "complaints": complaints });
    Ok(vec![
        Figure { row: rows[0], samples: vec![wrong as f64], beside: beside.clone() },
        Figure { row: rows[1], samples: vec![stall], beside: json!({ "killed": killed }) },
    ])
}

fn differing_lines(native: &Path, spinney: &Path) -> anyhow::Result<Vec<String>> {
    let (native, spinney) = (fs::read_to_string(native)?, fs::read_to_string(spinney)?);
    let mut seen = spinney.lines();
    let wrong = native.lines().filter(|line| seen.next() != Some(*line));
    let mut differing: Vec<String> = wrong.map(|line| format!("missing or another: {line}")).collect();
    differing.extend(seen.map(|line| format!("one too many: {line}")));
    Ok(differing)
}

/// Kills one daemon of the job after another, whoever's turn it is by chance, until the job is over; how many.
fn kill_at_random(
    ground: &Ground,
    job: &mut Job,
    before: &HashSet<Process>,
    interval: Duration,
    after_each: fn(),
) -> usize {
    // The numbers of a linear congruential generator (Knuth, MMIX); the same each time.
    let (mut state, mut killed) = (1u64, 0);
    while !job.is_over() {
        std::thread::sleep(interval);
        let mut daemons = daemons(&ground.spinney, before);
        daemons.sort_by_key(|daemon| daemon.pid);
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let Some(daemon) = daemons.get((state >> 33) as usize % daemons.len().max(1)) else { continue };
        killed += usize::from(kill(daemon));
        after_each();
    }
    killed
}
