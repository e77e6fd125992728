//! The process that stays behind, and waiting until its nodes are ready.
//!
//! It has a session of its own and nothing of the caller's but a line, on which it says what is to be said until the
//! caller has gone.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use super::super::carry_out;
use super::{READY_MAX, step};
use crate::enter::failure::Failure;
use crate::enter::launched::ToLauncher;
use crate::enter::plan::Plan;
use crate::enter::{self, descriptors, found, talk};
use crate::holder::channel::Channel;
use crate::holder::estate::WayIn;
use crate::holder::messages::Wish;
use crate::services;

/// How often the background is looked at meanwhile: 2 ms.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// What stays.
pub(super) enum Stays {
    /// The service of this machine.
    Here(Box<Plan>),
    /// A scheduler's step, whose first node tells when all are ready.
    Step(Command),
}

/// Starts what stays, and waits until all nodes are ready or do not come; returns what they answered.
///
/// # Errors
/// The views are not usable; or it has ended, and has said why.
pub(super) fn start(mut stays: Stays, say: impl Fn(String)) -> Result<Value, Failure> {
    let name = match &mut stays {
        Stays::Here(plan) => {
            // Here, because what stays leaves the directory from which the user's paths lead.
            if plan.choice.is_none() && plan.request.way != Some(WayIn::Direct) {
                plan.choice = Some(found::choose(plan)?);
            }
            Some(plan.kept_name.clone())
        }
        Stays::Step(_) => None,
    };
    let (line, theirs) = Channel::pair()?;
    // SAFETY: the process has one thread, so the child may allocate and take locks.
    match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error().into()),
        0 => {
            drop(line);
            let code = stay(stays, theirs);
            // SAFETY: ends the process at once; what this process has buffered is its own.
            unsafe { libc::_exit(i32::from(code)) }
        }
        _ => drop(theirs),
    }
    wait(name, &line, say)
}

/// The life of the process that stays; returns its exit code, which nobody may see.
fn stay(stays: Stays, line: Channel) -> u8 {
    if settle().is_err() {
        return 125;
    }
    match stays {
        Stays::Step(command) => step::attend(command, &line),
        Stays::Here(plan) => match plan.request.local {
            None => {
                talk::through(line);
                enter::run_planned(&plan)
            }
            Some(nodes) => {
                let ended = carry_out(*plan, nodes, Some(line));
                ended.map_or_else(|failure| enter::fail(&failure), |end| end.exit_code() as u8)
            }
        },
    }
}

/// A session of its own, no directory, none of the caller's descriptors: nobody waits for it by accident.
fn settle() -> io::Result<()> {
    rustix::process::setsid()?;
    std::env::set_current_dir("/")?;
    descriptors::release_inherited();
    let null = File::options().write(true).open("/dev/null")?;
    // SAFETY: replaces the stream of this child only; what it has to say goes through the line.
    unsafe { libc::dup2(null.as_raw_fd(), libc::STDERR_FILENO) };
    Ok(())
}

/// Says what the background has to say until the service called `name`, or the background itself, tells of all nodes.
fn wait(name: Option<String>, line: &Channel, say: impl Fn(String)) -> Result<Value, Failure> {
    let asked = name.map(ask_whether_ready);
    while !asked.as_ref().is_some_and(JoinHandle::is_finished) {
        match hear(line)? {
            Heard::Nothing => {}
            Heard::Said(said) => say(said),
            Heard::Ready(answer) => {
                // What other nodes had to say may have taken longer.
                while let Heard::Said(said) = hear(line)? {
                    say(said);
                }
                return Ok(answer);
            }
            Heard::End => return Err(Failure::NothingUp),
        }
    }
    asked.and_then(|asked| asked.join().ok().flatten()).ok_or(Failure::NothingUp)
}

/// Asks the service called `name`, as soon as there is one, whether all nodes are ready.
pub(super) fn ask_whether_ready(name: String) -> JoinHandle<Option<Value>> {
    std::thread::spawn(move || {
        let until = Instant::now() + READY_MAX;
        while Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            let wish = Wish::Ready { within_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX) };
            if let Ok(answer) = services::ask(&name, &wish, left * 2) {
                return Some(answer);
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        None
    })
}

enum Heard {
    Nothing,
    Said(String),
    Ready(Value),
    /// Nobody is left at the other end.
    End,
}

/// What has come through the line within [`LOOK_INTERVAL`].
fn hear(line: &Channel) -> io::Result<Heard> {
    let mut one = [PollFd::from_borrowed_fd(line.as_fd(), PollFlags::IN)];
    let interval = Timespec::try_from(LOOK_INTERVAL).map_err(io::Error::other)?;
    rustix::io::retry_on_intr(|| poll(&mut one, Some(&interval)))?;
    if one[0].revents().is_empty() {
        return Ok(Heard::Nothing);
    }
    Ok(match line.receive::<ToLauncher>()? {
        Some((ToLauncher::Said(said), _)) => Heard::Said(said),
        Some((ToLauncher::Ready(answer), _)) => Heard::Ready(answer),
        Some(_) => Heard::Nothing,
        None => Heard::End,
    })
}
