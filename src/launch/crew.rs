//! The wrappers that a launcher has started: starting them, passing signals on, how they end.
//!
//! Not here: what they say (`launch`), how a signal for the group is told from one for this process (`enter::ward`).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use rustix::io::Errno;
use rustix::process::Pid;

use crate::cluster::local::{NODE_VARIABLE, TASK_VARIABLE};
use crate::enter::LocalNodes;
use crate::enter::signals::{self, Signals};
use crate::enter::task::{self, Change, End};
use crate::enter::ward::{self, Ward};

/// Where a wrapper belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its node.
    pub node: u32,
    /// Its task, counted over all nodes: those of one node follow each other.
    pub task: u32,
}

/// All wrappers, by the number of their task.
#[derive(Debug)]
pub struct Crew(Vec<Member>);

#[derive(Debug)]
struct Member {
    pid: Pid,
    end: Option<End>,
}

impl Crew {
    /// Forks a wrapper for each task, which does `body` and ends with the exit code that it returns.
    ///
    /// The caller must have one thread. The children take the signal mask that `signals` has kept.
    ///
    /// # Errors
    /// No process to be had. Those that were started end with this process.
    pub fn start(
        nodes: LocalNodes,
        signals: &Signals,
        mut body: impl FnMut(Place) -> u8,
    ) -> io::Result<Self> {
        let launcher = rustix::process::getpid();
        let mut members = Vec::new();
        for task in 0..nodes.nodes * nodes.tasks_per_node {
            let place = Place { node: task / nodes.tasks_per_node, task };
            // SAFETY: the process has one thread, so the child may allocate and take locks.
            match unsafe { libc::fork() } {
                -1 => return Err(io::Error::last_os_error()),
                0 => {
                    let begun = begin(place, launcher, signals);
                    let code = if begun.is_ok() { body(place) } else { 125 };
                    // SAFETY: ends the process at once; what the launcher has buffered is the launcher's.
                    unsafe { libc::_exit(i32::from(code)) }
                }
                pid => members.push(Member { pid: Pid::from_raw(pid).ok_or(Errno::CHILD)?, end: None }),
            }
        }
        Ok(Crew(members))
    }

    /// Does what the signals that have come ask for. `true`: all have ended.
    pub fn follow(&mut self, ward: &mut Ward) -> bool {
        let mut child_changed = false;
        while let Some(signal) = ward.signals.next() {
            match ward::number(&signal) {
                libc::SIGCHLD => child_changed = true,
                // A stop that came later took it back; see `enter::ward`.
                libc::SIGCONT if signals::stop_is_pending() => {}
                _ if ward.children_have(&signal) => {}
                number => self.living().for_each(|member| signals::send(number_of(member), number)),
            }
        }
        if child_changed {
            self.note_changes();
        }
        self.living().next().is_none()
    }

    /// How the whole ends: as the first task that did not end with 0.
    pub fn end(&self) -> End {
        let ends = self.0.iter().filter_map(|member| member.end);
        ends.into_iter().find(|end| end.exit_code() != 0).unwrap_or(End::Exited(0))
    }

    fn living(&self) -> impl Iterator<Item = &Member> {
        self.0.iter().filter(|member| member.end.is_none())
    }

    /// Notes who has ended, and stops with them if all that live have stopped: so the shell sees the job stopped.
    fn note_changes(&mut self) {
        let mut stopped = None;
        for member in self.0.iter_mut().filter(|member| member.end.is_none()) {
            while let Some(change) = task::change_of(member.pid) {
                match change {
                    Change::Ended(end) => {
                        member.end = Some(end);
                        break;
                    }
                    Change::Stopped(signal) => stopped = Some(signal),
                }
            }
        }
        if let Some(signal) = stopped {
            signals::stop_with(signal, || self.living().all(|member| task::is_stopped(member.pid)));
        }
    }
}

fn number_of(member: &Member) -> i32 {
    member.pid.as_raw_nonzero().get()
}

/// What a forked child does before it is a wrapper.
fn begin(place: Place, launcher: Pid, signals: &Signals) -> io::Result<()> {
    task::die_with_wrapper(launcher).map_err(io::Error::other)?;
    if place.task > 0 {
        // One terminal or pipe cannot be read by many; the first task has it, as under other launchers.
        let null = File::open("/dev/null")?;
        // SAFETY: replaces the child's own standard input, which nothing here reads.
        unsafe { libc::dup2(null.as_raw_fd(), libc::STDIN_FILENO) };
    }
    // SAFETY: the process has one thread.
    unsafe {
        std::env::set_var(NODE_VARIABLE, place.node.to_string());
        std::env::set_var(TASK_VARIABLE, place.task.to_string());
    }
    signals.restore();
    Ok(())
}
