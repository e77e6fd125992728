//! Who takes part in a job: every node with its machine, or one node for each level of each tree.
//!
//! The short way: nodes of the same level of the same tree do the same at the same time, so one stands for all. It
//! asks its parent in the weight of all children there, as the last of them, and so waits for all of them.

use std::time::Duration;

use spinney::cluster::NodeRank;
use spinney::tree::{Shape, Shard, Upstream};

use crate::figures::{Import, Nanos, PER_CONNECTION, START_SPREAD, Setting, WIRE_THREADS};
use crate::job::{Above, Finding, Job, Outcome};
use crate::workload::Workload;

/// Portions that an import is cut into unless a check says otherwise.
pub const PORTIONS: usize = 128;

/// Nodes up to which every node is there.
pub const WHOLE_MAX: u32 = 4_096;

/// Decides starts and jitter.
const SEED: u64 = 1;

/// All nodes ask storage, in whichever way the size allows.
pub fn direct(import: &Import, setting: Setting, n_nodes: u32) -> Outcome {
    match n_nodes {
        ..=WHOLE_MAX => direct_whole(import, setting, n_nodes),
        _ => direct_as_one(import, setting, n_nodes),
    }
}

/// All nodes ask storage: they are alike, so one stands for all.
pub fn direct_as_one(import: &Import, setting: Setting, n_nodes: u32) -> Outcome {
    let workload = Workload::direct(import, PORTIONS);
    let above = vec![Above { node: None, weight: 1.0 }];
    let nodes = vec![(START_SPREAD, Finding::Known(above))];
    Job::new(&workload, setting, f64::from(n_nodes), nodes).run()
}

/// The same with every node apart.
pub fn direct_whole(import: &Import, setting: Setting, n_nodes: u32) -> Outcome {
    let workload = Workload::direct(import, PORTIONS);
    let known = || Finding::Known(vec![Above { node: None, weight: 1.0 }]);
    let nodes = (0..n_nodes).map(|rank| (start(rank, n_nodes), known())).collect();
    Job::new(&workload, setting, 1.0, nodes).run()
}

/// Spinney, in whichever way the size allows.
pub fn spinney(import: &Import, setting: Setting, n_nodes: u32) -> Outcome {
    match n_nodes {
        ..=WHOLE_MAX => spinney_whole(import, setting, n_nodes, PORTIONS),
        _ => spinney_by_level(import, setting, n_nodes),
    }
}

/// Spinney with every node and its machine.
pub fn spinney_whole(import: &Import, setting: Setting, n_nodes: u32, n_portions: usize) -> Outcome {
    let shape = Shape::chosen(n_nodes, None, None);
    let workload = Workload::shared(import, &shape, n_portions);
    let machine = |rank| {
        let own = NodeRank::new(rank);
        Finding::Machine(Box::new(Upstream::new(shape, own, SEED, Duration::ZERO, Duration::ZERO)))
    };
    let nodes = (0..n_nodes).map(|rank| (start(rank, n_nodes), machine(rank))).collect();
    Job::new(&workload, setting, 1.0, nodes).run()
}

/// Spinney with one node for each level of each tree, and whoever is its parent found by the real shape.
pub fn spinney_by_level(import: &Import, setting: Setting, n_nodes: u32) -> Outcome {
    let shape = Shape::chosen(n_nodes, None, None);
    let workload = Workload::shared(import, &shape, PORTIONS);
    let shards: Vec<Shard> = shape.shards().collect();
    let last = last_of_levels(&shape);
    let level = |shard, node| shape.ancestors(shard, node).count();
    // Which of the nodes stands for a level of a shard's tree.
    let standing = |shard: usize, level: usize| shard * last.len() + level;
    let levels: Vec<Vec<usize>> = shards
        .iter()
        .flat_map(|tree| last.iter().map(|place| shape.at(*tree, *place)))
        .map(|node| shards.iter().map(|shard| level(*shard, node)).collect())
        .collect();
    let connecting = u64::from(shape.fan_out()) * PER_CONNECTION / 2 / WIRE_THREADS + PER_CONNECTION;
    let nodes = levels.iter().map(|own| {
        let above = own.iter().enumerate().map(|(shard, level)| {
            let alike = levels.iter().filter(|other| other[shard] == *level).count();
            Above {
                node: level.checked_sub(1).map(|level| standing(shard, level)),
                weight: f64::from(shape.fan_out()) / alike as f64,
            }
        });
        (START_SPREAD + connecting, Finding::Known(above.collect()))
    });
    Job::new(&workload, setting, 1.0, nodes.collect()).run()
}

/// The last place of each level that is full, and of the one that may not be.
fn last_of_levels(shape: &Shape) -> Vec<u32> {
    let (fan_out, n_nodes) = (u64::from(shape.fan_out()), u64::from(shape.n_nodes()));
    let places = std::iter::successors(Some(0u64), |place| Some((place + 1) * fan_out));
    let mut last: Vec<u32> =
        places.take_while(|place| *place < n_nodes - 1).map(|place| place as u32).collect();
    last.push(shape.n_nodes() - 1);
    last
}

/// Evenly spread, in no order that the trees know.
fn start(rank: u32, n_nodes: u32) -> Nanos {
    let mixed = (u64::from(rank) + SEED).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    if n_nodes == 1 { START_SPREAD } else { mixed % (START_SPREAD + 1) }
}
