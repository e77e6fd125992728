//! A cache over a storage of one directory that changes as a test wants.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::file::{AsOf, Attributes, ListingEntry, Timestamp, task};

/// Storage with files in the root of one view.
#[derive(Default)]
struct Shelf {
    /// Their sizes.
    files: Mutex<BTreeMap<&'static str, u64>>,
    /// By this clock all versions are too young to be trusted.
    is_behind: AtomicBool,
    blocks_read: AtomicU64,
    /// How old what it tells already is.
    age: Mutex<Duration>,
    /// Directories that were read, and those that were only looked at.
    listed: AtomicU64,
    looked_at: AtomicU64,
}

fn attributes(mode: u32, size: u64) -> Attributes {
    let time = Timestamp { seconds: 1, nanoseconds: 2 };
    Attributes { size, accessed: time, modified: time, changed: time, ..Attributes::made_up(1, mode) }
}

impl Shelf {
    fn with(files: &[(&'static str, u64)]) -> Arc<Self> {
        Arc::new(Shelf { files: Mutex::new(files.iter().copied().collect()), ..Shelf::default() })
    }

    fn as_of(&self) -> AsOf {
        AsOf::told(Instant::now(), *self.age.lock().unwrap())
    }

    /// Of the directory: another one for other files.
    fn version(&self) -> Version {
        Version { size: self.files.lock().unwrap().len() as u64, ..Version::default() }
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
                None => {
                    let (proven, as_of, origin) = (false, self.as_of(), Origin::Storage);
                    return ready(Err(FetchError::Absent { proven, as_of, origin }));
                }
            },
        };
        told(Arc::new(Entry { attributes, target: None, settled: true, as_of: self.as_of() }))
    }

    fn listing(&self, _: &FilePath, _: Urgency) -> Fetch<Arc<Listing>> {
        self.listed.fetch_add(1, Ordering::Relaxed);
        let version = self.version();
        let files = self.files.lock().unwrap();
        let row = |name: &&str| ListingEntry {
            name: name.as_bytes().into(),
            inode: 1,
            kind: libc::DT_REG,
            entry: None,
        };
        let listing = Listing::new(files.keys().map(row).collect(), true);
        told(Arc::new(listing.dated(self.as_of()).of_version(version)))
    }

    fn listing_again(&self, path: &FilePath, known: &Arc<Listing>, urgency: Urgency) -> Fetch<Arc<Listing>> {
        self.looked_at.fetch_add(1, Ordering::Relaxed);
        match known.renewed(self.version(), self.as_of()) {
            Some(renewed) => told(Arc::new(renewed)),
            None => self.listing(path, urgency),
        }
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
    fresh_cache_over(shelf, Freshness::FOR_THE_JOB, &Changes::default())
}

fn fresh_cache_over(shelf: &Arc<Shelf>, freshness: Freshness, changes: &Changes) -> Cache {
    let limits = CacheLimits {
        budget_bytes: 1 << 20,
        absence_ttl: Duration::from_secs(1),
        freshness,
        has_children: true,
    };
    Cache::new(shelf.clone(), limits, changes, Recorder::private())
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

const HOUR: Duration = Duration::from_secs(3600);

/// Answers may be an hour old; the shelf's already are.
fn an_hour_old(files: &[(&'static str, u64)]) -> (Arc<Shelf>, Cache, Changes) {
    let (shelf, changes) = (Shelf::with(files), Changes::default());
    shelf.set_age(HOUR);
    let cache = fresh_cache_over(&shelf, Freshness::at_most(Some(HOUR)), &changes);
    (shelf, cache, changes)
}

impl Shelf {
    fn set_age(&self, age: Duration) {
        *self.age.lock().unwrap() = age;
    }

    /// How often a directory was read, and looked at, since the last time.
    fn counts(&self) -> (u64, u64) {
        (self.listed.swap(0, Ordering::Relaxed), self.looked_at.swap(0, Ordering::Relaxed))
    }
}

#[test]
fn what_is_too_old_is_asked_again_and_told_though_it_comes_old() {
    let (shelf, cache, _) = an_hour_old(&[("a", 1)]);
    for size in 1..4 {
        shelf.put("a", size);
        assert_eq!(size_of_file(&cache, "a"), Some((size, Origin::Storage)));
    }
    shelf.set_age(HOUR / 2);
    assert_eq!(size_of_file(&cache, "a"), Some((3, Origin::Storage)));
    shelf.put("a", 9);
    assert_eq!(size_of_file(&cache, "a"), Some((3, Origin::Cache)), "not too old yet");
}

#[test]
fn without_a_limit_nothing_is_too_old() {
    let shelf = Shelf::with(&[("a", 1)]);
    shelf.set_age(HOUR);
    let cache = cache_over(&shelf);
    size_of_file(&cache, "a");
    shelf.put("a", 2);
    shelf.put("b", 2);
    assert_eq!(size_of_file(&cache, "a"), Some((1, Origin::Cache)));
    assert_eq!(size_of_file(&cache, "b"), None, "its listing lacks it");
}

#[test]
fn a_listing_that_is_too_old_is_looked_at_once_and_kept_if_its_directory_is_the_same() {
    let (shelf, cache, _) = an_hour_old(&[("a", 1)]);
    let listing = || now(cache.listing(&root(), Urgency::Demand)).unwrap();
    listing();
    assert_eq!(shelf.counts(), (1, 0));
    listing();
    assert_eq!(shelf.counts(), (0, 1), "it came old, so it is looked at");
    shelf.set_age(Duration::ZERO);
    listing();
    assert_eq!(shelf.counts(), (0, 1));
    assert_eq!(listing().origin, Origin::Cache);
    assert_eq!(size_of_file(&cache, "absent"), None, "the renewed listing proves it");
    assert_eq!(shelf.counts(), (0, 0));
}

#[test]
fn everybody_is_told_what_has_changed_in_a_directory_that_was_read_anew() {
    let (shelf, cache, changes) = an_hour_old(&[("a", 1), ("gone", 1)]);
    let told = Arc::<Mutex<Vec<FilePath>>>::default();
    let list = told.clone();
    changes.subscribe(move |change| list.lock().unwrap().push(change.path.clone()));
    now(cache.listing(&root(), Urgency::Demand)).unwrap();
    now(cache.listing(&root(), Urgency::Demand)).unwrap();
    assert!(told.lock().unwrap().is_empty());
    shelf.files.lock().unwrap().remove("gone");
    shelf.put("new", 5);
    shelf.put("other", 5);
    shelf.set_age(Duration::ZERO);
    let listing = now(cache.listing(&root(), Urgency::Demand)).unwrap();
    assert_eq!((listing.value.len(), shelf.counts()), (3, (2, 2)));
    let mut names: Vec<_> = told.lock().unwrap().iter().map(|path| path.relative().to_vec()).collect();
    names.sort();
    assert_eq!(names, [&b"gone"[..], b"new", b"other"]);
    assert_eq!(now(cache.listing(&root(), Urgency::Demand)).unwrap().origin, Origin::Cache, "it is kept");
}

#[test]
fn an_absence_is_believed_until_it_is_too_old() {
    let (shelf, cache, _) = an_hour_old(&[]);
    assert_eq!(size_of_file(&cache, "new"), None);
    shelf.put("new", 5);
    assert_eq!(size_of_file(&cache, "new"), Some((5, Origin::Storage)));
}
