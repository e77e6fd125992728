//! What the mount shows: names, node ids, attributes, directories; over a [`Source`], without FUSE.
//!
//! Invariant: a node id stands for one path and, for anything but a directory, one version of it. A replaced
//! file gets another id, so the kernel never mixes the pages of two versions. A directory keeps its id as
//! long as it is a directory, since the kernel detaches what is mounted or working in one that changes.
//!
//! Not here: the kernel's protocol (`fuse`), where answers come from (`cache` and beneath).

mod layout;
mod nodes;
mod owners;
mod places;
mod seen;

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub use self::layout::Layout;
pub use self::nodes::{NODES_SHARED_BYTES, NodeId, NodeTable};
pub use self::owners::Owners;
use self::places::Place;
use self::seen::{Asked, by};
use crate::file::{
    Answer, AsOf, Attributes, Block, BlockIndex, Change, Changes, Entry, Fetch, FetchError, FileKind,
    FilePath, FileSystemUsage, Freshness, Listing, Origin, Passing, Source, Urgency, Version, ViewId,
};
use crate::profile::recorder::event::{AnsweredBy, Operation, Outcome};
use crate::profile::recorder::{Counter, Recorder};

/// A file up to this size is given to the kernel whole when it is opened: 128 KiB, what the kernel would ask
/// for first anyway.
const GIVEN_BYTES_MAX: u32 = 128 * 1024;

/// An answer to the kernel under way.
pub type Reply<T> = Pin<Box<dyn Future<Output = Result<T, FetchError>> + Send>>;

/// How long the kernel may remember that a name leads somewhere, or nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasting {
    /// Until it is told otherwise.
    ForTheJob,
    /// For this long.
    For(Duration),
    /// It must ask again: the version is too young to be trusted.
    NotAtAll,
}

/// A name as the kernel shall see it.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    /// Its node.
    pub node: NodeId,
    /// Attributes, owners mapped.
    pub attributes: Attributes,
    /// How long the name leads to this node.
    pub lasting: Lasting,
    /// How long the attributes are these.
    pub attributes_last: Lasting,
}

/// What a node is like, as the kernel shall see it.
#[derive(Debug, Clone, Copy)]
pub struct Described {
    /// Owners mapped.
    pub attributes: Attributes,
    /// How long they are these.
    pub lasting: Lasting,
}

/// The answer to a lookup.
#[derive(Debug, Clone, Copy)]
pub enum Looked {
    /// It exists.
    Found(Shown),
    /// It does not.
    Absent(Lasting),
}

/// One row of a directory on its way to a reader.
pub struct DirectoryRow<'a> {
    /// The name.
    pub name: &'a [u8],
    /// Inode number.
    pub inode: u64,
    /// `d_type`.
    pub kind: u8,
    /// Where to resume after this row.
    pub position: u64,
}

/// Takes rows of a directory until it is full.
pub trait DirectorySink {
    /// Whether another row with a name of this many bytes fits.
    fn has_room(&self, name_bytes: usize) -> bool;
    /// Whether rows may carry attributes.
    fn wants_attributes(&self) -> bool;
    /// Adds a row; `shown` has been counted as a lookup of its node.
    fn add(&mut self, row: &DirectoryRow<'_>, shown: Option<&Shown>);
}

/// Bytes of a file in pieces that need not be copied together.
pub struct Content {
    /// Read for this reader alone; there are no other pieces then.
    passing: Option<Passing>,
    pieces: Vec<(Arc<Block>, Range<usize>)>,
}

impl Content {
    /// The pieces in order.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let pieces = self.pieces.iter().map(|(block, range)| &block[range.clone()]);
        self.passing.iter().map(|passing| &**passing).chain(pieces)
    }
}

/// A file that the kernel knows.
#[derive(Debug, Clone)]
pub struct KnownNode {
    /// By this number.
    pub node: NodeId,
    /// Where it is.
    pub path: FilePath,
    /// Whether it was a directory when it was looked up.
    pub is_directory: bool,
}

