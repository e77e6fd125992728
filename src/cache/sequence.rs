//! Notices who reads a file from front to back, and says how far ahead to read for them.
//!
//! Not here: the reading (`mod.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::Cache;

use crate::file::{BlockIndex, FilePath, Version};

/// Files whose readers are followed: 256.
const FOLLOWED_MAX: usize = 256;
/// Blocks read ahead at first: 4, more than a run can have counted.
const WINDOW_MIN: u64 = RUN_MIN_QUICK;
/// Blocks read ahead at most: 32, that is 4 MiB, one Lustre request or two milliseconds at 2 GB/s.
const WINDOW_MAX: u64 = 32;

/// Blocks in a row that make a reader where storage answers out of memory: 4, since page faults in a library
/// touch two or three neighbours by chance.
pub(super) const RUN_MIN_QUICK: u64 = 4;
/// The same where a block takes long: 1, since waiting for the next one costs more than a block too many.
pub(super) const RUN_MIN_SLOW: u64 = 1;

/// The last place each of the followed files was read at.
pub(super) struct Sequences(Cache<(FilePath, Version), Arc<AtomicU64>>);

impl Sequences {
    pub(super) fn new() -> Self {
        Sequences(Cache::new(FOLLOWED_MAX))
    }

    /// Notes that block `index` is read, and returns the blocks to read ahead: none until `run_min` blocks
    /// were read in a row, then twice as many each time.
    pub(super) fn observe(
        &self,
        path: &FilePath,
        version: Version,
        index: BlockIndex,
        run_min: u64,
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
        // Below WINDOW_MIN the word counts the run; from there on it is the window.
        let window = match window {
            _ if index.0 != last + 1 => 0,
            run if run + 1 < run_min => run + 1,
            run if run < WINDOW_MIN => WINDOW_MIN,
            window => (window * 2).min(WINDOW_MAX),
        };
        state.store(pack(index.0, window), Ordering::Relaxed);
        let ahead = if window < WINDOW_MIN { 0 } else { window };
        index.0 + 1..index.0 + 1 + ahead
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
            let ahead = sequences.observe(&path, Version::default(), BlockIndex(index), RUN_MIN_QUICK);
            ahead.end - ahead.start
        };
        let cases = [
            (0, 0), // the first look at a file says nothing
            (1, 0), // two in a row may be chance
            (2, 0),
            (3, 0),
            (4, 4),  // no more
            (4, 0),  // the same block again: already done
            (5, 8),  // the window doubles
            (9, 0),  // a jump
            (10, 0), // begins anew
        ];
        for (index, want) in cases {
            assert_eq!(observe(index), want, "block {index}");
        }
    }
}
