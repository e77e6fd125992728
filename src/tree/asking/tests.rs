//! A node in a chain of three, whose parent and root are in memory and fail as a test wants.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;

use super::*;
use crate::file::{AsOf, Attributes, Timestamp, ready, task};
use crate::wire::{MemoryCarrier, WireRuntime};

/// Storage as one node sees it.
#[derive(Default)]
struct Shelf {
    /// What tells its directory from that of another node.
    inode: u64,
    asked: AtomicU64,
    fails: AtomicBool,
    /// Versions that somebody said are gone.
    gone: Mutex<Vec<Version>>,
    is_stale: AtomicBool,
}

fn entry(inode: u64) -> Arc<Entry> {
    let time = Timestamp { seconds: 1, nanoseconds: 2 };
    let made_up = Attributes::made_up(inode, libc::S_IFREG | 0o644);
    let attributes = Attributes { size: 1 << 30, accessed: time, modified: time, changed: time, ..made_up };
    Arc::new(Entry { attributes, target: None, settled: true, as_of: AsOf::now() })
}

impl Shelf {
    fn of(inode: u64) -> Arc<Self> {
        Arc::new(Shelf { inode, ..Shelf::default() })
    }

    fn give<T: Send + 'static>(&self, value: T) -> Fetch<T> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match self.fails.load(Ordering::Relaxed) {
            true => ready(Err(FetchError::Storage { errno: libc::EIO })),
            false => ready(Ok(Answer { value, origin: Origin::Storage })),
        }
    }
}

impl Source for Shelf {
    fn entry(&self, _: &FilePath, _: Urgency) -> Fetch<Arc<Entry>> {
        self.give(entry(self.inode))
    }

    fn entry_after(&self, path: &FilePath, stale: Version) -> Fetch<Arc<Entry>> {
        self.gone.lock().unwrap().push(stale);
        self.entry(path, Urgency::Demand)
    }

    fn listing(&self, _: &FilePath, _: Urgency) -> Fetch<Arc<Listing>> {
        self.give(Arc::new(Listing::new(Vec::new(), true)))
    }

    fn block(&self, _: &FilePath, _: Version, _: BlockIndex, _: Urgency) -> Fetch<Arc<Block>> {
        match self.is_stale.load(Ordering::Relaxed) {
            true => ready(Err(FetchError::Stale)),
            false => self.give(Arc::new(Block::new(vec![7; 9]))),
        }
    }

    fn usage(&self, _: ViewId) -> Fetch<FileSystemUsage> {
        ready(Err(FetchError::Stale))
    }

    fn release(&self, _: &FilePath, _: Version) {}
}

/// The last node of a chain, with its storage and that of those above it: the parent, the root.
struct Chain {
    tree: Tree,
    own: Arc<Shelf>,
    above: [(NodeRank, Arc<Shelf>); 2],
    carrier: MemoryCarrier,
    recorder: Recorder,
    _runtime: WireRuntime,
}

impl Chain {
    /// Of the storage of the root and of this node; a parent has that of the root.
    fn new(shards: u16, root: u64, own: u64) -> Self {
        let shape = Shape::chosen(3, Some(shards), Some(1));
        let node = shape.at(Shard::new(0), 2);
        let carrier = MemoryCarrier::default();
        let above = [1, 0].map(|place| (shape.at(Shard::new(0), place), Shelf::of(root)));
        for (rank, shelf) in &above {
            carrier.serve(*rank, 1, shelf.clone());
        }
        let (runtime, recorder, own) = (WireRuntime::start().unwrap(), Recorder::private(), Shelf::of(own));
        let tree = Tree::join(Joining {
            shape,
            own: node,
            shared: vec![true],
            storage: own.clone(),
            carrier: Arc::new(carrier.clone()),
            freshness: Freshness::FOR_THE_JOB,
            runtime: runtime.handle(),
            seed: 1,
            age: Duration::ZERO,
            complain: Arc::new(|_| ()),
            recorder,
        });
        Chain { tree, own, above, carrier, recorder, _runtime: runtime }
    }

    fn entry(&self) -> Result<Answer<Arc<Entry>>, FetchError> {
        wait(self.tree.entry(&at("some/file"), Urgency::Demand))
    }

    fn asked(&self, place: usize) -> u64 {
        self.carrier.asked(self.above[place].0)
    }
}

fn at(path: &str) -> FilePath {
    FilePath::from_relative(ViewId::new(0), path.as_bytes())
}

