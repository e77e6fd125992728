//! What holder and daemon hand to each other's successor: settings and descriptors.
//!
//! A successor is started by exec with the descriptors inherited; a memfd with the JSON of [`Manifest`]
//! says which number is which, and its own number is the only argument.
//!
//! Invariant: everything a successor needs is here; nothing is looked up by path a second time, since the
//! paths may by then be covered by our own mount.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::messages::Wanted;
use crate::cluster::Cluster;
use crate::profile::recorder::event::Profiling;

/// How tasks reach the view on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum WayIn {
    /// A plain mount namespace: root only.
    MountNamespace,
    /// A user and mount namespace of the caller's own.
    UserNamespace,
    /// The set-uid `fusermount3`, visible to the whole node.
    Fusermount,
    /// No view: the command reads storage itself.
    Direct,
}

impl WayIn {
    /// As in flags and reports.
    pub fn name(self) -> &'static str {
        match self {
            WayIn::MountNamespace => "mount-namespace",
            WayIn::UserNamespace => "user-namespace",
            WayIn::Fusermount => "fusermount",
            WayIn::Direct => "direct",
        }
    }

    /// Whether tasks live in a mount namespace made for them.
    pub fn has_namespace(self) -> bool {
        matches!(self, WayIn::MountNamespace | WayIn::UserNamespace)
    }
}

/// The identity that tasks and daemons run under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub groups: Vec<u32>,
}

/// What the founding wrapper decided, unchanged for the life of the node's service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Name of the job, for reports and the control socket.
    pub job: String,
    /// The views: absolute paths without symlinks, none inside another. Position is the view's number.
    #[serde(with = "super::paths::list")]
    pub views: Vec<PathBuf>,
    /// Where the views are shown instead of in place, as `<mount_under>/<view path>`.
    #[serde(with = "super::paths::maybe")]
    pub mount_under: Option<PathBuf>,
    /// How tasks get in.
    pub way_in: WayIn,
    /// Who the tasks are.
    pub caller: Caller,
    /// Bytes the cache may hold; `None`: chosen by the daemon from the machine's memory.
    pub cache_bytes: Option<u64>,
    /// Processors for holder and daemon; `None`: all that the job may use.
    pub daemon_cpus: Option<Vec<usize>>,
    /// Seconds an absence that no listing proves is believed.
    pub absence_ttl_seconds: f64,
    /// `--freshness`: how old what is told of names may be; `None`: a snapshot as first seen.
    pub freshness: Option<Duration>,
    /// File for the log of holder and daemon.
    #[serde(with = "super::paths::maybe")]
    pub log: Option<PathBuf>,
    /// Level of that log: error, warn, info, debug or trace.
    pub log_level: String,
    /// The nodes of the job; `None`: this one is alone.
    pub cluster: Option<Cluster>,
    /// `--shards`; `None`: chosen from the number of nodes.
    pub shards: Option<u16>,
    /// `--fan-out`; `None`: chosen from the number of nodes.
    pub fan_out: Option<u16>,
    /// `--trust-fabric`: nodes prove who they are, and then talk in clear.
    pub trust_fabric: bool,
    /// For each view whether it is on storage that all nodes see: on a network file system, or `--shared` says so, or all
    /// nodes are this machine.
    pub shared: Vec<bool>,
    /// How many tasks the launcher starts on this node; 0 if nobody says.
    pub tasks_here: u64,
    /// Whether the founder keeps the service for tasks to come: it is no task itself.
    pub kept: bool,
    /// How long a kept service stays that nobody uses; `None`: until it is told to go.
    pub linger: Option<Duration>,
    /// Whether the node's record goes to the last wrapper, which hands it to its launcher, instead of into a file.
    pub hand_up_record: bool,
    /// Directory for `run.json`.
    #[serde(with = "super::paths::maybe")]
    pub report: Option<PathBuf>,
    /// Directory for the recording, also where a launcher writes the report.
    #[serde(with = "super::paths::maybe")]
    pub recordings: Option<PathBuf>,
    /// What is recorded.
    pub profiling: Profiling,
    /// The command as typed, for the report.
    pub command: Vec<String>,
    /// Whether the report shows all arguments.
    pub record_args: bool,
    /// Kernel features to behave as if missing, for tests: `resend`, `no_opendir`.
    pub masked: Vec<String>,
}

impl Settings {
    /// Whether the service is as somebody who did not found it wants it.
    pub fn are(&self, wanted: &Wanted) -> bool {
        let shows = |path: &PathBuf| self.views.iter().any(|view| path.starts_with(view));
        let n_nodes = self.cluster.as_ref().map_or(1, Cluster::n_nodes);
        wanted.views.iter().all(shows)
            && wanted.mount_under == self.mount_under
            && wanted.local_nodes.is_none_or(|wanted| wanted == n_nodes)
            && wanted
                .freshness
                .is_none_or(|wanted| self.freshness.is_some_and(|freshness| freshness <= wanted))
    }
}

