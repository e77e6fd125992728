//! The tree as a [`Source`]: asks along the route of each shard, and asks somebody else when a node fails.
//!
//! Invariant: an error reaches the asker only if storage gave it, here or at a node above. Lost connections, silence,
//! wrong bytes and refusals lead to another node or to storage.
//! Invariant: a view whose directory is another one here than at the tree's root is read from this node's storage.
//!
//! Not here: which route (`upstream`), connections (`links`), keeping answers (`cache`).

use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, oneshot};

use super::coming::{Expected, RidingFiles};
use super::links::{Asking, Complain, Links, Way};
use super::shape::{STRIPE_BLOCKS, Shape, Shard};
use super::upstream::{Event, Upstream};
use crate::cluster::NodeRank;
use crate::file::{
    Answer, Block, BlockIndex, Entry, Fetch, FetchError, FilePath, FileSystemUsage, Freshness, Listing,
    Origin, Source, Urgency, Version, ViewId, task,
};
use crate::profile::recorder::{Counter, Recorder};
use crate::wire::{AskError, BlockRange, Carrier, Question, Refusal, Reply};

/// Listings kept that came along with others until somebody asks for them: 512, at most as many as ride along with
/// some dozens of answers.
const RIDING_KEPT_MAX: usize = 512;

/// How long to wait before a busy node is asked again: 20 ms, some dozens of its answers.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// What a node needs to take its place in the trees.
pub struct Joining {
    /// The trees of the job.
    pub shape: Shape,
    /// This node.
    pub own: NodeRank,
    /// For each view whether it lies on storage that the other nodes see too.
    pub shared: Vec<bool>,
    /// Storage as this node sees it.
    pub storage: Arc<dyn Source>,
    /// Connects to other nodes.
    pub carrier: Arc<dyn Carrier>,
    /// Runs what waits for other nodes.
    pub runtime: Handle,
    /// How old what is told of names may be.
    pub freshness: Freshness,
    /// Decides the jitter.
    pub seed: u64,
    /// How long ago the node's service was founded.
    pub age: Duration,
    /// Is told what keeps this node from another for longer than a start takes, once of each node.
    pub complain: Complain,
    /// Counts.
    pub recorder: Recorder,
}

/// How a node stands in the trees now.
#[derive(Debug, Clone)]
pub struct TreeState {
    /// Its place in each tree.
    pub shards: Vec<ShardState>,
    /// Nodes that it is connected to, to ask them.
    pub connected: Vec<NodeRank>,
    /// Nodes that it was connected to and has given up for now.
    pub given_up: Vec<NodeRank>,
    /// Views that it reads from storage itself, since they are not shared or differ from the root's.
    pub views_apart: Vec<ViewId>,
}

impl TreeState {
    /// Whether it knows whom to ask in each tree.
    pub fn is_connected(&self) -> bool {
        self.shards.iter().all(|shard| shard.parent.is_none() || shard.asks.is_some() || shard.is_top)
    }
}

/// How a node stands in one tree now.
#[derive(Debug, Clone, Copy)]
pub struct ShardState {
    /// The tree's root.
    pub root: NodeRank,
    /// The node above in the tree; `None` for the root.
    pub parent: Option<NodeRank>,
    /// The node that is asked, which is another one if the parent has failed.
    pub asks: Option<NodeRank>,
    /// Whether storage is asked, by this node.
    pub is_top: bool,
}

/// The way to storage through other nodes. Cloning shares it.
#[derive(Clone)]
pub struct Tree(Arc<Inner>);

struct Inner {
    shape: Shape,
    own: NodeRank,
    storage: Arc<dyn Source>,
    links: Arc<Links>,
    /// For each view whether it goes through the tree, once that is known.
    through: Vec<OnceCell<bool>>,
    riding: Cache<FilePath, Arc<Listing>>,
    freshness: Freshness,
    /// How often those were forgotten.
    generation: AtomicU64,
    files: RidingFiles,
    expected: Expected,
    recorder: Recorder,
}

/// What became of a question to one node.
enum Outcome<T> {
    Answered(Result<Answer<T>, FetchError>),
    AskAgain,
    AskStorage,
}

