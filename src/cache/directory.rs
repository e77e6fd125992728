//! What this node knows of one directory: its listing, the entries of its names, absences.
//!
//! Invariant: an absence follows only from a settled, complete listing or from storage's own answer for that
//! very name.
//!
//! Not here: asking (`mod.rs`), what to ask ahead (`ahead`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use crate::file::{AsOf, Entry, Freshness, Listing, ListingEntry, NAME_BYTES_MAX, NAMES_MAX, Version};

/// What is known of a directory's listing.
#[derive(Clone, Default)]
pub(super) enum Names {
    /// Nobody has asked yet.
    #[default]
    Unknown,
    /// All names.
    Complete(Arc<Listing>),
    /// It cannot be listed, or has too many names: its names are asked one by one.
    OneByOne,
}

/// What is known of one name.
pub(super) enum Known {
    /// It exists.
    Entry(Arc<Entry>, FetchedFor),
    /// Storage or a complete listing says that it does not exist.
    Absent {
        /// Holds for the job; otherwise for a while only, and a while longer it is not asked again.
        proven: bool,
        /// When storage told it.
        as_of: AsOf,
    },
    /// It has to be asked.
    Nothing,
}

/// Whether somebody had asked for a thing when it was fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FetchedFor {
    Demand,
    /// Ahead of demand, and not used yet.
    Nobody,
}

struct Row {
    entry: Arc<Entry>,
    fetched_for: FetchedFor,
}

/// That storage told of a name that it does not exist.
struct Absence {
    /// The moment until which it is believed, if no listing proves it.
    until: Option<Instant>,
    as_of: AsOf,
}

#[derive(Default)]
struct Knowledge {
    names: Names,
    entries: HashMap<Box<[u8]>, Row>,
    absences: HashMap<Box<[u8]>, Absence>,
    /// Files of one block whose content came here, in the order in which it came.
    small_files: Vec<(Box<[u8]>, Version)>,
    /// Memory that all this takes.
    bytes: usize,
}

/// One directory. Entries become known one by one, the listing at once.
#[derive(Default)]
pub(super) struct Directory {
    knowledge: Mutex<Knowledge>,
    in_use: AtomicBool,
    /// How old what is told of it may be.
    freshness: Freshness,
}

/// Absences remembered per directory besides its listing: 4,096. A program that probes more names than that
/// in a directory that cannot be listed asks storage again.
const ABSENCES_MAX: usize = 4096;

/// Small files remembered per directory: 4,096, as many as have their attributes listed.
const SMALL_FILES_MAX: usize = 4096;

/// Memory of a row beyond the entry itself: key, hash table slot, allocation headers; estimated.
const ROW_OVERHEAD_BYTES: usize = 96;

impl Knowledge {
    /// Nothing is known of the listing any more.
    fn drop_listing(&mut self) {
        if let Names::Complete(listing) = std::mem::take(&mut self.names) {
            self.bytes = self.bytes.saturating_sub(listing.memory_bytes());
        }
    }

    /// Drops what was known of `name` by itself.
    fn drop_name(&mut self, name: &[u8]) {
        if let Some(row) = self.entries.remove(name) {
            self.bytes = self.bytes.saturating_sub(row_bytes(name, &row.entry));
        }
        if self.absences.remove(name).is_some() {
            self.bytes = self.bytes.saturating_sub(name.len() + ROW_OVERHEAD_BYTES);
        }
    }
}

fn row_bytes(name: &[u8], entry: &Entry) -> usize {
    entry.memory_bytes() + name.len() + ROW_OVERHEAD_BYTES
}

