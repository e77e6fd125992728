//! What `fusermount3` itself says when it is asked for a mount.
//!
//! It is set-uid and has rules of its own, which no system call made here could show. Asked over the
//! protocol of libfuse (`lib/mount.c`): a socket whose number is in `_FUSE_COMMFD`.
//!
//! Not here: mounting for a job (`holder`).

use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::bounded::{Ended, run_for};
use super::way::{TRY_SECONDS_MAX, last_words};

/// Asks for a mount over `directory` and takes it away again. The helper's words if it refuses.
pub fn refusal(program: &Path, directory: &Path) -> Option<String> {
    let (_ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).ok()?;
    let number = theirs.as_raw_fd();
    let mut mount = Command::new(program);
    mount.args(["-o", "ro,nosuid,nodev", "--"]).arg(directory).env("_FUSE_COMMFD", number.to_string());
    // SAFETY: one system call, on a descriptor that is open until after the command has ended.
    unsafe { mount.pre_exec(move || Ok(_ = libc::fcntl(number, libc::F_SETFD, 0))) };
    match run_for(&mut mount, TRY_SECONDS_MAX) {
        Ok(Ended::With { status, .. }) if status.success() => {
            // The opened device is still in the socket and is closed with it.
            let mut unmount = Command::new(program);
            unmount.args(["-u", "-z", "-q", "--"]).arg(directory).stderr(Stdio::null());
            let _ = run_for(&mut unmount, TRY_SECONDS_MAX);
            None
        }
        Ok(Ended::With { errors, .. }) => last_words(&errors),
        Ok(Ended::Late) => Some("it does not answer".to_owned()),
        Ok(Ended::Interrupted) => None,
        Err(error) => Some(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_helper_is_asked_and_speaks_for_itself() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("fusermount3");
        let refuses = "test -e /proc/self/fd/$_FUSE_COMMFD && echo \"fusermount3: not over $4\" >&2; exit 1";
        let cases = [
            (refuses, Some(format!("fusermount3: not over {}", directory.path().display()))), // a rule of its own
            ("exit 0", None),                                                                 // it mounts
        ];
        for (script, want) in cases {
            std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
            assert_eq!(refusal(&program, directory.path()), want, "{script}");
        }
    }
}
