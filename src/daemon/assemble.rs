//! How one node's service is put together. Read this first.
//!
//! A request of the kernel passes, from the top of this list to the bottom, only as far as it must:
//!
//! ```text
//! fuse      kernel protocol <-> calls
//! view      names, node ids, attributes
//! cache     listings, absences, blocks this node already has
//! tree      the nodes above this one, if there are any
//! storage   the job's files
//! ```
//!
//! What changed on storage travels the other way, through `Changes`: the cache forgets the name, and the
//! kernel is told to look it up again.
//!
//! Not here: anything that happens later.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::line::Line;
use super::memory;
use super::neighbours::Neighbours;
use super::orders::Obeying;
use super::recording::Recordings;
use super::refresh::Refresher;
use crate::cache::{Cache, CacheLimits};
use crate::file::{Changes, Freshness, Source, ViewId};
use crate::fuse::{KernelMemory, Masked, Serving, Session};
use crate::holder::estate::{Connection, Estate, Settings, WayIn};
use crate::holder::failed::cannot;
use crate::profile::recorder::Recorder;
use crate::storage::{Storage, allow_blocking_here};
use crate::tree::Tree;
use crate::view::{Layout, NodeTable, Owners, View};
use std::os::fd::OwnedFd;

/// Threads that read requests: one more than cores, at least 3 and at most 6, so that with one waiting for
/// storage and one for the kernel another still reads.
const WORKERS_MIN: usize = 3;
const WORKERS_MAX: usize = 6;

/// The service, running.
pub struct Assembled {
    /// One per FUSE connection.
    pub sessions: Vec<Session>,
    /// What this node knows.
    pub cache: Cache,
    /// The way to storage through other nodes, if there are any.
    pub(super) tree: Option<Tree>,
    /// What makes all of this forget.
    pub(super) refresher: Refresher,
    /// What it needs to talk to other nodes, if there are any.
    pub(super) neighbours: Option<Arc<Neighbours>>,
}

/// Puts the layers together over `estate` and begins to serve, or to serve on.
///
/// # Errors
/// A descriptor cannot be duplicated, shared memory cannot be mapped, no thread can be started.
pub(super) fn assemble(estate: &Estate, line: Line, recorder: Recorder) -> io::Result<Assembled> {
    let changes = Changes::default();
    let roots = estate.roots.iter().map(OwnedFd::try_clone).collect::<io::Result<_>>()?;
    let freshness = Freshness::at_most(estate.settings.freshness);
    let own_storage = Storage::new(roots, freshness, recorder);
    let storage: Arc<dyn Source> = Arc::new(own_storage.clone());
    let neighbours = Neighbours::of(estate, line.clone(), recorder)?.map(Arc::new);
    let tree = neighbours.as_ref().map(|neighbours| neighbours.tree(&estate.settings, storage.clone()));
    let source = tree.clone().map_or(storage, |tree| Arc::new(tree) as Arc<dyn Source>);
    let nodes_here = estate.settings.cluster.as_ref().map_or(1, |cluster| cluster.nodes_here);
    let limits = CacheLimits {
        budget_bytes: estate.settings.cache_bytes.unwrap_or_else(|| memory::default_cache_bytes(nodes_here)),
        absence_ttl: Duration::try_from_secs_f64(estate.settings.absence_ttl_seconds).unwrap_or_default(),
        freshness,
        has_children: neighbours.as_ref().is_some_and(|neighbours| neighbours.has_children()),
    };
    let cache = Cache::new(source, limits, &changes, recorder);
    let mut sessions = Vec::new();
    let mut kernels = Vec::new();
    for connection in &estate.connections {
        let (session, view) = serve(estate, connection, &cache, &changes, recorder)?;
        kernels.push((view, session.notifier()));
        sessions.push(session);
    }
    let refresher = Refresher { storage: own_storage, tree: tree.clone(), cache: cache.clone(), kernels };
    if let (Some(neighbours), Some(tree)) = (&neighbours, &tree) {
        let recordings = Recordings::of(&estate.settings, recorder, neighbours.collecting.clone());
        let obeying = Obeying { refresher: refresher.clone(), tree: tree.clone(), line, recordings };
        neighbours.serve(estate, &cache, obeying)?;
    }
    Ok(Assembled { sessions, cache, tree, refresher, neighbours })
}

fn serve(
    estate: &Estate,
    connection: &Connection<OwnedFd>,
    cache: &Cache,
    changes: &Changes,
    recorder: Recorder,
) -> io::Result<(Session, View)> {
    let only_view = connection.only_view.map(ViewId::new);
    let nodes = NodeTable::open(&File::from(connection.nodes.try_clone()?), only_view)
        .map_err(cannot("map the table of names"))?;
    let layout = match only_view {
        Some(view) => Layout::only(view),
        None => Layout::at_their_paths(estate.settings.views.iter().map(AsRef::as_ref)),
    };
    let owners = owners(&estate.settings);
    let freshness = Freshness::at_most(estate.settings.freshness);
    let view =
        View::new(nodes, layout, owners, Arc::new(cache.clone()), freshness, changes.clone(), recorder);
    let session = crate::fuse::serve(Serving {
        device: connection.fuse.try_clone()?,
        requests: File::from(connection.requests.try_clone()?),
        view: view.clone(),
        freshness,
        masked: masked(&estate.settings),
        memory: if estate.settings.profiling.observe { KernelMemory::Off } else { KernelMemory::Allowed },
        workers: std::thread::available_parallelism()
            .map_or(WORKERS_MIN, |n| n.get() + 1)
            .clamp(WORKERS_MIN, WORKERS_MAX),
        blocking: |allowed, body| allow_blocking_here(allowed, body),
        recorder,
    })
    .map_err(cannot("answer the kernel"))?;
    let notifier = session.notifier();
    let shown = view.clone();
    changes.subscribe(move |change| {
        if let Some((parent, name)) = shown.remembered_as(&change.path) {
            notifier.forget_entry(parent, &name);
        }
    });
    Ok((session, view))
}

fn owners(settings: &Settings) -> Owners {
    match settings.way_in {
        WayIn::UserNamespace => {
            Owners::OnlyCaller { gid: settings.caller.gid, groups: settings.caller.groups.clone() }
        }
        _ => Owners::AsTheyAre,
    }
}

fn masked(settings: &Settings) -> Masked {
    let has = |feature: &str| settings.masked.iter().any(|masked| masked == feature);
    Masked { resend: has("resend"), no_opendir: has("no_opendir") }
}
