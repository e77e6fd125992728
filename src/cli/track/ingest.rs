//! `spinney track ingest`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::track::ingest;
use crate::track::sqlite::Sqlite;

/// Add records to a store
///
/// What is in the store already is not added again, so the same files may be named any number of times.
#[derive(Debug, Args)]
pub struct IngestArgs {
    /// The store, a SQLite file; made if it is not there
    #[arg(long, value_name = "FILE")]
    store: PathBuf,
    /// Files of records, or directories of them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// 0 if everything could be read, else 1.
pub fn run(args: &IngestArgs) -> ExitCode {
    let done = Sqlite::open(&args.store)
        .map_err(ingest::IngestError::from)
        .and_then(|mut store| ingest::ingest(&mut store, &args.paths));
    let done = match done {
        Ok(done) => done,
        Err(error) => return super::failed(format_args!("{}: {error}", args.store.display())),
    };
    let added = done.added;
    println!(
        "{} files read; new: {} runs, {} processes, {} imports",
        done.files, added.runs, added.processes, added.imports
    );
    if done.bad_lines > 0 {
        eprintln!("spinney: {} lines could not be read and were passed by", done.bad_lines);
    }
    done.troubles.iter().for_each(|trouble| eprintln!("spinney: {trouble}"));
    if done.troubles.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
