//! The founder's part: views, holder, and the first task on its way inside.
//!
//! Each way in is tried with a holder of its own. If the way fails, closing the connection to that holder is
//! all it takes to undo it; the listening socket stays, so those who wait in its queue lose nothing but time.
//!
//! Not here: the child's steps (`enter::inside`), the holder's part (`holder::founding`).

use std::fs::{File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Child;

use rustix::fs::{MemfdFlags, StatVfsMountFlags};

use super::failure::{self, Failure};
use super::inside::{self, Scenery};
use super::plan::{Plan, as_text};
use super::step::{EnterError, Step, failed};
use super::task::Task;
use super::tenancy::Tenancy;
use super::views::{self, Choice, Chosen, View};
use super::ward::{Arrival, Ward};
use crate::cluster::{Cluster, ports};
use crate::environment::{
    self,
    mounts::{Mounts, Reach},
};
use crate::holder::channel::Channel;
use crate::holder::estate::{Manifest, Settings, WayIn};
use crate::holder::failed::cannot;
use crate::holder::fusermount;
use crate::holder::ledger::Ledger;
use crate::holder::messages::ToHolder;
use crate::holder::succession;
use crate::profile::recorder::Recorder;
use crate::profile::recorder::events::Events;

/// Seconds an absence is believed that no listing proves: 1, what libfuse gives entries by default.
const ABSENCE_TTL_SECONDS: f64 = 1.0;

/// The remedy where no limit is known to be in the way.
const SEE_DOCTOR: &str = "; `spinney doctor` there tells what to ask for";

/// What stands for the command in the report of a service that is kept for many.
const UP: &str = "spinney up";

/// What came of it.
pub enum Founded {
    /// The first task is inside.
    Inside(Box<Tenancy>),
    /// No environment was found, and what to say of that: nothing was started.
    NothingToShow(String),
    /// This process is inside a view of everything already: a job script that was started with Spinney starts
    /// something with Spinney.
    AlreadyShown,
    /// No way worked: nothing is left of the attempts.
    NoWay(Vec<(WayIn, EnterError)>),
}

/// Founds the service of this node.
///
/// # Errors
/// The views are not usable, or COMMAND cannot be executed after all.
pub fn found(plan: &Plan, name: String, listener: OwnedFd) -> Result<Founded, Failure> {
    let choice = match &plan.choice {
        Some(choice) => choice.try_clone()?,
        None => choose(plan)?,
    };
    let Choice { mut views, nothing } = choice;
    if leave_out_shown(plan, &mut views) && views.is_empty() {
        return Ok(Founded::AlreadyShown);
    }
    if views.is_empty() {
        return Ok(Founded::NothingToShow(nothing));
    }
    try_outputs(plan)?;
    let node_listeners = plan.cluster.as_ref().map_or_else(Vec::new, |cluster| listen(plan, cluster));
    let metrics_listener = listen_for_scrapers(plan);
    let mut ward = Ward::begin()?;
    let mut attempts = Vec::new();
    let shown = plan.ways().into_iter().take_while(|way| *way != WayIn::Direct);
    for way in shown.chain(serves_without_showing(plan).then_some(WayIn::Direct)) {
        let attempt = Attempt {
            plan,
            way,
            views: &views,
            listener: &listener,
            node_listeners: &node_listeners,
            metrics_listener: metrics_listener.as_ref(),
        };
        if way == WayIn::Direct {
            // Before others can know of this node: whoever waits until all are ready has heard it by then.
            warn_that_nothing_is_shown(plan, &attempts);
        }
        match attempt.make(&mut ward) {
            Ok(made) => return Ok(inside(plan, way, views, name, ward, made)),
            Err(EnterError { step: Step::Exec, errno, .. }) => return Err(plan.exec_failed(errno)),
            Err(error) => attempts.push((way, error)),
        }
    }
    ward.end();
    Ok(Founded::NoWay(attempts))
}

/// Whether a node that cannot show views is to have a service all the same: nodes beneath it would wait for it, and so would
/// `spinney up`, whose other nodes are as good as ever.
fn serves_without_showing(plan: &Plan) -> bool {
    let many = plan.cluster.as_ref().is_some_and(|cluster| cluster.n_nodes() > 1 && cluster.nodes_here == 1);
    many && plan.request.way.is_none() && (plan.request.keep.is_some() || !plan.request.require)
}

fn warn_that_nothing_is_shown(plan: &Plan, attempts: &[(WayIn, EnterError)]) {
    let why = failure::tell(attempts);
    let remedy = failure::remedy(attempts).map_or(SEE_DOCTOR.to_owned(), |remedy| format!("; {remedy}"));
    plan.request.talk.warn(format_args!(
        "node `{}`: no way to show a view: {why}{remedy}; the command reads from storage itself, and other nodes are \
         served all the same",
        plan.own_host(),
    ));
}

fn inside(
    plan: &Plan,
    way: WayIn,
    views: Vec<Chosen>,
    name: String,
    ward: Ward,
    (task, holder, first_holder): (Task, Channel, Child),
) -> Founded {
    plan.request.talk.note(format_args!("way in: {}", way.name()));
    Founded::Inside(Box::new(Tenancy {
        name,
        ward,
        task,
        holder: Some(holder),
        first_holder: Some(first_holder),
        keeps: plan.request.keep.is_some(),
        way,
        views: views.into_iter().map(|chosen| chosen.view.path).collect(),
        mount_under: plan.mount_under.clone(),
    }))
}

/// The views named by the user, which must all be right, or those found for COMMAND as far as they are.
///
/// # Errors
/// A view that was named cannot be, or there are too many.
/// # Cost
/// Looking for the environment asks storage some dozen questions.
pub fn choose(plan: &Plan) -> Result<Choice, Failure> {
    let talk = plan.request.talk;
    let mut chosen = Vec::new();
    let mut nothing = String::new();
    if plan.views.is_empty() {
        let views;
        (views, nothing) = look_around(plan)
            .unwrap_or_else(|error| (Vec::new(), format!("cannot look for the environment: {error}")));
        for view in views {
            match view.check(&plan.site) {
                Ok(ground) => chosen.push(Chosen { view, ground }),
                Err(error) => talk.note(error),
            }
        }
    }
    for view in &plan.views {
        let ground = view.check(&plan.site)?;
        chosen.push(Chosen { view: view.try_clone()?, ground });
    }
    for Chosen { view, .. } in &chosen {
        talk.note(format_args!("view: {} ({})", view.path.display(), view.reason));
    }
    views::check_together(chosen.iter().map(|chosen| &chosen.view), plan.mount_under.as_deref())?;
    Ok(Choice { views: chosen, nothing })
}

/// Sockets for the other nodes. Without one this node still serves its own tasks.
fn listen(plan: &Plan, cluster: &Cluster) -> Vec<OwnedFd> {
    match ports::listen(cluster) {
        Ok(listeners) => listeners.into_iter().map(OwnedFd::from).collect(),
        Err(error) => {
            plan.request.talk.warn(format_args!("{error}; other nodes pass this one by"));
            Vec::new()
        }
    }
}

/// The socket of `--metrics-port`, on loopback only. Without it the job runs all the same.
fn listen_for_scrapers(plan: &Plan) -> Option<OwnedFd> {
    let here = plan.cluster.as_ref().filter(|cluster| cluster.nodes_here > 1);
    let place = here.map_or(0, |cluster| cluster.own.get());
    let port = u32::from(plan.request.metrics_port?) + place;
    let bound = u16::try_from(port)
        .map_err(io::Error::other)
        .and_then(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
    bound
        .map_err(|error| {
            plan.request.talk.warn(format_args!("no metrics on port {port} of this machine: {error}"));
        })
        .ok()
        .map(OwnedFd::from)
}

/// Takes views out of the list that an outer Spinney already shows to this process; whether there were any.
fn leave_out_shown(plan: &Plan, views: &mut Vec<Chosen>) -> bool {
    let fuse = views.iter().any(|chosen| chosen.ground.is_fuse) && plan.mount_under.is_none();
    let Some(mounts) = fuse.then(|| Mounts::of_this_process().ok()).flatten() else { return false };
    let before = views.len();
    views.retain(|Chosen { view, .. }| {
        let shown = mounts.of(&view.path).is_some_and(|mount| mount.fs_type == "fuse.spinney");
        if shown {
            plan.request.talk.note(format_args!("view: {} is already shown", view.path.display()));
        }
        !shown
    });
    views.len() < before
}

/// The environment of COMMAND, opened; what cannot be opened is left out.
fn look_around(plan: &Plan) -> io::Result<(Vec<View>, String)> {
    let talk = plan.request.talk;
    let file = std::path::absolute(&plan.command.file)?;
    let surroundings = environment::Surroundings::of_this_process()?;
    let found = environment::find(&file, &plan.command.words[1..], &surroundings);
    let nothing = found.warning(&file).unwrap_or_else(|| "none of the views found can be used".to_owned());
    for note in found.notes {
        talk.note(note);
    }
    let mut views = Vec::new();
    for chosen in found.views {
        match View::open(&chosen.path, chosen.reason) {
            Ok(view) => views.push(view),
            Err(error) => talk.note(error),
        }
    }
    let (views, notes) = views::collapse(views);
    for note in notes {
        talk.note(note);
    }
    Ok((views, nothing))
}

/// What is decided for the whole life of a service with these `views`.
pub fn settings<'a>(plan: &Plan, way_in: WayIn, views: impl Iterator<Item = &'a View>) -> Settings {
    let Plan { request, command, site, job, caller, mount_under, .. } = plan;
    let views: Vec<&View> = views.collect();
    Settings {
        job: job.name.clone(),
        views: views.iter().map(|view| view.path.clone()).collect(),
        mount_under: mount_under.clone(),
        way_in,
        caller: caller.clone(),
        cache_bytes: site.cap_cache(request.cache_bytes, plan.nodes_here()),
        daemon_cpus: request.daemon_cpus.clone(),
        absence_ttl_seconds: ABSENCE_TTL_SECONDS,
        freshness: request.freshness,
        log: request.log.clone(),
        log_level: request.log_level.clone(),
        cluster: plan.cluster.clone(),
        shards: request.shards,
        fan_out: request.fan_out,
        trust_fabric: request.trust_fabric,
        shared: are_shared(plan, &views),
        tasks_here: if request.keep.is_some() { 0 } else { job.tasks_here },
        kept: request.keep.is_some(),
        linger: request.keep.and_then(|keep| keep.linger),
        hand_up_record: plan.hands_up_record(),
        report: request.report.clone(),
        recordings: request.recordings.clone(),
        profiling: request.profiling.clone(),
        command: if request.keep.is_some() { vec![UP.to_owned()] } else { as_text(&command.words) },
        record_args: request.record_args,
        masked: request.masked.clone(),
    }
}

/// For each view whether other nodes see the same: what is on a disk of a node may differ from node to node.
fn are_shared(plan: &Plan, views: &[&View]) -> Vec<bool> {
    let surely = match &plan.cluster {
        Some(cluster) => plan.request.shared || cluster.nodes_here == cluster.n_nodes(),
        None => true,
    };
    if surely {
        return vec![true; views.len()];
    }
    let mounts = Mounts::of_this_process().ok();
    let is_shared = |view: &&View| {
        let mount = mounts.as_ref().and_then(|mounts| mounts.of(&view.path));
        let is_shared = mount.is_some_and(|mount| mount.reach() == Reach::Network);
        if !is_shared {
            let kind = mount.map_or("an unknown file system", |mount| mount.fs_type.as_str());
            let path = view.path.display();
            plan.request.talk.note(format_args!(
                "view: {path} lies on {kind}, which may differ between nodes: each reads it itself (`--shared` if not)"
            ));
        }
        is_shared
    };
    views.iter().map(is_shared).collect()
}

/// Tries now where report and log go: afterwards nobody would be there to hear of it.
///
/// # Errors
/// [`Failure::Output`].
pub fn try_outputs(plan: &Plan) -> Result<(), Failure> {
    if let Some(path) = &plan.request.report {
        std::fs::create_dir_all(path).map_err(|cause| Failure::Output { path: path.clone(), cause })?;
    }
    if let Some(path) = &plan.request.log {
        let log = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        log.map_err(|cause| Failure::Output { path: path.clone(), cause })?;
    }
    Ok(())
}

/// One try to get in.
struct Attempt<'a> {
    plan: &'a Plan,
    way: WayIn,
    views: &'a [Chosen],
    listener: &'a OwnedFd,
    node_listeners: &'a [OwnedFd],
    metrics_listener: Option<&'a OwnedFd>,
}

