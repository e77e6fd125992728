//! `spinney track`: one file per subcommand.

mod export;
mod filter;
mod hook;
mod ingest;
mod report;
mod send;

use std::ffi::OsStr;
use std::process::ExitCode;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Args, Subcommand};

use crate::track::store::place::{Place, PlaceError};

/// Tell which packages jobs import
///
/// `spinney run --track DIR` records what the command and its children import into a file in DIR; `ingest` adds such
/// files to a store, and `report` answers what a site asks. docs/TRACKING.md describes all of it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  spinney run --track /scratch/records -- python3 train.py
  spinney track ingest --store track.db /scratch/records
  spinney track report --store track.db packages")]
pub struct TrackArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Export(export::ExportArgs),
    Filter(filter::FilterArgs),
    Hook(hook::HookArgs),
    Ingest(ingest::IngestArgs),
    Report(report::ReportArgs),
    Send(send::SendArgs),
}

/// Does what it says.
pub fn run(args: &TrackArgs) -> ExitCode {
    match &args.command {
        Command::Export(args) => export::run(args),
        Command::Filter(args) => filter::run(args),
        Command::Hook(args) => hook::run(args),
        Command::Ingest(args) => ingest::run(args),
        Command::Report(args) => report::run(args),
        Command::Send(args) => send::run(args),
    }
}

/// Reads the name of a store. What is none is not repeated in the error: it may have a password in it.
#[derive(Debug, Clone, Copy)]
struct StoreName;

impl TypedValueParser for StoreName {
    type Value = Place;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Place, clap::Error> {
        let refuse = |why: &dyn std::fmt::Display| {
            command.clone().error(ErrorKind::ValueValidation, format!("`--store`: {why}"))
        };
        let text = value.to_str().ok_or_else(|| refuse(&"is no text"))?;
        text.parse().map_err(|error: PlaceError| refuse(&error))
    }
}

/// Says what went wrong.
fn failed(error: impl std::fmt::Display) -> ExitCode {
    eprintln!("spinney: {error}");
    ExitCode::FAILURE
}
