//! The benchmark of one node: what Spinney must reach, measured from outside, against native in the same run.
//!
//! The product is a black box here: a command that is started, a report that it writes, processes seen in `/proc`.
//! Native and Spinney take turns, so that a noisy minute meets both. Results go to a table and to JSON, and a run
//! of some rows leaves the other rows of those files as they were.
//!
//! `rows` says what is measured and what it must reach; `speed`, `calls`, `memory`, `profiling` and `faults` measure it; `inside`
//! is the part that runs within the view; `benches/ground` holds what all benchmarks need, and writes.
//!
//!     cargo bench --bench one_node -- --list
//!     cargo bench --bench one_node -- warm cold-200us --pairs 15

mod calls;
mod faults;
#[path = "../ground/mod.rs"]
mod ground;
mod inside;
mod memory;
mod profiling;
mod rows;
mod speed;
#[path = "../../tests/stand_in/client.rs"]
mod stand_in;

use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    ground::command::run(&rows::BENCHMARK)
}
