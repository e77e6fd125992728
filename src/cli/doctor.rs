//! `spinney doctor`.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Args;

/// Say what works on this machine, and what to ask the administrator for
///
/// Tries each way of showing a view for real, and changes nothing. With a command, also says whether its environment
/// would be shown, from which file systems, and what else would slow it down.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  spinney doctor\n  spinney doctor -- python3 train.py")]
pub struct DoctorArgs {
    /// Print one JSON object on standard output instead of text
    #[arg(long)]
    pub json: bool,
    /// A command to examine the environment of; it is not run
    #[arg(value_name = "COMMAND", last = true)]
    pub command: Vec<OsString>,
}

/// Examines the machine: 0 if at least one way works.
pub fn run(args: DoctorArgs) -> ExitCode {
    let options = crate::doctor::Options::new(args.json, args.command);
    match crate::doctor::run(options, &mut std::io::stdout().lock()) {
        Ok(exit_code) => exit_code,
        Err(error) => {
            eprintln!("spinney: {error:#}");
            ExitCode::FAILURE
        }
    }
}
