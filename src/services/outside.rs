//! Services of an allocation, asked from a host that is not in it.
//!
//! Services are found by sockets, which are known on their own machine only.
//!
//! Not here: which hosts are in it (`cluster::detected`).

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
    if !super::names().is_empty() {
        return Ok(());
    }
    let Some(words) = detected::from_outside() else { return Ok(()) };
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg(std::env::current_exe()?).args(std::env::args_os().skip(1));
    // Labels would stand before what is printed.
    Err(command.env_remove("SLURM_LABELIO").exec())
}
