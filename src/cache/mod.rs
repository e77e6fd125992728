//! What this node already knows, so that it need not ask: listings, entries, absences, blocks.
//!
//! A lookup takes one shard lock, never across a call to the source beneath.
//!
//! Invariant: blocks are kept only with the version they were read under, and only if that was old enough to be
//! trusted for whoever read it from storage; so a file replaced under a running job is served whole, old or new, never mixed. Errors other than
//! absences are never kept.
//!
//! Not here: asking other nodes (`tree`), node ids (`view`), calls on storage (`storage`).

mod ahead;
mod directory;
mod flights;
mod kept;
mod pace;
mod refreshes;
mod sequence;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant, SystemTime};

use self::ahead::Ahead;
use self::directory::{Directory, FetchedFor, Known, Names};
use self::flights::{Flights, Outcome};
use self::kept::Kept;
pub use self::refreshes::RefreshId;
use self::refreshes::Refreshes;
use self::sequence::Sequences;
use crate::file::{
    Answer, AsOf, BLOCK_BYTES, Block, BlockIndex, Change, Changes, Entry, Fetch, FetchError, FilePath,
    FileSystemUsage, Freshness, Listing, Origin, Passing, SmallFile, Source, Urgency, Version, ViewId, ready,
};
use crate::profile::recorder::{Counter, Recorder};

/// How long a listing whose directory had just changed serves readers that come back for the rest of it: 1 s.
const UNSETTLED_LISTING_MAX: Duration = Duration::from_secs(1);

/// Names that are told to have changed when a directory turns out to be another: 1,024, what a kernel is told in some
/// milliseconds.
const DIFFERENCES_TOLD_MAX: usize = 1024;

/// Limits of a cache.
#[derive(Debug, Clone, Copy)]
pub struct CacheLimits {
    /// Bytes to hold at most, listings and blocks together.
    pub budget_bytes: u64,
    /// How long an absence is believed that no listing proves (Copper: metadata ENOENT TTL).
    pub absence_ttl: Duration,
    /// How old what is told of names may be.
    pub freshness: Freshness,
    /// Whether other nodes ask this one: then it keeps what its own kernel already holds.
    pub has_children: bool,
}

/// The cache over a source. Cloning shares it.
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

struct Inner {
    source: Arc<dyn Source>,
    kept: Kept,
    roots: Mutex<HashMap<ViewId, Arc<Entry>>>,
    /// The listing last read that the budget has no room for or that is not settled, for its readers.
    passing: Mutex<Option<(FilePath, Arc<Listing>, Instant)>>,
    entries: Flights<FilePath, Arc<Entry>>,
    listings: Flights<FilePath, Arc<Listing>>,
    blocks: Flights<(FilePath, Version, BlockIndex), Arc<Block>>,
    sequences: Sequences,
    ahead: Ahead,
    limits: CacheLimits,
    changes: Changes,
    recorder: Recorder,
    /// Odd while names are passed through and not kept. An answer to a question of another generation is not kept.
    generation: AtomicU64,
    /// The refreshes under way. Held shared while an answer is kept, so that none of an old generation comes after the
    /// forgetting.
    refreshes: RwLock<Refreshes>,
}

impl Cache {
    /// A cache over `source` that forgets a name when `changes` tells of it.
    pub fn new(source: Arc<dyn Source>, limits: CacheLimits, changes: &Changes, recorder: Recorder) -> Self {
        let inner = Arc::new(Inner {
            source,
            kept: Kept::new(limits.budget_bytes, limits.freshness),
            roots: Mutex::default(),
            passing: Mutex::default(),
            entries: Flights::default(),
            listings: Flights::default(),
            blocks: Flights::default(),
            sequences: Sequences::new(),
            ahead: Ahead::default(),
            limits,
            changes: changes.clone(),
            recorder,
            generation: AtomicU64::new(0),
            refreshes: RwLock::default(),
        });
        let listener = Arc::downgrade(&inner);
        changes.subscribe(move |change| {
            if let Some(inner) = listener.upgrade() {
                inner.forget(change);
            }
        });
        Cache(inner)
    }

    /// Bytes held now.
    pub fn bytes(&self) -> u64 {
        self.0.kept.bytes()
    }

    /// Bytes to hold at most.
    pub fn budget_bytes(&self) -> u64 {
        self.0.kept.budget_bytes()
    }

    /// Another budget from now on; what does not fit any more is dropped before this returns.
    pub fn set_budget(&self, bytes: u64) {
        self.0.kept.set_budget(bytes);
    }

