//! The benchmark of one node: what Spinney must reach, measured from outside, against native in the same run.
//!
//! The product is a black box here: a command that is started, a report that it writes, processes seen in `/proc`.
//! Native and Spinney take turns, so that a noisy minute meets both. Results go to a table and to JSON, and a run
//! of some rows leaves the other rows of those files as they were.
//!
//! `rows` says what is measured and what it must reach; `speed`, `calls`, `memory` and `faults` measure it; `inside`
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
mod rows;
mod speed;
#[path = "../../tests/stand_in/client.rs"]
mod stand_in;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::ground::Ground;
use crate::ground::report::Report;
use crate::ground::rows::Measurement;
use crate::rows::{BENCHMARK, MEASUREMENTS};

/// Measure Spinney on one node against native.
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
    /// how often native and Spinney take turns; slow rows take fewer
    #[arg(long, value_name = "N", default_value_t = 9)]
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
        eprintln!("one_node: {}", measurement.what);
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
