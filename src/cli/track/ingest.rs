//! `spinney track ingest`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::text::counted;
use crate::track::ingest;
use crate::track::store::{Place, Purpose, Store};

/// Add records to a store
///
/// What is in the store already is not added again, so the same files may be named any number of times.
#[derive(Debug, Args)]
pub struct IngestArgs {
    /// The store, a file or `postgresql://USER@HOST/DATABASE`; made if it is not there
    #[arg(long, value_name = "STORE", value_parser = super::StoreName)]
    store: Place,
    /// How long to wait for others who write it
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    wait: Duration,
    /// Remove the files that were read without fault, once what they say is in the store
    #[arg(long)]
    remove: bool,
    /// Files of records, or directories of them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// 0 if everything could be read, else 1.
pub fn run(args: &IngestArgs) -> ExitCode {
    let done = Store::open(&args.store, Purpose::Write, args.wait)
        .map_err(ingest::IngestError::from)
        .and_then(|mut store| ingest::ingest(&mut store, &args.paths));
    let done = match done {
        Ok(done) => done,
        Err(error) => return super::failed(format_args!("{}: {error}", args.store)),
    };
    let added = done.added;
    crate::cli::put(format!(
        "{} read; new: {} runs, {} processes, {} imports\n",
        counted(done.files, "file"),
        added.runs,
        added.processes,
        added.imports
    ));
    if let Some(first) = &done.first_bad {
        let lines = counted(done.bad_lines, "line");
        eprintln!(
            "spinney: {lines} could not be read or had a wrong checksum, the first in {}",
            first.display()
        );
    }
    if added.ahead > 0 {
        let runs = counted(added.ahead, "run");
        eprintln!("spinney: the clock of {runs} was ahead of this machine's: taken as begun now");
    }
    done.troubles.iter().for_each(|trouble| eprintln!("spinney: {trouble}"));
    if args.remove {
        for file in &done.whole {
            if let Err(error) = std::fs::remove_file(file) {
                eprintln!("spinney: {}: {error}", file.display());
            }
        }
    }
    if done.troubles.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
