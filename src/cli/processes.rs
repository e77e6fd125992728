//! The hidden subcommands that processes of Spinney start each other with.
//!
//! They are no part of the flag definitions, so that no help, manual page or completion tells of them, and
//! starting a holder or daemon does not begin with building all of those.

use std::os::fd::RawFd;
use std::path::PathBuf;
use std::process::ExitCode;

use super::mountless;
use crate::enter::{command::KEEPER_SUBCOMMAND, keeper};
use crate::holder::estate::Inventory;
use crate::holder::succession::{DAEMON_SUBCOMMAND, HOLDER_SUBCOMMAND};
use crate::{daemon, doctor, holder};

/// The hidden subcommand that the doctor runs inside a view.
const PROBE_SUBCOMMAND: &str = "doctor-probe";

/// The hidden subcommand that benchmarks and tests start daemons with.
const MOUNTLESS_SUBCOMMAND: &str = "mountless-nodes";

/// Becomes holder or daemon if the command line is `spinney holder-process N` or `spinney daemon-process N`, where N
/// is the number of the inherited descriptor with the manifest.
pub fn run_if_asked() -> Option<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    let process = match words.next()?.to_str()? {
        HOLDER_SUBCOMMAND => holder::run,
        DAEMON_SUBCOMMAND => run_daemon,
        KEEPER_SUBCOMMAND => return Some(keeper::keep()),
        PROBE_SUBCOMMAND => return Some(run_probe(words.map(PathBuf::from).collect())),
        MOUNTLESS_SUBCOMMAND => return Some(mountless::run(words)),
        _ => return None,
    };
    let number = words.next()?.to_str()?.parse().ok()?;
    Some(process(number))
}

fn run_probe(paths: Vec<PathBuf>) -> ExitCode {
    match doctor::probe::run(&paths, &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run_daemon(manifest: RawFd) -> ExitCode {
    holder::settle(c"spinney-daemon");
    // SAFETY: the number was given to this process by `holder::succession`, for nobody else.
    match unsafe { Inventory::adopt(manifest) } {
        Ok(estate) => {
            holder::journal::begin(&estate.settings, "daemon");
            holder::settle_on_processors(&estate.settings);
            daemon::run(estate)
        }
        Err(_) => ExitCode::FAILURE, // stderr is /dev/null: the holder sees the end of file
    }
}
