//! What is to be done, decided before anything is started.
//!
//! Everything the user named is checked here, so that a mistake is told while nothing is running yet, and all
//! tasks of a job come to the same decisions from the same flags.
//!
//! Not here: what only a founder decides (`enter::found`).

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use super::Request;
use super::command::{Command, CommandError};
use super::failure::Failure;
use super::job::{self, Job};
use super::launched::Launched;
use super::site::{SITE_FILE, Site};
use super::step::{EnterError, Step, failed};
use super::task::die_with_wrapper;
use super::views::{self, Choice, View};
use super::{inherited, views::ViewError};
use crate::cluster::launchers::Launch;
use crate::cluster::{Cluster, ClusterError, named};
use crate::holder::affinity;
use crate::holder::estate::{Caller, WayIn};
use crate::holder::messages::Wanted;

/// The decisions.
#[derive(Debug)]
pub struct Plan {
    /// What the user asked for.
    pub request: Request,
    /// What to run.
    pub command: Command,
    /// What the site allows.
    pub site: Site,
    /// Views named by the user, opened; empty: the founder looks for them.
    pub views: Vec<View>,
    /// Where to show them, canonical.
    pub mount_under: Option<PathBuf>,
    /// Which job this is.
    pub job: Job,
    /// Who the task is.
    pub caller: Caller,
    /// Name under which the tasks of the job find each other on this node.
    pub name: String,
    /// Name under which a service is found that `spinney up` keeps on this node.
    pub kept_name: String,
    /// The nodes of the job, if there are several.
    pub cluster: Option<Cluster>,
    /// What is shown, if it was found before; else the founder finds it.
    pub choice: Option<Choice>,
    /// Set in a wrapper that a launcher of ours has started.
    pub launched: Option<Launched>,
    /// Where COMMAND starts.
    here: Here,
}

/// The working directory, twice: inside, its path may lead to the view's copy of it, and that is wanted.
#[derive(Debug)]
struct Here {
    path: Option<PathBuf>,
    directory: Option<OwnedFd>,
}

impl Plan {
    /// Checks `request` and decides.
    ///
    /// # Errors
    /// What the user named is not usable, or COMMAND is not there.
    pub fn make(mut request: Request) -> Result<Self, Failure> {
        let command = command(&mut request)?;
        let (site, notes) = Site::load(SITE_FILE.as_ref())?;
        for note in notes {
            request.talk.warn(note);
        }
        if let Some(cpus) = &request.daemon_cpus {
            affinity::check(cpus).map_err(Failure::Processors)?;
        }
        let named: Result<Vec<View>, ViewError> =
            request.views.iter().map(|path| View::open(path, "named by `--view`".to_owned())).collect();
        let (views, notes) = views::collapse(named?);
        for note in notes {
            request.talk.sum_up(note);
        }
        let mount_under = request.mount_under.as_deref().map(views::mount_under).transpose()?;
        let (job, cluster) = job(&request)?;
        let caller = caller()?;
        let name = name(&request, &views, mount_under.as_ref(), &job, caller.uid);
        let name = cluster.iter().fold(name, of_node);
        let kept_name = kept_name(&job, caller.uid, 0);
        let name = if request.keep.is_some() { kept_name.clone() } else { name };
        let here = if request.keep.is_some() { Here::nowhere() } else { Here::find() };
        let (choice, launched) = (None, None);
        Ok(Plan {
            request,
            command,
            site,
            views,
            mount_under,
            job,
            caller,
            name,
            kept_name,
            cluster,
            choice,
            launched,
            here,
        })
    }

    /// Makes this the plan of one wrapper out of the plan of all, which its launcher made.
    pub fn take_place(&mut self, launched: Launched) {
        self.kept_name = kept_name(&self.job, self.caller.uid, launched.cluster.own.get());
        self.name = match self.request.keep {
            Some(_) => self.kept_name.clone(),
            None => of_node(self.name.clone(), &launched.cluster),
        };
        self.job.rank = launched.task;
        self.cluster = Some(launched.cluster.clone());
        self.request.report = None; // the launcher writes it
        self.launched = Some(launched);
    }

