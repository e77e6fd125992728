//! What one thread has counted of paths that come again and again, until it is worth the lock of their shard.
//!
//! Where rows change hands each answer would be counted under a lock, on lines of the processor's cache that another thread
//! has just written. The sketch is right for any order of the answers, so some of them may wait here.
//!
//! Invariant: a path has fewer than [`CALLS_MAX`] calls here. A death loses these; whoever reads the table has them put in first.
//!
//! Not here: which paths are worth it (`rows`).

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use super::AsItIs;

/// Calls of a path that wait at most: 64. The more, the longer the sketch takes a path for rarer than it is.
const CALLS_MAX: u64 = 64;
/// Paths for each thread at most: 4,096, which take some 0.6 MB. Then it begins anew.
const PATHS_MAX: usize = 4096;

/// The counts of one path.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub calls: u64,
    pub bytes: u64,
    pub nanoseconds: u64,
}

/// Which row is meant: its hash, what was asked and answered, and the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key<'a> {
    pub hash: u64,
    pub what: u64,
    pub text: &'a [u8],
}

/// What became of counts.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// They wait.
    Waits,
    /// These have waited long enough, the new ones among them.
    Due(Counts),
    /// The path does not wait here.
    Unknown,
}

/// What waits, of one thread.
#[derive(Default)]
pub(super) struct Pending(HashMap<u64, Path, BuildHasherDefault<AsItIs>>);

struct Path {
    what: u64,
    text: Box<[u8]>,
    counts: Counts,
}

impl Pending {
    /// Adds to the counts of a path that is here.
    pub(super) fn take(&mut self, key: Key<'_>, counts: Counts) -> Taken {
        let Some(path) = self.0.get_mut(&key.hash) else { return Taken::Unknown };
        if path.what != key.what || *path.text != *key.text {
            return Taken::Unknown;
        }
        path.counts.add(counts);
        if path.counts.calls < CALLS_MAX {
            return Taken::Waits;
        }
        Taken::Due(std::mem::take(&mut path.counts))
    }

    /// Lets answers to this path wait from now on. Another of the same hash stays as it is.
    pub(super) fn admit(&mut self, key: Key<'_>) {
        let path = || Path { what: key.what, text: key.text.into(), counts: Counts::default() };
        self.0.entry(key.hash).or_insert_with(path);
    }

    /// Whether no other path can be admitted before all leave.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= PATHS_MAX
    }

    /// Takes out all that waits.
    pub(super) fn leave(&mut self, mut put: impl FnMut(Key<'_>, Counts)) {
        for (hash, path) in self.0.drain().filter(|(_, path)| path.counts.calls > 0) {
            put(Key { hash, what: path.what, text: &path.text }, path.counts);
        }
    }
}

impl Counts {
    fn add(&mut self, more: Counts) {
        self.calls += more.calls;
        self.bytes = self.bytes.wrapping_add(more.bytes);
        self.nanoseconds = self.nanoseconds.wrapping_add(more.nanoseconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(hash: u64, text: &[u8]) -> Key<'_> {
        Key { hash, what: 7, text }
    }

    const ONE: Counts = Counts { calls: 1, bytes: 2, nanoseconds: 3 };

    #[test]
    fn calls_wait_until_they_are_many_or_all_leave() {
        let mut pending = Pending::default();
        assert_eq!(pending.take(key(1, b"a"), ONE), Taken::Unknown);
        pending.admit(key(1, b"a"));
        for _ in 1..CALLS_MAX {
            assert_eq!(pending.take(key(1, b"a"), ONE), Taken::Waits);
        }
        let due = Counts { calls: CALLS_MAX, bytes: 2 * CALLS_MAX, nanoseconds: 3 * CALLS_MAX };
        assert_eq!(pending.take(key(1, b"a"), ONE), Taken::Due(due));
        assert_eq!(pending.take(key(1, b"a"), ONE), Taken::Waits);
        let mut left = Vec::new();
        pending.leave(|key, counts| left.push((key.text.to_vec(), counts)));
        assert_eq!(left, [(b"a".to_vec(), ONE)]);
        assert_eq!(pending.take(key(1, b"a"), ONE), Taken::Unknown);
    }

    #[test]
    fn of_two_paths_with_one_hash_the_first_waits() {
        let mut pending = Pending::default();
        pending.admit(key(1, b"a"));
        pending.admit(key(1, b"b"));
        assert_eq!(pending.take(key(1, b"b"), ONE), Taken::Unknown);
        assert_eq!(pending.take(Key { what: 8, ..key(1, b"a") }, ONE), Taken::Unknown);
        assert_eq!(pending.take(key(1, b"a"), ONE), Taken::Waits);
    }
}
