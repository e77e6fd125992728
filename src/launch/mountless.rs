//! Nodes that have neither tasks nor mounts: real daemons of one cluster on this machine, as many as it can hold.
//!
//! They show how many nodes find each other and what passes between them, without the kernel's part. Whoever starts them
//! stands where each one's holder would and holds nothing for them: they end when the line to it does, also when it is
//! killed. Their key is that of jobs on many machines (`wire::keys`), so that another program that has it can ask them.
//!
//! Not here: the hidden subcommand (`cli::mountless`), what a daemon without a mount leaves out (`daemon`).

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use serde_json::Value;

use crate::cluster::{Cluster, NodeRank, ports};
use crate::enter::plan;
use crate::enter::views::View;
use crate::holder::channel::Channel;
use crate::holder::estate::{Estate, Manifest, Settings, WayIn};
use crate::holder::ledger::Ledger;
use crate::holder::messages::{FromDaemon, RunOutcome, ToDaemon, Wish};
use crate::holder::start_daemon;
use crate::profile::recorder::Recorder;
use crate::profile::recorder::event::Profiling;

/// How long they may take to find each other: 120 s, twelve times what 512 of them on one machine should need.
const PATIENCE: Duration = Duration::from_secs(120);

/// Between two looks at who is connected: 50 ms. Each look costs every node some work.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// What is to be started.
#[derive(Debug)]
pub struct Wanted {
    /// How many.
    pub nodes: u32,
    /// Name of the job: ports follow from it, so it must be new on this machine.
    pub job: String,
    /// The one view that they know.
    pub view: PathBuf,
    /// `--shards`.
    pub shards: Option<u16>,
    /// `--fan-out`.
    pub fan_out: Option<u16>,
    /// `--cache-bytes`, of each.
    pub cache_bytes: Option<u64>,
}

/// Nodes that run. They end when this is dropped.
pub struct Nodes {
    /// Of each node, by rank.
    lines: Vec<Channel>,
    daemons: Vec<Child>,
    began: Instant,
}

/// How long they took to find each other, since the first was started.
#[derive(Debug, Serialize)]
pub struct Found {
    /// How many there are.
    pub nodes: usize,
    /// Seconds until the root had a record from each, which travels over the connections of the first tree.
    pub counted_seconds: f64,
    /// Seconds until each was connected to its parent in every tree.
    pub connected_seconds: f64,
}

impl Nodes {
    /// Starts them one after the other, and waits for none.
    ///
    /// # Errors
    /// The view cannot be opened, a port or process is not to be had.
    /// # Cost
    /// A fork and exec for each.
    pub fn start(wanted: &Wanted) -> io::Result<Self> {
        let view = View::open(&wanted.view, String::new()).map_err(io::Error::other)?;
        allow_descriptors()?;
        let mut nodes = Nodes { lines: Vec::new(), daemons: Vec::new(), began: Instant::now() };
        for rank in 0..wanted.nodes {
            let mut estate = estate(wanted, &view, NodeRank::new(rank))?;
            nodes.daemons.push(start_daemon(&mut estate)?);
            let line = Channel::from(estate.peer);
            // Tasks it has none, so its record can go up at once: it arrives when all nodes above are connected.
            line.send(&ToDaemon::Report(RunOutcome::default()), &[])?;
            nodes.lines.push(line);
        }
        Ok(nodes)
    }

    /// Waits until the root has heard of all nodes and each is connected to its parents.
    ///
    /// # Errors
    /// A node ended, or they took longer than [`PATIENCE`].
    pub fn find_each_other(&self) -> io::Result<Found> {
        let until = self.began + PATIENCE;
        let root = self.root(until)?;
        while self.counted_by(root, until)? < self.lines.len() {
            self.lines[root].send(&ToDaemon::Report(RunOutcome::default()), &[])?;
            self.wait_for(root, until, |message| matches!(message, FromDaemon::Reported { .. }))?;
        }
        let counted_seconds = self.began.elapsed().as_secs_f64();
        while !self.all_as_planned(until)? {
            std::thread::sleep(LOOK_INTERVAL);
        }
        let connected_seconds = self.began.elapsed().as_secs_f64();
        Ok(Found { nodes: self.lines.len(), counted_seconds, connected_seconds })
    }

    /// The root of the first tree.
    fn root(&self, until: Instant) -> io::Result<usize> {
        let rank = self.status(0, until)?["tree"]["shards"][0]["root"].as_u64();
        let root = rank.and_then(|rank| usize::try_from(rank).ok());
        root.filter(|rank| *rank < self.lines.len()).ok_or_else(|| io::Error::other("there is no tree"))
    }

