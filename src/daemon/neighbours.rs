//! This node among the other nodes of its job: whom it asks, and who asks it.
//!
//! Not here: the order of the layers (`assemble`), the trees (`tree`), the bytes between nodes (`wire`).

use std::fs::File;
use std::io::{self, Read, Seek};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, NodeRank};
use crate::file::Source;
use crate::holder::estate::{Estate, Settings};
use crate::profile::recorder::{Counter, Recorder};
use crate::tree::{Joining, Shape, Tree};
use crate::wire::{
    Fabric, HttpCarrier, Identity, KeyPlaces, Records, Server, Serving, SharedKey, WireRuntime,
};

/// What this node needs to talk to others.
pub(super) struct Neighbours {
    cluster: Cluster,
    shape: Shape,
    identity: Identity,
    recorder: Recorder,
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
    /// `None` for a node that is alone.
    ///
    /// # Errors
    /// There is no key, or no thread.
    pub(super) fn of(estate: &Estate, recorder: Recorder) -> io::Result<Option<Self>> {
        let settings = &estate.settings;
        let Some(cluster) = settings.cluster.clone().filter(|cluster| cluster.n_nodes() > 1) else {
            return Ok(None);
        };
        let fabric = if settings.trust_fabric { Fabric::Trusted } else { Fabric::Encrypted };
        let views = settings.views.iter().map(PathBuf::as_path);
        let identity = Identity::derive(&key(estate)?, &cluster.job, views, fabric);
        let shape = Shape::chosen(cluster.n_nodes(), settings.shards, settings.fan_out);
        let runtime = match cluster.nodes_here {
            0 | 1 => WireRuntime::start()?,
            _ => WireRuntime::start_small()?,
        };
        Ok(Some(Neighbours { cluster, shape, identity, recorder, server: None, runtime }))
    }

    /// Whether other nodes ask this one.
    pub(super) fn has_children(&self) -> bool {
        self.shape.shards().any(|shard| self.shape.children(shard, self.cluster.own).next().is_some())
    }

    /// Takes the node's place in the trees, above `storage`.
    pub(super) fn tree(&self, settings: &Settings, storage: Arc<dyn Source>) -> Tree {
        let cluster = self.cluster.clone();
        let addresses = move |rank: NodeRank| -> Vec<SocketAddr> {
            cluster.endpoints(rank).unwrap_or_else(|error| {
                tracing::debug!(%rank, %error, "a node has no address yet");
                Vec::new()
            })
        };
        let carrier = HttpCarrier::new(
            &self.runtime,
            self.identity.clone(),
            self.cluster.own,
            Box::new(addresses),
            self.recorder,
        );
        Tree::join(Joining {
            shape: self.shape,
            own: self.cluster.own,
            shared: settings.views.iter().map(|_| true).collect(),
            storage,
            carrier: Arc::new(carrier),
            runtime: self.runtime.handle(),
            seed: u64::from(std::process::id()),
            recorder: self.recorder,
        })
    }

    /// Begins to answer other nodes out of `source`.
    ///
    /// # Errors
    /// A descriptor cannot be duplicated or watched.
    pub(super) fn serve(
        &mut self,
        estate: &Estate,
        source: Arc<dyn Source>,
        records: Records,
    ) -> io::Result<()> {
        let listeners = estate.node_listeners.iter().map(|fd| Ok(TcpListener::from(fd.try_clone()?)));
        let serving = Serving {
            identity: self.identity.clone(),
            rank: self.cluster.own,
            views: estate.settings.views.len(),
            source,
            records,
            recorder: self.recorder,
        };
        self.server = Some(Server::start(&self.runtime, listeners.collect::<io::Result<_>>()?, serving)?);
        Ok(())
    }

    /// Stays while other nodes ask.
    ///
    /// Not until they are gone: in several trees two nodes may be above each other.
    pub(super) fn linger(&self) {
        let Some(server) = &self.server else { return };
        let asked = || self.recorder.get(Counter::WireRequestsIn);
        let (mut before, mut since) = (asked(), Instant::now());
        while server.connections() > 0 && since.elapsed() < QUIET_MAX {
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
    let Some(descriptor) = &estate.job_key else {
        let found = SharedKey::find(&KeyPlaces::of_environment());
        return found.map(|(key, _)| key).map_err(io::Error::other);
    };
    let mut file = File::from(descriptor.try_clone()?);
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    SharedKey::from_bytes(&bytes).ok_or_else(|| io::Error::other("the key of the nodes is too short"))
}
