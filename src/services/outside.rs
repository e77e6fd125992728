//! Services of an allocation, asked from a host that is not in it.
//!
//! Services are found by sockets, which are known on their own machine only.
//!
//! Not here: which hosts are in it (`cluster::detected`).

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::cluster::detected;

/// Becomes this command line on the first node of the allocation; returns if there is none, if this machine is one of its
/// nodes, or if a service of this user is here.
///
/// # Errors
/// What starts it there is not to be had.
pub fn go_inside() -> io::Result<()> {
    match on_first_node(std::env::args_os().skip(1))? {
        Some(mut command) => Err(command.exec()),
        None => Ok(()),
    }
}

/// This program with these arguments on the first node of the allocation; `None` if there is none, if this machine is one of
/// its nodes, or if a service of this user is here.
///
/// # Errors
/// Nobody knows where this program is.
pub fn on_first_node(arguments: impl Iterator<Item = OsString>) -> io::Result<Option<Command>> {
    if !super::names().is_empty() {
        return Ok(None);
    }
    let Some(words) = detected::from_outside() else { return Ok(None) };
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg(std::env::current_exe()?).args(arguments);
    // Labels would stand before what is printed.
    command.env_remove("SLURM_LABELIO");
    Ok(Some(command))
}