    /// How many nodes a node knows of, itself included.
    fn counted_by(&self, rank: usize, until: Instant) -> io::Result<usize> {
        Ok(1 + self.status(rank, until)?["beneath"].as_array().map_or(0, Vec::len))
    }

    fn all_as_planned(&self, until: Instant) -> io::Result<bool> {
        for rank in 0..self.lines.len() {
            let status = self.status(rank, until)?;
            let shards = status["tree"]["shards"].as_array().map_or(&[][..], Vec::as_slice);
            // What is asked is connected; a root asks nobody and has no parent.
            if shards.is_empty() || shards.iter().any(|shard| shard["asks"] != shard["parent"]) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn status(&self, rank: usize, until: Instant) -> io::Result<Value> {
        self.lines[rank].send(&ToDaemon::Ask { ticket: 0, wish: Wish::Status }, &[])?;
        let descriptors = self.wait_for(rank, until, |message| matches!(message, FromDaemon::Told { .. }))?;
        let memory = descriptors.into_iter().next().ok_or(io::ErrorKind::InvalidData)?;
        let (mut file, mut text) = (File::from(memory), String::new());
        file.rewind()?;
        file.read_to_string(&mut text)?;
        Ok(serde_json::from_str(&text)?)
    }

    /// The descriptors beside the next message that is `meant`; others are passed over.
    fn wait_for(
        &self,
        rank: usize,
        until: Instant,
        meant: impl Fn(&FromDaemon) -> bool,
    ) -> io::Result<Vec<OwnedFd>> {
        let line = &self.lines[rank];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
            let mut one = [PollFd::new(line, PollFlags::IN)];
            if rustix::io::retry_on_intr(|| poll(&mut one, Some(&timeout)))? == 0 {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the nodes did not find each other"));
            }
            match line.receive::<FromDaemon>()? {
                Some((FromDaemon::Failed(failed), _)) => return Err(failed.into()),
                Some((message, descriptors)) if meant(&message) => return Ok(descriptors),
                Some(_) => {}
                None => return Err(io::Error::other(format!("node {rank} has ended"))),
            }
        }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.lines.clear();
        for daemon in &mut self.daemons {
            let _ = daemon.wait();
        }
    }
}

/// What a daemon is started with: no connection to a kernel.
fn estate(wanted: &Wanted, view: &View, own: NodeRank) -> io::Result<Estate> {
    let cluster = Cluster::local(&wanted.job, own, wanted.nodes);
    let counters = rustix::fs::memfd_create("spinney-counters", MemfdFlags::CLOEXEC)?;
    File::from(counters.try_clone()?).set_len(Recorder::SHARED_BYTES)?;
    let listeners = ports::listen(&cluster).map_err(io::Error::other)?;
    Ok(Manifest {
        settings: settings(wanted, view, cluster)?,
        roots: vec![view.root.try_clone()?],
        connections: Vec::new(),
        counters,
        events: rustix::fs::memfd_create("spinney-events", MemfdFlags::CLOEXEC)?,
        ledger: Ledger::memory()?,
        // No wrapper looks for such a node.
        listener: File::open("/dev/null")?.into(),
        node_listeners: listeners.into_iter().map(OwnedFd::from).collect(),
        metrics_listener: None,
        job_key: None,
        // Replaced by the line to the daemon.
        peer: File::open("/dev/null")?.into(),
    })
}

fn settings(wanted: &Wanted, view: &View, cluster: Cluster) -> io::Result<Settings> {
    Ok(Settings {
        job: wanted.job.clone(),
        views: vec![view.path.clone()],
        mount_under: None,
        way_in: WayIn::Direct,
        caller: plan::caller()?,
        cache_bytes: wanted.cache_bytes,
        daemon_cpus: None,
        absence_ttl_seconds: 1.0,
        log: None,
        log_level: "warn".to_owned(),
        cluster: Some(cluster),
        shards: wanted.shards,
        fan_out: wanted.fan_out,
        trust_fabric: false,
        shared: vec![true],
        freshness: None,
        tasks_here: 0,
        kept: false,
        linger: None,
        hand_up_record: false,
        report: None,
        recordings: None,
        profiling: Profiling::OFF,
        command: Vec::new(),
        record_args: false,
        masked: Vec::new(),
    })
}

/// Each node is a line to it, so the usual limit of 1,024 would be met soon.
fn allow_descriptors() -> io::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}
