//! This node among the other nodes of its job: whom it asks, and who asks it.
//!
//! Not here: the order of the layers (`assemble`), the trees (`tree`), the bytes between nodes (`wire`).

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
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
use crate::tree::{Joining, Shape, Shard, Tree};
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
    /// Ends before the threads it runs on.
    server: Option<Server>,
    runtime: WireRuntime,
}

/// How long a node whose own tasks have ended stays for others that have asked nothing: 3 s. They may be computing
/// for hours, and what they ask for later they get elsewhere.
const QUIET_MAX: Duration = Duration::from_secs(3);

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
            server: None,
            runtime,
        }))
    }

    /// Whether other nodes ask this one.
    pub(super) fn has_children(&self) -> bool {
        self.shape.shards().any(|shard| self.shape.children(shard, self.cluster.own).next().is_some())
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
    pub(super) fn tree(&self, settings: &Settings, ledger: &OwnedFd, storage: Arc<dyn Source>) -> Tree {
        let founded = Ledger::load(ledger).unwrap_or_default();
        Tree::join(Joining {
            shape: self.shape,
            own: self.cluster.own,
            shared: settings.shared.clone(),
            storage,
            carrier: Arc::new(self.carrier()),
            runtime: self.runtime.handle(),
            freshness: Freshness::at_most(settings.freshness),
            seed: u64::from(std::process::id()),
            age: Duration::from_micros(founded.elapsed_us()),
            complain: troubles::teller(self.cluster.clone(), self.line.clone()),
            recorder: self.recorder,
        })
    }

    /// Begins to answer other nodes out of `cache`, and to send records up.
    ///
    /// # Errors
    /// A descriptor cannot be duplicated or watched; there is no thread.
    pub(super) fn serve(&mut self, estate: &Estate, cache: &Cache, obeying: Obeying) -> io::Result<()> {
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
        self.server = Some(Server::start(&self.runtime, listeners.collect::<io::Result<_>>()?, serving)?);
        match &self.gathering {
            Some(gathering) => {
                gathering.start(tree, self.runtime.handle(), cache.clone(), estate.ledger.try_clone()?)
            }
            None => Ok(()),
        }
    }

    /// Stays while other nodes ask, and, where the report is written, while they run.
    ///
    /// Not until they are gone: in several trees two nodes may be above each other.
    pub(super) fn linger(&self) {
        let Some(server) = &self.server else { return };
        let asked = || self.recorder.get(Counter::WireRequestsIn);
        let (mut before, mut since) = (asked(), Instant::now());
        let awaits = || self.gathering.as_ref().is_some_and(Gathering::awaits_others);
        while server.connections() > 0 && (since.elapsed() < QUIET_MAX || awaits()) {
            std::thread::sleep(LOOK_INTERVAL);
            let now = asked();
            if now != before {
                (before, since) = (now, Instant::now());
            }
        }
    }
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