    /// What a service that was there before must be like.
    pub fn wanted(&self) -> Wanted {
        Wanted {
            views: self.views.iter().map(|view| view.path.clone()).collect(),
            mount_under: self.mount_under.clone(),
            local_nodes: self.request.local.map(|local| local.nodes),
            freshness: self.request.freshness,
        }
    }

    /// How many nodes share this machine's memory.
    pub fn nodes_here(&self) -> u32 {
        self.cluster.as_ref().map_or(1, |cluster| cluster.nodes_here)
    }

    /// What this node is called among the others.
    pub fn own_host(&self) -> &str {
        let node = self.cluster.as_ref().and_then(|cluster| cluster.node(cluster.own));
        node.map_or("this", |node| &node.host)
    }

    /// Whether this node says what need be said once for all.
    pub fn is_first_node(&self) -> bool {
        self.cluster.as_ref().is_none_or(|cluster| cluster.own.get() == 0)
    }

    /// Whether the launcher wants a record of the node.
    pub fn hands_up_record(&self) -> bool {
        self.launched.as_ref().is_some_and(|launched| launched.wants_record)
    }

    /// The ways to try, best first. Root in a user namespace of its own could not read other users' files.
    pub fn ways(&self) -> Vec<WayIn> {
        match self.request.way {
            Some(way) => vec![way],
            // What `fusermount3` mounts is seen by all nodes on this machine.
            None if self.nodes_here() > 1 && self.caller.uid == 0 => vec![WayIn::MountNamespace],
            None if self.nodes_here() > 1 => vec![WayIn::UserNamespace],
            None if self.caller.uid == 0 => vec![WayIn::MountNamespace, WayIn::Fusermount],
            None => vec![WayIn::UserNamespace, WayIn::Fusermount],
        }
    }

    /// The last steps of a child that is inside; returns only if they fail.
    pub fn become_command(&self, wrapper: Pid) -> EnterError {
        // Entering a namespace changed credentials, and the kernel forgot the wish to die with the wrapper.
        if let Err(orphaned) = die_with_wrapper(wrapper) {
            return orphaned;
        }
        self.here.go();
        inherited::restore_streams();
        let errno = match self.request.keep {
            Some(_) => Command::keeper().exec(&[]),
            None => self.command.exec(&self.request.variables),
        };
        EnterError::new(Step::Exec, errno)
    }

    /// What an exec that ended with `errno` means for the user.
    pub fn exec_failed(&self, errno: Errno) -> Failure {
        CommandError::of_exec(self.command.words[0].clone(), errno).into()
    }

    /// Whether the kernel would let this process use a connection of its own ids.
    ///
    /// # Errors
    /// [`Step::Identity`].
    pub fn check_identity(&self, way: WayIn) -> Result<(), EnterError> {
        let same = |ids: [u32; 3], own| ids.iter().all(|id| *id == own);
        let (users, groups) = all_ids().map_err(failed(Step::Identity))?;
        if way == WayIn::MountNamespace || (same(users, self.caller.uid) && same(groups, self.caller.gid)) {
            return Ok(());
        }
        Err(EnterError::new(Step::Identity, Errno::PERM))
    }
}

impl Here {
    fn find() -> Self {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Here {
            path: std::env::current_dir().ok(),
            directory: rustix::fs::open(".", flags, Mode::empty()).ok(),
        }
    }

    /// For what must not keep any directory busy.
    fn nowhere() -> Self {
        Here { path: Some("/".into()), directory: None }
    }

    /// By its path; a directory that has lost its name is at least the same directory.
    fn go(&self) {
        let by_path = self.path.as_ref().is_some_and(|path| std::env::set_current_dir(path).is_ok());
        if let (false, Some(directory)) = (by_path, &self.directory) {
            let _ = rustix::process::fchdir(directory);
        }
    }
}

