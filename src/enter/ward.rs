//! The wrapper's watch over its task: passes signals on, stops when the task stops, hears when it ends.
//!
//! The aim is that nobody notices that there are two processes. A signal for the wrapper alone is passed on, one
//! for the whole group is not, since the task has it already (`enter::canary`). When the task stops, the
//! wrapper stops by the same signal (by TSTP where it was SIGSTOP), so a shell sees the job stopped; when the
//! wrapper is continued, so is a task that still stands.
//!
//! What cannot be had: SIGSTOP and SIGKILL for the wrapper alone cannot be caught. The first stops only the
//! wrapper; after the second the kernel kills the task.
//!
//! Not here: what is said to the holder meanwhile (`enter::tenancy`).

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use libc::{c_int, signalfd_siginfo};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::canary::Canary;
use super::signals::{self, Signals};
use super::step::EnterError;
use super::task::{Change, End, Task};

/// `si_code` of a signal that the kernel itself sent, such as a terminal's.
const SI_KERNEL: c_int = 0x80;

/// What the wrapper woke up for.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// The task is no more.
    Ended(End),
    /// There is something to read from the line.
    Line,
}

/// The outcome of going inside.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The task is COMMAND now (or died by a signal on the way, which the watch will tell).
    Inside,
    /// A step failed; the child is gone.
    Failed(EnterError),
}

/// Holds the wrapper's signals from before the fork to the end.
pub struct Ward {
    /// The signals, for the child to put back.
    pub signals: Signals,
    canary: Option<Canary>,
}

impl Ward {
    /// Begins: from here on no signal takes effect by itself.
    ///
    /// # Errors
    /// No descriptor to be had.
    pub fn begin() -> io::Result<Self> {
        Ok(Ward { signals: Signals::block()?, canary: None })
    }

    /// Ends without a task: signals that came meanwhile take effect.
    pub fn end(self) {
        self.signals.restore();
    }

    /// Places the canary. Without one (no process to be had) all but the terminal's signals count as the wrapper's
    /// own: one too many is better than none.
    pub fn place_canary(&mut self) {
        self.canary = Canary::place().ok();
    }

    /// Waits until `task` is inside or has failed.
    ///
    /// # Errors
    /// What `poll` answers.
    pub fn arrival(&mut self, task: &Task) -> io::Result<Arrival> {
        let line = std::os::fd::AsFd::as_fd(&task.verdict);
        match self.next(task, Some(line))? {
            News::Line => match EnterError::hear(&task.verdict) {
                Some(error) => {
                    task.reap();
                    Ok(Arrival::Failed(error))
                }
                None => Ok(Arrival::Inside),
            },
            // It has been reaped; what it said before counts.
            News::Ended(end) => Ok(match EnterError::hear(&task.verdict) {
                Some(error) => Arrival::Failed(error),
                None => {
                    task.remember(end);
                    Arrival::Inside
                }
            }),
        }
    }

    /// Waits for news of `task`, or something to read from `line`, passing signals on meanwhile.
    ///
    /// # Errors
    /// What `poll` answers.
    pub fn next(&mut self, task: &Task, line: Option<BorrowedFd<'_>>) -> io::Result<News> {
        loop {
            if let Some(end) = task.remembered() {
                return Ok(News::Ended(end));
            }
            if let Some(end) = self.hear_signals(task) {
                return Ok(News::Ended(end));
            }
            if wait(&self.signals, line, None)? == Woken::Line {
                return Ok(News::Line);
            }
        }
    }

