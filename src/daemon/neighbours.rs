//! This node among the other nodes of its job: whom it asks, and who asks it.
//!
//! Not here: the order of the layers (`assemble`), the trees (`tree`), the bytes between nodes (`wire`).

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::collecting::Collecting;
use super::gathering::Gathering;
use super::line::Line;
use super::orders::{Obeying, Others};
use super::troubles;
use crate::cache::Cache;
use crate::cluster::{Cluster, NodeRank, job_key};
use crate::file::{Freshness, Source};
use crate::holder::estate::{Estate, Settings};
use crate::holder::ledger::Ledger;
use crate::profile::recorder::{Counter, Recorder};
use crate::tree::{GRACE_LOST, Joining, Shape, Shard, Tree};
use crate::wire::{
    Fabric, HttpCarrier, Identity, KeyPlaces, Records, Server, Serving, SharedKey, WireRuntime,
};

/// What this node needs to talk to others.
pub(super) struct Neighbours {
    cluster: Arc<Cluster>,
    line: Line,
    shape: Shape,
    identity: Identity,
    recorder: Recorder,
    /// Of the nodes of several machines; on one machine a launcher has all records.
    pub(super) gathering: Option<Gathering>,
    /// The same for recordings; `None` also where nothing is recorded.
    pub(super) collecting: Option<Collecting>,
    /// Tasks that the launcher starts here.
    tasks_here: u64,
    /// When the node's service was founded.
    founded: Instant,
    /// When this daemon began.
    began: Instant,
    serving: Mutex<NowServing>,
    runtime: WireRuntime,
}

/// What others want of this node.
struct NowServing {
    /// Ends before the threads it runs on.
    server: Option<Server>,
    /// How often others had asked when that last changed, and when that was.
    asked: u64,
    since: Instant,
}

/// How long a node whose own tasks have ended stays for others that have asked nothing: 3 s. They may be computing
/// for hours, and what they ask for later they get elsewhere.
const QUIET_MAX: Duration = Duration::from_secs(3);

/// How long after its start a daemon without tasks stays for those who may still come: 3 s. Nodes below it that have never been
/// connected, and tasks that its launcher starts here: they begin this much later than the first at most, or go without.
/// One that takes the place of a dead one has all of its children before it.
const START_MAX: Duration = Duration::from_secs(3);

/// How long after the daemon's start the end of a task waits for nodes that have never been connected: 1 s, as long as these would
/// wait for this one. What comes later is written all the same.
const HEARD_WITHIN: Duration = GRACE_LOST;

/// How long after the last connection ended it waits for a node to come back whose daemon is being started anew: 2 s.
const BACK_WITHIN: Duration = Duration::from_secs(2);

/// How often it looks whether it may leave.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

impl Neighbours {
    /// `None` for a node that is alone, or that others could not know: that is told on `line`.
    ///
    /// # Errors
    /// There is no thread.
    pub(super) fn of(estate: &Estate, line: Line, recorder: Recorder) -> io::Result<Option<Self>> {
        let settings = &estate.settings;
        let Some(cluster) = settings.cluster.clone().filter(|cluster| cluster.n_nodes() > 1) else {
            return Ok(None);
        };
        let fabric = if settings.trust_fabric { Fabric::Trusted } else { Fabric::Encrypted };
        let views = settings.views.iter().map(PathBuf::as_path);
        let bond = cluster.bond();
        let key = match key(estate) {
            Ok(key) => key,
            Err(error) => {
                line.complain(troubles::no_key(&cluster, &error));
                return Ok(None);
            }
        };
        let identity = Identity::derive(&key, &bond, views, settings.freshness, fabric);
        let shape = Shape::chosen(cluster.n_nodes(), settings.shards, settings.fan_out);
        let runtime = match cluster.nodes_here {
            0 | 1 => WireRuntime::start()?,
            _ => WireRuntime::start_small()?,
        };
        let (mut gathering, mut collecting) = (None, None);
        if estate.job_key.is_none() {
            gathering = Some(Gathering::new(settings, &cluster, &shape, recorder));
            collecting = Collecting::new(settings, &cluster, shape.root(Shard::new(0)), recorder);
        }
        let cluster = Arc::new(cluster);
        Ok(Some(Neighbours {
            cluster,
            line,
            shape,
            identity,
            recorder,
            gathering,
            collecting,
            tasks_here: settings.tasks_here,
            founded: founded(&estate.ledger),
            began: Instant::now(),
            serving: Mutex::new(NowServing { server: None, asked: 0, since: Instant::now() }),
            runtime,
        }))
    }

    /// Whether other nodes ask this one.
    pub(super) fn has_children(&self) -> bool {
        self.children().next().is_some()
    }

    /// Those that ask this one unless something fails.
    fn children(&self) -> impl Iterator<Item = NodeRank> {
        self.shape.shards().flat_map(|shard| self.shape.children(shard, self.cluster.own))
    }

    /// The others, to tell them something directly.
    pub(super) fn others(&self) -> Others {
        let (own, n_nodes) = (self.cluster.own, self.cluster.n_nodes());
        Others { own, n_nodes, carrier: Arc::new(self.carrier()) }
    }