/// What is to run, or, if the service is kept for others, whose environment is to be shown.
fn command(request: &mut Request) -> Result<Command, CommandError> {
    let mut words = std::mem::take(&mut request.command);
    if request.keep.is_some() && words.is_empty() {
        if !request.views.is_empty() {
            return Ok(Command::keeper());
        }
        words.push("python3".into());
    }
    Command::find(words, std::env::var_os("PATH").as_deref())
}

/// The job and its nodes, by what the user and the launcher say; those of a launcher of ours come later.
fn job(request: &Request) -> Result<(Job, Option<Cluster>), Failure> {
    if request.local.is_some() {
        let launch = Launch::of_environment();
        return Ok((Job::launched_here(request.job.as_deref(), &launch), None));
    }
    let launch = Launch::of_environment();
    let job = Job::find(request.job.as_deref(), &launch);
    let found = named::find(&job.name, &request.nodes, &launch)?;
    if let (Some(cluster), Some(source)) = (&found.cluster, found.source) {
        let (own, n_nodes) = (cluster.own, cluster.n_nodes());
        request.talk.note(format_args!("job {}: node {own} of {n_nodes}, told by {source}", job.name));
        if n_nodes > 1 && !job.is_told {
            return Err(ClusterError::NoJob.into());
        }
    }
    if let Some(trouble) = found.trouble {
        let tells = if trouble.is_of_all() { launch.is_first() } else { launch.is_first_here() };
        if tells {
            request.talk.warn(format_args!("{trouble}; {}", trouble.hint()));
        }
    }
    Ok((job, found.cluster))
}

fn name(request: &Request, views: &[View], under: Option<&PathBuf>, job: &Job, uid: u32) -> String {
    let mut views: Vec<&OsStr> = views.iter().map(|view| view.path.as_os_str()).collect();
    views.sort();
    let way = request.way.map_or("any", WayIn::name);
    // Another launcher's nodes have another key, whatever their job is called.
    let launcher = request.local.map(|_| job::unique_here("local")).unwrap_or_default();
    // Tasks that were promised other freshness need another view.
    let freshness = request.freshness.map(|age_max| age_max.as_nanos().to_string()).unwrap_or_default();
    let mut parts = [&*job.name, &launcher, way, &freshness].map(OsStr::new).to_vec();
    parts.push(under.map_or(OsStr::new(""), |under| under.as_os_str()));
    parts.extend(views);
    job::rendezvous(uid, &parts)
}

/// Of the service that `spinney up` keeps on the node at `place` of this machine.
pub fn kept_name(job: &Job, uid: u32, place: u32) -> String {
    format!("{}{place}", kept_prefix(job, uid))
}

/// What the names of all such services of a job on this machine begin with. Not of a rank: a later step may have other
/// nodes.
pub fn kept_prefix(job: &Job, uid: u32) -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    job::rendezvous(uid, &[OsStr::new("kept"), OsStr::new(&job.allocation), OsStr::new(&host)]) + "-"
}

/// Each node elects a founder of its own, also where several share a machine.
fn of_node(name: String, cluster: &Cluster) -> String {
    format!("{name}-{}", cluster.own)
}

/// The identity of this process.
///
/// # Errors
/// What `getgroups` answers.
pub fn caller() -> Result<Caller, std::io::Error> {
    Ok(Caller {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        groups: rustix::process::getgroups()?.into_iter().map(|group| group.as_raw()).collect(),
    })
}

/// Real, effective and saved, of user and group.
fn all_ids() -> std::io::Result<([u32; 3], [u32; 3])> {
    let (mut users, mut groups) = ([0; 3], [0; 3]);
    let [u, v, w] = users.each_mut().map(|id| id as *mut u32);
    let [g, h, i] = groups.each_mut().map(|id| id as *mut u32);
    // SAFETY: six places to write to, alive for both calls.
    let answer = unsafe { libc::getresuid(u, v, w) | libc::getresgid(g, h, i) };
    if answer == 0 { Ok((users, groups)) } else { Err(std::io::Error::last_os_error()) }
}

/// The words of COMMAND for reports: text, whatever bytes they are.
pub fn as_text(words: &[OsString]) -> Vec<String> {
    words.iter().map(|word| word.to_string_lossy().into_owned()).collect()
}
