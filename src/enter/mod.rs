//! The wrapper around COMMAND: finds or founds the node's service, sends COMMAND inside, waits, leaves.
//!
//! One single-threaded process, which stays outside and is COMMAND's parent, in the same process group and
//! session. It never reads standard input and never writes standard output.
//!
//! In reading order: [`plan`] (what is to be done), [`election`] (who founds), [`found`] and [`join`] (the ways
//! in), [`tenancy`] (while the task is inside), [`ward`] (signals and job control).
//!
//! Not here: serving the view (`daemon`), keeping it alive (`holder`).

pub mod canary;
pub mod command;
pub mod descriptors;
pub mod direct;
pub mod election;
pub mod failure;
pub mod found;
pub mod inherited;
pub mod inside;
pub mod job;
pub mod join;
pub mod keeper;
pub mod launched;
pub mod plan;
pub mod signals;
pub mod site;
pub mod stage;
pub mod step;
pub mod summary;
pub mod talk;
pub mod task;
pub mod tenancy;
pub mod views;
pub mod ward;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::cluster::named::Wishes;
use crate::holder::estate::WayIn;
use crate::profile::recorder::event::Profiling;
use election::{Elected, ElectionError, NAMES_MAX};
use failure::Failure;
use found::Founded;
use join::Joined;
use plan::Plan;
use step::{EnterError, Step};
use talk::Talk;
use task::End;
use tenancy::{Outcome, Tenancy};

/// How long a task looks for the service of its job before it gives up: 60 s, since a founder on a cold storage
/// system may take its time to choose the views.
const SEARCH_MAX: Duration = Duration::from_secs(60);

/// How long it waits for a view that is ending to be gone before it founds one under the next name: 10 s.
const FADING_MAX: Duration = Duration::from_secs(10);

/// Between two tries: 1 ms at first, then more, at most 50 ms.
const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(50)];

/// What the user asks of `spinney run`.
#[derive(Debug, Clone)]
pub struct Request {
    /// COMMAND and its arguments.
    pub command: Vec<OsString>,
    /// `--view`.
    pub views: Vec<PathBuf>,
    /// `--mount-under`.
    pub mount_under: Option<PathBuf>,
    /// `--way`.
    pub way: Option<WayIn>,
    /// `--job`.
    pub job: Option<String>,
    /// `--require`.
    pub require: bool,
    /// `--freshness`.
    pub freshness: Option<Duration>,
    /// `-q`, `-v`.
    pub talk: Talk,
    /// `--report`, absolute.
    pub report: Option<PathBuf>,
    /// `--profile`, `--observe`, `--snapshot-every`.
    pub profiling: Profiling,
    /// `--report`, also where a launcher writes the report.
    pub recordings: Option<PathBuf>,
    /// `--record-args`.
    pub record_args: bool,
    /// `--log`, absolute.
    pub log: Option<PathBuf>,
    /// `--log-level`.
    pub log_level: String,
    /// `--cache-bytes`.
    pub cache_bytes: Option<u64>,
    /// `--hosts`, `--address-book`, `--interface`.
    pub nodes: Wishes,
    /// `--shards`.
    pub shards: Option<u16>,
    /// `--fan-out`.
    pub fan_out: Option<u16>,
    /// `--trust-fabric`.
    pub trust_fabric: bool,
    /// `--shared`.
    pub shared: bool,
    /// `--local-nodes`.
    pub local: Option<LocalNodes>,
    /// `--daemon-cpus`.
    pub daemon_cpus: Option<Vec<usize>>,
    /// `--metrics-port`: that of the first node on this machine, the others follow it.
    pub metrics_port: Option<u16>,
    /// Set by `spinney up`: COMMAND only says whose environment is shown, to tasks that come later.
    pub keep: Option<Keep>,
    /// What COMMAND's environment has besides what `spinney run` was given.
    pub variables: Vec<(OsString, OsString)>,
    /// Kernel features to behave as if missing. For tests only: `SPINNEY_MASK`, separated by commas.
    pub masked: Vec<String>,
}

/// How many of what `--local-nodes` and `--tasks-per-node` ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalNodes {
    /// Nodes on this machine.
    pub nodes: u32,
    /// Tasks on each.
    pub tasks_per_node: u32,
}

/// For how long a service is kept that was founded for tasks to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// While nobody uses it; `None`: until it is told to go.
    pub linger: Option<Duration>,
}

/// `spinney run`: returns COMMAND's exit code, or does not return if COMMAND ended by a signal.
pub fn run(request: Request) -> ExitCode {
    run_then(request, || {})
}

/// As [`run`], and does `after` when COMMAND has ended, before this process does.
pub fn run_then(request: Request, after: impl FnOnce()) -> ExitCode {
    inherited::ignore_file_size_signal();
    let outcome = Plan::make(request).and_then(|plan| carry_out(&plan));
    after();
    ExitCode::from(end(outcome))
}

