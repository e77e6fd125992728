//! Every name of one directory.
//!
//! Names are kept in the order of a hash of the name, and that hash is the position that a reader of the
//! directory resumes from. So a position stays right when the listing was forgotten, read again and has by
//! then gained or lost names.
//!
//! Attributes may come along where they cost next to nothing; the rest become known one by one.
//!
//! Not here: what is known of single names (`cache::directory`).

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::{AsOf, Entry, Version};

/// Names up to which a listing is kept as proof of absence: 65,536. A larger directory is asked name by name.
pub const NAMES_MAX: usize = 65_536;

/// Positions below this are taken by `.` and `..`.
const FIRST_POSITION: u64 = 16;

/// One name of a directory, as `getdents` gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListingEntry {
    /// The name's bytes.
    pub name: Box<[u8]>,
    /// `d_ino`.
    pub inode: u64,
    /// `d_type`; `DT_UNKNOWN` where storage does not tell.
    pub kind: u8,
    /// What else was learned on the way, if it is settled.
    pub entry: Option<Arc<Entry>>,
}

impl ListingEntry {
    /// Whether its name leads to the same file, or to a directory still.
    fn stays(&self, later: &ListingEntry) -> bool {
        self.inode == later.inode || [self.kind, later.kind] == [libc::DT_DIR; 2]
    }
}

/// The complete names of one directory at one moment, `.` and `..` left out.
#[derive(Debug, PartialEq, Eq)]
pub struct Listing {
    /// Sorted by position; positions are unique.
    rows: Arc<Vec<(u64, ListingEntry)>>,
    /// Whether the directory's times were settled when it was read.
    pub settled: bool,
    /// When storage told it.
    pub as_of: AsOf,
    /// That of the directory when it was read, for whoever read it from storage.
    version: Option<Version>,
}

impl Default for Listing {
    fn default() -> Self {
        Listing::new(Vec::new(), false)
    }
}

impl Listing {
    /// A listing of `entries` in any order.
    pub fn new(entries: Vec<ListingEntry>, settled: bool) -> Self {
        let mut rows: Vec<_> = entries.into_iter().map(|e| (position_of(&e.name), e)).collect();
        rows.sort_unstable_by(|a, b| (a.0, &a.1.name).cmp(&(b.0, &b.1.name)));
        rows.dedup_by(|b, a| a.1.name == b.1.name);
        // Two names with one hash: the second moves on by one, as does a third.
        for i in 1..rows.len() {
            if rows[i].0 <= rows[i - 1].0 {
                rows[i].0 = rows[i - 1].0 + 1;
            }
        }
        rows.shrink_to_fit();
        Listing { rows: Arc::new(rows), settled, as_of: AsOf::now(), version: None }
    }

    /// The same, told at another time.
    pub fn dated(self, as_of: AsOf) -> Self {
        Listing { as_of, ..self }
    }

    /// The same, read when the directory was of this version.
    pub fn of_version(self, version: Version) -> Self {
        Listing { version: Some(version), ..self }
    }

    /// The same names as of a later moment, if the directory still is as it was when they were read; `now` is its version
    /// at that moment. `None` if that cannot be told.
    pub fn renewed(&self, now: Version, as_of: AsOf) -> Option<Self> {
        let is_same = self.settled && self.version == Some(now);
        let (rows, settled, version) = (self.rows.clone(), self.settled, self.version);
        is_same.then_some(Listing { rows, settled, as_of, version })
    }

    /// Whether this is [`Self::renewed`] of the other, or the other itself.
    pub fn is_same_reading(&self, other: &Listing) -> bool {
        Arc::ptr_eq(&self.rows, &other.rows)
    }

    /// The names that lead to another file, or to none, or to one for the first time, in `newer`. A directory that another
    /// took the place of counts as the same: processes may be in it, and things mounted.
    pub fn differences<'a>(&'a self, newer: &'a Listing) -> impl Iterator<Item = &'a [u8]> {
        let gone = |row: &&ListingEntry| newer.find(&row.name).is_none_or(|found| !row.stays(found));
        let new = |row: &&ListingEntry| self.find(&row.name).is_none();
        self.iter().filter(gone).chain(newer.iter().filter(new)).map(|row| &*row.name)
    }

    /// Number of names.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether the directory is empty.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The entry of this name, if the directory has it.
    pub fn find(&self, name: &[u8]) -> Option<&ListingEntry> {
        let wanted = position_of(name);
        let mut i = self.rows.partition_point(|row| row.0 < wanted);
        // Past colliding names, which follow each other without a gap.
        let mut expected = wanted;
        while let Some((position, entry)) = self.rows.get(i) {
            if *position != expected && *position != wanted {
                return None;
            }
            if *entry.name == *name {
                return Some(entry);
            }
            expected = position + 1;
            i += 1;
        }
        None
    }