/// One FUSE connection of the node. In namespaces there is one; `fusermount3` in place needs one per view.
#[derive(Debug, Serialize, Deserialize)]
pub struct Connection<Fd> {
    /// The opened `/dev/fuse`, mounted.
    pub fuse: Fd,
    /// memfd: requests read but not answered, and what INIT negotiated (`fuse::slots`).
    pub requests: Fd,
    /// memfd: the table of node ids (`view::nodes`).
    pub nodes: Fd,
    /// `None`: the connection's root is `/` and shows every view at its own absolute path beneath.
    /// `Some(n)`: the connection's root is the root of view `n`.
    pub only_view: Option<usize>,
    /// With `fusermount3`: the socket whose closing makes it unmount.
    pub unmounter: Option<Fd>,
}

/// Everything one process of a node's service hands to the next.
#[derive(Debug, Serialize, Deserialize)]
pub struct Manifest<Fd> {
    /// The decisions.
    pub settings: Settings,
    /// Directory descriptors of the views' roots on storage, opened before anything was mounted.
    pub roots: Vec<Fd>,
    /// FUSE connections.
    pub connections: Vec<Connection<Fd>>,
    /// memfd: the counters (`profile::recorder`).
    pub counters: Fd,
    /// memfd: what tasks were told (`profile::recorder::events`); empty if nothing is recorded.
    pub events: Fd,
    /// memfd: what holders remember of the run (`holder::ledger`).
    pub ledger: Fd,
    /// The listening control socket.
    pub listener: Fd,
    /// TCP sockets that other nodes connect to, listening, all on one of `cluster::ports_of`; none without a cluster,
    /// or if all ports were taken.
    pub node_listeners: Vec<Fd>,
    /// TCP socket on loopback that tells the figures (`daemon::metrics`), listening, if one is wanted.
    pub metrics_listener: Option<Fd>,
    /// memfd: the key of a cluster on one machine (`cluster::job_key`). Other clusters have theirs elsewhere.
    pub job_key: Option<Fd>,
    /// This process's end of the socket pair between holder and daemon.
    pub peer: Fd,
}

/// A manifest whose descriptors are open in this process.
pub type Estate = Manifest<OwnedFd>;
/// A manifest as it travels: descriptor numbers.
pub type Inventory = Manifest<RawFd>;

impl Estate {
    /// The numbers of all descriptors, for the successor to inherit. `peer` is the end it shall get.
    pub fn inventory(&self, peer: RawFd) -> Inventory {
        Manifest {
            settings: self.settings.clone(),
            roots: self.roots.iter().map(AsRawFd::as_raw_fd).collect(),
            connections: self
                .connections
                .iter()
                .map(|c| Connection {
                    fuse: c.fuse.as_raw_fd(),
                    requests: c.requests.as_raw_fd(),
                    nodes: c.nodes.as_raw_fd(),
                    only_view: c.only_view,
                    unmounter: c.unmounter.as_ref().map(AsRawFd::as_raw_fd),
                })
                .collect(),
            counters: self.counters.as_raw_fd(),
            events: self.events.as_raw_fd(),
            ledger: self.ledger.as_raw_fd(),
            listener: self.listener.as_raw_fd(),
            node_listeners: self.node_listeners.iter().map(AsRawFd::as_raw_fd).collect(),
            metrics_listener: self.metrics_listener.as_ref().map(AsRawFd::as_raw_fd),
            job_key: self.job_key.as_ref().map(AsRawFd::as_raw_fd),
            peer,
        }
    }
}

impl Inventory {
    /// Every descriptor number in it.
    pub fn numbers(&self) -> Vec<RawFd> {
        let mut all = self.roots.clone();
        for c in &self.connections {
            all.extend([c.fuse, c.requests, c.nodes]);
            all.extend(c.unmounter);
        }
        all.extend([self.counters, self.events, self.ledger, self.listener, self.peer]);
        all.extend(&self.node_listeners);
        all.extend(self.metrics_listener);
        all.extend(self.job_key);
        all
    }

    /// Reads the manifest from descriptor `number` and takes ownership of everything it names.
    ///
    /// # Errors
    /// The descriptor is not a manifest.
    ///
    /// # Safety
    /// `number` and the numbers inside were inherited for this process and nothing else here owns them.
    pub unsafe fn adopt(number: RawFd) -> io::Result<Estate> {
        // SAFETY: the caller's promise, for each of the numbers.
        let own = |fd: RawFd| unsafe { OwnedFd::from_raw_fd(fd) };
        let mut file = File::from(own(number));
        file.rewind()?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let inventory: Inventory = serde_json::from_str(&text)?;
        let estate = Manifest {
            settings: inventory.settings,
            roots: inventory.roots.into_iter().map(own).collect(),
            connections: inventory
                .connections
                .into_iter()
                .map(|c| Connection {
                    fuse: own(c.fuse),
                    requests: own(c.requests),
                    nodes: own(c.nodes),
                    only_view: c.only_view,
                    unmounter: c.unmounter.map(own),
                })
                .collect(),
            counters: own(inventory.counters),
            events: own(inventory.events),
            ledger: own(inventory.ledger),
            listener: own(inventory.listener),
            node_listeners: inventory.node_listeners.into_iter().map(own).collect(),
            metrics_listener: inventory.metrics_listener.map(own),
            job_key: inventory.job_key.map(own),
            peer: own(inventory.peer),
        };
        Ok(estate)
    }
}