/// Runs `future` outside of every runtime, as the daemon does.
fn wait<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    task::spawn(async move { drop(sender.send(future.await)) });
    receiver.recv_timeout(Duration::from_secs(60)).expect("an answer within a minute")
}

#[test]
fn what_a_node_asks_is_asked_of_its_parent_and_not_of_its_storage() {
    let chain = Chain::new(1, 5, 5);
    for _ in 0..3 {
        assert_eq!(chain.entry().unwrap().origin, Origin::Parent);
    }
    assert_eq!(chain.asked(0), 4, "the view's directory, and three names");
    assert_eq!(chain.asked(1), 0);
    assert_eq!(chain.own.asked.load(Ordering::Relaxed), 1, "what its own directory is");
}

#[test]
fn a_node_that_sends_wrong_bytes_is_asked_once_and_then_avoided() {
    let chain = Chain::new(1, 5, 5);
    chain.entry().unwrap();
    chain.carrier.corrupt(chain.above[0].0);
    let before = chain.asked(0);
    for _ in 0..20 {
        assert_eq!(chain.entry().unwrap().value, entry(5));
    }
    assert_eq!(chain.asked(0), before + 1);
    assert_eq!(chain.asked(1), 20, "asked in its place");
    assert_eq!(chain.recorder.get(Counter::FaultsChecksums), 1);
}

#[test]
fn what_a_node_that_dies_or_falls_silent_was_asked_is_asked_of_the_next() {
    for (how, fails) in
        [("killed", MemoryCarrier::kill as fn(&MemoryCarrier, NodeRank)), ("silent", MemoryCarrier::silence)]
    {
        let chain = Chain::new(1, 5, 5);
        chain.entry().unwrap();
        fails(&chain.carrier, chain.above[0].0);
        assert_eq!(chain.entry().unwrap().origin, Origin::Root, "{how}");
        assert_eq!(chain.asked(1), 1, "{how}");
        assert_eq!(chain.recorder.get(Counter::FaultsParentsLost), 1, "{how}");
    }
}

#[test]
fn without_anybody_above_a_node_asks_its_own_storage() {
    let chain = Chain::new(1, 5, 5);
    chain.entry().unwrap();
    chain.above.iter().for_each(|(rank, _)| chain.carrier.kill(*rank));
    assert_eq!(chain.entry().unwrap().origin, Origin::Storage);
}

#[test]
fn a_view_is_compared_once_and_not_while_storage_fails() {
    let cases = [
        // root's directory, own, whether they are the same
        (5, 5, true),
        (5, 6, false),
    ];
    for (root, own, is_same) in cases {
        let chain = Chain::new(1, root, own);
        for failing in [&chain.own, &chain.above[0].1] {
            failing.fails.store(true, Ordering::Relaxed);
            assert!(matches!(chain.entry(), Err(FetchError::Storage { errno: libc::EIO })));
            assert!(chain.tree.views_apart().is_empty(), "an error is no difference");
            failing.fails.store(false, Ordering::Relaxed);
        }
        assert_eq!(chain.entry().unwrap().value, entry(own), "its own, whichever that is");
        assert_eq!(chain.tree.views_apart().len(), usize::from(!is_same));
        assert_eq!(chain.recorder.get(Counter::FaultsViewsApart), u64::from(!is_same));
    }
}

#[test]
fn a_version_that_is_gone_in_one_tree_is_looked_up_again_in_that_of_its_name() {
    let chain = Chain::new(3, 5, 5);
    let shape = chain.tree.0.shape;
    let (path, version) = (at("some/file"), entry(5).attributes.version());
    let root_of_name = shape.root(shape.shard_of_entry(&path));
    for (_, shelf) in &chain.above {
        shelf.is_stale.store(true, Ordering::Relaxed);
    }
    chain.own.is_stale.store(true, Ordering::Relaxed);
    for stripe in 0..3 {
        let index = BlockIndex(stripe * super::super::STRIPE_BLOCKS);
        let said = wait(chain.tree.block(&path, version, index, Urgency::Demand));
        assert!(matches!(said, Err(FetchError::Stale)), "{stripe}");
    }
    let told: usize = chain.above.iter().map(|(_, shelf)| shelf.gone.lock().unwrap().len()).sum();
    let is_root = root_of_name == chain.tree.0.own;
    assert_eq!(told, if is_root { 0 } else { 2 }, "once for each other tree");
}