    /// Forgets what is at or beneath `paths`, and until [`Cache::keep_again`] is called for every refresh that is under
    /// way keeps nothing that is told of names and shares no question. Blocks stay: they belong to a version.
    ///
    /// False if too many are under way: then nothing has happened.
    pub fn pass_through(&self, refresh: RefreshId, paths: &[FilePath]) -> bool {
        let began = self.0.begin_generation(paths, |refreshes| refreshes.begin(refresh));
        if !began {
            self.0.recorder.count(Counter::LimitsHit);
        }
        began
    }

    /// Forgets what is at or beneath `paths`. From now on keeps what storage tells, unless another refresh is under way.
    pub fn keep_again(&self, refresh: RefreshId, paths: &[FilePath]) {
        self.0.begin_generation(paths, |refreshes| {
            refreshes.end(refresh);
            true
        });
    }

    /// Whether [`Cache::keep_again`] was not called yet for this refresh.
    pub fn is_refreshing(&self, refresh: RefreshId) -> bool {
        self.0.refreshes.read().unwrap_or_else(|e| e.into_inner()).is_under_way(refresh)
    }

    /// The listings that are kept of directories in which a task has asked for something, and of those beneath them
    /// that are called `child`. Asks nobody.
    pub fn listings_in_use(&self, child: &[u8]) -> Vec<(FilePath, Arc<Listing>)> {
        let mut found = Vec::new();
        for (path, directory) in self.0.kept.directories() {
            let is_child = path.split().is_some_and(|(_, name)| name == child);
            if (directory.is_in_use() || is_child)
                && let Names::Complete(listing) = directory.names()
            {
                found.push((path, listing));
            }
        }
        found
    }
}

fn cached<T: Send + 'static>(value: T) -> Fetch<T> {
    ready(Ok(Answer { value, origin: Origin::Cache }))
}

/// This node knows that there is no such name.
fn absent<T: Send + 'static>(proven: bool, as_of: AsOf) -> Fetch<T> {
    ready(Err(FetchError::Absent { proven, as_of, origin: Origin::Cache }))
}

impl Source for Cache {
    fn entry(&self, path: &FilePath, urgency: Urgency) -> Fetch<Arc<Entry>> {
        if self.0.passes_through() {
            return self.0.source.entry(path, urgency);
        }
        let Some((parent, name)) = path.split() else { return self.0.root_entry(path, urgency) };
        let directory = self.0.kept.directory(&parent);
        if urgency == Urgency::Demand {
            self.0.use_directory(&parent, &directory);
        }
        match directory.known(name, fetched_for(urgency)) {
            Known::Entry(entry, before) => {
                if urgency == Urgency::Demand {
                    self.0.was_asked(path, &entry, before);
                }
                cached(entry)
            }
            Known::Absent { proven, as_of } => absent(proven, as_of),
            Known::Nothing => {
                tracing::debug!(%path, ?urgency, "asks for a name");
                self.0.fetch_entry(path, parent, directory, urgency, None)
            }
        }
    }

    fn entry_after(&self, path: &FilePath, stale: Version) -> Fetch<Arc<Entry>> {
        match self.0.known(path) {
            Some(entry) if entry.attributes.version() != stale => return cached(entry),
            Some(_) => self.0.forget(&Change { path: path.clone() }),
            None => {}
        }
        let Some((parent, _)) = path.split() else { return self.0.root_entry(path, Urgency::Demand) };
        let directory = self.0.kept.directory(&parent);
        self.0.fetch_entry(path, parent, directory, Urgency::Demand, Some(stale))
    }

    fn listing(&self, path: &FilePath, urgency: Urgency) -> Fetch<Arc<Listing>> {
        if self.0.passes_through() {
            return self.0.source.listing(path, urgency);
        }
        let directory = self.0.kept.directory(path);
        if urgency == Urgency::Demand {
            self.0.use_directory(path, &directory);
        }
        match directory.names() {
            Names::Complete(listing) if self.0.is_current(&listing) => cached(listing),
            _ => match self.0.passing_listing(path) {
                Some(listing) => cached(listing),
                None => self.0.fetch_listing(path, directory, urgency),
            },
        }
    }

