//! How much may be fetched ahead of demand without making the demand wait.
//!
//! Storage queues first in, first out, so "behind demand" has to be a small number in flight. It grows while
//! storage answers demand about as fast as it ever did and is halved when storage slows down, as TCP Vegas
//! does with round-trip times.
//!
//! Not here: what is worth fetching (`cache::ahead`).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::file::UsualTime;

/// In flight to begin with.
const START: u32 = 8;
/// In flight at most: 32, chosen and not tuned; docs/decisions/0003-fetching-ahead.md has what was measured with it.
const MAX: u32 = 32;
/// In flight at least: one, so that a slow storage is still used while the program computes.
const MIN: u32 = 1;
/// Calls on demand between two steps up.
const CALLS_PER_STEP: u32 = 1;

/// What demand waits at most when storage answers out of this node's memory: 100 µs, a call and two thread
/// switches.
const QUICK_NS: u64 = 100_000;

/// The present limit and what it rests on.
#[derive(Debug)]
pub(super) struct Pace {
    ahead_max: AtomicU32,
    calls: AtomicU32,
    /// The fastest that storage was seen to answer lately, in nanoseconds. It creeps up so that a quick
    /// answer from a client's cache does not count for ever.
    best_ns: AtomicU64,
    /// What demand waits.
    usual: UsualTime,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            ahead_max: AtomicU32::new(START),
            calls: AtomicU32::new(0),
            best_ns: AtomicU64::new(0),
            usual: UsualTime::default(),
        }
    }
}

impl Pace {
    /// How many jobs ahead of demand may be under way now.
    pub(super) fn ahead_max(&self) -> usize {
        self.ahead_max.load(Ordering::Relaxed) as usize
    }

    /// Whether storage answers out of this node's memory anyway: nothing is then worth fetching ahead.
    pub(super) fn is_quick(&self) -> bool {
        self.usual.nanoseconds() < QUICK_NS
    }

    /// Learns from a job on demand that took `time` on storage. Concurrent callers may lose an update,
    /// which only makes the average a little older.
    pub(super) fn demand_took(&self, time: Duration) {
        let sample = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let usual = self.usual.learn(time);
        if sample < QUICK_NS {
            return; // answered out of this node's memory: says nothing about the server
        }
        if sample < usual / 2 {
            return; // as good as out of memory, compared with what the server takes
        }
        let best = match self.best_ns.load(Ordering::Relaxed) {
            0 => sample,
            old => (old + old / 64).min(sample),
        };
        self.best_ns.store(best, Ordering::Relaxed);
        self.step(usual, best);
    }

    fn step(&self, usual: u64, best: u64) {
        let now = self.ahead_max.load(Ordering::Relaxed);
        let calls = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if usual > best.saturating_mul(3) {
            if calls >= CALLS_PER_STEP {
                self.calls.store(0, Ordering::Relaxed);
                self.ahead_max.store((now / 2).max(MIN), Ordering::Relaxed);
            }
        } else if usual < best.saturating_mul(2) && calls >= CALLS_PER_STEP {
            self.calls.store(0, Ordering::Relaxed);
            self.ahead_max.store((now + 1).min(MAX), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_ahead_grows_while_storage_is_quick_and_shrinks_when_it_slows_down() {
        let pace = Pace::default();
        for _ in 0..100 {
            pace.demand_took(Duration::from_millis(2));
        }
        let quick = pace.ahead_max();
        assert!(quick > START as usize, "{quick}");
        for _ in 0..40 {
            pace.demand_took(Duration::from_millis(20));
        }
        assert_eq!(pace.ahead_max(), MIN as usize);
    }
}
