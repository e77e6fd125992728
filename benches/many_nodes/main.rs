//! The benchmark of many nodes, all on this machine: what a cluster must reach, against processes that ask storage
//! directly and against one node.
//!
//! `rows` says what is measured and what it must reach; `inside` is the part that runs on the nodes; `hosts` and `daemons`
//! are other kinds of nodes than `--local-nodes`; the rest measures; `benches/ground` holds what all benchmarks need, and
//! writes.
//!
//!     cargo bench --bench many_nodes -- --list
//!     cargo bench --bench many_nodes -- slow cpu --pairs 3

mod content;
mod daemons;
mod faults;
#[path = "../ground/mod.rs"]
mod ground;
mod hops;
mod hosts;
mod import;
mod inside;
mod levels;
mod libraries;
mod links;
#[path = "../../tests/network/mod.rs"]
mod network;
mod resources;
mod rows;
#[path = "../../tests/stand_in/client.rs"]
mod stand_in;
mod tls;

use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    ground::command::run(&rows::BENCHMARK)
}