    fn block(
        &self,
        path: &FilePath,
        version: Version,
        index: BlockIndex,
        urgency: Urgency,
    ) -> Fetch<Arc<Block>> {
        if !version.is_settled(SystemTime::now()) {
            // It may stand for other bytes by now, without its times showing it. So nothing of it is kept, nor
            // shared with who asked earlier, nor fetched ahead (which nobody waits for). Whoever reads it judges in
            // the end, since this clock may be ahead of his.
            return match urgency {
                Urgency::Demand => self.0.source.block(path, version, index, urgency),
                Urgency::Ahead => ready(Err(FetchError::Stale)),
            };
        }
        let answer = match self.0.kept.block(path, version, index) {
            Some(block) => cached(block),
            None => {
                tracing::debug!(%path, block = index.0, size = version.size, ?urgency, "asks for a block");
                self.0.fetch_block_alone_if_unsettled(path, version, index, urgency)
            }
        };
        if urgency == Urgency::Demand {
            self.0.read_ahead(path, version, index);
        }
        answer
    }

    fn expect(&self, path: &FilePath, version: Version, mut blocks: Range<u64>, urgency: Urgency) {
        let is_missing = |index: u64| self.0.is_missing(path, version, BlockIndex(index));
        let Some(start) = blocks.find(|index| is_missing(*index)) else { return };
        let end = (start..blocks.end).find(|index| !is_missing(*index)).unwrap_or(blocks.end);
        if end - start > 1 && version.is_settled(SystemTime::now()) {
            self.0.source.expect(path, version, start..end, urgency);
        }
    }

    fn told(&self, path: &FilePath, listing: Arc<Listing>) -> Arc<Listing> {
        match self.0.kept.peek_directory(path) {
            Some(directory) => directory.told(listing),
            None => listing,
        }
    }

    fn small_files(&self, directory: &FilePath, known: usize) -> (Vec<SmallFile>, usize) {
        let Some(of) = self.0.kept.peek_directory(directory) else { return (Vec::new(), known) };
        let noted = of.small_files(known);
        let upto = known + noted.len();
        let held = noted.into_iter().filter_map(|(name, version)| {
            let path = directory.join(&name);
            let block = self.0.kept.block(&path, version, BlockIndex(0))?;
            Some(SmallFile { path, version, block })
        });
        (held.collect(), upto)
    }

    fn read_here(
        &self,
        path: &FilePath,
        version: Version,
        range: Range<u64>,
    ) -> Option<Result<Passing, FetchError>> {
        if self.0.limits.has_children || self.0.keeps_any(path, version, &range) {
            return None;
        }
        self.0.source.read_here(path, version, range)
    }

    fn usage(&self, view: ViewId) -> Fetch<FileSystemUsage> {
        self.0.source.usage(view)
    }

    fn known(&self, path: &FilePath) -> Option<Arc<Entry>> {
        if self.0.passes_through() { None } else { self.0.known(path) }
    }

    fn known_listing(&self, path: &FilePath) -> Option<Arc<Listing>> {
        if self.0.passes_through() {
            return None;
        }
        match self.0.kept.peek_directory(path)?.names() {
            Names::Complete(listing) if self.0.is_current(&listing) => Some(listing),
            _ => None,
        }
    }

    fn consumed(&self, path: &FilePath, version: Version, index: BlockIndex) {
        if !self.0.limits.has_children {
            self.0.kept.consume_block(path, version, index);
        }
    }

    fn release(&self, path: &FilePath, version: Version) {
        self.0.source.release(path, version);
    }
}

fn fetched_for(urgency: Urgency) -> FetchedFor {
    match urgency {
        Urgency::Demand => FetchedFor::Demand,
        Urgency::Ahead => FetchedFor::Nobody,
    }
}

impl Inner {
    fn root_entry(self: &Arc<Self>, path: &FilePath, urgency: Urgency) -> Fetch<Arc<Entry>> {
        if let Some(entry) = self.known_root(path.view()) {
            return cached(entry);
        }
        let (inner, view) = (self.clone(), path.view());
        let generation = self.generation();
        let again = {
            let (inner, path) = (self.clone(), path.clone());
            move || inner.root_entry(&path, urgency)
        };
        self.entries.join(
            path.clone(),
            || self.source.entry(path, urgency),
            move |outcome| {
                let keeping = inner.keeping(generation);
                if let (Ok(answer), Some(_)) = (&outcome, keeping)
                    && answer.value.settled
                {
                    let mut roots = inner.roots.lock().unwrap_or_else(|e| e.into_inner());
                    roots.insert(view, answer.value.clone());
                }
                outcome
            },
            again,
        )
    }

