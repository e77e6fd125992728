//! The benchmark of many nodes, all on this machine: what a cluster must reach, against processes that ask storage
//! directly and against one node.
//!
//! `rows` says what is measured and what it must reach; `import`, `content` and `resources` measure it; `inside` is the
//! part that runs on the nodes; `benches/ground` holds what all benchmarks need, and writes.
//!
//!     cargo bench --bench many_nodes -- --list
//!     cargo bench --bench many_nodes -- slow cpu --pairs 3

mod content;
#[path = "../ground/mod.rs"]
mod ground;
mod import;
mod inside;
mod libraries;
mod resources;
mod rows;
#[path = "../../tests/stand_in/client.rs"]
mod stand_in;

use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    ground::command::run(&rows::BENCHMARK)
}
