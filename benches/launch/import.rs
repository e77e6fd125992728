//! An import in many tasks on hosts whose storage is cold: what reaches storage, and how long the slowest task takes.
//!
//! Not here: the same without a scheduler (`benches/many_nodes`).

use serde_json::{Value, json};

use crate::cluster::{Cluster, NODES, STEP};
use crate::ground::rows::{Figure, quantile};
use crate::ground::storage::{SLOW, begin, ratio};
use crate::ground::{Ground, text};
use crate::stand_in::StandIn;

/// One turn: a step on storage itself, one with Spinney, one task on one node.
struct Turn {
    direct: f64,
    nodes: f64,
    of_many: Value,
    of_one: Value,
}

/// The turns and what they say.
pub fn cold(ground: &Ground) -> anyhow::Result<Vec<Figure>> {
    let mut stand_in = SLOW.start(&ground.tree, NODES)?;
    let cluster = Cluster::start(ground, NODES)?;
    for (number, mount) in stand_in.mounts.iter().enumerate() {
        cluster.bind(number + 1, mount)?;
    }
    let command = [text(cluster.view.join("bin/python3")), "-c".to_owned(), ground.import.clone()];
    let command = command.each_ref().map(String::as_str);
    // Once without waiting: the directory behind the stand-in is to be in memory for all.
    cluster.srun(&["-N1", "-n1"], &command)?;
    SLOW.slow_down(&mut stand_in);
    let turns: Vec<Turn> = (0..ground.pairs.min(3))
        .map(|_| turn(&mut stand_in, &cluster, &command))
        .collect::<anyhow::Result<_>>()?;
    let ratios = |name: &str| {
        turns.iter().map(|turn| ratio(&turn.of_many, &turn.of_one, name)).collect::<anyhow::Result<Vec<_>>>()
    };
    let beside = |name: &str| json!({ "nodes": turns[0].of_many[name], "one": turns[0].of_one[name] });
    let median = |of: &dyn Fn(&Turn) -> f64| quantile(&turns.iter().map(of).collect::<Vec<_>>(), 0.5);
    let walls = json!({ "direct_seconds": median(&|t| t.direct), "nodes_seconds": median(&|t| t.nodes) });
    let slowest = turns.iter().map(|turn| turn.nodes / turn.direct).collect();
    Ok(vec![
        Figure { row: "calls", samples: ratios("metadata_calls")?, beside: beside("metadata_calls") },
        Figure { row: "bytes", samples: ratios("read_bytes")?, beside: beside("read_bytes") },
        Figure { row: "slowest", samples: slowest, beside: walls },
    ])
}

fn turn(stand_in: &mut StandIn, cluster: &Cluster, command: &[&str]) -> anyhow::Result<Turn> {
    begin(stand_in);
    let direct = cluster.srun(&STEP, command)?.seconds;
    begin(stand_in);
    let nodes = cluster.srun_with(&STEP, command)?.seconds;
    let of_many = stand_in.counters()["total"].clone();
    begin(stand_in);
    cluster.srun_with(&["-N1", "-n1"], command)?;
    let of_one = stand_in.counters()["total"].clone();
    Ok(Turn { direct, nodes, of_many, of_one })
}