    fn fetch_entry(
        self: &Arc<Self>,
        path: &FilePath,
        parent: FilePath,
        directory: Arc<Directory>,
        urgency: Urgency,
        stale: Option<Version>,
    ) -> Fetch<Arc<Entry>> {
        if urgency == Urgency::Demand && directory.wants_listing() {
            // The first question about a directory brings its listing, beside the answer itself.
            drop(self.fetch_listing(&parent, directory.clone(), Urgency::Ahead));
            // It may be here at once, if it came along with another.
            if let (Some((_, name)), None) = (path.split(), stale) {
                match directory.known(name, FetchedFor::Demand) {
                    Known::Entry(entry, _) => return cached(entry),
                    Known::Absent { proven, as_of } => return absent(proven, as_of),
                    Known::Nothing => {}
                }
            }
        }
        let (inner, key, before) = (self.clone(), path.clone(), directory.clone());
        let (started, generation) = (Instant::now(), self.generation());
        let again = {
            let (inner, path, parent, directory) =
                (self.clone(), path.clone(), parent.clone(), directory.clone());
            move || inner.fetch_entry(&path, parent, directory, urgency, stale)
        };
        self.entries.join(
            path.clone(),
            || match path.split().map(|(_, name)| before.known(name, FetchedFor::Nobody)) {
                Some(Known::Entry(entry, _)) => cached(entry),
                _ => match stale {
                    Some(stale) => self.source.entry_after(path, stale),
                    None => self.source.entry(path, urgency),
                },
            },
            move |outcome| {
                if urgency == Urgency::Demand {
                    inner.ahead.pace.demand_took(started.elapsed());
                }
                let outcome = match inner.keeping(generation) {
                    Some(_keeping) => inner.keep_entry(&key, &parent, &directory, urgency, outcome),
                    None => outcome,
                };
                if let (Ok(answer), Urgency::Demand) = (&outcome, urgency) {
                    inner.was_asked(&key, &answer.value, FetchedFor::Demand);
                }
                outcome
            },
            again,
        )
    }

    /// Keeps what storage told of one name, and says of an absence whether it is proven.
    fn keep_entry(
        &self,
        path: &FilePath,
        parent: &FilePath,
        directory: &Arc<Directory>,
        urgency: Urgency,
        outcome: Outcome<Arc<Entry>>,
    ) -> Outcome<Arc<Entry>> {
        let Some((_, name)) = path.split() else { return outcome };
        match outcome {
            Ok(answer) => {
                if answer.value.settled {
                    directory.learn_entry(name, &answer.value, fetched_for(urgency));
                    self.kept.weigh_again(parent, directory);
                }
                Ok(answer)
            }
            Err(FetchError::Absent { as_of, origin, .. }) => {
                let proven = directory.proves_absences(self.known(parent).is_some());
                let until = (!proven).then(|| Instant::now() + self.limits.absence_ttl);
                directory.learn_absence(name, until, as_of);
                Err(FetchError::Absent { proven, as_of, origin })
            }
            Err(error) => Err(error),
        }
    }

    /// What can be told of the name at `path` at once; only settled entries are kept.
    fn known(&self, path: &FilePath) -> Option<Arc<Entry>> {
        let Some((parent, name)) = path.split() else {
            return self.known_root(path.view());
        };
        match self.kept.peek_directory(&parent)?.known(name, FetchedFor::Nobody) {
            Known::Entry(entry, _) => Some(entry),
            _ => None,
        }
    }

    fn fetch_listing(
        self: &Arc<Self>,
        path: &FilePath,
        directory: Arc<Directory>,
        urgency: Urgency,
    ) -> Fetch<Arc<Listing>> {
        let (inner, key) = (self.clone(), path.clone());
        let (before, generation) = (directory.clone(), self.generation());
        let again = {
            let (inner, path, directory) = (self.clone(), path.clone(), directory.clone());
            move || inner.fetch_listing(&path, directory, urgency)
        };
        self.listings.join(
            path.clone(),
            || match before.names() {
                Names::Complete(listing) if self.is_current(&listing) => cached(listing),
                Names::Complete(listing) => self.source.listing_again(path, &listing, urgency),
                _ => self.source.listing(path, urgency),
            },
            move |outcome| {
                let before = directory.names();
                if let (Names::Complete(before), Ok(answer)) = (&before, &outcome) {
                    inner.tell_differences(&key, before, &answer.value);
                }
                let Some(keeping) = inner.keeping(generation) else { return outcome };
                match &outcome {
                    Ok(Answer { origin: Origin::Cache, .. }) => {}
                    Ok(answer) => {
                        inner.keep_listing(&key, &directory, &answer.value);
                        // What follows may ask the source.
                        drop(keeping);
                        // Renewed, it says nothing that was not worth a guess before.
                        if !matches!(before, Names::Complete(before) if before.settled) {
                            inner.look_at_listing(&key, &directory, &answer.value);
                        }
                    }
                    Err(FetchError::NotListed { .. }) => directory.learn_not_listed(),
                    Err(_) => {}
                }
                outcome
            },
            again,
        )
    }

