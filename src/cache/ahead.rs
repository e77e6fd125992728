//! What is worth fetching before anybody asks.
//!
//! Precise guesses first: who asks for `m.py` reads its bytecode next, who asks for a library opens it. Then
//! the other names of a directory in use. All of it waits in one queue here and is started only as fast as
//! [`Pace`] allows, so that a demand never queues behind more than a few of them; what is asked for meanwhile
//! is simply skipped.
//!
//! Not here: reading on in a file (`sequence`).

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use super::Inner;
use super::directory::{Directory, FetchedFor, Known, Names};
use super::pace::Pace;
use crate::file::{BlockIndex, Entry, FileKind, FilePath, Listing, Source, Urgency, Version, task};
use crate::profile::recorder::Counter;

/// Guesses that may wait: 8,192. What is beyond is dropped, oldest first: the program has moved on.
const QUEUE_MAX: usize = 8192;
/// Names of a directory whose attributes are fetched ahead: at most 4,096, a second or two of a metadata
/// server that takes some thousand calls each second.
const SWEPT_NAMES_MAX: usize = 4096;
/// A file up to this size is fetched whole when it is about to be opened: 4 MiB. Loading a library touches
/// most of a small one, a page fault here and there, each of which would wait for storage.
const SMALL_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// Bytecode files fetched on credit, before any of them has to be read: 256.
const CREDIT_FILES: u64 = 256;
/// Beyond the credit, files fetched for each one that was read: 2. An environment that imports less of its
/// packages gets single guesses only. Chosen, not tuned; docs/decisions/0003-fetching-ahead.md.
const FILES_PER_USED: u64 = 2;

/// Where Python keeps the bytecode of a directory's modules.
const PYCACHE: &[u8] = b"__pycache__";

thread_local! {
    static STARTING: Cell<bool> = const { Cell::new(false) };
}

/// Something to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Candidate {
    /// A directory's names.
    Listing(FilePath),
    /// A name's attributes.
    Entry(FilePath),
    /// A file's attributes and, if it is small, its content; else its first block.
    File(FilePath),
    /// A directory of bytecode: its names, then the files that this job's interpreter would read.
    Bytecode(FilePath),
    /// One block.
    Block(FilePath, Version, BlockIndex),
}

/// The queue of guesses and how fast it is worked off.
#[derive(Default)]
pub(super) struct Ahead {
    queue: Mutex<VecDeque<Candidate>>,
    running: AtomicUsize,
    pub(super) pace: Pace,
    /// The ending of bytecode files that the job reads, such as `.cpython-311.pyc`.
    bytecode_ending: OnceLock<Box<[u8]>>,
}

impl Ahead {
    fn push_first(&self, candidate: Candidate) {
        let mut queue = self.queue.lock().unwrap_or_else(|e| e.into_inner());
        queue.push_front(candidate);
        queue.truncate(QUEUE_MAX);
    }

    fn push_last(&self, candidates: impl Iterator<Item = Candidate>) {
        let mut queue = self.queue.lock().unwrap_or_else(|e| e.into_inner());
        queue.extend(candidates);
        let excess = queue.len().saturating_sub(QUEUE_MAX);
        queue.drain(..excess);
    }

    /// Takes the next guess if another may be under way.
    fn take(&self) -> Option<Candidate> {
        let mut queue = self.queue.lock().unwrap_or_else(|e| e.into_inner());
        if self.running.load(Ordering::Relaxed) >= self.pace.ahead_max() {
            return None;
        }
        let candidate = queue.pop_front()?;
        self.running.fetch_add(1, Ordering::Relaxed);
        Some(candidate)
    }
}

impl Inner {
    /// A task asked for `entry`: guesses what it asks for next.
    pub(super) fn was_asked(self: &Arc<Self>, path: &FilePath, entry: &Arc<Entry>, before: FetchedFor) {
        if before == FetchedFor::Nobody && path.relative().ends_with(b".pyc") {
            self.recorder.count(Counter::AheadUsed);
        }
        if !self.guesses_in(path) {
            return;
        }
        match entry.attributes.kind() {
            FileKind::Directory => self.guess_listing(path),
            FileKind::Regular => self.guess_content(path, entry),
            _ => return,
        }
        self.go_ahead();
    }