/// What one connection shows, perhaps to one thread of a task that asks. Cloning shares it.
#[derive(Clone)]
pub struct View(Arc<Inner>, Option<u32>);

struct Inner {
    nodes: NodeTable,
    layout: Layout,
    owners: Owners,
    source: Arc<dyn Source>,
    freshness: Freshness,
    changes: Changes,
    recorder: Recorder,
}

impl View {
    /// Shows what `source` tells, arranged as `layout` says. What is older than `freshness` allows the kernel does not
    /// remember.
    pub fn new(
        nodes: NodeTable,
        layout: Layout,
        owners: Owners,
        source: Arc<dyn Source>,
        freshness: Freshness,
        changes: Changes,
        recorder: Recorder,
    ) -> Self {
        View(Arc::new(Inner { nodes, layout, owners, source, freshness, changes, recorder }), None)
    }

    /// The same, asked by a task's thread `thread`, as the kernel numbers it: what it is told is recorded as that task's.
    pub fn asked_by(&self, thread: u32) -> Self {
        View(self.0.clone(), Some(thread))
    }

    /// Where `name` in the directory `parent` leads. A found node counts as looked up once more.
    pub fn lookup(&self, parent: NodeId, name: &[u8]) -> Reply<Looked> {
        match self.0.place_of_name(parent, name) {
            Err(error) => fails(error),
            Ok(Place::Between { .. }) => Box::pin(std::future::ready(self.0.between(parent, name))),
            Ok(Place::Nowhere) => done(Looked::Absent(Lasting::ForTheJob)),
            Ok(Place::File(path)) => {
                let (inner, name) = (self.0.clone(), Box::<[u8]>::from(name));
                let asked = inner.asked(Operation::Lookup, self.1);
                let fetch = inner.source.entry(&path, Urgency::Demand);
                Box::pin(async move { inner.looked(parent, &name, &path, asked, fetch.await) })
            }
        }
    }

    /// Attributes of `node`, if it still is the version it stands for.
    pub fn attributes(&self, node: NodeId) -> Reply<Described> {
        let (place, version) = match self.0.place_of(node) {
            Ok(found) => found,
            Err(error) => return fails(error),
        };
        let Place::File(path) = place else {
            let attributes = self.0.layout.attributes_between(node);
            return done(Described { attributes, lasting: Lasting::ForTheJob });
        };
        let inner = self.0.clone();
        let asked = inner.asked(Operation::Attributes, self.1);
        let fetch = inner.source.entry(&path, Urgency::Demand);
        Box::pin(async move {
            let entry = inner.counted(asked, &path, fetch.await)?;
            let attributes = entry.attributes;
            if attributes.is_directory() || version.is_none_or(|v| v == attributes.version()) {
                let lasting = inner.attributes_last(&entry);
                return Ok(Described { attributes: inner.owners.show(attributes), lasting });
            }
            inner.lost(&path)
        })
    }

    /// Where the symlink `node` points to.
    pub fn target(&self, node: NodeId) -> Reply<Box<[u8]>> {
        let path = match self.0.file_of(node) {
            Ok((path, _)) => path,
            Err(error) => return fails(error),
        };
        let inner = self.0.clone();
        let asked = inner.asked(Operation::Readlink, self.1);
        let fetch = inner.source.entry(&path, Urgency::Demand);
        Box::pin(async move {
            let entry = inner.counted(asked, &path, fetch.await)?;
            match &entry.target {
                Some(target) => Ok(target.clone()),
                None => inner.lost(&path),
            }
        })
    }