/// The rest of [`run`], once it is planned.
pub fn run_planned(plan: &Plan) -> u8 {
    end(carry_out(plan))
}

fn end(outcome: Result<Outcome, Failure>) -> u8 {
    match outcome {
        Ok(Outcome::Task(end)) => end_like(end),
        Ok(Outcome::Lost) => 125,
        Err(failure) => fail(&failure),
    }
}

/// Tells the user, and returns the exit code.
pub fn fail(failure: &Failure) -> u8 {
    talk::error(failure, failure.hint());
    failure.exit_code()
}

fn carry_out(plan: &Plan) -> Result<Outcome, Failure> {
    if plan.request.way == Some(WayIn::Direct) {
        return direct::run(plan);
    }
    let founded = match join_kept(plan)? {
        Some(tenancy) => Founded::Inside(tenancy),
        None => search(plan)?,
    };
    match founded {
        Founded::Inside(tenancy) => Ok(tenancy.stay(plan)?),
        Founded::AlreadyShown => direct::run(plan),
        Founded::NothingToShow(_) if plan.request.require => Err(Failure::NoViews),
        Founded::NothingToShow(warning) => {
            plan.request.talk.warn(format_args!("{warning}; running the command directly"));
            direct::run(plan)
        }
        Founded::NoWay(attempts) if plan.request.require => Err(Failure::NoWay { attempts }),
        Founded::NoWay(attempts) => {
            let why = failure::tell(&attempts);
            let remedy = failure::remedy(&attempts).map(|remedy| format!("; {remedy}")).unwrap_or_default();
            let talk = plan.request.talk;
            talk.warn(format_args!("running the command directly, no way to show a view: {why}{remedy}"));
            direct::run(plan)
        }
    }
}

/// Joins the service that is kept for the allocation, if there is one and it is what is wanted.
fn join_kept(plan: &Plan) -> Result<Option<Box<Tenancy>>, Failure> {
    let (None, None) = (plan.request.keep, plan.request.way) else { return Ok(None) };
    if plan.request.profiling != Profiling::OFF {
        return Ok(None); // what others do in a service would be in its recording
    }
    let Ok(channel) = election::reconnect(&plan.kept_name, plan.caller.uid) else { return Ok(None) };
    let talk = plan.request.talk;
    match join::join(plan, plan.kept_name.clone(), channel, Some(plan.wanted()))? {
        Joined::Inside(tenancy) => {
            if plan.request.report.is_some() || plan.hands_up_record() {
                talk.warn(
                    "this run uses the service of `spinney up`, whose own `--report` tells of all its runs",
                );
            }
            Ok(Some(tenancy))
        }
        Joined::Elsewhere => {
            talk.note(
                "the service of `spinney up` shows other views or has other nodes; founding one for this run",
            );
            Ok(None)
        }
        Joined::Fading | Joined::Gone => Ok(None),
    }
}

/// Founds the service, or joins it, trying again while others are just founding or ending theirs.
fn search(plan: &Plan) -> Result<Founded, Failure> {
    let (mut nth, mut waited, mut pause) = (0, Duration::ZERO, PAUSES[0]);
    let mut last = None;
    while waited < SEARCH_MAX {
        let name = election::nth_name(&plan.name, nth);
        match election::elect(&name, plan.caller.uid) {
            Ok(Elected::Founder(listener)) => return found::found(plan, name, listener),
            Ok(Elected::Member(_)) if plan.request.keep.is_some() => return Err(Failure::UpAlready),
            Ok(Elected::Member(channel)) => match join::join(plan, name, channel, None)? {
                Joined::Inside(tenancy) => return Ok(Founded::Inside(tenancy)),
                Joined::Fading if waited > FADING_MAX * (nth + 1) && nth + 1 < NAMES_MAX => nth += 1,
                Joined::Fading | Joined::Gone | Joined::Elsewhere => {}
            },
            Err(error @ ElectionError::Foreign(_)) if nth + 1 < NAMES_MAX => {
                plan.request.talk.note(error);
                nth += 1;
                continue;
            }
            Err(ElectionError::Nobody) => last = Some(ElectionError::Nobody),
            Err(ElectionError::Socket(errno)) => {
                let error = EnterError::new(Step::Socket, errno);
                return Ok(Founded::NoWay(plan.ways().into_iter().map(|way| (way, error.clone())).collect()));
            }
            Err(error) => return Err(Failure::Election(Some(error))),
        }
        std::thread::sleep(pause);
        waited += pause;
        pause = (pause * 2).min(PAUSES[1]);
    }
    Err(Failure::Election(last))
}

/// Ends this process as the task ended, so that whoever waits for it cannot tell.
pub fn end_like(end: End) -> u8 {
    match end {
        End::Exited(code) => code as u8,
        End::Killed(signal) => {
            // The task has left its core file, if one was wanted.
            let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
            let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
            signals::suffer(signal);
            end.exit_code() as u8
        }
    }
}