    fn guess_listing(self: &Arc<Self>, path: &FilePath) {
        if matches!(self.kept.directory(path).names(), Names::Unknown) {
            self.ahead.push_first(Candidate::Listing(path.clone()));
        }
    }

    fn guess_content(self: &Arc<Self>, path: &FilePath, entry: &Arc<Entry>) {
        let Some((parent, name)) = path.split() else { return };
        if name.ends_with(b".pyc") {
            self.ahead.bytecode_ending.get_or_init(|| ending_of(name).into());
        } else if name.ends_with(b".py") {
            let pycache = parent.join(PYCACHE);
            let Some(directory) = self.kept.peek_directory(&pycache) else { return };
            let Names::Complete(listing) = directory.names() else { return };
            if let Some(bytecode) = bytecode_of(name, &listing) {
                self.ahead.push_first(Candidate::File(pycache.join(bytecode)));
            }
        } else if name.ends_with(b".so") || name.windows(4).any(|w| w == b".so.") {
            self.guess_blocks(path, entry);
        }
    }

    fn guess_blocks(self: &Arc<Self>, path: &FilePath, entry: &Entry) {
        let version = entry.attributes.version();
        let blocks =
            if version.size <= SMALL_FILE_BYTES { BlockIndex::holding(version.size).0 + 1 } else { 1 };
        for index in (0..blocks).rev().map(BlockIndex) {
            if !index.range(version.size).is_empty() {
                self.ahead.push_first(Candidate::Block(path.clone(), version, index));
            }
        }
    }

    /// A directory in use was listed: its other names are likely to be asked for, its bytecode to be read,
    /// its subdirectories to be searched.
    pub(super) fn sweep(self: &Arc<Self>, path: &FilePath, directory: &Arc<Directory>, listing: &Listing) {
        if !self.guesses_in(path) {
            return;
        }
        if listing.len() <= SWEPT_NAMES_MAX {
            let names = listing.iter().filter(|e| is_worth_sweeping(&e.name));
            let unknown =
                names.filter(|e| matches!(directory.known(&e.name, FetchedFor::Nobody), Known::Nothing));
            self.ahead.push_last(unknown.map(|e| Candidate::Entry(path.join(&e.name))));
            let below = listing.iter().filter(|e| e.kind == libc::DT_DIR && *e.name != *PYCACHE);
            self.ahead.push_last(below.map(|e| Candidate::Listing(path.join(&e.name))));
        }
        if listing.find(PYCACHE).is_some() {
            self.ahead.push_first(Candidate::Bytecode(path.join(PYCACHE)));
        }
        self.go_ahead();
    }

    /// A package was listed before anybody asked for it: whoever imports it begins with its `__init__`.
    pub(super) fn guess_package(self: &Arc<Self>, path: &FilePath, listing: &Listing) {
        let init: &[u8] = b"__init__.py";
        let Some(ending) = self.ahead.bytecode_ending.get() else { return };
        if !self.guesses_in(path) || !self.guessing_pays() || listing.find(init).is_none() {
            return;
        }
        let bytecode = [b"__init__", &**ending].concat();
        let guesses =
            [Candidate::Entry(path.join(init)), Candidate::File(path.join(PYCACHE).join(&bytecode))];
        self.ahead.push_last(guesses.into_iter());
        self.go_ahead();
    }

    /// Guesses that the modules whose bytecode lies in `pycache` are imported.
    fn guess_bytecode(self: &Arc<Self>, pycache: &FilePath, listing: &Listing) {
        if listing.len() > SWEPT_NAMES_MAX || !self.guessing_pays() {
            return;
        }
        let ending = self.ahead.bytecode_ending.get();
        let is_read = |name: &[u8]| match ending {
            Some(ending) => name.ends_with(ending),
            None => name.ends_with(b".pyc") && is_worth_sweeping(name),
        };
        for row in listing.iter().filter(|row| is_read(&row.name)) {
            self.ahead.push_first(Candidate::File(pycache.join(&row.name)));
        }
    }

    /// Whether storage is worth guessing for, and near enough.
    fn guesses_in(&self, path: &FilePath) -> bool {
        !self.ahead.pace.is_quick() && self.source.is_near(path)
    }

    fn guessing_pays(&self) -> bool {
        let fetched = self.recorder.get(Counter::StorageAhead);
        let used = self.recorder.get(Counter::AheadUsed);
        fetched < CREDIT_FILES + used * FILES_PER_USED
    }