    fn carrier(&self) -> HttpCarrier {
        let cluster = self.cluster.clone();
        let addresses = move |rank: NodeRank| -> io::Result<Vec<SocketAddr>> {
            match cluster.node(rank) {
                // A name service may take seconds, in which this thread has others' heartbeats to send.
                Some(node) if node.addresses.is_empty() => {
                    tokio::task::block_in_place(|| cluster.endpoints(rank))
                }
                _ => cluster.endpoints(rank),
            }
        };
        let identity = self.identity.clone();
        HttpCarrier::new(&self.runtime, identity, self.cluster.own, Box::new(addresses), self.recorder)
    }

    /// Takes the node's place in the trees, above `storage`.
    pub(super) fn tree(&self, settings: &Settings, storage: Arc<dyn Source>) -> Tree {
        Tree::join(Joining {
            shape: self.shape,
            own: self.cluster.own,
            shared: settings.shared.clone(),
            storage,
            carrier: Arc::new(self.carrier()),
            runtime: self.runtime.handle(),
            freshness: Freshness::at_most(settings.freshness),
            seed: u64::from(std::process::id()),
            age: self.founded.elapsed(),
            complain: troubles::teller(self.cluster.clone(), self.line.clone()),
            recorder: self.recorder,
        })
    }

    /// Begins to answer other nodes out of `cache`, and to send records up.
    ///
    /// # Errors
    /// A descriptor cannot be duplicated or watched; there is no thread.
    pub(super) fn serve(&self, estate: &Estate, cache: &Cache, obeying: Obeying) -> io::Result<()> {
        let tree = obeying.tree.clone();
        let gathering = self.gathering.clone();
        let records: Records = Box::new(move |_, lines| {
            if let Some(gathering) = &gathering {
                gathering.take(&lines);
            }
        });
        let collecting = self.collecting.clone();
        if let Some(collecting) = &collecting {
            let founded = Ledger::load(&estate.ledger).unwrap_or_default().founded_unix_us;
            collecting.start(tree.clone(), self.runtime.handle(), founded);
        }
        let listeners = estate.node_listeners.iter().map(|fd| Ok(TcpListener::from(fd.try_clone()?)));
        let serving = Serving {
            identity: self.identity.clone(),
            rank: self.cluster.own,
            views: estate.settings.views.len(),
            source: Arc::new(cache.clone()),
            records,
            // Nothing is recorded here: nobody waits for what others have.
            recordings: Arc::new(move |parcel| {
                collecting.as_ref().is_none_or(|collecting| collecting.take(parcel))
            }),
            orders: Arc::new(move |order| obeying.obey(&order)),
            recorder: self.recorder,
        };
        let server = Server::start(&self.runtime, listeners.collect::<io::Result<_>>()?, serving)?;
        self.serving().server = Some(server);
        match &self.gathering {
            Some(gathering) => {
                gathering.start(tree, self.runtime.handle(), cache.clone(), estate.ledger.try_clone()?)
            }
            None => Ok(()),
        }
    }

    /// Stays while other nodes ask, and, where the report is written, while they run; at first also for nodes and tasks that
    /// have not come yet.
    ///
    /// Not until they are gone: in several trees two nodes may be above each other.
    pub(super) fn linger(&self) {
        while self.is_needed() {
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    fn is_needed(&self) -> bool {
        let awaits = self.gathering.as_ref().is_some_and(Gathering::awaits_others);
        let mut serving = self.serving();
        let asked = self.recorder.get(Counter::WireRequestsIn);
        if asked != serving.asked {
            (serving.asked, serving.since) = (asked, Instant::now());
        }
        let is_asked = serving.connections() > 0 && (serving.since.elapsed() < QUIET_MAX || awaits);
        let tasks_come = self.recorder.get(Counter::TasksJoined) < self.tasks_here;
        is_asked || self.began.elapsed() < START_MAX && (tasks_come || self.nodes_come(&serving))
    }

    /// Whether others are connected, or may be in a moment.
    pub(super) fn may_hear_of_others(&self) -> bool {
        let serving = self.serving();
        serving.connections() > 0
            || serving.server.as_ref().and_then(Server::left_for).is_some_and(|left| left < BACK_WITHIN)
            || self.began.elapsed() < HEARD_WITHIN && self.nodes_come(&serving)
    }

    /// Whether nodes that are to ask this one have never been connected.
    fn nodes_come(&self, serving: &NowServing) -> bool {
        let Some(server) = &serving.server else { return false };
        let known = server.children();
        self.children().any(|child| known.binary_search(&child).is_err())
    }

    /// Ends to answer other nodes.
    pub(super) fn close(&self) {
        let server = self.serving().server.take();
        drop(server); // without the lock
    }

    fn serving(&self) -> MutexGuard<'_, NowServing> {
        self.serving.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl NowServing {
    fn connections(&self) -> usize {
        self.server.as_ref().map_or(0, Server::connections)
    }
}

/// When the service was founded whose holder remembers it in `ledger`.
fn founded(ledger: &OwnedFd) -> Instant {
    let age = Duration::from_micros(Ledger::load(ledger).unwrap_or_default().elapsed_us());
    let now = Instant::now();
    now.checked_sub(age).unwrap_or(now)
}

/// The key that the nodes know each other by.
fn key(estate: &Estate) -> io::Result<SharedKey> {
    if let Some(memory) = &estate.job_key {
        let bytes = job_key::read(memory)?;
        return SharedKey::from_bytes(&bytes)
            .ok_or_else(|| io::Error::other("the key of the nodes is too short"));
    }
    let found = SharedKey::find(&KeyPlaces::of_environment());
    found.map(|(key, _)| key).map_err(io::Error::other)
}
