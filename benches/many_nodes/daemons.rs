//! Daemons without tasks and mounts, and a client that asks them over the wire as a node beneath them would: what passes
//! between nodes, without the kernel's part.
//!
//! Not here: what is asked (`levels`, `hops`).

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use spinney::cluster::{Cluster, NodeRank};
use spinney::file::{FilePath, ViewId};
use spinney::profile::recorder::Recorder;
use spinney::tree::{Shape, Shard};
use spinney::wire::{Carrier, Question, Reply};
use spinney::wire::{Fabric, HttpCarrier, Identity, KEY_VARIABLE, KeyPlaces, Peer, SharedKey, WireRuntime};

use crate::ground::Ground;
use crate::ground::rows::{Figure, quantile};

/// A key that is no secret: what these daemons read is not one either.
pub const KEY: &str = "0123456789abcdef0123456789abcdef";

/// Daemons that have found each other. They end with this.
pub struct Daemons {
    child: Child,
    /// How long that took.
    pub found: Value,
    cluster: Cluster,
    view: PathBuf,
}

impl Daemons {
    /// So many nodes that read `view`.
    pub fn start(ground: &Ground, nodes: u32, view: &Path, flags: &[&str]) -> anyhow::Result<Self> {
        let view = view.canonicalize()?;
        let job = unique_job();
        let mut child = Command::new(&ground.spinney)
            .args(["mountless-nodes", &nodes.to_string()])
            .arg(&view)
            .args(["--job", &job])
            .args(flags)
            .env(KEY_VARIABLE, KEY)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().expect("it was asked for");
        let cluster = Cluster::local(&job, NodeRank::new(0), nodes);
        let mut daemons = Daemons { child, found: Value::Null, cluster, view };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(!line.is_empty(), "the daemons did not find each other; the reason is above");
        daemons.found = serde_json::from_str(&line)?;
        Ok(daemons)
    }

    /// Somebody who may ask them.
    pub fn client(&self) -> anyhow::Result<Client> {
        let places = KeyPlaces { variable: Some(KEY.into()), ..KeyPlaces::default() };
        let (key, _) = SharedKey::find(&places)?;
        let views = [self.view.as_path()];
        let identity = Identity::derive(&key, &self.cluster.bond(), views, None, Fabric::Encrypted);
        let runtime = WireRuntime::start_small()?;
        let cluster = self.cluster.clone();
        let addresses = move |rank| cluster.endpoints(rank);
        // One more than there are: a child of whomever it asks.
        let own = NodeRank::new(self.cluster.n_nodes());
        let carrier = HttpCarrier::new(&runtime, identity, own, Box::new(addresses), Recorder::private());
        Ok(Client { carrier, n_nodes: self.cluster.n_nodes(), runtime })
    }
}

impl Drop for Daemons {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Asks daemons.
pub struct Client {
    carrier: HttpCarrier,
    n_nodes: u32,
    runtime: WireRuntime,
}

impl Client {
    /// The node at this place of a chain, the root at 0.
    pub fn at(&self, place: u32) -> anyhow::Result<Arc<dyn Peer>> {
        let rank = Shape::chosen(self.n_nodes, Some(1), Some(1)).at(Shard::new(0), place);
        Ok(self.wait(self.carrier.connect(rank))?)
    }

    /// Waits for what the wire gives.
    pub fn wait<T>(&self, asked: impl Future<Output = T>) -> T {
        self.runtime.handle().block_on(asked)
    }

    /// Asks one question.
    pub fn ask(&self, peer: &Arc<dyn Peer>, question: Question) -> anyhow::Result<Reply> {
        self.wait(peer.ask(question)).context("a question had no answer")
    }
}

/// What lies beneath the one view.
pub fn in_view(relative: &str) -> FilePath {
    FilePath::from_relative(ViewId::new(0), relative.as_bytes())
}

/// A name that no other job on this machine has.
pub fn unique_job() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("bench{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Daemons of the largest cluster that is tried here.
const MANY: u32 = 512;

/// How long 512 daemons take until each has a proven connection to its parent.
pub fn connect(ground: &Ground) -> anyhow::Result<Vec<Figure>> {
    let (mut counted, mut all_trees, mut one_tree) = (vec![], vec![], vec![]);
    for _ in 0..ground.pairs.min(3) {
        let seconds = |found: &Value, what: &str| found[what].as_f64().context("no such figure");
        let found = Daemons::start(ground, MANY, &ground.tree, &[])?.found.clone();
        counted.push(seconds(&found, "counted_seconds")?);
        all_trees.push(seconds(&found, "connected_seconds")?);
        let found = Daemons::start(ground, MANY, &ground.tree, &["--shards", "1"])?.found.clone();
        one_tree.push(seconds(&found, "connected_seconds")?);
    }
    let beside = json!({
        "parents_in_all_8_trees_seconds": quantile(&all_trees, 0.5),
        "with_one_tree_seconds": quantile(&one_tree, 0.5),
    });
    Ok(vec![Figure { row: "connected", samples: counted, beside }])
}
