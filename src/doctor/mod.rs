//! Says what works on this machine, what does not and why, and what to ask an administrator for.
//!
//! | file | knows |
//! |---|---|
//! | [`report`] | the findings as one value, which is also the JSON |
//! | [`way`] | trying a way in for real, by running the product itself over a small directory |
//! | `bounded` | a command that is ended when its time is up |
//! | [`steps`] | where the kernel stops a way: the same system calls one by one, in a child |
//! | [`probe`] | what a command inside sees of a path; the other end of a try |
//! | `helper` | what `fusermount3` says when it is asked itself |
//! | [`machine`] | what the kernel and the distribution say about themselves |
//! | [`features`] | optional kernel features, and what is done without them |
//! | [`advice`] | from a failure to its cause and the one line to ask for |
//! | [`nodes`] | who the other nodes of a job would be, and how they would meet |
//! | [`served`] | the environment of a given command: its views, their file systems |
//! | [`hurts`] | what else would slow or break a job |
//! | [`text`] | the report for people |
//!
//! Invariant: nothing is changed. The directory made for the tries is removed, everything started ends.
//!
//! Not here: the ways themselves (`enter`, `holder`).

pub mod advice;
mod bounded;
pub mod features;
mod helper;
pub mod hurts;
pub mod machine;
pub mod nodes;
pub mod probe;
pub mod report;
pub mod served;
pub mod steps;
pub mod text;
pub mod way;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use crate::environment::Surroundings;
use crate::environment::mounts::Mounts;
use crate::holder::estate::WayIn;
use machine::Machine;
use report::{Report, WayReport};
use way::{Tried, Tries};

/// The product itself, as a process sees its own program: also right after an update has replaced the file.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// The ways in the order in which they are preferred.
const WAYS: [WayIn; 3] = [WayIn::MountNamespace, WayIn::UserNamespace, WayIn::Fusermount];

/// What to examine and how to say it.
#[derive(Debug, Clone)]
pub struct Options {
    /// Print JSON instead of text.
    pub json: bool,
    /// A command whose environment is to be examined as well; may be empty.
    pub command: Vec<OsString>,
    /// The program that is run to try a way.
    pub executable: PathBuf,
}

impl Options {
    /// Examines this very program.
    pub fn new(json: bool, command: Vec<OsString>) -> Self {
        Self { json, command, executable: PathBuf::from(THIS_PROGRAM) }
    }
}

/// Examines this machine and prints what was found. Ends with 0 if a way works, else with 1.
///
/// # Errors
/// When no directory can be made to try the ways in, or `out` cannot be written.
/// # Cost
/// About a second; at most [`way::TRY_SECONDS_MAX`] for each way that hangs, and the walk of
/// [`hurts::BYTECODE_WALK`] for each view of a command.
pub fn run(options: Options, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let report = examine(&options)?;
    if options.json {
        serde_json::to_writer_pretty(&mut *out, &report)?;
        writeln!(out)?;
    } else {
        out.write_all(text::render(&report).as_bytes())?;
    }
    out.flush()?;
    Ok(if report.works { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// All findings.
///
/// # Errors
/// When no directory can be made to try the ways in.
pub fn examine(options: &Options) -> anyhow::Result<Report> {
    // A working directory that is gone is no reason not to examine the machine.
    let around = Surroundings::of_this_process()
        .unwrap_or_else(|_| Surroundings::new(std::env::vars_os(), PathBuf::from("/")));
    let mounts = Mounts::of_this_process().context("`/proc` is not mounted")?;
    let machine = Machine::of_this_process(&around, &mounts);
    let ways =
        examine_ways(&options.executable, &around, &machine).context("no directory to try the ways in")?;
    let best_way = ways.iter().find(|way| way.works()).map(|way| way.way);
    let command = served::examine(&options.command, &around, &mounts);
    let command = command.map(|command| command.tried(&options.executable, best_way));
    let hurts = hurts::all(&machine, command.as_ref());
    let features = features::of_this_kernel(machine.kernel_version);
    let nodes = nodes::examine(&mounts);
    Ok(Report { nodes, ..Report::new(ways, best_way, machine, features, command, hurts) })
}

fn examine_ways(executable: &Path, around: &Surroundings, machine: &Machine) -> io::Result<Vec<WayReport>> {
    let tries = Tries::new(executable, around)?;
    Ok(WAYS.iter().map(|&way| examine_way(&tries, way, machine)).collect())
}

fn examine_way(tries: &Tries, way: WayIn, machine: &Machine) -> WayReport {
    if let Some(reason) = not_for_this_user(way, machine) {
        return WayReport::not_for_you(way, reason);
    }
    match tries.run(way) {
        Tried::Worked { seconds } => WayReport::works_in(way, seconds),
        Tried::Failed { message } => {
            let stop = steps::walk(way, tries.directory()).ok().flatten();
            let helper = machine.fusermount.as_ref().filter(|_| way == WayIn::Fusermount);
            let refusal = helper.and_then(|helper| helper::refusal(&helper.path, tries.directory()));
            let message = refusal.unwrap_or(message);
            let advice = advice::explain(way, stop, &message, machine);
            WayReport::failed(way, stop, message, advice)
        }
    }
}

/// Why a way is not even tried.
fn not_for_this_user(way: WayIn, machine: &Machine) -> Option<&'static str> {
    (way == WayIn::MountNamespace && !machine.is_root).then_some("only root may make a plain mount namespace")
}

#[cfg(test)]
mod tests;
