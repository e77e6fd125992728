//! Whoever can answer questions about the files of the views: cache, tree, storage.
//!
//! Each is a [`Source`] over another and knows it only by this trait. What changed travels the other way,
//! through [`Changes`], so that no lower layer names a higher one.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, RwLock};

use super::{Block, BlockIndex, Entry, FetchError, FilePath, Listing, Passing, Version, ViewId};

/// Who gave an answer, the nearest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// This node already knew.
    Cache,
    /// Another node, which may have asked others.
    Parent,
    /// The node that asks storage for all others.
    Root,
    /// The shared file system.
    Storage,
}

/// An answer and who gave it.
#[derive(Debug, Clone)]
pub struct Answer<T> {
    /// What was asked for.
    pub value: T,
    /// Who gave it.
    pub origin: Origin,
}

/// Whether a task waits for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Urgency {
    /// A task waits.
    Demand,
    /// Nobody has asked yet; it may be dropped when storage is busy.
    Ahead,
}

/// A question under way. It may be polled from any thread, first without and later within a runtime.
pub type Fetch<T> = Pin<Box<dyn Future<Output = Result<Answer<T>, FetchError>> + Send>>;

/// A question that was answered at once.
pub fn ready<T: Send + 'static>(result: Result<Answer<T>, FetchError>) -> Fetch<T> {
    Box::pin(std::future::ready(result))
}

/// What `statfs` tells of the file system a view lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSystemUsage {
    /// Size of a block in bytes; the counts below are in this unit.
    pub block_bytes: u32,
    /// Blocks in all.
    pub blocks: u64,
    /// Blocks free.
    pub blocks_free: u64,
    /// Blocks free for ordinary users.
    pub blocks_available: u64,
    /// Inodes in all.
    pub files: u64,
    /// Inodes free.
    pub files_free: u64,
    /// Longest name in bytes.
    pub name_bytes_max: u32,
}

/// A file of one block, whole.
#[derive(Debug, Clone)]
pub struct SmallFile {
    /// Where it is.
    pub path: FilePath,
    /// The version it is of.
    pub version: Version,
    /// All of it.
    pub block: Arc<Block>,
}

/// Whoever can answer questions about the files of the views.
///
/// # Errors
/// As [`FetchError`] says. A question that cannot be answered yet waits; it does not fail.
pub trait Source: Send + Sync + 'static {
    /// What is known of the name at `path`, by its own call on storage if need be.
    fn entry(&self, path: &FilePath, urgency: Urgency) -> Fetch<Arc<Entry>>;

    /// The same, by whoever knows another version than `stale`, which is gone: what is still told of it is forgotten.
    fn entry_after(&self, path: &FilePath, _stale: Version) -> Fetch<Arc<Entry>> {
        self.entry(path, Urgency::Demand)
    }

    /// All names of the directory at `path`.
    fn listing(&self, path: &FilePath, urgency: Urgency) -> Fetch<Arc<Listing>>;

    /// The same, if `known` is too old by now. Whoever has it from storage may find by one look that nothing changed.
    fn listing_again(&self, path: &FilePath, _known: &Arc<Listing>, urgency: Urgency) -> Fetch<Arc<Listing>> {
        self.listing(path, urgency)
    }

    /// One block of the file at `path`, exactly as storage has it under `version`; else [`FetchError::Stale`].
    fn block(
        &self,
        path: &FilePath,
        version: Version,
        index: BlockIndex,
        urgency: Urgency,
    ) -> Fetch<Arc<Block>>;

    /// Each of these blocks is about to be asked for: whoever gets them from afar may do so in one question.
    fn expect(&self, _path: &FilePath, _version: Version, _blocks: Range<u64>, _urgency: Urgency) {}

    /// `listing`, which is that of the directory at `path`, with every attribute that is known by now.
    fn told(&self, _path: &FilePath, listing: Arc<Listing>) -> Arc<Listing> {
        listing
    }

    /// Small files in `directory` whose content was read here, in the order in which it was, without the first
    /// `known`; and how many there have been.
    fn small_files(&self, _directory: &FilePath, known: usize) -> (Vec<SmallFile>, usize) {
        (Vec::new(), known)
    }

    /// The figures of `statfs`.
    fn usage(&self, view: ViewId) -> Fetch<FileSystemUsage>;

    /// What can be told of the name at `path` at once and without asking anybody.
    fn known(&self, _path: &FilePath) -> Option<Arc<Entry>> {
        None
    }

    /// Exactly these bytes of the file at `path`, if they are best read by this very thread and kept by nobody;
    /// otherwise `None`, and [`Source::block`] is to be asked.
    ///
    /// All of them, exactly as storage has them under `version`; else [`FetchError::Stale`].
    fn read_here(
        &self,
        _path: &FilePath,
        _version: Version,
        _range: Range<u64>,
    ) -> Option<Result<Passing, FetchError>> {
        None
    }

    /// Whether content comes out of this node's memory anyway, so that nothing is gained by reading it ahead.
    fn reads_quickly(&self) -> bool {
        false
    }

    /// Whether questions about what is in the directory at `path` go from here to storage, with no other node between.
    /// Only there is it worth guessing what will be asked; a node above has guessed already.
    fn is_near(&self, _path: &FilePath) -> bool {
        true
    }

    /// The listing of the directory at `path` if it can be told at once and without asking anybody.
    fn known_listing(&self, _path: &FilePath) -> Option<Arc<Listing>> {
        None
    }

    /// The kernel now holds all of this block: this node need not.
    fn consumed(&self, _path: &FilePath, _version: Version, _index: BlockIndex) {}

    /// The kernel has forgotten this version of the file; descriptors kept for its readers may go.
    fn release(&self, path: &FilePath, version: Version);
}

/// Something on storage is no longer as it was first seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The name concerned.
    pub path: FilePath,
}

type Listener = Box<dyn Fn(&Change) + Send + Sync>;

/// Subscriptions to changes. Cloning shares the list.
#[derive(Clone, Default)]
pub struct Changes(Arc<RwLock<Vec<Listener>>>);

impl Changes {
    /// Calls `listener` for each change from now on, on the thread that noticed it.
    pub fn subscribe(&self, listener: impl Fn(&Change) + Send + Sync + 'static) {
        self.0.write().unwrap_or_else(|e| e.into_inner()).push(Box::new(listener));
    }

    /// Tells every listener.
    pub fn announce(&self, change: &Change) {
        for listener in self.0.read().unwrap_or_else(|e| e.into_inner()).iter() {
            listener(change);
        }
    }
}
