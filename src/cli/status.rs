//! `spinney status`.

use std::process::ExitCode;

use clap::Args;

use crate::profile::exposition;
use crate::services;

/// Say how the services of your jobs on this machine are
///
/// For each node of this machine: which node it asks and whether it can, where answers came from, its memory, and how
/// often it had to be started again. The root of a job of several machines also tells what the others have reported.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  spinney status\n  spinney status --json --job mine\n  spinney status --prometheus"
)]
pub struct StatusArgs {
    /// Print one JSON object on standard output instead of text
    #[arg(long)]
    json: bool,
    /// Print the figures in the text format of Prometheus (0.0.4), such as for a collector of text files
    ///
    /// Of the nodes on this machine; no paths.
    #[arg(long, conflicts_with = "json")]
    prometheus: bool,
    /// Only the job of this name [default: all of yours]
    #[arg(long, value_name = "NAME")]
    job: Option<String>,
}

/// Prints the status: 0 if there is a service, else 1.
pub fn run(args: &StatusArgs) -> ExitCode {
    let services = services::status::all(args.job.as_deref());
    if args.prometheus {
        match exposition::text(&services) {
            Ok(text) => super::put(&text),
            Err(error) => {
                eprintln!("spinney: {error}");
                return ExitCode::FAILURE;
            }
        }
    } else if args.json {
        super::put(format!("{:#}\n", services::status::json(&services)));
    } else {
        super::put_lines(&services::status::lines(&services));
    }
    if services.is_empty() {
        eprintln!("spinney: no service of yours runs on this machine");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
