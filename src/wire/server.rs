//! Lets the nodes of the job connect, and nobody else.
//!
//! A connection proves itself first, within a few seconds and without a byte of the job's being read for it. Of
//! those that have not yet, a bounded number is held; a further one costs the oldest its place.
//!
//! Invariant: nothing a peer without the key sends reaches HTTP, storage or the source.
//! Invariant: what one child has in hand is bounded, and a slow child waits alone.
//!
//! Not here: what is answered (`answer`), who listens on which port (`cluster`).

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};

use super::answer;
use super::channel;
use super::identity::{Fabric, Identity};
use super::limits::{
    BYTES_PER_CHILD_MAX, CHILDREN_MAX, CONNECTIONS_MAX, GIVEN_FILES_MAX, HEADERS_MAX, PROOF_TIME_MAX,
    QUESTIONS_PER_CHILD_MAX, SERVER_BUFFER_BYTES_MAX, SMALL_FILES_BYTES_MAX, UNPROVEN_MAX,
};
use super::question::AbortOnDrop;
use super::runtime::WireRuntime;
use crate::cluster::NodeRank;
use crate::file::{FilePath, SmallFile, Source, Version};
use crate::profile::recorder::{Counter, Recorder};

/// Takes the record of a node beneath: who sent it, and its bytes.
pub type Records = Box<dyn Fn(NodeRank, Vec<u8>) + Send + Sync>;

/// Does as it is told, on a thread that may block; false if it does not, or not yet.
pub type Orders = Arc<dyn Fn(Vec<u8>) -> bool + Send + Sync>;

/// What a server needs.
pub struct Serving {
    /// What connections prove.
    pub identity: Identity,
    /// This node.
    pub rank: NodeRank,
    /// Number of views of the job; questions about others are refused.
    pub views: usize,
    /// Answers the questions: the node's cache.
    pub source: Arc<dyn Source>,
    /// Takes records.
    pub records: Records,
    /// Takes recordings of nodes beneath, and hands them on.
    pub recordings: Orders,
    /// Does what another node says is to be done.
    pub orders: Orders,
    /// Counts.
    pub recorder: Recorder,
}

/// Answers questions until it is dropped.
pub struct Server {
    shared: Arc<Shared>,
    _accepting: Vec<AbortOnDrop>,
}

/// What all connections share.
pub(super) struct Shared {
    pub(super) serving: Serving,
    children: Mutex<HashMap<NodeRank, Arc<Child>>>,
    unproven: Mutex<VecDeque<(u64, AbortHandle)>>,
    next_unproven: AtomicU64,
    connections: Arc<Semaphore>,
    /// When the last connection that had proven itself ended.
    left: Mutex<Option<Instant>>,
    has_warned: AtomicBool,
}

/// What one child may have in hand.
pub(super) struct Child {
    pub(super) questions: Arc<Semaphore>,
    /// In bytes.
    pub(super) blocks: Arc<Semaphore>,
    given: Mutex<Given>,
}

/// The small files that a child has been given, or has asked for.
#[derive(Default)]
struct Given {
    /// Hashes of path and version.
    files: HashSet<u64>,
    /// How many of the small files of a directory have been looked at.
    looked_at: HashMap<FilePath, usize>,
}

impl Child {
    /// Small files beside the one at `path` that this child has not been given yet, as many as may ride along.
    ///
    /// This node has read them for somebody of the same job, who then went on to the file that is asked for now.
    pub(super) fn riding(&self, source: &dyn Source, path: &FilePath, version: Version) -> Vec<SmallFile> {
        let Some((directory, _)) = path.split() else { return Vec::new() };
        let mut given = lock(&self.given);
        if given.files.len() > GIVEN_FILES_MAX || given.looked_at.len() > GIVEN_FILES_MAX {
            *given = Given::default();
        }
        given.files.insert(hash_of(path, version));
        let known = given.looked_at.get(&directory).copied().unwrap_or(0);
        let (files, mut upto) = source.small_files(&directory, known);
        let (mut riding, mut bytes) = (Vec::new(), 0);
        let count = files.len();
        for (at, file) in files.into_iter().enumerate() {
            let hash = hash_of(&file.path, file.version);
            if given.files.contains(&hash) {
                continue;
            }
            bytes += file.block.len();
            if bytes > SMALL_FILES_BYTES_MAX {
                // The rest rides along with the next one; those dropped meanwhile are counted again, harmlessly.
                upto -= count - at;
                break;
            }
            given.files.insert(hash);
            riding.push(file);
        }
        given.looked_at.insert(directory, upto);
        riding
    }
}

fn hash_of(path: &FilePath, version: Version) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    (path, version).hash(&mut hasher);
    hasher.finish()
}

