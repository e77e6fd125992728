//! Storage that is cold and has a known speed: the stand-in, as the benchmarks of several nodes use it.
//!
//! Not here: the stand-in itself (`tests/stand_in`).

use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use crate::stand_in::{StandIn, Start};

/// How the stand-in behaves.
pub struct Storage {
    latency_us: u64,
    metadata_service_us: u64,
    bandwidth: u64,
}

/// A slow file system with one metadata server.
pub const SLOW: Storage = Storage { latency_us: 2000, metadata_service_us: 1000, bandwidth: 500_000_000 };
/// A fast one.
pub const FAST: Storage = Storage { latency_us: 500, metadata_service_us: 50, bandwidth: 2_000_000_000 };

impl Storage {
    /// A stand-in with a mount for each node; waits are still to be set.
    pub fn start(&self, tree: &Path, nodes: usize) -> anyhow::Result<StandIn> {
        Ok(Start { nodes, bandwidth: self.bandwidth, ..Start::of(tree) }.start()?)
    }

    /// From now on its calls wait.
    pub fn slow_down(&self, stand_in: &mut StandIn) {
        stand_in.set_waiting(self.latency_us, self.metadata_service_us);
    }
}

/// Cold, and nothing counted.
pub fn begin(stand_in: &mut StandIn) {
    stand_in.drop_caches();
    stand_in.reset();
}

/// How many times as much of `name` many nodes have asked for as one has.
pub fn ratio(many: &Value, one: &Value, name: &str) -> anyhow::Result<f64> {
    let of = |counters: &Value| counters[name].as_f64().with_context(|| format!("no counter `{name}`"));
    Ok(of(many)? / of(one)?)
}
