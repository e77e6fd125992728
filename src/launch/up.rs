//! `spinney up`: a service for runs to come, started in the background.
//!
//! The background is what `spinney run` is, one wrapper or a launcher of many, but that the wrappers' children keep the
//! service instead of being tasks. This process waits until all nodes are connected, says so, and leaves it behind.
//!
//! Not here: ending it (`services::down`), joining it (`enter`).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use super::{carry_out, prepare};
use crate::enter::failure::Failure;
use crate::enter::launched::ToLauncher;
use crate::enter::plan::Plan;
use crate::enter::{self, Request, descriptors, inherited, talk};
use crate::holder::channel::Channel;
use crate::holder::messages::Wish;
use crate::services;

/// How long nodes are waited for: 60 s, what a task of theirs would wait for a service too.
const READY_MAX: Duration = Duration::from_secs(60);

/// How often the background is looked at meanwhile: 2 ms.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// Starts the service, unless it is there.
pub fn run(request: Request) -> ExitCode {
    inherited::ignore_file_size_signal();
    match up(request) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => ExitCode::from(enter::fail(&failure)),
    }
}

/// For `spinney run --linger`: whatever goes wrong here, the run that follows meets and tells.
pub fn beforehand(request: Request) {
    let Ok(plan) = decide(request) else { return };
    if services::kept(&plan.job, plan.caller.uid).is_empty() {
        let _ = start(plan, |_| {});
    }
}

fn up(request: Request) -> Result<(), Failure> {
    let began = Instant::now();
    let plan = decide(request)?;
    if is_up_already(&plan)? {
        return Ok(());
    }
    let talk = plan.request.talk;
    let n_nodes = start(plan, talk::say)?;
    let (nodes, are) = if n_nodes == 1 { ("node", "is") } else { ("nodes", "are") };
    talk.sum_up(format_args!(
        "{n_nodes} {nodes} {are} ready after {:.2} s; `spinney down` ends the service",
        began.elapsed().as_secs_f64()
    ));
    Ok(())
}

fn decide(request: Request) -> Result<Plan, Failure> {
    if request.local.is_some() { prepare(request) } else { Plan::make(request) }
}

/// Starts what stays, and waits until all nodes are ready; returns how many there are.
fn start(plan: Plan, say: impl Fn(String)) -> Result<u64, Failure> {
    let name = plan.kept_name.clone();
    let (line, theirs) = Channel::pair()?;
    // SAFETY: the process has one thread, so the child may allocate and take locks.
    match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error().into()),
        0 => {
            drop(line);
            let code = background(plan, theirs);
            // SAFETY: ends the process at once; what this process has buffered is its own.
            unsafe { libc::_exit(i32::from(code)) }
        }
        _ => drop(theirs),
    }
    wait(name, &line, say)
}

/// Whether the same service is there and whole. What is left of one that has lost nodes is ended.
fn is_up_already(plan: &Plan) -> Result<bool, Failure> {
    let there = services::kept(&plan.job, plan.caller.uid);
    if there.is_empty() {
        return Ok(false);
    }
    let talk = plan.request.talk;
    match services::down::of_any(&there) {
        Some(kept) if kept.n_nodes != there.len() && plan.cluster.is_none() => {
            talk.sum_up(format_args!(
                "ending what is left of an earlier service: {} of {} nodes",
                there.len(),
                kept.n_nodes
            ));
            services::down::end(&there).into_iter().for_each(|trouble| talk.warn(trouble));
            Ok(false)
        }
        Some(kept) if kept.is(plan.request.local.map(|local| local.nodes as usize), &plan.wanted().views) => {
            talk.sum_up("the service is up already; `spinney down` ends it");
            Ok(true)
        }
        _ => Err(Failure::UpAlready),
    }
}

/// The life of the process that stays; returns its exit code, which nobody may see.
fn background(plan: Plan, line: Channel) -> u8 {
    let settled = settle();
    let Some(nodes) = plan.request.local else {
        talk::through(line);
        return if settled.is_ok() { enter::run_planned(&plan) } else { 125 };
    };
    let ended = settled.map_err(Failure::from).and_then(|()| carry_out(plan, nodes, Some(line)));
    ended.map_or_else(|failure| enter::fail(&failure), |end| end.exit_code() as u8)
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

/// Says what the background has to say until all nodes are ready; returns how many there are.
fn wait(name: String, line: &Channel, say: impl Fn(String)) -> Result<u64, Failure> {
    let asked = ask_whether_ready(name);
    while !asked.is_finished() {
        if !hear(line, &say)? {
            // It has ended, and has said why.
            return Err(Failure::NothingUp);
        }
    }
    let answer = asked.join().ok().flatten().ok_or(Failure::NothingUp)?;
    let missed: Vec<String> =
        answer["missed_nodes"].as_array().into_iter().flatten().map(Value::to_string).collect();
    if missed.is_empty() {
        return Ok(answer["n_nodes"].as_u64().unwrap_or(1));
    }
    Err(Failure::NotReady { missing: missed.join(", "), seconds: READY_MAX.as_secs() })
}

/// Asks the first node on this machine, as soon as there is one.
fn ask_whether_ready(name: String) -> JoinHandle<Option<Value>> {
    std::thread::spawn(move || {
        let until = Instant::now() + READY_MAX;
        while Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            let wish = Wish::Ready { within_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX) };
            if let Ok(answer) = services::ask(&name, &wish, left) {
                return Some(answer);
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        None
    })
}

/// Says what has come through the line within [`LOOK_INTERVAL`]. `false`: nobody is left at its other end.
fn hear(line: &Channel, say: impl Fn(String)) -> io::Result<bool> {
    let mut one = [PollFd::new(line, PollFlags::IN)];
    let interval = Timespec::try_from(LOOK_INTERVAL).map_err(io::Error::other)?;
    rustix::io::retry_on_intr(|| poll(&mut one, Some(&interval)))?;
    if one[0].revents().is_empty() {
        return Ok(true);
    }
    match line.receive::<ToLauncher>()? {
        Some((ToLauncher::Said(said), _)) => say(said),
        Some(_) => {}
        None => return Ok(false),
    }
    Ok(true)
}