impl Server {
    /// Begins to answer whoever connects to `listeners`.
    ///
    /// # Errors
    /// A listener cannot be watched.
    pub fn start(runtime: &WireRuntime, listeners: Vec<TcpListener>, serving: Serving) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            serving,
            children: Mutex::default(),
            unproven: Mutex::default(),
            next_unproven: AtomicU64::new(0),
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            left: Mutex::default(),
            has_warned: AtomicBool::new(false),
        });
        let handle = runtime.handle();
        let _within = handle.enter();
        let mut accepting = Vec::new();
        for listener in listeners {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let task = handle.spawn(accept(shared.clone(), listener));
            accepting.push(AbortOnDrop(task.abort_handle()));
        }
        Ok(Server { shared, _accepting: accepting })
    }

    /// Connections that have proven themselves and are open, heartbeats among them.
    pub fn connections(&self) -> usize {
        CONNECTIONS_MAX - self.shared.connections.available_permits()
    }

    /// How long ago one of them ended; `None`: none has.
    pub fn left_for(&self) -> Option<Duration> {
        lock(&self.shared.left).map(|left| left.elapsed())
    }

    /// Nodes that have ever been connected.
    pub fn children(&self) -> Vec<NodeRank> {
        let mut children: Vec<_> = lock(&self.shared.children).keys().copied().collect();
        children.sort_unstable();
        children
    }
}

impl Shared {
    /// What `rank` has in hand; `None` if there are too many children.
    pub(super) fn child(&self, rank: NodeRank) -> Option<Arc<Child>> {
        let mut children = lock(&self.children);
        if let Some(child) = children.get(&rank) {
            return Some(child.clone());
        }
        if children.len() >= CHILDREN_MAX {
            return None;
        }
        let child = Arc::new(Child {
            questions: Arc::new(Semaphore::new(QUESTIONS_PER_CHILD_MAX)),
            blocks: Arc::new(Semaphore::new(BYTES_PER_CHILD_MAX)),
            given: Mutex::default(),
        });
        children.insert(rank, child.clone());
        Some(child)
    }

    pub(super) fn limit_hit(&self) {
        self.serving.recorder.count(Counter::LimitsHit);
    }

    /// Says once that somebody does not prove itself; each time would fill the log at a stranger's will.
    fn warn(&self, from: SocketAddr, error: &io::Error) {
        if self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::debug!(%from, %error, "not let in");
            return;
        }
        let fabric = match self.serving.identity.fabric() {
            Fabric::Encrypted => "without",
            Fabric::Trusted => "with",
        };
        tracing::warn!(
            %from, %error,
            "not let in: somebody connected who has another key, job or list of views, or does not start `{fabric} --trust-fabric` as this node does; further ones are not told"
        );
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

async fn accept(shared: Arc<Shared>, listener: tokio::net::TcpListener) {
    // Its tasks end with it.
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                while connections.try_join_next().is_some() {}
                let number = shared.next_unproven.fetch_add(1, Ordering::Relaxed);
                // Locked until it stands in the table, so that it cannot leave it earlier.
                let mut unproven = lock(&shared.unproven);
                let task = connections.spawn(serve(shared.clone(), stream, from, number));
                unproven.push_back((number, task));
                if unproven.len() > UNPROVEN_MAX
                    && let Some((_, oldest)) = unproven.pop_front()
                {
                    oldest.abort();
                    shared.limit_hit();
                }
            }
            // No descriptor is free, or the peer has gone already: neither ends the service.
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve(shared: Arc<Shared>, stream: TcpStream, from: SocketAddr, number: u64) {
    let serving = &shared.serving;
    let proof = channel::accept(stream, &serving.identity, serving.recorder);
    let proven = tokio::time::timeout(PROOF_TIME_MAX, proof).await;
    lock(&shared.unproven).retain(|(other, _)| *other != number);
    let channel = match proven {
        Ok(Ok(channel)) => channel,
        Ok(Err(error))
            if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) =>
        {
            return tracing::debug!(%from, %error, "left before it proved itself");
        }
        Ok(Err(error)) => return shared.warn(from, &error),
        Err(_) => return shared.limit_hit(),
    };
    let Ok(_place) = shared.connections.clone().try_acquire_owned() else { return shared.limit_hit() };
    let answering = shared.clone();
    let service = service_fn(move |request| {
        let shared = answering.clone();
        async move { Ok::<_, std::convert::Infallible>(answer::answer(shared, request).await) }
    });
    let connection = http1::Builder::new()
        .max_buf_size(SERVER_BUFFER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(channel), service);
    if let Err(error) = connection.await {
        tracing::debug!(%from, %error, "a connection ended");
    }
    // Before its place is free.
    *lock(&shared.left) = Some(Instant::now());
}
