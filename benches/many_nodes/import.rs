//! W on 8 nodes whose storage is cold, against 8 processes that ask it directly and against one node.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::ground::rows::{Figure, quantile};
use crate::ground::{Ground, Job, run};
use crate::rows::NODES;
use crate::stand_in::{StandIn, Start};

/// How the stand-in behaves.
pub struct Storage {
    /// The rows of calls, bytes and the slowest node.
    rows: [&'static str; 3],
    latency_us: u64,
    metadata_service_us: u64,
    bandwidth: u64,
}

/// A slow file system with one metadata server.
pub const SLOW: Storage = Storage {
    rows: ["calls_slow", "bytes_slow", "slowest_slow"],
    latency_us: 2000,
    metadata_service_us: 1000,
    bandwidth: 500_000_000,
};
/// A fast one.
pub const FAST: Storage = Storage {
    rows: ["calls_fast", "bytes_fast", "slowest_fast"],
    latency_us: 500,
    metadata_service_us: 50,
    bandwidth: 2_000_000_000,
};

/// Each turn: 8 processes on mounts of their own, 8 nodes, one node.
pub fn cold(ground: &Ground, storage: &Storage) -> anyhow::Result<Vec<Figure>> {
    let mut stand_in = start(&ground.tree, storage)?;
    let mounts = stand_in.mounts.clone();
    // Once without waiting: the directory behind the stand-in is to be in memory for all.
    run(&ground.workload(&mounts[0]))?;
    stand_in.set_waiting(storage.latency_us, storage.metadata_service_us);
    let on_mount = |mount: &PathBuf| ground.workload(mount);
    let (mut calls, mut bytes, mut slowest, mut seconds) = (vec![], vec![], vec![], vec![]);
    for _ in 0..ground.pairs {
        begin(&mut stand_in);
        let direct = at_once(&mounts.iter().map(on_mount).collect::<Vec<_>>())?;
        begin(&mut stand_in);
        let workload = ground.workload(&mounts[0]);
        let many = ground.with_spinney(&mounts[0], &["--local-nodes", &NODES.to_string()], &workload);
        let nodes = run(&many)?.seconds;
        let of_many = stand_in.counters()["total"].clone();
        begin(&mut stand_in);
        run(&ground.with_spinney(&mounts[0], &[], &workload))?;
        let of_one = stand_in.counters()["total"].clone();
        calls.push(ratio(&of_many, &of_one, "metadata_calls")?);
        bytes.push(ratio(&of_many, &of_one, "read_bytes")?);
        slowest.push(nodes / direct);
        seconds.push((direct, nodes, of_many, of_one));
    }
    let median =
        |of: fn(&(f64, f64, Value, Value)) -> f64| quantile(&seconds.iter().map(of).collect::<Vec<_>>(), 0.5);
    let walls = json!({ "direct_seconds": median(|s| s.0), "nodes_seconds": median(|s| s.1) });
    let (_, _, of_many, of_one) = &seconds[0];
    let beside = |name: &str| json!({ "nodes": of_many[name], "one": of_one[name] });
    let [calls_row, bytes_row, slowest_row] = storage.rows;
    Ok(vec![
        Figure { row: calls_row, samples: calls, beside: beside("metadata_calls") },
        Figure { row: bytes_row, samples: bytes, beside: beside("read_bytes") },
        Figure { row: slowest_row, samples: slowest, beside: walls },
    ])
}

/// A stand-in with a mount for each node that asks it directly; waits are still to be set.
pub fn start(tree: &Path, storage: &Storage) -> anyhow::Result<StandIn> {
    Ok(Start { nodes: NODES, bandwidth: storage.bandwidth, ..Start::of(tree) }.start()?)
}

/// Sets what the calls of `storage` wait.
pub fn slow_down(stand_in: &mut StandIn, storage: &Storage) {
    stand_in.set_waiting(storage.latency_us, storage.metadata_service_us);
}

/// Cold, and nothing counted.
pub fn begin(stand_in: &mut StandIn) {
    stand_in.drop_caches();
    stand_in.reset();
}

/// Seconds until the last of `commands`, started together, has ended.
pub fn at_once(commands: &[Vec<String>]) -> anyhow::Result<f64> {
    let started = Instant::now();
    let jobs = commands.iter().map(|command| Job::start(command)).collect::<anyhow::Result<Vec<_>>>()?;
    for job in jobs {
        let output = job.end()?;
        ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(started.elapsed().as_secs_f64())
}

fn ratio(many: &Value, one: &Value, name: &str) -> anyhow::Result<f64> {
    let of = |counters: &Value| counters[name].as_f64().with_context(|| format!("no counter `{name}`"));
    Ok(of(many)? / of(one)?)
}
