//! A whole cluster on this machine: `spinney run --local-nodes N --tasks-per-node P -- COMMAND`.
//!
//! One launcher starts N times P ordinary wrappers (`enter`), each told its place; those of one node elect a founder
//! and share a view, a holder and a daemon, as on a machine of their own. The launcher decides once what is shown,
//! speaks for all, adds up their figures and writes the report.
//!
//! Invariant: wrappers, tasks and launcher are one process group, so a signal of the terminal reaches each once; the
//! wrappers die with the launcher.
//!
//! Not here: anything about how a node works (`enter`, `holder`, `daemon`).

mod crew;
mod figures;
pub mod mountless;
pub mod up;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, poll};

use crate::cluster::{Cluster, NodeRank, job_key};
use crate::daemon::record::Record;
use crate::daemon::{recording, report};
use crate::enter::failure::Failure;
use crate::enter::job::unique_here;
use crate::enter::launched::{Launched, ToLauncher};
use crate::enter::plan::{Plan, as_text};
use crate::enter::task::End;
use crate::enter::ward::Ward;
use crate::enter::{self, LocalNodes, Request, descriptors, found};
use crate::holder::channel::Channel;
use crate::holder::estate::WayIn;
use crate::profile::recorder::event::Mode;
use crew::{Crew, Place};
use figures::Figures;

/// Tasks of one launcher at most: 4,096. Each is three small processes on this machine.
pub const TASKS_MAX: u32 = 4096;

/// `spinney run --local-nodes`: ends as the first task that did not end with 0.
///
/// Does `after` when all have ended, before this process does.
pub fn run_then(request: Request, nodes: LocalNodes, after: impl FnOnce()) -> ExitCode {
    let outcome = prepare(request).and_then(|plan| carry_out(plan, nodes, None));
    after();
    ExitCode::from(match outcome {
        Ok(end) => enter::end_like(end),
        Err(failure) => enter::fail(&failure),
    })
}

/// Decides for all.
fn prepare(request: Request) -> Result<Plan, Failure> {
    if request.way == Some(WayIn::Fusermount) {
        return Err(Failure::NotForLocalNodes);
    }
    let mut plan = Plan::make(request)?;
    if plan.request.way != Some(WayIn::Direct) {
        plan.choice = Some(found::choose(&plan)?);
    }
    found::try_outputs(&plan)?;
    Ok(plan)
}

/// Starts the wrappers and stays with them. `voice`: where to say what is to be said, if not on standard error.
fn carry_out(plan: Plan, nodes: LocalNodes, voice: Option<Channel>) -> Result<End, Failure> {
    let (line, theirs) = Channel::pair()?;
    let mut launcher = Launcher { plan, nodes, cluster: unique_here("local"), key: job_key::make()?, theirs };
    let mut ward = Ward::begin()?;
    let crew = Crew::start(nodes, &ward.signals, |place| launcher.become_wrapper(place))?;
    let Launcher { plan, .. } = launcher;
    // Not before: the wrappers speak to this process.
    voice.into_iter().for_each(enter::talk::through);
    descriptors::release_inherited();
    ward.place_canary();
    watch(&plan, nodes, &line, ward, crew)
}

/// What wrappers are made of.
struct Launcher {
    plan: Plan,
    nodes: LocalNodes,
    /// Names this cluster among all that ever were on this machine.
    cluster: String,
    key: OwnedFd,
    theirs: Channel,
}

impl Launcher {
    /// The life of a wrapper, in a forked child; returns its exit code.
    fn become_wrapper(&mut self, place: Place) -> u8 {
        match self.launched(place) {
            Ok(launched) => self.plan.take_place(launched),
            Err(error) => return enter::fail(&error.into()),
        }
        enter::run_planned(&self.plan)
    }

    fn launched(&self, place: Place) -> io::Result<Launched> {
        let line = || io::Result::Ok(Channel::from(self.theirs.as_fd().try_clone_to_owned()?));
        enter::talk::through(line()?);
        Ok(Launched {
            cluster: Cluster::local(&self.cluster, NodeRank::new(place.node), self.nodes.nodes),
            task: u64::from(place.task),
            job_key: self.key.try_clone()?,
            line: line()?,
            wants_record: self.plan.request.report.is_some(),
        })
    }
}

/// Waits for all wrappers, speaks for them meanwhile, and sums up.
fn watch(
    plan: &Plan,
    nodes: LocalNodes,
    line: &Channel,
    mut ward: Ward,
    mut crew: Crew,
) -> Result<End, Failure> {
    let mut figures = Figures::default();
    let mut open = true;
    while !crew.follow(&mut ward) {
        // A line that nobody holds any more, such as when all run without a view, would be ready for ever.
        ward.wait(open.then(|| line.as_fd()))?;
        open = open && hear(line, &mut figures)?;
    }
    hear(line, &mut figures)?;
    let end = crew.end();
    if plan.request.report.is_some() {
        report(plan, nodes, end, figures.take_records());
    }
    if let Some(summary) = figures.summary() {
        plan.request.talk.sum_up(enter::summary::line(&summary));
    }
    Ok(end)
}

/// Takes what the wrappers have said so far. One that has ended said all it had to say before. `false`: nobody is
/// left to say more.
fn hear(line: &Channel, figures: &mut Figures) -> io::Result<bool> {
    while has_come(line)? {
        match line.receive::<ToLauncher>() {
            Ok(Some((ToLauncher::Said(said), _))) => {
                if figures.is_news(&said) {
                    enter::talk::say(said);
                }
            }
            Ok(Some((ToLauncher::Ready(_), _))) => {} // for `up` alone
            Ok(Some((ToLauncher::Summary(summary), _))) => figures.add(summary),
            Ok(Some((ToLauncher::Record(record), _))) => figures.add_record(record),
            Ok(None) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn has_come(line: &Channel) -> io::Result<bool> {
    let mut one = [PollFd::new(line, PollFlags::IN)];
    let now = rustix::event::Timespec::default();
    rustix::io::retry_on_intr(|| poll(&mut one, Some(&now)))?;
    Ok(one[0].revents().contains(PollFlags::IN))
}

fn report(plan: &Plan, nodes: LocalNodes, end: End, records: Vec<Record>) {
    let Some(directory) = &plan.request.report else { return };
    let shown = plan.choice.iter().flat_map(|choice| &choice.views);
    let run = report::Run {
        job: plan.job.name.clone(),
        command: report::shown(&as_text(&plan.command.words), plan.request.record_args),
        exit_code: Some(end.exit_code()),
        views: shown.map(|chosen| chosen.view.path.clone()).collect(),
        n_nodes: nodes.nodes,
    };
    let recorded = match plan.request.profiling.mode {
        Mode::Off => Ok(()),
        _ => recording::gather(directory, nodes.nodes),
    };
    if let Err(error) = recorded.and(report::write(directory, &report::merge(&run, records))) {
        plan.request.talk.warn(format_args!("the report could not be written: {error:#}"));
    }
}
