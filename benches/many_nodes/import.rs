//! An import on 8 nodes whose storage is cold, against 8 processes that ask it directly, and on one node against one.
//!
//! The nodes are hosts of namespaces, each with its own mount of the stand-in, as the processes have that are compared with
//! them: so what one node's kernel has cached helps no other, neither here nor there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::ensure;
use serde_json::{Value, json};

use crate::ground::rows::{Figure, quantile};
use crate::ground::storage::{FAST, SLOW, Storage, begin, ratio};
use crate::ground::{Ground, Job, run, text};
use crate::hosts::{Hosts, NODES};
use crate::stand_in::StandIn;

/// What is imported.
pub struct Import {
    storage: Storage,
    /// The rows of calls, bytes, the slowest node, and one node.
    rows: [&'static str; 4],
    workload: fn(&Ground) -> anyhow::Result<Workload>,
    /// Turns at most.
    pairs_max: usize,
}

/// A tree and the statement that is run with its Python.
struct Workload {
    tree: PathBuf,
    statement: String,
}

/// W on slow storage.
pub const W_SLOW: Import = Import {
    storage: SLOW,
    rows: ["calls_slow", "bytes_slow", "slowest_slow", "one_slow"],
    workload: w,
    pairs_max: usize::MAX,
};
/// W on fast storage.
pub const W_FAST: Import = Import {
    storage: FAST,
    rows: ["calls_fast", "bytes_fast", "slowest_fast", "one_fast"],
    workload: w,
    pairs_max: usize::MAX,
};
/// PyTorch on slow storage, once: it takes minutes.
pub const TORCH: Import = Import {
    storage: SLOW,
    rows: ["torch_calls", "torch_bytes", "torch_slowest", "torch_one"],
    workload: torch,
    pairs_max: 1,
};

fn w(ground: &Ground) -> anyhow::Result<Workload> {
    Ok(Workload { tree: ground.tree.clone(), statement: ground.import.clone() })
}

fn torch(ground: &Ground) -> anyhow::Result<Workload> {
    let tree = ground.tree.with_file_name("torch");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/make-torch.sh");
    let made = Command::new(script).args([&ground.tree, &tree]).status()?;
    ensure!(made.success(), "the tree with torch was not made");
    Ok(Workload { tree, statement: "import torch".to_owned() })
}

/// One turn: 8 processes on mounts of their own, 8 nodes, one process, one node.
struct Turn {
    direct: f64,
    nodes: f64,
    one_direct: f64,
    one_node: f64,
    of_many: Value,
    of_one: Value,
}

/// The turns and what they say.
pub fn cold(ground: &Ground, import: &Import) -> anyhow::Result<Vec<Figure>> {
    let workload = (import.workload)(ground)?;
    let mut stand_in = import.storage.start(&workload.tree, NODES)?;
    let directory = ground.scratch()?;
    let hosts = Hosts::make(directory.path())?;
    for (host, mount) in stand_in.mounts.iter().enumerate() {
        hosts.bind(host, mount)?;
    }
    let python = |root: &Path| vec![text(root.join("bin/python3")), "-c".into(), workload.statement.clone()];
    // Once without waiting: the directory behind the stand-in is to be in memory for all.
    run(&python(stand_in.mount()))?;
    import.storage.slow_down(&mut stand_in);
    let mut turns = Vec::new();
    for _ in 0..ground.pairs.min(import.pairs_max) {
        turns.push(turn(ground, &mut stand_in, &hosts, &python)?);
    }
    let of = |figure: &dyn Fn(&Turn) -> f64| turns.iter().map(figure).collect::<Vec<_>>();
    let median = |figure: &dyn Fn(&Turn) -> f64| quantile(&of(figure), 0.5);
    let ratio = |name: &str| {
        turns.iter().map(|turn| ratio(&turn.of_many, &turn.of_one, name)).collect::<anyhow::Result<Vec<_>>>()
    };
    let beside = |name: &str| json!({ "nodes": turns[0].of_many[name], "one": turns[0].of_one[name] });
    let walls = json!({ "direct_seconds": median(&|t| t.direct), "nodes_seconds": median(&|t| t.nodes) });
    let one = json!({ "direct_seconds": median(&|t| t.one_direct), "node_seconds": median(&|t| t.one_node) });
    let [calls_row, bytes_row, slowest_row, one_row] = import.rows;
    let calls = "metadata_calls";
    Ok(vec![
        Figure { row: calls_row, samples: ratio(calls)?, beside: beside(calls) },
        Figure { row: bytes_row, samples: ratio("read_bytes")?, beside: beside("read_bytes") },
        Figure { row: slowest_row, samples: of(&|turn| turn.nodes / turn.direct), beside: walls },
        Figure { row: one_row, samples: of(&|turn| turn.one_node / turn.one_direct), beside: one },
    ])
}

fn turn(
    ground: &Ground,
    stand_in: &mut StandIn,
    hosts: &Hosts,
    python: &dyn Fn(&Path) -> Vec<String>,
) -> anyhow::Result<Turn> {
    let mounts = stand_in.mounts.clone();
    begin(stand_in);
    let direct = at_once(&mounts.iter().map(|mount| python(mount)).collect::<Vec<_>>())?;
    begin(stand_in);
    let nodes = at_once(&hosts.job(ground, &[], |_| python(&hosts.view)))?;
    let of_many = stand_in.counters()["total"].clone();
    begin(stand_in);
    let one_direct = run(&python(&mounts[0]))?.seconds;
    begin(stand_in);
    let one_node = run(&ground.with_spinney(&mounts[0], &[], &python(&mounts[0])))?.seconds;
    let of_one = stand_in.counters()["total"].clone();
    Ok(Turn { direct, nodes, one_direct, one_node, of_many, of_one })
}

/// Seconds until the last of `commands`, started together, has ended.
pub fn at_once(commands: &[Vec<String>]) -> anyhow::Result<f64> {
    Ok(outputs_at_once(commands)?.0)
}

/// The same, and what they wrote to standard output.
pub fn outputs_at_once(commands: &[Vec<String>]) -> anyhow::Result<(f64, Vec<String>)> {
    let started = Instant::now();
    let jobs = commands.iter().map(|command| Job::start(command)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut written = Vec::new();
    for job in jobs {
        let output = job.end()?;
        ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        written.push(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Ok((started.elapsed().as_secs_f64(), written))
}