impl Attempt<'_> {
    /// Starts a holder and sends the first task inside.
    fn make(&self, ward: &mut Ward) -> Result<(Task, Channel, Child), EnterError> {
        self.plan.check_identity(self.way)?;
        let (ours, theirs) = Channel::pair().map_err(failed(Step::Holder))?;
        let holder =
            self.start_holder(&theirs).map_err(cannot("start the holder")).map_err(failed(Step::Holder))?;
        drop(theirs);
        let wrapper = rustix::process::getpid();
        match self.way {
            WayIn::Fusermount => self.mount_for_all(&ours)?,
            WayIn::Direct => self.start(&ours)?,
            WayIn::MountNamespace | WayIn::UserNamespace => {}
        }
        let inside = || {
            let entered = if self.way.has_namespace() { self.go_inside(&ours) } else { Ok(()) };
            entered.err().unwrap_or_else(|| self.plan.become_command(wrapper))
        };
        let task = Task::fork(&ward.signals, inside)
            .map_err(cannot("start a process for COMMAND"))
            .map_err(failed(Step::Holder))?;
        ward.place_canary();
        match ward.arrival(&task).map_err(failed(Step::Holder))? {
            Arrival::Inside => Ok((task, ours, holder)),
            Arrival::Failed(error) => Err(error),
        }
    }

    fn start_holder(&self, founder: &Channel) -> io::Result<Child> {
        let counters = rustix::fs::memfd_create("spinney-counters", MemfdFlags::CLOEXEC)?;
        File::from(counters.try_clone()?).set_len(Recorder::SHARED_BYTES)?;
        let events = rustix::fs::memfd_create("spinney-events", MemfdFlags::CLOEXEC)?;
        let mode = self.plan.request.profiling.mode;
        File::from(events.try_clone()?).set_len(Events::shared_bytes(mode))?;
        let ledger = Ledger::memory()?;
        let number = |fd: &dyn AsFd| fd.as_fd().as_raw_fd();
        succession::start_first_holder(&Manifest {
            settings: settings(self.plan, self.way, self.views.iter().map(|chosen| &chosen.view)),
            roots: self.views.iter().map(|chosen| number(&chosen.view.root)).collect(),
            connections: Vec::new(),
            counters: number(&counters),
            events: number(&events),
            ledger: number(&ledger),
            listener: number(self.listener),
            node_listeners: self.node_listeners.iter().map(AsRawFd::as_raw_fd).collect(),
            metrics_listener: self.metrics_listener.map(AsRawFd::as_raw_fd),
            job_key: self.plan.launched.as_ref().map(|launched| number(&launched.job_key)),
            peer: number(founder),
        })
    }

    fn go_inside(&self, holder: &Channel) -> Result<(), EnterError> {
        let views = self.views.iter().map(|chosen| (chosen.view.path.clone(), chosen.ground.flags)).collect();
        let scenery = Scenery {
            way_in: self.way,
            caller: self.plan.caller.clone(),
            views,
            mount_under: self.plan.mount_under.clone(),
        };
        inside::enter(&scenery, holder)
    }

    /// With the set-uid helper the mounts are the whole node's, so the wrapper itself makes them, and takes them
    /// away again if nobody serves them: what comes next must not meet a dead mount.
    fn mount_for_all(&self, holder: &Channel) -> Result<(), EnterError> {
        let mut points = Vec::new();
        let mounted = self.mount_and_start(holder, &mut points);
        if mounted.is_err() {
            fusermount::unmount_now(&points);
        }
        mounted
    }

    fn mount_and_start(&self, holder: &Channel, points: &mut Vec<PathBuf>) -> Result<(), EnterError> {
        let mount = failed(Step::Fusermount);
        let mut mount_at = |only_view, point: &Path, flags| {
            let mounted = fusermount::mount(point, views::no_exec_option(flags)).map_err(&mount)?;
            points.push(point.to_owned());
            let descriptors = [mounted.fuse.as_fd(), mounted.unmounter.as_fd()];
            inside::say(holder, &ToHolder::Mounted { only_view }, &descriptors)
        };
        if let Some(under) = &self.plan.mount_under {
            let flags =
                self.views.iter().fold(StatVfsMountFlags::empty(), |all, chosen| all | chosen.ground.flags);
            mount_at(None, under, flags)?;
        } else {
            for (n, Chosen { view, ground }) in self.views.iter().enumerate() {
                mount_at(Some(n), &view.path, ground.flags)?;
            }
        }
        self.start(holder)
    }

    /// Has the service started with what is mounted, if anything.
    fn start(&self, holder: &Channel) -> Result<(), EnterError> {
        inside::say(holder, &ToHolder::Start { way_in: self.way }, &[])?;
        inside::await_start(holder)?;
        inside::say(holder, &ToHolder::Inside, &[])
    }
}