    /// Waits for something to read from `line` until `deadline`, with no task left to watch. `false`: the
    /// deadline passed, or the user wants out (Ctrl-C, TERM, a hangup).
    ///
    /// # Errors
    /// What `poll` answers.
    pub fn linger(&self, line: BorrowedFd<'_>, deadline: Instant) -> io::Result<bool> {
        loop {
            while let Some(signal) = self.signals.next() {
                let out = [libc::SIGINT, libc::SIGTERM, libc::SIGQUIT, libc::SIGHUP];
                if out.contains(&number(&signal)) {
                    return Ok(false);
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match wait(&self.signals, Some(line), Some(left))? {
                Woken::Line => return Ok(true),
                Woken::Nothing => return Ok(false),
                Woken::Signal => {}
            }
        }
    }

    /// Does what the signals that have come ask for; returns the end of the task if that is among the news.
    fn hear_signals(&mut self, task: &Task) -> Option<End> {
        let mut child_changed = false;
        while let Some(signal) = self.signals.next() {
            match number(&signal) {
                libc::SIGCHLD => child_changed = true,
                _ => self.pass_on(task, &signal),
            }
        }
        // Last, so that a CONT comes before the news of the stop that it ends: else the wrapper would stop again,
        // with nobody to continue it.
        if child_changed { follow(task) } else { None }
    }

    fn was_for_the_group(&mut self, number: c_int) -> bool {
        let Some(canary) = &mut self.canary else { return false };
        canary.got_it_too(number).unwrap_or_else(|| {
            // It is stopped or dead; a late answer would be taken for another's.
            self.place_canary();
            false
        })
    }

    /// Whether the children of this process have `signal`, which it has just read, already.
    pub fn children_have(&mut self, signal: &signalfd_siginfo) -> bool {
        is_the_terminals(signal) || self.was_for_the_group(number(signal))
    }

    /// Waits for a signal, or something to read from `line`.
    ///
    /// # Errors
    /// What `poll` answers.
    pub fn wait(&self, line: Option<BorrowedFd<'_>>) -> io::Result<()> {
        wait(&self.signals, line, None).map(drop)
    }

    fn pass_on(&mut self, task: &Task, signal: &signalfd_siginfo) {
        let has_it = self.children_have(signal);
        let number = number(signal);
        // A stop that came after it took it from the canary, as stops do; and what it woke is to stand again.
        if number == libc::SIGCONT && signals::stop_is_pending() {
            return;
        }
        // A task that left the group does not have what the group has; if it stands still, it needs this one. One
        // that is in the group may stand again already, because of a second Ctrl-Z, and must not be woken.
        let abandoned = || task.has_left_group() && task.is_stopped();
        if !has_it || (number == libc::SIGCONT && abandoned()) {
            signals::send(task.number(), number);
        }
    }
}

/// Which signal it is.
pub fn number(signal: &signalfd_siginfo) -> c_int {
    signal.ssi_signo.cast_signed()
}

/// Whether the terminal sent it, which it does to the whole foreground group. (A hangup it sends to the session's
/// leader alone.)
fn is_the_terminals(signal: &signalfd_siginfo) -> bool {
    let of_a_terminal =
        [libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU, libc::SIGWINCH];
    signal.ssi_code == SI_KERNEL && of_a_terminal.contains(&number(signal))
}

/// Follows the changes of `task`: stops with it, returns how it ended.
fn follow(task: &Task) -> Option<End> {
    while let Some(change) = task.change() {
        match change {
            Change::Ended(end) => return Some(end),
            // It may have been continued in between; stopping now would leave a running job that looks stopped.
            Change::Stopped(signal) => signals::stop_with(signal, || task.is_stopped()),
        }
    }
    None
}

#[derive(Debug, PartialEq, Eq)]
enum Woken {
    Signal,
    Line,
    Nothing,
}

/// Signals come first: the task's last words and its end are told in the order in which they happened.
fn wait(signals: &Signals, line: Option<BorrowedFd<'_>>, left: Option<Duration>) -> io::Result<Woken> {
    let mut both = vec![PollFd::new(signals, PollFlags::IN)];
    both.extend(line.map(|line| PollFd::from_borrowed_fd(line, PollFlags::IN)));
    let timeout = left.and_then(|left| Timespec::try_from(left).ok());
    rustix::io::retry_on_intr(|| poll(&mut both, timeout.as_ref()))?;
    Ok(match &both[..] {
        [signal, ..] if !signal.revents().is_empty() => Woken::Signal,
        [_, line] if !line.revents().is_empty() => Woken::Line,
        _ => Woken::Nothing,
    })
}
