//! `spinney refresh`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::services;

/// Make running jobs see what has changed on storage
///
/// All nodes of the job forget what they know of these files and directories, and of what lies beneath them, and have their
/// kernels ask again. When this command has ended, whatever is looked up is as it is on storage. Who has a file open goes
/// on with the version it opened, or gets an error (ESTALE) if that was overwritten in place.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  spinney refresh\n  spinney refresh --job mine /opt/env/lib")]
pub struct RefreshArgs {
    /// Only the job of this name [default: all of yours on this machine]
    #[arg(long, value_name = "NAME")]
    job: Option<String>,
    /// What has changed [default: everything]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// Refreshes: 0 if every node of every job did, else 1.
pub fn run(args: &RefreshArgs) -> ExitCode {
    let paths = args.paths.iter().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()));
    let troubles = services::refresh::refresh(args.job.as_deref(), paths.collect());
    troubles.iter().for_each(|trouble| eprintln!("spinney: {trouble}"));
    if troubles.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