impl Tree {
    /// Begins to look for the nodes above this one.
    pub fn join(joining: Joining) -> Self {
        let Joining {
            shape,
            own,
            shared,
            storage,
            carrier,
            runtime,
            freshness,
            seed,
            age,
            complain,
            recorder,
        } = joining;
        let upstream = Upstream::new(shape, own, seed, Duration::ZERO, age);
        let links = Links::start(upstream, carrier, runtime, complain, recorder);
        let known =
            |is_shared: &bool| if *is_shared { OnceCell::new() } else { OnceCell::new_with(Some(false)) };
        let through = shared.iter().map(known).collect();
        let riding = Cache::new(RIDING_KEPT_MAX);
        Tree(Arc::new(Inner {
            shape,
            own,
            storage,
            links,
            through,
            riding,
            freshness,
            generation: AtomicU64::new(0),
            files: RidingFiles::new(),
            expected: Expected::default(),
            recorder,
        }))
    }

    /// Tells now what has kept this node from others, without waiting whether it passes: the job ends.
    pub fn complain_now(&self) {
        self.0.links.complain_now();
    }

    /// How this node stands in the trees now.
    pub fn state(&self) -> TreeState {
        let Inner { shape, own, links, .. } = &*self.0;
        let shard = |shard| {
            let (root, parent) = (shape.root(shard), shape.parent(shard, *own));
            let (asks, is_top) = (links.asks(shard), links.asks_storage(shard));
            ShardState { root, parent, asks, is_top }
        };
        let (connected, given_up) = links.peers();
        TreeState {
            shards: shape.shards().map(shard).collect(),
            connected,
            given_up,
            views_apart: self.views_apart(),
        }
    }

    /// The views that this node reads from storage itself, since they are not shared or differ from the root's.
    pub fn views_apart(&self) -> Vec<ViewId> {
        let apart = |view: &usize| self.0.through[*view].get() == Some(&false);
        (0..self.0.through.len()).filter(apart).map(ViewId::new).collect()
    }

    /// Forgets listings that came along with others, those on their way included.
    pub fn forget_riding(&self) {
        self.0.generation.fetch_add(1, Ordering::AcqRel);
        self.0.riding.clear();
    }

    /// Sends records or a recording one step up the first tree, and says which node took it; `None` if there is none above, since
    /// this node is the root or stands in for it.
    ///
    /// # Cost
    /// Waits for as long as no node above can be reached.
    pub async fn send_up(&self, what: Question) -> Option<NodeRank> {
        let shard = Shard::new(0);
        loop {
            let Way::Peer(mut asking) = self.0.links.way(shard).await else { return None };
            let asked = asking.peer.clone().ask(what.clone());
            if let Some(Ok(Reply::Done)) = unless_given_up(&mut asking, asked).await {
                return Some(asking.rank);
            }
            self.0.links.pause(BUSY_PAUSE).await;
        }
    }
}

/// What `asked` gives, or `None` if the peer is given up before.
async fn unless_given_up<T>(asking: &mut Asking, asked: impl Future<Output = T>) -> Option<T> {
    let mut asked = pin!(asked);
    let mut given_up = pin!(asking.given_up());
    std::future::poll_fn(|context| {
        if let Poll::Ready(answer) = asked.as_mut().poll(context) {
            return Poll::Ready(Some(answer));
        }
        given_up.as_mut().poll(context).map(|()| None)
    })
    .await
}

impl Inner {
    /// Asks `question` along the route of `shard` until there is an answer, or storage is to be asked.
    async fn ask<T>(
        &self,
        shard: Shard,
        question: Question,
        take: impl Fn(&Self, Reply) -> Option<T>,
    ) -> Option<Result<Answer<T>, FetchError>> {
        loop {
            let Way::Peer(mut asking) = self.links.way(shard).await else { return None };
            let asked = asking.peer.clone().ask(question.clone());
            let Some(answer) = unless_given_up(&mut asking, asked).await else { continue };
            let origin = self.origin(shard, Some(asking.rank));
            match self.judge(&asking, answer, &take, origin) {
                Outcome::Answered(result) => return Some(result),
                Outcome::AskStorage => return None,
                Outcome::AskAgain => self.links.pause(BUSY_PAUSE).await,
            }
        }
    }