    /// Up to `length` bytes from `offset` of the version that `node` stands for; short only at the end.
    pub fn read(&self, node: NodeId, offset: u64, length: u32) -> Reply<Content> {
        let (path, version) = match self.0.file_of(node) {
            Ok((path, Some(version))) => (path, version),
            Ok((_, None)) => return fails(FetchError::Storage { errno: libc::EISDIR }),
            Err(error) => return fails(error),
        };
        let asked = self.0.asked(Operation::Read, self.1);
        let unsure = !self.0.nodes.may_give_content(node);
        let look = unsure.then(|| self.0.source.entry(&path, Urgency::Demand));
        let end = offset.saturating_add(u64::from(length)).min(version.size);
        if !unsure
            && offset < end
            && let Some(outcome) = self.0.source.read_here(&path, version, offset..end)
        {
            return Box::pin(std::future::ready(self.0.read_here(asked, &path, outcome)));
        }
        let inner = self.0.clone();
        Box::pin(async move {
            if let Some(look) = look {
                inner.still_is(&path, version, look.await)?;
                inner.nodes.give_content(node);
            }
            let mut pieces = Vec::with_capacity(2);
            let mut at = offset;
            let mut farthest = Origin::Cache;
            for (index, fetch) in inner.ask_blocks(&path, version, offset..end) {
                let outcome = fetch.await;
                inner.count(&outcome);
                let block = match outcome {
                    Ok(answer) => {
                        farthest = farthest.max(answer.origin);
                        answer.value
                    }
                    Err(error) => return Err(inner.unread(asked, &path, error)),
                };
                let held = index.range(version.size);
                let until = end.min(held.end);
                if until == held.end {
                    inner.source.consumed(&path, version, index);
                }
                pieces.push((block, (at - held.start) as usize..(until - held.start) as usize));
                at = until;
            }
            inner.seen(asked, &path, Outcome::Found, by(farthest), at - offset.min(at));
            Ok(Content { passing: None, pieces })
        })
    }

    /// A task has just opened `node` and is likely to read it from the start: its content, if it is small and
    /// was not given to the kernel before.
    pub fn about_to_be_read(&self, node: NodeId) -> Option<Reply<Content>> {
        let (_, version) = self.0.file_of(node).ok()?;
        let size = u32::try_from(version?.size).ok().filter(|size| (1..=GIVEN_BYTES_MAX).contains(size))?;
        if !self.0.nodes.give_content(node) {
            return None;
        }
        Some(self.read(node, 0, size))
    }

    /// Adds the rows of directory `node` after `position` to `sink` until it is full.
    pub fn list<S: DirectorySink + Send + 'static>(
        &self,
        node: NodeId,
        position: u64,
        mut sink: S,
    ) -> Reply<S> {
        let place = match self.0.place_of(node) {
            Ok((place, _)) => place,
            Err(error) => return fails(error),
        };
        let Place::File(path) = place else {
            self.0.list_between(node, &place, position, &mut sink);
            return done(sink);
        };
        let inner = self.0.clone();
        let asked = inner.asked(Operation::List, self.1);
        let fetch = inner.source.listing(&path, Urgency::Demand);
        // Only `.` needs the directory's own inode number, which is hardly ever unknown by now.
        let unknown = position < layout::DOTS && inner.source.known(&path).is_none();
        let own = unknown.then(|| inner.source.entry(&path, Urgency::Demand));
        Box::pin(async move {
            let listing = inner.counted(asked, &path, fetch.await)?;
            let own = match own {
                Some(fetch) => fetch.await.ok().map(|answer| answer.value),
                None => inner.source.known(&path),
            };
            let inode = own.map_or(node.get(), |entry| entry.attributes.inode);
            inner.list(node, inode, &path, position, &listing, &mut sink);
            Ok(sink)
        })
    }

    /// A task opens the file `node`: recorded, and nothing else.
    pub fn opened(&self, node: NodeId) {
        let asked = self.0.asked(Operation::Open, self.1);
        if let (true, Ok((path, _))) = (self.0.recorder.events().is_some(), self.0.file_of(node)) {
            self.0.seen(asked, &path, Outcome::Found, AnsweredBy::Cache, 0);
        }
    }

    /// The figures of `statfs` for the file system that `node` is on.
    pub fn usage(&self, node: NodeId) -> Reply<FileSystemUsage> {
        let view = match self.0.place_of(node) {
            Ok((Place::File(path), _)) => path.view(),
            _ => ViewId::new(0),
        };
        let fetch = self.0.source.usage(view);
        Box::pin(async move { fetch.await.map(|answer| answer.value) })
    }

    /// The kernel gives back `lookups` lookups of `node`.
    pub fn forget(&self, node: NodeId, lookups: u64) {
        let place = self.0.place_of(node);
        if self.0.nodes.forget(node, lookups)
            && let Ok((Place::File(path), Some(version))) = place
        {
            self.0.source.release(&path, version);
        }
    }

    /// The nodes by which the kernel knows what is at or beneath `path`.
    ///
    /// # Cost
    /// Looks at every node.
    pub fn known_beneath(&self, path: &FilePath) -> Vec<KnownNode> {
        let known = |node: NodeId| match self.0.place_of(node) {
            Ok((Place::File(found), version)) if found.is_within(path) => {
                Some(KnownNode { node, path: found, is_directory: version.is_none() })
            }
            _ => None,
        };
        self.0.nodes.all().into_iter().filter_map(known).collect()
    }

    /// The directory node and name by which the kernel may remember `path`, if it knows the directory.
    pub fn remembered_as(&self, path: &FilePath) -> Option<(NodeId, Box<[u8]>)> {
        let (parent, name) = path.split()?;
        Some((self.0.node_of_directory(&parent)?, name.into()))
    }
}

