//! Starting holder and daemon, the first time and again after a death.
//!
//! A successor is this very binary (`/proc/self/exe`, so an upgrade in the middle of a job changes nothing)
//! with one argument, the number of the memfd that holds its manifest. It inherits the descriptors of the
//! manifest and no other, a session of its own and `/dev/null` for all three standard streams, so that it holds
//! none of the task's pipes and no terminal signal reaches it.
//!
//! Not here: when to do so (`holder::service` and the daemon, each on reading end-of-file from the other).

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::fs::MemfdFlags;

use super::channel::Channel;
use super::estate::{Estate, Inventory};

/// The hidden subcommand that becomes a holder.
pub const HOLDER_SUBCOMMAND: &str = "holder-process";
/// The hidden subcommand that becomes a daemon.
pub const DAEMON_SUBCOMMAND: &str = "daemon-process";

/// Starts a daemon with all of `estate` and gives `estate.peer` the new connection to it.
///
/// # Errors
/// No process or descriptor to be had; `estate` is then unchanged.
/// # Cost
/// One fork and exec, about 1 ms; returns once the exec has happened.
pub fn start_daemon(estate: &mut Estate) -> io::Result<Child> {
    start(DAEMON_SUBCOMMAND, estate)
}

/// For the daemon, when it reads end-of-file from its holder: starts a new one, which counts the death, and
/// gives `estate.peer` the connection to it.
///
/// Any plain thread may call it. Nobody waits for the child: [`super::settle`] has told the kernel to
/// reap it.
///
/// # Errors
/// As [`start_daemon`]. The daemon can go on serving without a holder, and try again later.
pub fn restart_holder(estate: &mut Estate) -> io::Result<()> {
    start(HOLDER_SUBCOMMAND, estate).map(drop)
}

/// Starts the first holder, whose `peer` is the founding wrapper. It has no connections yet; the
/// founder's child brings them.
///
/// # Errors
/// As [`start_daemon`].
pub fn start_first_holder(inventory: &Inventory) -> io::Result<Child> {
    spawn(HOLDER_SUBCOMMAND, inventory)
}

fn start(subcommand: &str, estate: &mut Estate) -> io::Result<Child> {
    let (ours, theirs) = Channel::pair()?;
    let child = spawn(subcommand, &estate.inventory(theirs.as_fd().as_raw_fd()))?;
    estate.peer = OwnedFd::from(ours);
    Ok(child)
}

fn spawn(subcommand: &str, inventory: &Inventory) -> io::Result<Child> {
    let manifest = write_manifest(inventory)?;
    let mut inherited = inventory.numbers();
    inherited.push(manifest.as_raw_fd());
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("spinney")
        .args([subcommand, &manifest.as_raw_fd().to_string()])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let open = open_descriptors()?;
    // SAFETY: between fork and exec only `fcntl` and `setsid` are called, both async-signal-safe; the
    // lists were made before. What another thread opens in between is close-on-exec, as all we open is.
    unsafe {
        command.pre_exec(move || {
            for fd in &open {
                let flags = if inherited.contains(fd) { 0 } else { libc::FD_CLOEXEC };
                libc::fcntl(*fd, libc::F_SETFD, flags);
            }
            libc::setsid();
            Ok(())
        });
    }
    command.spawn()
}

/// The manifest in a memfd of its own. Read by the successor, which closes it.
fn write_manifest(inventory: &Inventory) -> io::Result<OwnedFd> {
    let memory = rustix::fs::memfd_create("spinney-manifest", MemfdFlags::CLOEXEC)?;
    let mut file = File::from(memory);
    file.write_all(&serde_json::to_vec(inventory)?)?;
    Ok(file.into())
}

/// Every open descriptor of this process but the standard streams, which `Command` replaces.
fn open_descriptors() -> io::Result<Vec<RawFd>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.parse::<RawFd>().ok()).filter(|fd| *fd > 2));
    }
    Ok(numbers)
}
