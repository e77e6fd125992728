//! COMMAND run on trial: observed, and perhaps with copies in the place of the directories they were made of.
//!
//! It runs as `spinney run` runs it, with every access recorded. Copies are bound over the originals in a mount namespace
//! of the trial's own, so COMMAND and all paths in its output are the same both times.
//!
//! Invariant: nothing of it is seen by other processes, and all of it ends with the trial.
//!
//! Not here: what the trial says (`environment::slim`).

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use rustix::mount::{MountPropagationFlags, mount_bind_recursive, mount_change};
use rustix::process::{getegid, geteuid};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::inside::map_caller;
use crate::holder::estate::Caller;

/// Bytes of output that are compared at most: 64 MiB of each stream. What a test prints is far less.
const OUTPUT_BYTES_MAX: u64 = 64 << 20;

/// A trial that has ended.
#[derive(Debug)]
pub struct Trial {
    /// How COMMAND ended.
    pub status: ExitStatus,
    /// What it printed on standard output.
    pub stdout: Vec<u8>,
    /// And on standard error, with what Spinney itself said left out.
    pub stderr: Vec<u8>,
    /// What Spinney said.
    pub said: Vec<String>,
}

/// Runs `command` with `views`, recorded into the new directory `report`; each pair of `shown` is a directory and where
/// COMMAND sees it.
///
/// # Errors
/// COMMAND cannot be started, or the directories not be shown.
pub fn run(
    command: &[OsString],
    views: &[PathBuf],
    shown: Vec<(PathBuf, PathBuf)>,
    report: &Path,
) -> io::Result<Trial> {
    fs::create_dir(report)?;
    let output = |name: &str| File::create_new(report.join(name));
    let mut spinney = Command::new(std::env::current_exe()?);
    // A job of its own, whatever a launcher has set for this process.
    spinney
        .args(["run", "--require", "--local-nodes", "1", "--quiet", "--profile", "full", "--report"])
        .arg(report);
    views.iter().for_each(|view| _ = spinney.arg("--view").arg(view));
    spinney.arg("--").args(command);
    spinney.stdin(Stdio::null()).stdout(output("stdout")?).stderr(output("stderr")?);
    if !shown.is_empty() {
        let directory = std::env::current_dir()?;
        // SAFETY: this process has one thread, so no lock is held by one that the child has not got.
        unsafe { spinney.pre_exec(move || show(&shown, &directory)) };
    }
    let status = spinney.status()?;
    let (stdout, stderr) = (read(&report.join("stdout"))?, read(&report.join("stderr"))?);
    let (said, stderr): (Vec<&[u8]>, Vec<&[u8]>) =
        stderr.split_inclusive(|byte| *byte == b'\n').partition(|line| line.starts_with(b"spinney: "));
    let said = said.iter().map(|line| String::from_utf8_lossy(line).trim_end().to_owned()).collect();
    Ok(Trial { status, stdout, stderr: stderr.concat(), said })
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Shows this process, and what it becomes, each directory of `shown` where the other is.
fn show(shown: &[(PathBuf, PathBuf)], working_directory: &Path) -> io::Result<()> {
    let (uid, gid) = (geteuid(), getegid());
    let flags = if uid.is_root() { UnshareFlags::NEWNS } else { UnshareFlags::NEWUSER | UnshareFlags::NEWNS };
    // SAFETY: descriptors are not unshared, which is what the function warns of.
    unsafe { unshare_unsafe(flags) }?;
    if uid.is_root() {
        // Ours do not leave; in a user namespace of its own the kernel does this by itself.
        mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    } else {
        map_caller(&Caller { uid: uid.as_raw(), gid: gid.as_raw(), groups: Vec::new() })?;
    }
    for (directory, place) in shown {
        mount_bind_recursive(directory, place)?;
    }
    // Else it would still be in the original, if it is in there.
    std::env::set_current_dir(working_directory)
}