impl Directory {
    /// One of which nothing is known yet.
    pub(super) fn new(freshness: Freshness) -> Self {
        Directory { freshness, ..Directory::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Knowledge> {
        self.knowledge.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// What can be told of `name` without asking; marks it as used if `FetchedFor::Demand`.
    pub(super) fn known(&self, name: &[u8], asked_for: FetchedFor) -> Known {
        let mut knowledge = self.lock();
        let is_fresh = |as_of| self.freshness.allows(as_of);
        if let Some(row) = knowledge.entries.get_mut(name).filter(|row| is_fresh(row.entry.as_of)) {
            let before = row.fetched_for;
            if asked_for == FetchedFor::Demand {
                row.fetched_for = FetchedFor::Demand;
            }
            return Known::Entry(row.entry.clone(), before);
        }
        if let Some(Absence { until, as_of }) = knowledge.absences.get(name)
            && is_fresh(*as_of)
            && until.is_none_or(|until| Instant::now() < until)
        {
            return Known::Absent { proven: until.is_none(), as_of: *as_of };
        }
        // A name too long for Linux is for storage to judge: it has an errno of its own for it.
        let Names::Complete(listing) = &knowledge.names else { return Known::Nothing };
        match listing.find(name) {
            Some(row) => match row.entry.as_ref().filter(|entry| is_fresh(entry.as_of)) {
                Some(entry) => Known::Entry(entry.clone(), FetchedFor::Demand),
                None => Known::Nothing,
            },
            None => match name.len() <= NAME_BYTES_MAX && self.proves(listing) {
                true => Known::Absent { proven: true, as_of: listing.as_of },
                false => Known::Nothing,
            },
        }
    }

    /// Whether `listing` proves that names which it lacks do not exist.
    fn proves(&self, listing: &Listing) -> bool {
        listing.settled && listing.len() <= NAMES_MAX && self.freshness.allows(listing.as_of)
    }

    /// Whether the names have to be asked for: nobody has yet, or it was too long ago.
    pub(super) fn wants_listing(&self) -> bool {
        match &self.lock().names {
            Names::Unknown => true,
            Names::Complete(listing) => !self.freshness.allows(listing.as_of),
            Names::OneByOne => false,
        }
    }

    /// Notes that a task asks for something in it; true the first time.
    pub(super) fn begin_use(&self) -> bool {
        !self.in_use.load(Ordering::Relaxed) && !self.in_use.swap(true, Ordering::Relaxed)
    }

    /// Whether a task has asked for something in it.
    pub(super) fn is_in_use(&self) -> bool {
        self.in_use.load(Ordering::Relaxed)
    }

    /// What is known of the listing.
    pub(super) fn names(&self) -> Names {
        self.lock().names.clone()
    }

    /// Keeps a listing; one too large to keep as proof still serves readers of the directory.
    pub(super) fn learn_listing(&self, listing: &Arc<Listing>) {
        let mut knowledge = self.lock();
        knowledge.drop_listing();
        knowledge.bytes += listing.memory_bytes();
        knowledge.names = Names::Complete(listing.clone());
    }

    /// Remembers that names have to be asked one by one.
    pub(super) fn learn_not_listed(&self) {
        let mut knowledge = self.lock();
        knowledge.drop_listing();
        knowledge.names = Names::OneByOne;
    }

    /// Whether an absence that storage told for one name holds for the job. Without a listing it does if the
    /// directory itself was old enough to be trusted when it was looked up.
    pub(super) fn proves_absences(&self, is_settled: bool) -> bool {
        match &self.lock().names {
            Names::OneByOne => false,
            Names::Complete(listing) => self.proves(listing),
            Names::Unknown => is_settled,
        }
    }

    /// Keeps what storage told of `name`.
    pub(super) fn learn_entry(&self, name: &[u8], entry: &Arc<Entry>, fetched_for: FetchedFor) {
        let mut knowledge = self.lock();
        knowledge.drop_name(name);
        knowledge.bytes += row_bytes(name, entry);
        knowledge.entries.insert(name.into(), Row { entry: entry.clone(), fetched_for });
    }

    /// Keeps an absence that storage told of `name`: for the job, or until a moment.
    pub(super) fn learn_absence(&self, name: &[u8], until: Option<Instant>, as_of: AsOf) {
        let mut knowledge = self.lock();
        if knowledge.absences.len() >= ABSENCES_MAX {
            knowledge.absences.clear();
        }
        knowledge.drop_name(name);
        knowledge.bytes += name.len() + ROW_OVERHEAD_BYTES;
        knowledge.absences.insert(name.into(), Absence { until, as_of });
    }

    /// `listing` with the attributes that are known here.
    pub(super) fn told(&self, listing: Arc<Listing>) -> Arc<Listing> {
        let knowledge = self.lock();
        let is_fresh = |entry: &&Arc<Entry>| self.freshness.allows(entry.as_of);
        let better = |row: &ListingEntry| match row.entry.as_ref().filter(is_fresh) {
            Some(_) => None,
            None => knowledge.entries.get(&row.name).map(|known| &known.entry).filter(is_fresh).cloned(),
        };
        if !listing.iter().any(|row| better(row).is_some()) {
            return listing;
        }
        let rows = listing
            .iter()
            .map(|row| ListingEntry { entry: better(row).or_else(|| row.entry.clone()), ..row.clone() });
        Arc::new(Listing::new(rows.collect(), listing.settled).dated(listing.as_of))
    }

    /// Notes that the content of the small file `name` came here.
    pub(super) fn learn_small_file(&self, name: &[u8], version: Version) {
        let mut knowledge = self.lock();
        if knowledge.small_files.len() < SMALL_FILES_MAX {
            knowledge.small_files.push((name.into(), version));
            knowledge.bytes += name.len() + ROW_OVERHEAD_BYTES;
        }
    }

    /// The small files whose content came here, without the first `known` ones.
    pub(super) fn small_files(&self, known: usize) -> Vec<(Box<[u8]>, Version)> {
        self.lock().small_files.get(known..).map_or_else(Vec::new, <[_]>::to_vec)
    }

    /// Forgets everything about `name`, the listing included since it may lack or hold it.
    pub(super) fn forget(&self, name: &[u8]) {
        let mut knowledge = self.lock();
        knowledge.drop_name(name);
        knowledge.drop_listing();
    }

    /// Bytes of memory it takes, for the cache's budget.
    pub(super) fn memory_bytes(&self) -> usize {
        256 + self.lock().bytes
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::file::{Attributes, ListingEntry};

    fn listing(names: &[&[u8]], settled: bool) -> Arc<Listing> {
        let entry = |n: &&[u8]| ListingEntry { name: (*n).into(), inode: 1, kind: libc::DT_REG, entry: None };
        Arc::new(Listing::new(names.iter().map(entry).collect(), settled))
    }

    #[test]
    fn only_a_settled_listing_or_storage_itself_proves_an_absence() {
        let long = vec![b'x'; NAME_BYTES_MAX + 1];
        let cases: [(&str, Option<bool>, &[u8], bool); 5] = [
            ("nothing known", None, b"a", false),
            ("a settled listing lacks it", Some(true), b"a", true),
            ("a settled listing has it", Some(true), b"here", false),
            ("the directory had just changed", Some(false), b"a", false),
            ("a name too long to exist", Some(true), &long, false),
        ];
        for (why, settled, name, absent) in cases {
            let directory = Directory::default();
            if let Some(settled) = settled {
                directory.learn_listing(&listing(&[b"here"], settled));
            }
            let known = directory.known(name, FetchedFor::Demand);
            assert_eq!(matches!(known, Known::Absent { .. }), absent, "{why}");
        }
    }

    #[test]
    fn an_absence_without_a_listing_is_believed_for_its_time_only() {
        let directory = Directory::default();
        directory.learn_not_listed();
        directory.learn_absence(
            b"a",
            Some(Instant::now() + std::time::Duration::from_secs(3600)),
            AsOf::now(),
        );
        directory.learn_absence(b"b", Some(Instant::now()), AsOf::now());
        assert!(matches!(directory.known(b"a", FetchedFor::Demand), Known::Absent { proven: false, .. }));
        assert!(matches!(directory.known(b"b", FetchedFor::Demand), Known::Nothing));
    }

    #[test]
    fn what_is_too_old_is_not_told() {
        let hour = Duration::from_secs(3600);
        let at = |age: Duration| AsOf::told(Instant::now(), age);
        for (age, is_told) in [(hour / 2, true), (hour, false)] {
            let directory = Directory::new(Freshness::at_most(Some(hour)));
            directory.learn_absence(b"absent", None, at(age));
            let known = |name| !matches!(directory.known(name, FetchedFor::Demand), Known::Nothing);
            assert_eq!(known(b"absent"), is_told);
            let listing = Listing::new(Vec::new(), true).dated(at(age));
            directory.learn_listing(&Arc::new(listing));
            assert_eq!((known(b"unlisted"), directory.wants_listing()), (is_told, !is_told));
        }
    }

    #[test]
    fn what_is_learned_again_takes_no_more_memory() {
        let directory = Directory::default();
        let learn = || {
            directory.learn_listing(&listing(&[b"a", b"b"], true));
            directory.learn_absence(b"c", None, AsOf::now());
            directory.memory_bytes()
        };
        assert_eq!(learn(), learn());
        directory.forget(b"c");
        assert_eq!(directory.memory_bytes(), Directory::default().memory_bytes());
    }

    #[test]
    fn a_listing_is_told_with_the_attributes_that_are_known_and_not_too_old() {
        let hour = Duration::from_secs(3600);
        let entry = |inode, age| {
            let attributes = Attributes::made_up(inode, libc::S_IFREG);
            let as_of = AsOf::told(Instant::now(), age);
            Arc::new(Entry { attributes, target: None, settled: true, as_of })
        };
        let cases = [
            // in the listing, known by itself, told
            (None, None, None),
            (None, Some((1, hour / 2)), Some(1)),
            (None, Some((1, hour)), None),
            (Some((2, hour)), Some((1, hour / 2)), Some(1)),
            (Some((2, hour / 2)), Some((1, hour / 2)), Some(2)),
        ];
        for (number, (listed, known, want)) in cases.into_iter().enumerate() {
            let directory = Directory::new(Freshness::at_most(Some(hour)));
            if let Some((inode, age)) = known {
                directory.learn_entry(b"a", &entry(inode, age), FetchedFor::Demand);
            }
            let entry = listed.map(|(inode, age)| entry(inode, age));
            let row = ListingEntry { name: (*b"a").into(), inode: 1, kind: libc::DT_REG, entry };
            let told = directory.told(Arc::new(Listing::new(vec![row], true)));
            let inode = told.find(b"a").unwrap().entry.as_ref().map(|entry| entry.attributes.inode);
            assert_eq!(inode, want, "case {number}");
        }
    }
}