    /// The entries after `position` (0: from the first), each with the position to resume after it.
    pub fn after(&self, position: u64) -> impl Iterator<Item = (u64, &ListingEntry)> {
        let start = self.rows.partition_point(|row| row.0 <= position);
        self.rows[start..].iter().map(|(position, entry)| (*position, entry))
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = &ListingEntry> {
        self.rows.iter().map(|row| &row.1)
    }

    /// Bytes of memory it takes, for the cache's budget.
    pub fn memory_bytes(&self) -> usize {
        let beside = |row: &ListingEntry| {
            row.name.len().max(16) + row.entry.as_ref().map_or(0, |entry| entry.memory_bytes() + 16)
        };
        let rows = self.rows.capacity() * size_of::<(u64, ListingEntry)>();
        size_of::<Self>() + rows + self.iter().map(beside).sum::<usize>()
    }
}

/// A hash that is the same in every process, so that a reader can go on after a daemon's death.
fn position_of(name: &[u8]) -> u64 {
    // Non-negative as a signed `off_t`, with room above for names that collide.
    (xxh3_64(name) >> 2).max(FIRST_POSITION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(name: &[u8]) -> ListingEntry {
        ListingEntry { name: name.into(), inode: 1, kind: libc::DT_REG, entry: None }
    }

    proptest! {
        #[test]
        fn every_name_is_found_and_no_other(names in proptest::collection::btree_set(any::<Vec<u8>>(), 0..50), other: Vec<u8>) {
            let listing = Listing::new(names.iter().map(|n| entry(n)).collect(), true);
            for name in &names {
                prop_assert!(listing.find(name).is_some());
            }
            prop_assert_eq!(listing.find(&other).is_some(), names.contains(&other));
        }

        #[test]
        fn resuming_at_any_position_yields_every_name_once(names in proptest::collection::btree_set(any::<Vec<u8>>(), 0..50), step in 1usize..7) {
            let listing = Listing::new(names.iter().map(|n| entry(n)).collect(), true);
            let (mut seen, mut position) = (Vec::new(), 0);
            loop {
                let page: Vec<_> = listing.after(position).take(step).collect();
                let Some(last) = page.last() else { break };
                position = last.0;
                seen.extend(page.iter().map(|(_, e)| e.name.to_vec()));
            }
            seen.sort();
            prop_assert_eq!(seen, names.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_listing_is_renewed_only_if_its_directory_is_as_it_was() {
        let (version, later) = (Version { inode: 7, ..Version::default() }, AsOf::now());
        let changed = Version { inode: 8, ..version };
        let read = |settled| Listing::new(vec![entry(b"a")], settled);
        let cases = [
            (read(true).of_version(version), version, true),
            (read(true).of_version(version), changed, false),
            (read(false).of_version(version), version, false), // it could have changed without a trace
            (read(true), version, false),                      // another node read it
        ];
        for (number, (listing, now, same)) in cases.into_iter().enumerate() {
            let renewed = listing.renewed(now, later);
            assert_eq!(
                renewed.as_ref().is_some_and(|renewed| renewed.is_same_reading(&listing)),
                same,
                "{number}"
            );
        }
    }

    #[test]
    fn differences_are_the_names_that_came_went_or_became_another_file() {
        let row = |name: &str, inode| ListingEntry { inode, ..entry(name.as_bytes()) };
        let directory = |inode| ListingEntry { kind: libc::DT_DIR, ..row("directory", inode) };
        let before = vec![row("same", 1), row("other", 2), row("gone", 3), directory(6)];
        let after = vec![row("same", 1), row("other", 4), row("new", 5), directory(7)];
        let (before, after) = (Listing::new(before, true), Listing::new(after, true));
        let mut names: Vec<_> = before.differences(&after).collect();
        names.sort();
        assert_eq!(names, [&b"gone"[..], b"new", b"other"]);
    }

    #[test]
    fn a_reader_that_resumes_sees_old_names_once_though_names_came_and_went() {
        let before = Listing::new((0..100).map(|i| entry(format!("old{i}").as_bytes())).collect(), true);
        let half: Vec<_> = before.after(0).take(50).map(|(p, e)| (p, e.name.clone())).collect();
        let mut later: Vec<_> = (0..100).map(|i| entry(format!("old{i}").as_bytes())).collect();
        later.extend((0..100).map(|i| entry(format!("new{i}").as_bytes())));
        let rest = Listing::new(later, true);
        let seen = half.iter().map(|h| h.1.clone());
        let rest = rest.after(half[49].0).map(|(_, e)| e.name.clone()).filter(|n| n.starts_with(b"old"));
        let mut all: Vec<_> = seen.chain(rest).collect();
        all.sort();
        let count = all.len();
        all.dedup();
        assert_eq!((count, all.len()), (100, 100));
    }
}