fn done<T: Send + 'static>(value: T) -> Reply<T> {
    Box::pin(std::future::ready(Ok(value)))
}

fn fails<T: Send + 'static>(error: FetchError) -> Reply<T> {
    Box::pin(std::future::ready(Err(error)))
}

impl Inner {
    /// Asks for all blocks that hold these bytes before any of them is waited for.
    fn ask_blocks(
        &self,
        path: &FilePath,
        version: Version,
        bytes: Range<u64>,
    ) -> Vec<(BlockIndex, Fetch<Arc<Block>>)> {
        if bytes.is_empty() {
            return Vec::new();
        }
        let blocks = BlockIndex::holding(bytes.start).0..BlockIndex::holding(bytes.end - 1).0 + 1;
        if blocks.end - blocks.start > 1 {
            self.source.expect(path, version, blocks.clone(), Urgency::Demand);
        }
        let ask = |index| (index, self.source.block(path, version, index, Urgency::Demand));
        blocks.map(BlockIndex).map(ask).collect()
    }

    fn read_here(
        &self,
        asked: Asked,
        path: &FilePath,
        outcome: Result<Passing, FetchError>,
    ) -> Result<Content, FetchError> {
        let answer = outcome.map(|value| Answer { value, origin: Origin::Storage });
        self.count(&answer);
        match answer {
            Ok(Answer { value: passing, .. }) => {
                self.seen(asked, path, Outcome::Found, AnsweredBy::Storage, passing.len() as u64);
                Ok(Content { passing: Some(passing), pieces: Vec::new() })
            }
            Err(error) => Err(self.unread(asked, path, error)),
        }
    }

    /// Content was not read, because of `error`.
    fn unread(&self, asked: Asked, path: &FilePath, error: FetchError) -> FetchError {
        let (outcome, by) = seen::of_error(&error);
        self.seen(asked, path, outcome, by, 0);
        match error {
            FetchError::Stale => self.lose(path),
            other => other,
        }
    }

