//! The benchmark of launching under a scheduler: a real Slurm on hosts of namespaces, all on this machine.
//!
//! `rows` says what is measured and what it must reach; `cluster` is Slurm and a user of it; `step`, `service` and `import`
//! measure; `benches/ground` holds what all benchmarks need, and writes.
//!
//!     cargo bench --bench launch -- --list
//!     cargo bench --bench launch -- step --pairs 15

mod cluster;
#[path = "../ground/mod.rs"]
mod ground;
mod import;
mod rows;
mod service;
#[path = "../../tests/slurm/mod.rs"]
mod slurm;
#[path = "../../tests/stand_in/client.rs"]
mod stand_in;
mod step;

use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    ground::command::run(&rows::BENCHMARK)
}
