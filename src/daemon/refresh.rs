//! Forgetting on all nodes, so that what is asked afterwards is what storage has now.
//!
//! In two steps. First every node drops what it knows of the names, and from then on passes answers through without
//! keeping or sharing them. When all have done so nobody knows anything old. Then every node drops what it may have got
//! meanwhile, keeps again, and has its kernel ask again. So it does not matter who asks whom
//! (docs/decisions/0008-refreshing.md).
//!
//! Invariant: blocks stay, since they belong to a version; readers go on with the version they opened or get ESTALE.
//!
//! Not here: asking for it (`services`), what a cache keeps (`cache`).

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::orders::{self, Insistence, Others, waiting};
use crate::cache::{Cache, RefreshId};
use crate::cluster::NodeRank;
use crate::file::{FileKind, FilePath, Listing, Source, Urgency, ViewId};
use crate::fuse::Notifier;
use crate::storage::Storage;
use crate::tree::Tree;
use crate::view::{NodeId, View};

/// How long a node is waited for in each step: 20 s. One that cannot be reached in it is named.
const NODE_MAX: Duration = Duration::from_secs(20);

/// How long a node passes answers through if the second step does not come: 60 s. Whoever began is dead then.
const PASSING_MAX: Duration = Duration::from_secs(60);

/// What a node forgets with.
#[derive(Clone)]
pub(super) struct Refresher {
    pub(super) storage: Storage,
    pub(super) tree: Option<Tree>,
    pub(super) cache: Cache,
    /// One for each FUSE connection.
    pub(super) kernels: Vec<(View, Notifier)>,
}

/// The steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    PassThrough,
    KeepAgain,
}

/// What a node is told of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Order {
    step: Step,
    /// Which refresh it is a step of.
    refresh: u64,
    /// View and path beneath it.
    paths: Vec<(u64, Vec<u8>)>,
}

impl Refresher {
    /// Does one step here, as another node says; false if what it says is not understood.
    pub(super) fn obey(&self, order: &Order) -> bool {
        let path = |(view, relative): &(u64, Vec<u8>)| {
            ViewId::from_position(*view).map(|view| FilePath::from_relative(view, relative))
        };
        let Some(paths) = order.paths.iter().map(path).collect::<Option<Vec<_>>>() else { return false };
        self.step(order.step, RefreshId(order.refresh), &paths)
    }

    /// Does one step; false if too many refreshes are under way.
    fn step(&self, step: Step, refresh: RefreshId, paths: &[FilePath]) -> bool {
        tracing::info!(?step, ?refresh, ?paths, "refreshing");
        self.storage.forget_directories();
        self.tree.iter().for_each(Tree::forget_riding);
        match step {
            Step::PassThrough => {
                if !self.cache.pass_through(refresh, paths) {
                    tracing::warn!("too many refreshes are under way");
                    return false;
                }
                self.keep_again_later(refresh, paths.to_vec());
            }
            Step::KeepAgain => {
                self.cache.keep_again(refresh, paths);
                let listed = Listed::new(&self.cache);
                for (view, notifier) in &self.kernels {
                    paths.iter().for_each(|path| tell_kernel(view, notifier, path, &listed));
                    notifier.settle();
                }
            }
        }
        true
    }

    fn keep_again_later(&self, refresh: RefreshId, paths: Vec<FilePath>) {
        let refresher = self.clone();
        let later = move || {
            std::thread::sleep(PASSING_MAX);
            if refresher.cache.is_refreshing(refresh) {
                refresher.step(Step::KeepAgain, refresh, &paths);
            }
        };
        if let Err(error) = Builder::new().name("refresh".into()).stack_size(256 * 1024).spawn(later) {
            tracing::warn!(%error, "nobody will see whether the refreshing ends");
        }
    }