    fn judge<T>(
        &self,
        asking: &Asking,
        answer: Result<Reply, AskError>,
        take: impl Fn(&Self, Reply) -> Option<T>,
        origin: Origin,
    ) -> Outcome<T> {
        let corrupt = || {
            tracing::warn!(node = %asking.rank, "a node sent an answer that cannot be used");
            self.recorder.count(Counter::FaultsChecksums);
            self.links.tell(Event::Corrupt(asking.rank), &asking.peer);
            Outcome::AskAgain
        };
        match answer {
            Ok(reply) => match take(self, reply) {
                Some(value) => Outcome::Answered(Ok(Answer { value, origin })),
                None => corrupt(),
            },
            Err(AskError::Fetch(FetchError::Absent { proven, as_of, .. })) => {
                Outcome::Answered(Err(FetchError::Absent { proven, as_of, origin }))
            }
            Err(AskError::Fetch(error)) => Outcome::Answered(Err(error)),
            Err(AskError::Corrupt) => corrupt(),
            Err(AskError::Lost | AskError::Refused(Refusal::Misdirected)) => {
                self.links.tell(Event::Lost(asking.rank), &asking.peer);
                Outcome::AskAgain
            }
            Err(AskError::Refused(Refusal::Busy)) => Outcome::AskAgain,
            Err(AskError::Refused(why)) => {
                tracing::warn!(node = %asking.rank, %why, "a node cannot answer; storage is asked");
                self.recorder.count(Counter::LimitsHit);
                Outcome::AskStorage
            }
        }
    }

    /// Who gave what came from the node `asked`, or from the one above in `shard`.
    fn origin(&self, shard: Shard, asked: Option<NodeRank>) -> Origin {
        match asked.or_else(|| self.shape.parent(shard, self.own)) {
            Some(rank) if rank == self.shape.root(shard) => Origin::Root,
            _ => Origin::Parent,
        }
    }

    /// Whether `view` goes through the tree: its directory must be the one that the root of the tree sees.
    ///
    /// # Errors
    /// Storage, here or at the root, does not tell what the directory is. Then nobody knows, and the next question
    /// asks again.
    async fn goes_through(&self, view: ViewId) -> Result<bool, FetchError> {
        let Some(known) = self.through.get(view.position()) else { return Ok(false) };
        if let Some(known) = known.get() {
            return Ok(*known);
        }
        let shard = self.shape.shard_of_view(view);
        if self.shape.root(shard) == self.own {
            return Ok(*known.get_or_init(async || true).await); // the others compare with this one
        }
        if matches!(self.links.way(shard).await, Way::Storage) {
            return Ok(true); // in place of the root, which may come back
        }
        known.get_or_try_init(|| self.compare(view, shard)).await.copied()
    }

    async fn compare(&self, view: ViewId, shard: Shard) -> Result<bool, FetchError> {
        let path = FilePath::root(view);
        let own = self.storage.entry(&path, Urgency::Demand).await?;
        let question = Question::Entry { path: path.clone(), urgency: Urgency::Demand };
        let theirs = match self.ask(shard, question, Self::take_entry).await {
            Some(theirs) => theirs?,
            None => self.storage.entry(&path, Urgency::Demand).await?,
        };
        let (own, theirs) = (own.value.attributes, theirs.value.attributes);
        let is_same =
            (own.inode, own.modified, own.changed) == (theirs.inode, theirs.modified, theirs.changed);
        if !is_same {
            tracing::warn!(view = view.position(), "a view is another directory here than on other nodes");
            self.recorder.count(Counter::FaultsViewsApart);
        }
        Ok(is_same)
    }

    /// Has everybody above forget a version that is gone; `None`: this node itself asks storage for the name.
    async fn look_again(
        &self,
        path: &FilePath,
        stale: Version,
    ) -> Option<Result<Answer<Arc<Entry>>, FetchError>> {
        // One that came along earlier may still tell the version that is gone.
        if let Some((directory, _)) = path.split() {
            self.riding.remove(&directory);
        }
        let question = Question::EntryAfter { path: path.clone(), stale };
        self.ask(self.shape.shard_of_entry(path), question, Self::take_entry).await
    }

