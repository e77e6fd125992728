//! The hidden subcommands that processes of Spinney start each other with.

use std::os::fd::RawFd;
use std::process::ExitCode;

use clap::Args;

use crate::holder::estate::Inventory;
use crate::{daemon, holder};

/// Started by Spinney itself; of no use by hand.
#[derive(Debug, Args)]
pub struct ManifestArgs {
    /// Number of the inherited descriptor with the manifest.
    manifest: RawFd,
}

/// Becomes a node's holder.
pub fn holder(args: &ManifestArgs) -> ExitCode {
    holder::run(args.manifest)
}

/// Becomes a node's daemon.
pub fn daemon(args: &ManifestArgs) -> ExitCode {
    holder::settle(c"spinney-daemon");
    // SAFETY: the number was given to this process by `holder::succession`, for nobody else.
    match unsafe { Inventory::adopt(args.manifest) } {
        Ok(estate) => {
            holder::journal::begin(&estate.settings, "daemon");
            daemon::run(estate)
        }
        Err(_) => ExitCode::FAILURE, // stderr is /dev/null: the holder sees the end of file
    }
}