    /// Starts as many guesses as may be under way.
    pub(super) fn go_ahead(self: &Arc<Self>) {
        // A guess that ends at once calls this again; the loop further out goes on instead, since a queue
        // full of such guesses would otherwise be a stack as deep.
        if STARTING.replace(true) {
            return;
        }
        while let Some(candidate) = self.ahead.take() {
            self.start(candidate);
        }
        STARTING.set(false);
    }

    fn start(self: &Arc<Self>, candidate: Candidate) {
        let inner = self.clone();
        let cache = super::Cache(self.clone());
        task::spawn(async move {
            match candidate {
                Candidate::Listing(path) => drop(cache.listing(&path, Urgency::Ahead).await),
                Candidate::Entry(path) => drop(inner.fetch_guessed_entry(&cache, &path).await),
                Candidate::File(path) => {
                    if let Some(entry) = inner.fetch_guessed_entry(&cache, &path).await {
                        inner.guess_blocks(&path, &entry);
                    }
                }
                Candidate::Bytecode(path) => {
                    if let Ok(answer) = cache.listing(&path, Urgency::Ahead).await {
                        inner.guess_bytecode(&path, &answer.value);
                    }
                }
                Candidate::Block(path, version, index) => {
                    if !inner.kept.was_consumed(&path, version, index) {
                        drop(cache.block(&path, version, index, Urgency::Ahead).await);
                    }
                }
            }
            inner.ahead.running.fetch_sub(1, Ordering::Relaxed);
            inner.go_ahead();
        });
    }

    /// The entry at `path`; `None` also if a task has asked for it itself meanwhile.
    async fn fetch_guessed_entry(
        self: &Arc<Self>,
        cache: &super::Cache,
        path: &FilePath,
    ) -> Option<Arc<Entry>> {
        let (parent, name) = path.split()?;
        match self.kept.directory(&parent).known(name, FetchedFor::Nobody) {
            Known::Entry(entry, FetchedFor::Nobody) => return Some(entry),
            Known::Entry(_, FetchedFor::Demand) | Known::Absent { .. } => return None,
            Known::Nothing => {}
        }
        if name.ends_with(b".pyc") {
            self.recorder.count(Counter::StorageAhead);
        }
        cache.entry(path, Urgency::Ahead).await.ok().map(|answer| answer.value)
    }
}

/// The bytecode that an interpreter without `-O` reads for the source file `name`.
fn bytecode_of<'l>(name: &[u8], pycache: &'l Listing) -> Option<&'l [u8]> {
    let stem = name.strip_suffix(b"py")?; // with the dot
    let of_source = pycache.iter().map(|entry| &*entry.name).filter(|file| {
        file.starts_with(stem)
            && file.ends_with(b".pyc")
            && file[stem.len()..].iter().filter(|b| **b == b'.').count() == 1
    });
    of_source.min_by_key(|file| file.len())
}

/// What follows the module's name in the name of its bytecode.
fn ending_of(name: &[u8]) -> &[u8] {
    name.iter().position(|b| *b == b'.').map_or(name, |dot| &name[dot..])
}

/// Bytecode of `-O` is written by package builders and hardly ever read.
fn is_worth_sweeping(name: &[u8]) -> bool {
    !(name.ends_with(b".opt-1.pyc") || name.ends_with(b".opt-2.pyc"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::ListingEntry;

    #[test]
    fn the_bytecode_of_a_module_is_the_plain_one_of_that_very_module() {
        let names: [&[u8]; 5] = [
            b"core.cpython-311.opt-1.pyc",
            b"core.cpython-311.pyc",
            b"core_x.cpython-311.pyc",
            b"core.extra.cpython-311.pyc",
            b"other.cpython-311.pyc",
        ];
        let rows = names.iter().map(|n| ListingEntry {
            name: (*n).into(),
            inode: 1,
            kind: libc::DT_REG,
            entry: None,
        });
        let listing = Listing::new(rows.collect(), true);
        assert_eq!(bytecode_of(b"core.py", &listing), Some(names[1]));
        assert_eq!(bytecode_of(b"missing.py", &listing), None);
        assert_eq!(ending_of(names[1]), b".cpython-311.pyc");
    }
}