    /// Everybody forgets names that were found to have changed. No more than some: all the others are forgotten when what
    /// is known of them is too old.
    fn tell_differences(&self, path: &FilePath, before: &Listing, now: &Listing) {
        if !self.limits.freshness.is_limited() || before.is_same_reading(now) {
            return;
        }
        for name in before.differences(now).take(DIFFERENCES_TOLD_MAX) {
            self.changes.announce(&Change { path: path.join(name) });
        }
    }

    /// Whether a listing that is kept may be told.
    fn is_current(&self, listing: &Listing) -> bool {
        listing.settled && self.limits.freshness.allows(listing.as_of)
    }

    fn known_root(&self, view: ViewId) -> Option<Arc<Entry>> {
        let roots = self.roots.lock().unwrap_or_else(|e| e.into_inner());
        roots.get(&view).filter(|entry| self.limits.freshness.allows(entry.as_of)).cloned()
    }

    fn keep_listing(&self, path: &FilePath, directory: &Arc<Directory>, listing: &Arc<Listing>) {
        directory.learn_listing(listing);
        let large = listing.memory_bytes() as u64 > self.kept.budget_bytes() / 4;
        if large || !listing.settled {
            let mut passing = self.passing.lock().unwrap_or_else(|e| e.into_inner());
            *passing = Some((path.clone(), listing.clone(), Instant::now()));
        }
        self.kept.weigh_again(path, directory);
    }

    fn look_at_listing(
        self: &Arc<Self>,
        path: &FilePath,
        directory: &Arc<Directory>,
        listing: &Arc<Listing>,
    ) {
        match directory.is_in_use() {
            true if listing.settled => self.sweep(path, directory, listing),
            true => {}
            false => self.guess_package(path, listing),
        }
    }

    /// A task asks for something in `directory`. If it was listed before anybody asked, now is the time to
    /// look at the names.
    fn use_directory(self: &Arc<Self>, path: &FilePath, directory: &Arc<Directory>) {
        if directory.begin_use()
            && let Names::Complete(listing) = directory.names()
            && listing.settled
        {
            self.sweep(path, directory, &listing);
        }
    }

    fn passing_listing(&self, path: &FilePath) -> Option<Arc<Listing>> {
        let passing = self.passing.lock().unwrap_or_else(|e| e.into_inner());
        let (of, listing, read) = passing.as_ref()?;
        let usable = of == path
            && (listing.settled || read.elapsed() < UNSETTLED_LISTING_MAX)
            && self.limits.freshness.allows(listing.as_of);
        usable.then(|| listing.clone())
    }

    /// Whether a block that holds any of these bytes is here.
    fn keeps_any(&self, path: &FilePath, version: Version, range: &Range<u64>) -> bool {
        let last = BlockIndex::holding(range.end.saturating_sub(1));
        let mut index = BlockIndex::holding(range.start);
        while index <= last {
            if self.kept.block(path, version, index).is_some() {
                return true;
            }
            index = index.next();
        }
        false
    }

    /// Fetches a block, which several may do at once; if it turns out to be unsettled each asks for himself.
    fn fetch_block_alone_if_unsettled(
        self: &Arc<Self>,
        path: &FilePath,
        version: Version,
        index: BlockIndex,
        urgency: Urgency,
    ) -> Fetch<Arc<Block>> {
        let shared = self.fetch_block(path, version, index, urgency);
        let (source, path) = (self.source.clone(), path.clone());
        Box::pin(async move {
            match shared.await {
                Ok(answer) if !answer.value.is_settled() => {
                    source.block(&path, version, index, urgency).await
                }
                outcome => outcome,
            }
        })
    }

