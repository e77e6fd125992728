//! A service as a step of its own: the scheduler starts `spinney up --foreground` on each node, and each stays there.
//!
//! What a step leaves behind is killed with it, so whatever keeps the service is the step. Whoever has started it hears
//! from the first node when all are ready.
//!
//! Not here: how schedulers start something on each node (`cluster::launchers`).

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::pipe::{PipeFlags, pipe_with};

use super::background::ask_whether_ready;
use super::{Up, tell};
use crate::enter::failure::Failure;
use crate::enter::launched::ToLauncher;
use crate::enter::plan::Plan;
use crate::enter::{self, talk};
use crate::holder::channel::Channel;
use crate::services::{self, down};

/// What the line of the first node begins with, for a program: the answer follows.
const ANNOUNCED: &str = "spinney-ready ";

/// Stays on this node until the service is told to go; returns the exit code.
pub(super) fn stay(up: Up) -> u8 {
    let began = Instant::now();
    let plan = match Plan::make(up.request) {
        Ok(plan) => plan,
        Err(failure) => return enter::fail(&failure),
    };
    // Whoever started this has found no whole service, or it would not have.
    let left = services::kept(&plan.job, plan.caller.uid);
    if !left.is_empty() {
        plan.request.talk.warn("ending what is left of an earlier service on this node");
        down::end_here(&left).into_iter().for_each(|trouble| plan.request.talk.warn(trouble));
    }
    if plan.is_first_node()
        && let Err(error) = announce(&plan, up.announce, began)
    {
        return enter::fail(&error.into());
    }
    enter::run_planned(&plan)
}

/// Starts a process that waits until all nodes are ready and tells.
fn announce(plan: &Plan, for_a_program: bool, began: Instant) -> io::Result<()> {
    // SAFETY: the process has one thread, so the child may allocate, take locks and start threads.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let answer = ask_whether_ready(plan.kept_name.clone()).join().ok().flatten();
            if let Some(answer) = answer {
                if for_a_program {
                    let _ = std::io::stderr().write_all(format!("{ANNOUNCED}{answer}\n").as_bytes());
                } else if let Err(failure) = tell(plan.request.talk, &answer, began) {
                    enter::fail(&failure);
                }
            }
            // SAFETY: ends the process at once; what the wrapper has buffered is the wrapper's.
            unsafe { libc::_exit(0) }
        }
        _ => Ok(()),
    }
}

/// This command line on each node, by what stands in front.
///
/// # Errors
/// Nobody knows where this program is.
pub(super) fn command(with: Vec<OsString>, words: &[OsString]) -> Result<Command, Failure> {
    let mut front = with.into_iter();
    let mut command = Command::new(front.next().ok_or(Failure::NothingUp)?);
    command.args(front).arg(std::env::current_exe()?).args(["up", "--foreground", "--announce"]).args(words);
    command.current_dir(std::env::current_dir()?);
    // Labels would stand before what the nodes say.
    command.env_remove("SLURM_LABELIO");
    Ok(command)
}

/// Starts the step and stays with it, passing on through `line` what it says; returns an exit code.
pub(super) fn attend(mut command: Command, line: &Channel) -> u8 {
    let told = pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from).and_then(|(reading, writing)| {
        let child = start(&mut command, writing)?;
        drop(command); // with its ends of the pipe
        Ok((reading, child))
    });
    let (reading, mut child) = match told {
        Ok(told) => told,
        Err(error) => {
            let why = format!("error: the service cannot be started on the nodes: {error}");
            let _ = line.send(&ToLauncher::Said(why), &[]);
            return 125;
        }
    };
    for said in BufReader::new(std::fs::File::from(reading)).lines().map_while(Result::ok) {
        // Whoever waited may have gone; then the step still needs somebody who reads.
        let _ = line.send(&heard(&said), &[]);
    }
    child.wait().ok().and_then(|ended| ended.code()).map_or(125, |code| code as u8)
}

fn start(command: &mut Command, writing: OwnedFd) -> io::Result<std::process::Child> {
    command.stdin(Stdio::null()).stdout(writing.try_clone()?).stderr(writing).spawn()
}

/// What a line of the step means.
fn heard(said: &str) -> ToLauncher {
    let answer = said.split_once(ANNOUNCED).and_then(|(_, answer)| serde_json::from_str(answer).ok());
    let said = || ToLauncher::Said(said.strip_prefix(talk::PREFIX).unwrap_or(said).to_owned());
    answer.map_or_else(said, ToLauncher::Ready)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_first_node_announces_is_told_from_what_people_are_told() {
        let line = format!("0: {ANNOUNCED}{{\"n_nodes\":4,\"missed_nodes\":[]}}");
        assert!(matches!(heard(&line), ToLauncher::Ready(answer) if answer["n_nodes"] == 4));
        for said in ["spinney: warning: x", "srun: error: y", "spinney-ready soon"] {
            let want = said.strip_prefix("spinney: ").unwrap_or(said);
            assert_eq!(heard(said), ToLauncher::Said(want.to_owned()));
        }
    }
}
