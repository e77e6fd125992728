//! `spinney env check`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::environment::check::{self, Shell};
use crate::environment::surroundings::Surroundings;

/// Say which search paths cost a start something and bring nothing
///
/// Looks at PATH, PYTHONPATH, PYTHONHOME, VIRTUAL_ENV, CONDA_PREFIX, LD_LIBRARY_PATH, R_LIBS, R_LIBS_USER and R_LIBS_SITE,
/// and at `.pth` files, `pyvenv.cfg` and the RPATH and RUNPATH of compiled modules, for duplicates, for what does not
/// exist, is empty, stale or shadowed. With a recording also for what is probed and never hit, and what each costs.
/// Prints corrected values, one step at a time in the safe order. Changes nothing.
///
/// Ends with 0 if nothing is wrong, else with 1.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  spinney env check\n  spinney env check --recording report/ --shell fish -- python3 train.py"
)]
pub struct CheckArgs {
    /// Count the probes in this recording; may be repeated
    #[arg(long = "recording", value_name = "RECORDING")]
    recordings: Vec<PathBuf>,
    /// For which shell to print corrected values
    #[arg(long, value_enum, value_name = "SHELL", default_value = "bash")]
    shell: ShellName,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    /// A command to look at the environment of; it is not run [default: python3]
    #[arg(value_name = "COMMAND", last = true)]
    command: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ShellName {
    Bash,
    Fish,
    Csh,
}

/// Audits and prints.
pub fn run(args: &CheckArgs) -> ExitCode {
    let around = match Surroundings::of_this_process() {
        Ok(around) => around,
        Err(error) => {
            eprintln!("spinney: error: the working directory: {error}");
            return ExitCode::FAILURE;
        }
    };
    let recorded = match super::read(&args.recordings) {
        Ok(recorded) => (!args.recordings.is_empty()).then_some(recorded),
        Err(code) => return code,
    };
    let shell = match args.shell {
        ShellName::Bash => Shell::Bash,
        ShellName::Fish => Shell::Fish,
        ShellName::Csh => Shell::Csh,
    };
    let check = check::check(&around, &args.command, recorded.as_ref(), shell);
    if args.json {
        crate::cli::put_lines(&[format!("{:#}", check.json())]);
    } else {
        crate::cli::put_lines(&check.lines());
    }
    let is_read = recorded.is_none_or(|recorded| recorded.troubles.is_empty());
    if check.findings.is_empty() && is_read { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
