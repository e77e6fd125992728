//! The command line of a benchmark: which measurements to make, how often, and where the results go.
//!
//! Each benchmark is one program that is started in two ways: by a person, and by itself as the part that runs within a
//! view (`inside`).
//!
//! Not here: what is measured (`rows` of each benchmark).

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};

use super::Ground;
use super::report::Report;
use super::rows::{Benchmark, Measurement};

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
    /// how often the two that are compared take turns, instead of the usual number; slow rows take fewer
    #[arg(long, value_name = "N")]
    pairs: Option<usize>,
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

/// Does what the command line says of `benchmark`.
pub fn run(benchmark: &'static Benchmark) -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "inside") {
        return (benchmark.inside)(&arguments[1..]);
    }
    let matches = Flags::command().name(benchmark.name).about(benchmark.about).get_matches();
    let flags = Flags::from_arg_matches(&matches)?;
    if flags.list {
        let line = |of: &Measurement| println!("{:14} {}", of.name, of.what);
        benchmark.measurements.iter().for_each(line);
        return Ok(ExitCode::SUCCESS);
    }
    let chosen = chosen(benchmark, &flags.names)?;
    let ground = Ground::prepare(&flags.spinney, &flags.work, flags.pairs.unwrap_or(benchmark.pairs))?;
    let mut report = Report::read(benchmark, &flags.out, &ground)?;
    for measurement in chosen {
        eprintln!("{}: {}", benchmark.name, measurement.what);
        match (measurement.measure)(&ground) {
            Ok(figures) => report.add(measurement.name, figures),
            Err(error) => report.failed(measurement.name, &error),
        }
        // After each, because the whole takes long and may be ended by hand.
        report.write()?;
    }
    Ok(ExitCode::SUCCESS)
}

fn chosen(benchmark: &'static Benchmark, names: &[String]) -> anyhow::Result<Vec<&'static Measurement>> {
    let is_meant = |m: &&Measurement| names.is_empty() || names.iter().any(|name| m.name.starts_with(name));
    let chosen: Vec<_> = benchmark.measurements.iter().filter(is_meant).collect();
    anyhow::ensure!(!chosen.is_empty(), "no such measurement\nhint: `--list` shows them");
    Ok(chosen)
}
