//! `spinney up`: a service for runs to come.
//!
//! [`background`] starts what stays and waits until all nodes are connected. What stays is what `spinney run` is, one
//! wrapper or a launcher of many, but that the wrappers' children keep the service instead of being tasks; or, in an
//! allocation of several nodes, a [`step`] that the scheduler starts on each of them. [`elsewhere`] finds out whether there is
//! one already that this machine cannot see.
//!
//! Not here: ending it (`services::down`), joining it (`enter`).

mod background;
pub mod elsewhere;
mod step;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::prepare;
use crate::cluster::launchers::{self, Launch};
use crate::enter::failure::Failure;
use crate::enter::job::Job;
use crate::enter::plan::Plan;
use crate::enter::talk::Talk;
use crate::enter::views::View;
use crate::enter::{self, Request, inherited};
use crate::holder::messages::Wish;
use crate::services::{self, down};
use background::Stays;

/// How long nodes are waited for: 60 s, what a task of theirs would wait for a service too.
const READY_MAX: Duration = Duration::from_secs(60);

/// How long a service that is there may take to prove that it is whole: 1 s.
const WHOLE_WITHIN: Duration = Duration::from_secs(1);

/// What the user asks of `spinney up`.
#[derive(Debug)]
pub struct Up {
    /// As for `spinney run`.
    pub request: Request,
    /// `--with`: what to put in front of a command so that it is started on each node.
    pub with: Option<Vec<OsString>>,
    /// `--foreground`.
    pub foreground: bool,
    /// `--announce`.
    pub announce: bool,
    /// The flags of this command line, for the nodes.
    pub words: Vec<OsString>,
}

/// Starts the service, unless it is there.
pub fn run(up: Up) -> ExitCode {
    inherited::ignore_file_size_signal();
    let launch = Launch::of_environment();
    if up.foreground || (launch.task.is_some() && up.request.local.is_none()) {
        return ExitCode::from(step::stay(up));
    }
    match start(up, &launch) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => ExitCode::from(enter::fail(&failure)),
    }
}

/// For `spinney run --linger`: whatever goes wrong here, the run that follows meets and tells.
pub fn beforehand(request: Request) {
    let Ok(plan) = decide(request) else { return };
    if services::kept(&plan.job, plan.caller.uid).is_empty() {
        let _ = background::start(Stays::Here(Box::new(plan)), |_| {});
    }
}

fn start(up: Up, launch: &Launch) -> Result<(), Failure> {
    let began = Instant::now();
    let talk = up.request.talk;
    let with = up.with.clone().or_else(|| on_each_node(&up));
    let (there, stays) = match with {
        Some(with) => {
            if up.with.is_none() && elsewhere::is_up(&up.words)? {
                return Ok(()); // which was said there
            }
            (There::of_a_step(&up.request, launch)?, Stays::Step(step::command(with, &up.words)?))
        }
        None => {
            let plan = decide(up.request)?;
            let there = There {
                services: services::kept(&plan.job, plan.caller.uid),
                n_nodes: plan.request.local.map(|local| local.nodes as usize),
                views: plan.wanted().views,
            };
            (there, Stays::Here(Box::new(plan)))
        }
    };
    if there.is_as_wanted(talk)? {
        return Ok(());
    }
    let answer = background::start(stays, crate::enter::talk::say)?;
    tell(talk, &answer, began)
}

/// The views that the user named, by their real paths.
fn named(request: &Request) -> Result<Vec<PathBuf>, Failure> {
    let open = |path: &PathBuf| Ok(View::open(path, String::new())?.path);
    request.views.iter().map(open).collect()
}

fn decide(request: Request) -> Result<Plan, Failure> {
    if request.local.is_some() { prepare(request) } else { Plan::make(request) }
}

/// What the scheduler offers, unless the user has said who the nodes are.
fn on_each_node(up: &Up) -> Option<Vec<OsString>> {
    let is_said = up.request.local.is_some() || up.request.nodes.hosts.is_some();
    let words = if is_said { None } else { launchers::on_each_node() };
    words.map(|words| words.into_iter().map(OsString::from).collect())
}

/// Says how many nodes are ready.
///
/// # Errors
/// [`Failure::NotReady`].
fn tell(talk: Talk, answer: &Value, began: Instant) -> Result<(), Failure> {
    let missed = answer["missed_nodes"].as_array().into_iter().flatten();
    let missed: Vec<String> = missed.map(Value::to_string).collect();
    if !missed.is_empty() {
        return Err(Failure::NotReady { missing: missed.join(", "), seconds: READY_MAX.as_secs() });
    }
    let n_nodes = answer["n_nodes"].as_u64().unwrap_or(1);
    let (nodes, are) = if n_nodes == 1 { ("node", "is") } else { ("nodes", "are") };
    let seconds = began.elapsed().as_secs_f64();
    talk.sum_up(format_args!(
        "{n_nodes} {nodes} {are} ready after {seconds:.2} s; `spinney down` ends the service"
    ));
    Ok(())
}

/// What is there already, and what it should be like.
struct There {
    services: Vec<String>,
    n_nodes: Option<usize>,
    views: Vec<PathBuf>,
}

impl There {
    /// Of a service that is a step of the scheduler, on this machine.
    fn of_a_step(request: &Request, launch: &Launch) -> Result<Self, Failure> {
        let job = Job::find(request.job.as_deref(), launch);
        let services = services::kept(&job, rustix::process::geteuid().as_raw());
        Ok(There { services, n_nodes: None, views: named(request)? })
    }

    /// Whether a whole service is there, which is said. What is left of one that has lost nodes is ended.
    ///
    /// # Errors
    /// It is another one.
    fn is_as_wanted(&self, talk: Talk) -> Result<bool, Failure> {
        if self.services.is_empty() {
            return Ok(false);
        }
        let wish = Wish::Ready { within_ms: WHOLE_WITHIN.as_millis() as u64 };
        let ask = |name: &String| services::ask(name, &wish, WHOLE_WITHIN * 2).ok();
        let answer = self.services.iter().find_map(ask).unwrap_or_default();
        let missed = answer["missed_nodes"].as_array();
        if missed.is_none_or(|missed| !missed.is_empty()) {
            talk.sum_up("ending what is left of an earlier service that has lost nodes");
            // Those that are lost cannot be told; if anything stays here, what is to be founded says so.
            down::end(&self.services);
            return Ok(false);
        }
        match down::of_any(&self.services) {
            Some(kept) if kept.is(self.n_nodes, &self.views) => {
                talk.sum_up("the service is up already; `spinney down` ends it");
                Ok(true)
            }
            _ => Err(Failure::UpAlready),
        }
    }
}