    /// `None`: this node itself asks storage.
    async fn listing_of_others(
        &self,
        path: &FilePath,
        urgency: Urgency,
    ) -> Option<Result<Answer<Arc<Listing>>, FetchError>> {
        match self.goes_through(path.view()).await {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => return Some(Err(error)),
        }
        let shard = self.shape.shard_of_names(path);
        if let Some((_, value)) = self.riding.remove(path)
            && self.freshness.allows(value.as_of)
        {
            return Some(Ok(Answer { value, origin: self.origin(shard, None) }));
        }
        let question = Question::Listing { path: path.clone(), urgency };
        let generation = self.generation.load(Ordering::Acquire);
        self.ask(shard, question, |inner: &Inner, reply| inner.take_listing(reply, generation)).await
    }

    fn take_entry(&self, reply: Reply) -> Option<Arc<Entry>> {
        match reply {
            Reply::Entry(entry) => Some(entry),
            _ => None,
        }
    }

    /// `generation` is that in which the question was asked.
    fn take_listing(&self, reply: Reply, generation: u64) -> Option<Arc<Listing>> {
        let Reply::Listing { listing, riding } = reply else { return None };
        for (path, listing) in riding {
            self.riding.insert(path.clone(), listing);
            if self.generation.load(Ordering::Acquire) != generation {
                self.riding.remove(&path);
            }
        }
        Some(listing)
    }

    fn take_block(&self, reply: Reply) -> Option<Arc<Block>> {
        match reply {
            Reply::Block(block) => Some(block),
            Reply::BlockAndFiles { block, riding } => {
                self.files.take(riding);
                Some(block)
            }
            _ => None,
        }
    }

    /// A block that came along with another, or is on its way with others.
    async fn block_at_hand(
        &self,
        path: &FilePath,
        version: Version,
        index: BlockIndex,
    ) -> Option<Arc<Block>> {
        if index == BlockIndex(0)
            && let Some(block) = self.files.remove(path, version)
        {
            return Some(block);
        }
        // Whoever brings them may give up: then this block is asked for by itself.
        self.expected.take(&(path.clone(), version, index))?.await.ok()
    }

    /// Asks for several blocks in one question, if it is known whom to ask.
    fn expect(self: &Arc<Self>, path: &FilePath, version: Version, blocks: Range<u64>, urgency: Urgency) {
        let is_through = self.through.get(path.view().position()).and_then(OnceCell::get) == Some(&true);
        let shard = self.shape.shard_of_block(path, BlockIndex(blocks.start));
        let stripe_end = (blocks.start / STRIPE_BLOCKS + 1) * STRIPE_BLOCKS;
        let blocks = blocks.start..blocks.end.min(stripe_end);
        let Some(Way::Peer(asking)) = is_through.then(|| self.links.way_now(shard)).flatten() else { return };
        let Some((first, senders)) = self.expected.begin(path, version, blocks) else { return };
        let count = u32::try_from(senders.len()).expect("at most a stripe");
        let range = BlockRange { path: path.clone(), version, first, count, urgency };
        let inner = self.clone();
        task::spawn(async move { inner.bring(asking, range, senders).await });
    }

    /// Hands out the blocks of `range` as they arrive. What goes wrong here is found again, and dealt with, by those
    /// who then ask for their block alone.
    async fn bring(&self, mut asking: Asking, range: BlockRange, senders: Vec<oneshot::Sender<Arc<Block>>>) {
        let (path, version, first) = (range.path.clone(), range.version, range.first);
        let count = senders.len() as u64;
        let mut stream = asking.peer.clone().ask_blocks(range);
        for sender in senders {
            let Some(Some(Ok(block))) = unless_given_up(&mut asking, stream.next()).await else { break };
            // Whoever waits goes on right here. One that is not settled was read for nobody else.
            if block.is_settled() {
                drop(sender.send(block));
            }
        }
        self.expected.end(&path, version, first.0..first.0 + count);
    }