    fn looked(
        &self,
        parent: NodeId,
        name: &[u8],
        path: &FilePath,
        asked: Asked,
        outcome: Result<Answer<Arc<Entry>>, FetchError>,
    ) -> Result<Looked, FetchError> {
        match self.counted(asked, path, outcome) {
            Ok(entry) => Ok(Looked::Found(self.show(parent, name, path, &entry)?)),
            Err(FetchError::Absent { proven: true, as_of, .. }) => Ok(Looked::Absent(self.lasting(as_of))),
            Err(FetchError::Absent { proven: false, .. }) => Ok(Looked::Absent(Lasting::NotAtAll)),
            Err(error) => Err(error),
        }
    }

    /// The node for `name` in `parent`, counted as looked up once.
    fn show(&self, parent: NodeId, name: &[u8], path: &FilePath, entry: &Entry) -> Result<Shown, FetchError> {
        let kind = entry.attributes.kind();
        let version = (kind != FileKind::Directory).then(|| entry.attributes.version());
        let view_root = path.relative().is_empty().then(|| path.view());
        let node = self.nodes.look_up(parent, name, version, view_root, entry.settled)?;
        let lasting = if entry.settled { self.lasting(entry.as_of) } else { Lasting::NotAtAll };
        let attributes_last = self.attributes_last(entry);
        Ok(Shown { node, attributes: self.owners.show(entry.attributes), lasting, attributes_last })
    }

    /// How long the kernel may remember what storage told at this moment.
    fn lasting(&self, as_of: AsOf) -> Lasting {
        match self.freshness.left(as_of) {
            None => Lasting::ForTheJob,
            Some(Duration::ZERO) => Lasting::NotAtAll,
            Some(left) => Lasting::For(left),
        }
    }

    /// A file's node stands for one version, whose attributes do not change; a directory's for whatever is there.
    fn attributes_last(&self, entry: &Entry) -> Lasting {
        match entry.attributes.is_directory() {
            true => self.lasting(entry.as_of),
            false => Lasting::ForTheJob,
        }
    }

    /// Whether the file at `path` still is `version`, its change time included: the descriptor by which storage would
    /// know died with a daemon, and the kernel holds bytes that must not be mixed with others.
    fn still_is(
        &self,
        path: &FilePath,
        version: Version,
        outcome: Result<Answer<Arc<Entry>>, FetchError>,
    ) -> Result<(), FetchError> {
        self.count(&outcome);
        match outcome {
            Ok(answer) if answer.value.attributes.version() == version => Ok(()),
            Ok(_) | Err(FetchError::Absent { .. }) => self.lost(path),
            Err(error) => Err(error),
        }
    }

    /// The version a node stands for is gone: everybody is told, and the task gets ESTALE.
    fn lost<T>(&self, path: &FilePath) -> Result<T, FetchError> {
        Err(self.lose(path))
    }

    fn lose(&self, path: &FilePath) -> FetchError {
        self.recorder.count(Counter::FaultsStale);
        self.changes.announce(&Change { path: path.clone() });
        FetchError::Stale
    }

    fn list(
        &self,
        node: NodeId,
        inode: u64,
        path: &FilePath,
        position: u64,
        listing: &Listing,
        sink: &mut impl DirectorySink,
    ) {
        if !self.list_dots(inode, position, sink) {
            return;
        }
        for (position, row) in listing.after(position.max(layout::DOTS)) {
            if !sink.has_room(row.name.len()) {
                return;
            }
            let shown = self.known_row(node, path, &row.name, sink);
            let inode = shown.map_or(row.inode, |s| s.attributes.inode);
            sink.add(&DirectoryRow { name: &row.name, inode, kind: row.kind, position }, shown.as_ref());
        }
    }

    /// What can be told of a row at once. Only settled entries: others would have to be asked again anyway.
    fn known_row(
        &self,
        node: NodeId,
        path: &FilePath,
        name: &[u8],
        sink: &impl DirectorySink,
    ) -> Option<Shown> {
        if !sink.wants_attributes() {
            return None;
        }
        let child = path.join(name);
        let entry = self.source.known(&child)?;
        self.show(node, name, &child, &entry).ok()
    }
}
