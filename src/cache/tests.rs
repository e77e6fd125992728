//! A cache over a storage of one directory that changes as a test wants.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::file::{Attributes, ListingEntry, Timestamp, task};

/// Storage with files in the root of one view.
#[derive(Default)]
struct Shelf {
    /// Their sizes.
    files: Mutex<BTreeMap<&'static str, u64>>,
    /// By this clock all versions are too young to be trusted.
    is_behind: AtomicBool,
    blocks_read: AtomicU64,
}

fn attributes(mode: u32, size: u64) -> Attributes {
    let time = Timestamp { seconds: 1, nanoseconds: 2 };
    Attributes {
        inode: 1,
        mode,
        links: 1,
        uid: 0,
        gid: 0,
        device: 0,
        block_size: 4096,
        size,
        blocks: 1,
        accessed: time,
        modified: time,
        changed: time,
    }
}

impl Shelf {
    fn with(files: &[(&'static str, u64)]) -> Arc<Self> {
        Arc::new(Shelf { files: Mutex::new(files.iter().copied().collect()), ..Shelf::default() })
    }

    fn put(&self, name: &'static str, size: u64) {
        self.files.lock().unwrap().insert(name, size);
    }
}

fn told<T: Send + 'static>(value: T) -> Fetch<T> {
    ready(Ok(Answer { value, origin: Origin::Storage }))
}

impl Source for Shelf {
    fn entry(&self, path: &FilePath, _: Urgency) -> Fetch<Arc<Entry>> {
        let attributes = match path.split() {
            None => attributes(libc::S_IFDIR | 0o755, 0),
            Some((_, name)) => match self.files.lock().unwrap().get(str::from_utf8(name).unwrap()) {
                Some(size) => attributes(libc::S_IFREG | 0o644, *size),
                None => return ready(Err(FetchError::Absent { proven: false, origin: Origin::Storage })),
            },
        };
        told(Arc::new(Entry { attributes, target: None, settled: true }))
    }

    fn listing(&self, _: &FilePath, _: Urgency) -> Fetch<Arc<Listing>> {
        let files = self.files.lock().unwrap();
        let row = |name: &&str| ListingEntry {
            name: name.as_bytes().into(),
            inode: 1,
            kind: libc::DT_REG,
            entry: None,
        };
        told(Arc::new(Listing::new(files.keys().map(row).collect(), true)))
    }

    fn block(&self, _: &FilePath, _: Version, _: BlockIndex, _: Urgency) -> Fetch<Arc<Block>> {
        self.blocks_read.fetch_add(1, Ordering::Relaxed);
        let settled = !self.is_behind.load(Ordering::Relaxed);
        told(Arc::new(Block::new(vec![7; 9]).settled_if(settled)))
    }

    fn usage(&self, _: ViewId) -> Fetch<FileSystemUsage> {
        ready(Err(FetchError::Stale))
    }

    fn release(&self, _: &FilePath, _: Version) {}
}

fn cache_over(shelf: &Arc<Shelf>) -> Cache {
    let limits =
        CacheLimits { budget_bytes: 1 << 20, absence_ttl: Duration::from_secs(1), has_children: true };
    Cache::new(shelf.clone(), limits, &Changes::default(), Recorder::private())
}

fn root() -> FilePath {
    FilePath::root(ViewId::new(0))
}

/// What an answer that is there at once comes to.
fn now<T: Send + 'static>(fetch: Fetch<T>) -> Result<Answer<T>, FetchError> {
    let (sender, receiver) = std::sync::mpsc::channel();
    task::spawn(async move { sender.send(fetch.await).unwrap() });
    receiver.try_recv().expect("nothing here waits")
}

/// The size of a file as it is told, and by whom.
fn size_of_file(cache: &Cache, name: &str) -> Option<(u64, Origin)> {
    let answer = now(cache.entry(&root().join(name.as_bytes()), Urgency::Demand)).ok()?;
    Some((answer.value.attributes.size, answer.origin))
}

#[test]
fn names_are_kept_again_when_the_last_of_several_refreshes_has_ended() {
    let shelf = Shelf::with(&[("a", 1)]);
    let (cache, all) = (cache_over(&shelf), [root()]);
    let size = |cache: &Cache| size_of_file(cache, "a").unwrap();
    assert_eq!((size(&cache), size(&cache)), ((1, Origin::Storage), (1, Origin::Cache)));
    let (first, second) = (RefreshId(1), RefreshId(2));
    assert!(cache.pass_through(first, &all) && cache.pass_through(second, &all));
    cache.keep_again(first, &all);
    assert!(!cache.is_refreshing(first) && cache.is_refreshing(second));
    // Some node may not have forgotten for the second yet, so nothing may be kept.
    assert_eq!((size(&cache), size(&cache)), ((1, Origin::Storage), (1, Origin::Storage)));
    shelf.put("a", 2);
    cache.keep_again(second, &all);
    assert_eq!((size(&cache), size(&cache)), ((2, Origin::Storage), (2, Origin::Cache)));
    // One that was begun before this daemon lived.
    cache.keep_again(RefreshId(3), &all);
    assert_eq!((size(&cache), size(&cache)), ((2, Origin::Storage), (2, Origin::Cache)));
}

#[test]
fn a_block_that_was_too_young_for_whoever_read_it_is_not_kept_though_it_is_old_by_this_clock() {
    let shelf = Shelf::with(&[("a", 9)]);
    let cache = cache_over(&shelf);
    let path = root().join(b"a");
    let version = attributes(libc::S_IFREG, 9).version();
    assert!(version.is_settled(SystemTime::now()));
    let block = || now(cache.block(&path, version, BlockIndex(0), Urgency::Demand)).unwrap();
    shelf.is_behind.store(true, Ordering::Relaxed);
    assert_eq!((block().origin, block().origin), (Origin::Storage, Origin::Storage));
    shelf.is_behind.store(false, Ordering::Relaxed);
    assert_eq!((block().origin, block().origin), (Origin::Storage, Origin::Cache));
}

#[test]
fn whoever_shares_a_question_for_a_block_that_is_too_young_gets_one_read_for_him() {
    let shelf = Shelf::with(&[("a", 9)]);
    shelf.is_behind.store(true, Ordering::Relaxed);
    let cache = cache_over(&shelf);
    let version = attributes(libc::S_IFREG, 9).version();
    let block = || cache.block(&root().join(b"a"), version, BlockIndex(0), Urgency::Demand);
    let (first, second) = (block(), block());
    let before = shelf.blocks_read.load(Ordering::Relaxed);
    assert!(!now(first).unwrap().value.is_settled() && !now(second).unwrap().value.is_settled());
    assert_eq!(shelf.blocks_read.load(Ordering::Relaxed), before + 2);
}
