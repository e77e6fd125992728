//! Notices who reads a file from front to back, and says how far ahead to read for them.
//!
//! Not here: the reading (`mod.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::Cache;

use crate::file::{BlockIndex, FilePath, Version};

/// Files whose readers are followed: 256.
const FOLLOWED_MAX: usize = 256;
/// Blocks read ahead at first, once three blocks were read in a row: 4. Not two: a single read of the kernel's that does
/// not begin at a block's start touches two, and page faults in a library are such reads. On slow storage
/// waiting for the next block costs more than a block too many.
const WINDOW_MIN: u64 = 4;
/// Blocks read ahead at most: 32, that is 4 MiB, one Lustre request or two milliseconds at 2 GB/s.
const WINDOW_MAX: u64 = 32;

/// Stands for a window while only two blocks were read in a row.
const TWO_IN_A_ROW: u64 = 1;

/// The last place each of the followed files was read at.
pub(super) struct Sequences(Cache<(FilePath, Version), Arc<AtomicU64>>);

impl Sequences {
    pub(super) fn new() -> Self {
        Sequences(Cache::new(FOLLOWED_MAX))
    }

    /// Notes that block `index` is read, and returns the blocks to read ahead: none until three blocks were
    /// read in a row, then twice as many each time.
    pub(super) fn observe(
        &self,
        path: &FilePath,
        version: Version,
        index: BlockIndex,
    ) -> std::ops::Range<u64> {
        let none = index.0..index.0;
        let key = (path.clone(), version);
        let Some(state) = self.0.get(&key) else {
            self.0.insert(key, Arc::new(AtomicU64::new(pack(index.0, 0))));
            return none;
        };
        let (last, window) = unpack(state.load(Ordering::Relaxed));
        if index.0 == last {
            return none;
        }
        let follows = index.0 == last + 1;
        let window = match (follows, window) {
            (false, _) => 0,
            (true, 0) => TWO_IN_A_ROW,
            (true, TWO_IN_A_ROW) => WINDOW_MIN,
            (true, window) => (window * 2).min(WINDOW_MAX),
        };
        state.store(pack(index.0, window), Ordering::Relaxed);
        if window == TWO_IN_A_ROW {
            return none;
        }
        index.0 + 1..index.0 + 1 + window
    }
}

/// A block index (56 bits reach 16 EiB and more) and a window in one word.
fn pack(index: u64, window: u64) -> u64 {
    index << 8 | window
}

fn unpack(word: u64) -> (u64, u64) {
    (word >> 8, word & 0xff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::ViewId;

    #[test]
    fn only_reading_in_sequence_is_read_ahead_of() {
        let sequences = Sequences::new();
        let path = FilePath::from_relative(ViewId::new(0), b"lib.so");
        let observe = |index| {
            let ahead = sequences.observe(&path, Version::default(), BlockIndex(index));
            ahead.end - ahead.start
        };
        let cases = [
            (0, 0),  // the first look at a file says nothing
            (1, 0),  // two in a row may be one read of the kernel's
            (2, 4),  // three are not
            (2, 0),  // the same block again: already done
            (3, 8),  // the window doubles
            (9, 0),  // a jump
            (10, 0), // begins anew
            (11, 4),
        ];
        for (index, want) in cases {
            assert_eq!(observe(index), want, "block {index}");
        }
    }
}
