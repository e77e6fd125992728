//! `spinney track hook`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::track::hook;

/// Show or install what runs inside Python
#[derive(Debug, Args)]
pub struct HookArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install the hook into a site directory, such as an environment's site-packages
    ///
    /// Two files, one of them a `.pth` line. Without SPINNEY_TRACK in its environment an interpreter only looks for
    /// that variable.
    Install {
        /// The directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Print the hook on standard output
    Print,
}

/// 0, or 1 if it could not be written.
pub fn run(args: &HookArgs) -> ExitCode {
    match &args.command {
        Command::Print => {
            crate::cli::put(hook::PYTHON);
            ExitCode::SUCCESS
        }
        Command::Install { directory } => match hook::install(directory) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => super::failed(format_args!("{}: {error}", directory.display())),
        },
    }
}
