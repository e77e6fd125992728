//! `spinney env`: what recordings and variables tell of an environment.
//!
//! One file per subcommand; the work is done in `environment`.

mod check;
mod classify;
mod coverage;
mod slim;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::environment::recorded::Recorded;

/// Explain what an environment is made of, what a job used of it, and what its search paths cost
#[derive(Debug, Args)]
#[command(after_help = "A RECORDING is a file of JSON lines, or a directory with files `recording*.jsonl`. \
                  docs/PROFILING.md describes its format.")]
pub struct EnvArgs {
    #[command(subcommand)]
    command: EnvCommand,
}

#[derive(Debug, Subcommand)]
enum EnvCommand {
    Check(check::CheckArgs),
    Classify(classify::ClassifyArgs),
    Coverage(coverage::CoverageArgs),
    Slim(slim::SlimArgs),
}

/// What `classify` and `coverage` read, and how much they show.
#[derive(Debug, Args)]
struct RecordingArgs {
    /// Recordings: files, or directories with `recording*.jsonl`
    #[arg(value_name = "RECORDING", required = true)]
    recordings: Vec<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    /// Print comma-separated values instead of text
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Rows of a table at most; 0 for all
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
}

/// Runs a subcommand.
pub fn run(args: EnvArgs) -> ExitCode {
    match args.command {
        EnvCommand::Check(args) => check::run(&args),
        EnvCommand::Classify(args) => classify::run(&args),
        EnvCommand::Coverage(args) => coverage::run(&args),
        EnvCommand::Slim(args) => slim::run(&args),
    }
}

impl RecordingArgs {
    /// What the recordings hold; what could not be read is told at once.
    fn read(&self) -> Result<Recorded, ExitCode> {
        read(&self.recordings)
    }

    /// Prints a report in the form asked for.
    fn print(
        &self,
        notes: &[String],
        text: impl Fn(usize) -> Vec<String>,
        csv: impl Fn() -> Vec<String>,
        json: impl Fn() -> Value,
    ) {
        if self.json {
            return super::put_lines(&[format!("{:#}", json())]);
        }
        if self.csv {
            // Values have no place for sentences, and who reads them must see these all the same.
            notes.iter().for_each(|note| eprintln!("spinney: {note}"));
            return super::put_lines(&csv());
        }
        super::put_lines(&text(self.top));
    }
}

/// Reads recordings: an error only if there is nothing at all to report on.
fn read(recordings: &[PathBuf]) -> Result<Recorded, ExitCode> {
    let recorded = Recorded::read(recordings);
    recorded.troubles.iter().for_each(|trouble| eprintln!("spinney: {trouble}"));
    if recorded.headers.is_empty() && !recordings.is_empty() {
        return Err(ExitCode::FAILURE);
    }
    Ok(recorded)
}

/// The directories `named`, else the views of the recordings; `None`, and said why, if there are none.
fn roots(named: &[PathBuf], recorded: &Recorded) -> Option<Vec<PathBuf>> {
    let roots = if named.is_empty() { recorded.views.iter().cloned().collect() } else { named.to_vec() };
    if roots.is_empty() {
        eprintln!("spinney: error: the recordings name no views (hint: name directories with `--root DIR`)");
        return None;
    }
    Some(roots.into_iter().map(|root| std::path::absolute(&root).unwrap_or(root)).collect())
}

/// 0, or 1 if something could not be read.
fn ended(recorded: &Recorded) -> ExitCode {
    if recorded.troubles.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