    fn fetch_block(
        self: &Arc<Self>,
        path: &FilePath,
        version: Version,
        index: BlockIndex,
        urgency: Urgency,
    ) -> Fetch<Arc<Block>> {
        let (inner, key) = (self.clone(), path.clone());
        let again = {
            let (inner, path) = (self.clone(), path.clone());
            move || inner.fetch_block(&path, version, index, urgency)
        };
        self.blocks.join(
            (path.clone(), version, index),
            // Again, since the flight of somebody else may have landed between the look before this and here.
            || match self.kept.block(path, version, index) {
                Some(block) => cached(block),
                None => self.source.block(path, version, index, urgency),
            },
            move |outcome| {
                match &outcome {
                    Ok(answer) if !answer.value.is_settled() => {}
                    Ok(answer) => {
                        inner.kept.keep_block(&key, version, index, answer.value.clone());
                        inner.note_small_file(&key, version);
                    }
                    // Nobody else need tell: those below, whose question this may be, look the name up again here.
                    Err(FetchError::Stale) => inner.forget(&Change { path: key }),
                    Err(_) => {}
                }
                outcome
            },
            again,
        )
    }

    /// Fetches the next blocks for a reader that goes from front to back.
    fn read_ahead(self: &Arc<Self>, path: &FilePath, version: Version, index: BlockIndex) {
        // The kernel reads ahead itself, and whoever asks makes a quick call on the spot: handing it to another
        // thread would cost more than it takes.
        if self.source.reads_quickly() {
            return;
        }
        let window = self.sequences.observe(path, version, index);
        let beyond = version.size.div_ceil(BLOCK_BYTES);
        let window = window.start..window.end.min(beyond);
        let is_missing = |index: &u64| {
            let index = BlockIndex(*index);
            self.is_missing(path, version, index) && !self.kept.was_consumed(path, version, index)
        };
        let Some(first) = window.clone().find(is_missing) else { return };
        // Half a window at once: one question for many blocks costs little more than for one.
        if window.end < beyond && first - window.start > (window.end - window.start) / 2 {
            return;
        }
        let missing: Vec<u64> = (first..window.end).filter(is_missing).collect();
        for run in missing.chunk_by(|a, b| a + 1 == *b).filter(|run| run.len() > 1) {
            self.source.expect(path, version, run[0]..run[run.len() - 1] + 1, Urgency::Ahead);
        }
        for next in missing {
            drop(self.fetch_block(path, version, BlockIndex(next), Urgency::Ahead));
        }
    }

    /// Whether a block is neither here nor on its way.
    fn is_missing(&self, path: &FilePath, version: Version, index: BlockIndex) -> bool {
        self.kept.block(path, version, index).is_none()
            && !self.blocks.is_under_way(&(path.clone(), version, index))
    }

    /// Small files are likely to be wanted by whoever asks this node for others beside them.
    fn note_small_file(&self, path: &FilePath, version: Version) {
        if self.limits.has_children
            && version.size <= BLOCK_BYTES
            && let Some((parent, name)) = path.split()
            && let Some(directory) = self.kept.peek_directory(&parent)
        {
            directory.learn_small_file(name, version);
        }
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn passes_through(&self) -> bool {
        self.generation() % 2 == 1
    }

    /// Leave to keep an answer to a question of this `generation`, if that has not passed.
    fn keeping(&self, generation: u64) -> Option<RwLockReadGuard<'_, Refreshes>> {
        let guard = self.refreshes.read().unwrap_or_else(|e| e.into_inner());
        (self.generation() == generation).then_some(guard)
    }

    /// Has `step` change which refreshes are under way and, if it may, forgets what is at or beneath `paths`.
    fn begin_generation(&self, paths: &[FilePath], step: impl FnOnce(&mut Refreshes) -> bool) -> bool {
        let mut refreshes = self.refreshes.write().unwrap_or_else(|e| e.into_inner());
        if !step(&mut refreshes) {
            return false;
        }
        // The next odd number while any is under way, else the next even one.
        let parity = u64::from(!refreshes.is_empty());
        self.generation.store(((self.generation() + 2) & !1) | parity, Ordering::Release);
        // A question that was asked before is not shared with who asks from now on.
        self.entries.close();
        self.listings.close();
        *self.passing.lock().unwrap_or_else(|e| e.into_inner()) = None;
        for path in paths {
            self.kept.forget_beneath(path);
            self.forget(&Change { path: path.clone() });
        }
        true
    }

    fn forget(&self, change: &Change) {
        self.roots.lock().unwrap_or_else(|e| e.into_inner()).remove(&change.path.view());
        if let Some((parent, name)) = change.path.split()
            && let Some(directory) = self.kept.peek_directory(&parent)
        {
            directory.forget(name);
        }
    }
}

#[cfg(test)]
mod tests;
