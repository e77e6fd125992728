//! Tells a signal sent to the wrapper alone from one sent to its whole process group.
//!
//! COMMAND is in the wrapper's process group. A signal for the group (the terminal's Ctrl-C, `kill -TERM -PGID`,
//! `timeout(1)`, a scheduler that walks all processes of a job) has reached COMMAND already and must not be
//! forwarded; one for the wrapper alone must be. The kernel does not say which it was. So a forked child, the
//! canary, sits in the same group with all signals blocked, and is asked: have you got this one too?
//!
//! The kernel signals the members of a group newest first (`do_each_pid_task` walks a list that grows at its
//! head), so the canary has it before the wrapper is woken; for senders that walk the processes one by one it
//! waits [`GRACE_NANOSECONDS`].

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, set_parent_process_death_signal, waitid,
};

use super::signals;

/// How long the canary waits for a signal that the wrapper has got: 2 ms, many times what a scheduler needs
/// from one process to the next.
const GRACE_NANOSECONDS: i64 = 2_000_000;

/// How long the wrapper waits for the canary's answer: 1 s, which a machine under load may need to run it. It may
/// also be stopped itself (SIGSTOP to the group, then CONT for the wrapper alone).
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// The child, seen from the wrapper. It ends when this is dropped, or with the wrapper.
#[derive(Debug)]
pub struct Canary {
    line: UnixStream,
    pid: Pid,
}

impl Canary {
    /// Forks it. The caller must be single-threaded and have its signals blocked.
    ///
    /// # Errors
    /// No process or descriptor to be had.
    pub fn place() -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(ANSWER_MAX))?;
        // SAFETY: the process has one thread, so the child may do what it likes.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => sit(theirs),
            pid => Ok(Canary { line: ours, pid: Pid::from_raw(pid).ok_or(Errno::CHILD)? }),
        }
    }

    /// Whether `signal`, which the wrapper has just got, was for the whole group. `None`: no answer.
    pub fn got_it_too(&mut self, signal: i32) -> Option<bool> {
        let mut answer = [0];
        self.line.write_all(&[u8::try_from(signal).ok()?]).ok()?;
        self.line.read_exact(&mut answer).ok()?;
        Some(answer[0] == 1)
    }
}

impl Drop for Canary {
    /// Kills and reaps it, so that it is gone when the wrapper is, even where nobody reaps orphans.
    fn drop(&mut self) {
        let _ = kill_process(self.pid, Signal::KILL);
        let _ = rustix::io::retry_on_intr(|| waitid(WaitId::Pid(self.pid), WaitIdOptions::EXITED));
    }
}

/// The canary's life.
fn sit(mut line: UnixStream) -> ! {
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let _ = rustix::thread::set_name(c"spinney-canary");
    // Of what the wrapper was given, nothing may be held open here.
    super::descriptors::close_all_but(&[line.as_fd()]);
    let mut signal = [0];
    while line.read_exact(&mut signal).is_ok() {
        let got = signals::take_pending(i32::from(signal[0]), GRACE_NANOSECONDS);
        if line.write_all(&[u8::from(got)]).is_err() {
            break;
        }
    }
    // SAFETY: ends the process at once; nothing of the wrapper's is to be flushed or dropped here.
    unsafe { libc::_exit(0) }
}
