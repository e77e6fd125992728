//! `spinney down`.

use std::process::ExitCode;

use clap::Args;

use crate::services;

/// End what `spinney up` has started, on all its nodes
///
/// Tasks that run in it go on to their end; the service of their node ends with the last of them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  spinney down\n  spinney down --job mine")]
pub struct DownArgs {
    /// The service of this job [default: what the scheduler says, or else that of this machine]
    #[arg(long, value_name = "NAME")]
    job: Option<String>,
}

/// Ends the service: 0 if nothing of it is left on this machine, else 1.
pub fn run(args: &DownArgs) -> ExitCode {
    let troubles = services::down::down(args.job.as_deref());
    troubles.iter().for_each(|trouble| eprintln!("spinney: {trouble}"));
    if troubles.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
