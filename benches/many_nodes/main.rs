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

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::ground::Ground;
use crate::ground::report::Report;
use crate::ground::rows::Measurement;
use crate::rows::{BENCHMARK, MEASUREMENTS};

/// Measure Spinney on many nodes of this machine.
#[derive(Parser)]
struct Flags {
    /// which measurements to make: their names or beginnings of names; none: all
    names: Vec<String>,
    /// print the names of the measurements and end
    #[arg(long)]
    list: bool,
    /// the program to measure
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_spinney"))]
    spinney: PathBuf,
    /// how often the two that are compared take turns
    #[arg(long, value_name = "N", default_value_t = 3)]
    pairs: usize,
    /// where workloads are kept from one run to the next
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/benchmarks/work"))]
    work: PathBuf,
    /// where the table and the JSON go
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/benchmarks"))]
    out: PathBuf,
    /// given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "inside") {
        return inside::run(&arguments[1..]);
    }
    let flags = Flags::parse();
    if flags.list {
        MEASUREMENTS.iter().for_each(|measurement| println!("{:14} {}", measurement.name, measurement.what));
        return Ok(ExitCode::SUCCESS);
    }
    let ground = Ground::prepare(&flags.spinney, &flags.work, flags.pairs)?;
    let mut report = Report::read(&BENCHMARK, &flags.out, &ground)?;
    for measurement in chosen(&flags.names)? {
        eprintln!("many_nodes: {}", measurement.what);
        match (measurement.measure)(&ground) {
            Ok(figures) => report.add(measurement.name, figures),
            Err(error) => report.failed(measurement.name, &error),
        }
        // After each, because the whole takes long and may be ended by hand.
        report.write()?;
    }
    Ok(ExitCode::SUCCESS)
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Measurement>> {
    let is_meant = |m: &&Measurement| names.is_empty() || names.iter().any(|name| m.name.starts_with(name));
    let chosen: Vec<_> = MEASUREMENTS.iter().filter(is_meant).collect();
    anyhow::ensure!(!chosen.is_empty(), "no such measurement\nhint: `--list` shows them");
    Ok(chosen)
}