    /// Refreshes `paths` on all nodes, everything if there are none, and says how that went.
    pub(super) fn refresh(&self, views: &[PathBuf], others: Option<&Others>, paths: &[PathBuf]) -> Value {
        let mut outside = Vec::new();
        let mut wanted: Vec<FilePath> = Vec::new();
        for path in paths {
            match within(views, path) {
                Some(found) => wanted.push(found),
                None => outside.push(path.to_string_lossy()),
            }
        }
        if paths.is_empty() {
            wanted = (0..views.len()).map(|view| FilePath::root(ViewId::new(view))).collect();
        }
        let missed = if wanted.is_empty() { Vec::new() } else { self.refresh_everywhere(others, &wanted) };
        json!({ "outside": outside, "missed_nodes": missed, "n_nodes": others.map_or(1, |others| others.n_nodes) })
    }

    /// Both steps, here and on the others; returns the nodes that missed one.
    fn refresh_everywhere(&self, others: Option<&Others>, wanted: &[FilePath]) -> Vec<NodeRank> {
        let refresh = RefreshId(RandomState::new().hash_one(std::process::id()));
        let own = others.map_or(NodeRank::new(0), |others| others.own);
        let mut missed: Vec<NodeRank> = Vec::new();
        for step in [Step::PassThrough, Step::KeepAgain] {
            if !self.step(step, refresh, wanted) {
                missed.push(own);
            }
            let relative = |path: &FilePath| (path.view().position() as u64, path.relative().to_vec());
            let order = Order { step, refresh: refresh.0, paths: wanted.iter().map(relative).collect() };
            let order = orders::Order::Refresh(order);
            missed.extend(others.iter().flat_map(|others| others.tell(&order, NODE_MAX, Insistence::Once)));
        }
        missed.sort_unstable();
        missed.dedup();
        missed
    }
}

/// The place of `path` in the views.
fn within(views: &[PathBuf], path: &Path) -> Option<FilePath> {
    views.iter().enumerate().find_map(|(n, view)| {
        let relative = path.strip_prefix(view).ok()?;
        Some(FilePath::from_relative(ViewId::new(n), relative.as_os_str().as_bytes()))
    })
}

/// New listings, each asked for once though several connections want it.
struct Listed<'a> {
    cache: &'a Cache,
    runtime: io::Result<tokio::runtime::Runtime>,
}

impl<'a> Listed<'a> {
    fn new(cache: &'a Cache) -> Self {
        Listed { cache, runtime: waiting() }
    }

    fn of(&self, path: &FilePath) -> Option<Arc<Listing>> {
        let runtime = self.runtime.as_ref().ok()?;
        runtime.block_on(self.cache.listing(path, Urgency::Demand)).ok().map(|answer| answer.value)
    }
}

/// Has the kernel ask again for everything it knows at or beneath `path`: what it holds for absent too, as far as it is
/// there now. Directories that still are directories stay as they are, since processes may be in them.
fn tell_kernel(view: &View, notifier: &Notifier, path: &FilePath, listed: &Listed<'_>) {
    if let Some((parent, name)) = view.remembered_as(path) {
        notifier.doubt_entry(parent, &name);
    }
    let known = view.known_beneath(path);
    let directories: HashMap<FilePath, NodeId> = known
        .iter()
        .filter(|known| known.is_directory)
        .map(|known| (known.path.clone(), known.node))
        .collect();
    for (path, node) in &directories {
        notifier.forget_content(*node);
        for row in listed.of(path).iter().flat_map(|listing| listing.iter()) {
            let stays = row.kind == FileKind::Directory.directory_entry_type();
            if !(stays && directories.contains_key(&path.join(&row.name))) {
                notifier.doubt_entry(*node, &row.name);
            }
        }
    }
    for known in &known {
        if let Some((parent, name)) = known.path.split()
            && let Some(node) = directories.get(&parent)
        {
            let still = || listed.of(&parent).is_some_and(|listing| listing.find(name).is_some());
            if !known.is_directory || !still() {
                notifier.doubt_entry(*node, name);
            }
        }
    }
}