    fn take_usage(&self, reply: Reply) -> Option<FileSystemUsage> {
        match reply {
            Reply::Usage(usage) => Some(usage),
            _ => None,
        }
    }
}

impl Source for Tree {
    fn entry(&self, path: &FilePath, urgency: Urgency) -> Fetch<Arc<Entry>> {
        let (inner, path) = (self.0.clone(), path.clone());
        Box::pin(async move {
            if inner.goes_through(path.view()).await? {
                let shard = inner.shape.shard_of_entry(&path);
                let question = Question::Entry { path: path.clone(), urgency };
                if let Some(result) = inner.ask(shard, question, Inner::take_entry).await {
                    return result;
                }
            }
            inner.storage.entry(&path, urgency).await
        })
    }

    fn entry_after(&self, path: &FilePath, stale: Version) -> Fetch<Arc<Entry>> {
        let (inner, path) = (self.0.clone(), path.clone());
        Box::pin(async move {
            if inner.goes_through(path.view()).await?
                && let Some(result) = inner.look_again(&path, stale).await
            {
                return result;
            }
            inner.storage.entry(&path, Urgency::Demand).await
        })
    }

    fn listing(&self, path: &FilePath, urgency: Urgency) -> Fetch<Arc<Listing>> {
        let (inner, path) = (self.0.clone(), path.clone());
        Box::pin(async move {
            match inner.listing_of_others(&path, urgency).await {
                Some(result) => result,
                None => inner.storage.listing(&path, urgency).await,
            }
        })
    }

    fn listing_again(&self, path: &FilePath, known: &Arc<Listing>, urgency: Urgency) -> Fetch<Arc<Listing>> {
        let (inner, path, known) = (self.0.clone(), path.clone(), known.clone());
        Box::pin(async move {
            match inner.listing_of_others(&path, urgency).await {
                Some(result) => result,
                None => inner.storage.listing_again(&path, &known, urgency).await,
            }
        })
    }

    fn block(
        &self,
        path: &FilePath,
        version: Version,
        index: BlockIndex,
        urgency: Urgency,
    ) -> Fetch<Arc<Block>> {
        let (inner, path) = (self.0.clone(), path.clone());
        Box::pin(async move {
            if inner.goes_through(path.view()).await? {
                let shard = inner.shape.shard_of_block(&path, index);
                if let Some(value) = inner.block_at_hand(&path, version, index).await {
                    return Ok(Answer { value, origin: inner.origin(shard, None) });
                }
                let question = Question::Block { path: path.clone(), version, index, urgency };
                let result = match inner.ask(shard, question, Inner::take_block).await {
                    Some(result) => result,
                    None => inner.storage.block(&path, version, index, urgency).await,
                };
                if matches!(result, Err(FetchError::Stale)) && shard != inner.shape.shard_of_entry(&path) {
                    // Those on this way forget the version, but others told it.
                    let _ = inner.look_again(&path, version).await;
                }
                return result;
            }
            inner.storage.block(&path, version, index, urgency).await
        })
    }

    fn expect(&self, path: &FilePath, version: Version, blocks: Range<u64>, urgency: Urgency) {
        self.0.expect(path, version, blocks, urgency);
    }

    fn usage(&self, view: ViewId) -> Fetch<FileSystemUsage> {
        let inner = self.0.clone();
        Box::pin(async move {
            if inner.goes_through(view).await? {
                let shard = inner.shape.shard_of_view(view);
                if let Some(result) = inner.ask(shard, Question::Usage(view), Inner::take_usage).await {
                    return result;
                }
            }
            inner.storage.usage(view).await
        })
    }

    fn is_near(&self, path: &FilePath) -> bool {
        let through = self.0.through.get(path.view().position()).and_then(OnceCell::get);
        match through {
            Some(true) => self.0.links.asks_storage(self.0.shape.shard_of_names(path)),
            Some(false) => true,
            None => false,
        }
    }

    fn release(&self, _path: &FilePath, _version: Version) {
        // This node's kernel has forgotten the file; those of its children may not have. What storage keeps open is
        // bounded anyway.
    }
}

#[cfg(test)]
mod tests;
