//! The child that becomes COMMAND.
//!
//! Forked by a single-threaded wrapper, with all signals blocked at that moment; it takes the mask that the
//! wrapper was given, so Ctrl-C works on the way inside, and dies with its wrapper (`kill -9` of the
//! wrapper must stop COMMAND as `kill -9` of COMMAND would).

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getppid, set_parent_process_death_signal, waitid};

use super::inherited;
use super::signals::Signals;
use super::step::{EnterError, Step};
use rustix::io::Errno;

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With this exit code.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

impl End {
    /// As a shell's `$?` has it.
    pub fn exit_code(self) -> i32 {
        match self {
            End::Exited(code) => code,
            End::Killed(signal) => 128 + signal,
        }
    }
}

/// What a task did last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is no more.
    Ended(End),
    /// It was stopped by this signal.
    Stopped(i32),
}

/// A child on its way to becoming COMMAND, or already there.
#[derive(Debug)]
pub struct Task {
    /// Its process id.
    pub pid: Pid,
    /// Where it tells what failed.
    pub verdict: OwnedFd,
    /// Its end, if it was seen while waiting for something else: the kernel tells it only once.
    end: Cell<Option<End>>,
}

impl Task {
    /// Forks a child that does `inside`, which only returns if it fails.
    ///
    /// # Errors
    /// No process or descriptor to be had.
    pub fn fork(signals: &Signals, inside: impl FnOnce() -> EnterError) -> io::Result<Self> {
        let (verdict, word) = pipe_with(PipeFlags::CLOEXEC)?;
        let wrapper = rustix::process::getpid();
        // SAFETY: the process has one thread, so the child may allocate and take locks.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                let error = begin(signals, wrapper).err().unwrap_or_else(inside);
                error.tell(&word);
                // SAFETY: ends the process at once; what the wrapper has buffered is the wrapper's.
                unsafe { libc::_exit(125) }
            }
            pid => match Pid::from_raw(pid) {
                Some(pid) => Ok(Task { pid, verdict, end: Cell::new(None) }),
                None => Err(Errno::CHILD.into()),
            },
        }
    }

    /// The next change, if there is one.
    pub fn change(&self) -> Option<Change> {
        change_of(self.pid)
    }

    /// Keeps its end for [`Self::remembered`].
    pub fn remember(&self, end: End) {
        self.end.set(Some(end));
    }

    /// Its end, if it was kept.
    pub fn remembered(&self) -> Option<End> {
        self.end.get()
    }

    /// Whether it is stopped at this moment.
    pub fn is_stopped(&self) -> bool {
        is_stopped(self.pid)
    }

    /// Whether it has gone to another process group than this process's, as an interactive shell does.
    pub fn has_left_group(&self) -> bool {
        rustix::process::getpgid(Some(self.pid)).is_ok_and(|group| group != rustix::process::getpgrp())
    }

    /// Its process id as a number.
    pub fn number(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Waits for its end, after it has told that it failed.
    pub fn reap(&self) {
        let _ = rustix::io::retry_on_intr(|| waitid(WaitId::Pid(self.pid), WaitIdOptions::EXITED));
    }
}

/// The next change of child `pid`, if there is one.
pub fn change_of(pid: Pid) -> Option<Change> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
    let status = rustix::io::retry_on_intr(|| waitid(WaitId::Pid(pid), options)).ok()??;
    if let Some(code) = status.exit_status() {
        return Some(Change::Ended(End::Exited(code)));
    }
    if let Some(signal) = status.terminating_signal() {
        return Some(Change::Ended(End::Killed(signal)));
    }
    status.stopping_signal().map(Change::Stopped)
}

/// Whether process `pid` is stopped at this moment.
pub fn is_stopped(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, after)| after.trim_start().starts_with('T'))
}

/// Asks to die with the wrapper. Anything that changes credentials undoes it, so it is asked again after that.
///
/// # Errors
/// The wrapper is dead already.
pub fn die_with_wrapper(wrapper: Pid) -> Result<(), EnterError> {
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    if getppid() == Some(wrapper) { Ok(()) } else { Err(EnterError::new(Step::Orphaned, Errno::SRCH)) }
}

fn begin(signals: &Signals, wrapper: Pid) -> Result<(), EnterError> {
    die_with_wrapper(wrapper)?;
    signals.restore();
    inherited::restore_signals();
    Ok(())
}
