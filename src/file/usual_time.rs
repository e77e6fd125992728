//! What something takes as a rule.
//!
//! Not here: what follows from it (`cache::pace`, `storage::files`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A moving average of times, over the last dozen or so. Shared by threads without a lock.
#[derive(Debug, Default)]
pub struct UsualTime(AtomicU64);

impl UsualTime {
    /// In nanoseconds; 0 before anything is known.
    pub fn nanoseconds(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Learns that it has just taken `time`, and says what is usual now, in nanoseconds.
    ///
    /// The newest counts an eighth. Concurrent callers may lose one, which only makes the average a little older.
    pub fn learn(&self, time: Duration) -> u64 {
        let newest = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let usual = match self.nanoseconds() {
            0 => newest,
            before => before - before / 8 + newest / 8,
        };
        self.0.store(usual, Ordering::Relaxed);
        usual
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_time_counts_whole_and_each_later_one_an_eighth() {
        let usual = UsualTime::default();
        assert_eq!(usual.nanoseconds(), 0);
        assert_eq!(usual.learn(Duration::from_nanos(800)), 800);
        assert_eq!(usual.learn(Duration::from_nanos(1600)), 900);
        assert_eq!(usual.nanoseconds(), 900);
        assert!(usual.learn(Duration::MAX) > u64::MAX / 8 - 1, "no overflow");
    }
}
