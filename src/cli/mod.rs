//! The command line: flags, help and exit codes. The help is the manual.
//!
//! One file per subcommand, each with its flags and a `run` that hands over to the folder that does the work.
//!
//! Not here: any of that work.

mod addresses;
mod bytes;
mod completions;
mod cpus;
mod doctor;
mod down;
mod durations;
mod env;
mod man;
mod mountless;
mod processes;
mod profile;
mod record_pkg;
mod refresh;
mod run;
mod service;
mod status;
mod top;
mod track;
mod tracking;
mod up;

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::services::outside;

/// How the whole command line looks.
#[derive(Debug, Parser)]
#[command(
    name = "spinney",
    version,
    about = "Starts Python, R and other programs on many nodes as fast as on one warm workstation",
    long_about = LONG_ABOUT,
    after_help = "Run `spinney run --help` for the main job.",
    disable_help_subcommand = true,
    propagate_version = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const LONG_ABOUT: &str = "\
Starts Python, R and other dynamically linked programs on many nodes as fast as on one warm workstation.

Put two words in front of the command; nothing else changes:

    srun -N 1024 --ntasks-per-node=8 spinney run -- python3 train.py

The software the command loads is shown through a read-only view at its own path, so that each thing is read from \
the shared file system once. Everything else is read and written as before.";

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::RunArgs>),
    Up(Box<up::UpArgs>),
    Down(down::DownArgs),
    Status(status::StatusArgs),
    Top(top::TopArgs),
    Refresh(refresh::RefreshArgs),
    Profile(profile::ProfileArgs),
    Track(track::TrackArgs),
    RecordPkg(record_pkg::RecordPkgArgs),
    Doctor(doctor::DoctorArgs),
    Addresses(addresses::AddressesArgs),
    Env(env::EnvArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// Parses the command line and does what it says.
pub fn run() -> ExitCode {
    if let Some(exit_code) = processes::run_if_asked().or_else(record_pkg::run_if_called_so) {
        return exit_code;
    }
    match Cli::parse().command {
        Command::Run(args) => run::run(*args),
        Command::Up(args) => up::run(*args),
        Command::Down(args) => inside(|| down::run(&args)),
        Command::Status(args) => inside(|| status::run(&args)),
        Command::Top(args) => top::run(&args),
        Command::Refresh(args) => inside(|| refresh::run(&args)),
        Command::Profile(args) => profile::run(args),
        Command::RecordPkg(args) => record_pkg::run(&args),
        Command::Track(args) => track::run(&args),
        Command::Doctor(args) => doctor::run(args),
        Command::Addresses(args) => addresses::run(&args),
        Command::Env(args) => env::run(args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    }
}

/// Prints what was asked for. A reader that went away, such as `head`, is no error; a full disk is one, and the process ends
/// with 1.
fn put(text: impl AsRef<[u8]>) {
    let mut out = std::io::stdout().lock();
    let put = out.write_all(text.as_ref()).and_then(|()| out.flush());
    if let Some(error) = put.err().filter(|error| error.kind() != ErrorKind::BrokenPipe) {
        eprintln!("spinney: cannot write to standard output: {error}");
        std::process::exit(1);
    }
}

/// Prints lines.
fn put_lines(lines: &[String]) {
    put(lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect::<String>());
}

/// On a node of the allocation, if this process is beside it.
fn inside(then: impl FnOnce() -> ExitCode) -> ExitCode {
    match outside::go_inside() {
        Ok(()) => then(),
        Err(error) => {
            eprintln!("spinney: cannot ask the nodes of the allocation: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_definition_of_the_flags_holds_no_contradiction() {
        super::Cli::command().debug_assert();
    }
}
