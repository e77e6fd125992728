//! What tasks were told: latencies, the course of time, paths, tasks; in memory that outlives the daemon.
//!
//! A daemon that is killed has recorded everything it had answered but, at most, what its threads were just writing:
//! its successor goes on in the same memory.
//!
//! Invariant: memory is bounded; what does not fit is counted ([`Events::lost`]).
//!
//! Not here: the file that comes of it (`profile::recording`).

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use super::buckets::{BUCKETS, bucket_of};
use super::event::{AnsweredBy, Event, Mode, Operation};
use super::rows::{Kept, RowRead, Rows};
use super::tasks::{TaskRead, Tasks};

/// The course of time is kept in bins of 10 ms, 1 s and 60 s, a thousand each: fine for the first 10 s, coarse for the
/// first 16 hours.
const SCALES: [u64; 3] = [10_000_000, 1_000_000_000, 60_000_000_000];
const BINS: usize = 1000;
/// Answers by who gave them, then the nanoseconds they took.
const BIN_WORDS: usize = AnsweredBy::ALL.len() + 1;

const KINDS: usize = Operation::ALL.len() * AnsweredBy::ALL.len();

/// Words of the header: when it began (monotonic, nanoseconds), when that was (microseconds since 1970), what was lost.
const BEGAN: usize = 0;
const BEGAN_UNIX_US: usize = 1;
const LOST: usize = 2;
const LATENCIES_AT: usize = 64;
const TIMES_AT: usize = LATENCIES_AT + KINDS * BUCKETS;
const TASKS_AT: usize = TIMES_AT + SCALES.len() * BINS * BIN_WORDS;
const ROWS_AT: usize = TASKS_AT + super::tasks::WORDS;

/// The record of one node.
pub struct Events {
    words: &'static [AtomicU64],
    mode: Mode,
    rows: Mutex<Option<Rows>>,
    tasks: Mutex<Tasks>,
}

/// How long answers of one kind took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latencies {
    /// What was asked.
    pub operation: Operation,
    /// Who answered.
    pub by: AnsweredBy,
    /// Answers by bucket (`buckets`), those without any left out.
    pub buckets: Vec<(usize, u64)>,
}

/// What happened in a piece of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// From so many microseconds after the service began.
    pub from_us: u64,
    /// Until then.
    pub until_us: u64,
    /// Answers by who gave them, as [`AnsweredBy::ALL`].
    pub answers: [u64; AnsweredBy::ALL.len()],
    /// Nanoseconds that tasks waited for them, added up.
    pub nanoseconds: u64,
}

impl Events {
    /// Bytes of memory that recording in this `mode` takes at most; pages that are not needed are never touched.
    pub fn shared_bytes(mode: Mode) -> u64 {
        match mode {
            Mode::Off => 0,
            _ => (ROWS_AT * 8) as u64 + Kept::of(mode).map_or(0, Kept::bytes),
        }
    }

    /// The record in `memory`, a memfd of [`Self::shared_bytes`], mapped for the life of the process; a new one, or as a
    /// dead daemon left it.
    ///
    /// # Errors
    /// What `mmap` answers.
    pub fn shared(memory: impl AsFd, mode: Mode) -> io::Result<Self> {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        let bytes = usize::try_from(Self::shared_bytes(mode)).map_err(io::Error::other)?;
        // SAFETY: a fresh shared mapping of `bytes`, never unmapped; atomics make access from another process sound.
        let words = unsafe {
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            let start = mmap(std::ptr::null_mut(), bytes, protection, MapFlags::SHARED, memory, 0)?;
            std::slice::from_raw_parts(start.cast::<AtomicU64>(), bytes / 8)
        };
        Ok(Self::over(words, mode))
    }

    /// A record of this process alone, never freed.
    pub fn private(mode: Mode) -> Self {
        let words = (0..Self::shared_bytes(mode) / 8).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
        Self::over(Vec::leak(words), mode)
    }

    fn over(words: &'static [AtomicU64], mode: Mode) -> Self {
        let first = words[BEGAN].compare_exchange(0, now_ns(), Ordering::Relaxed, Ordering::Relaxed);
        if first.is_ok() {
            words[BEGAN_UNIX_US].store(unix_us(), Ordering::Relaxed);
        }
        let rows = Kept::of(mode).map(|kept| Rows::over(&words[ROWS_AT..], kept));
        let tasks = Mutex::new(Tasks::over(&words[TASKS_AT..ROWS_AT]));
        Events { words, mode, rows: Mutex::new(rows), tasks }
    }

    /// How much is recorded.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Records an answer to a question that began at `began`.
    ///
    /// # Cost
    /// Two looks at the clock and one lock, held for a look into a table (`benches/recorder`).
    pub fn note(&self, began: u64, event: &Event<'_>) {
        let now = now_ns();
        let took = now.saturating_sub(began);
        let kind = event.operation as usize * AnsweredBy::ALL.len() + event.by as usize;
        // Taken for all that follows: adding under a lock costs a fifth of adding to what several may add to.
        let mut rows = self.rows();
        self.add(LATENCIES_AT + kind * BUCKETS + bucket_of(took), 1);
        if let Some(bin) = bin_of(now.saturating_sub(self.words[BEGAN].load(Ordering::Relaxed))) {
            let at = TIMES_AT + bin * BIN_WORDS;
            self.add(at + event.by as usize, 1);
            self.add(at + AnsweredBy::ALL.len(), took);
        }
        if let Some(rows) = rows.as_mut()
            && !rows.note(event, took)
        {
            self.add(LOST, 1);
        }
    }

    /// Records that the task behind thread `thread` was answered.
    pub fn note_task(&self, thread: u32, took: u64) {
        self.tasks.lock().unwrap_or_else(|e| e.into_inner()).note(thread, took);
    }

    /// Answers whose path was not recorded since there was no room.
    pub fn lost(&self) -> u64 {
        self.words[LOST].load(Ordering::Relaxed)
    }

    /// When recording began, microseconds since 1970.
    pub fn began_unix_us(&self) -> u64 {
        self.words[BEGAN_UNIX_US].load(Ordering::Relaxed)
    }

    /// The paths recorded so far.
    pub fn paths(&self) -> Vec<RowRead> {
        self.rows().as_ref().map(Rows::read).unwrap_or_default()
    }

    /// The rows that tasks waited for longest, all calls added up; `count` at most.
    ///
    /// # Cost
    /// One look at each row under the lock: some milliseconds where there are 500,000.
    pub fn slowest(&self, count: usize) -> Vec<RowRead> {
        self.rows().as_ref().map(|rows| rows.slowest(count)).unwrap_or_default()
    }

    /// The tasks seen so far.
    pub fn tasks(&self) -> Vec<TaskRead> {
        self.tasks.lock().unwrap_or_else(|e| e.into_inner()).read()
    }

    /// How long answers took, for each kind that there was.
    pub fn latencies(&self) -> Vec<Latencies> {
        let mut all = Vec::new();
        for operation in Operation::ALL {
            for by in AnsweredBy::ALL {
                let kind = *operation as usize * AnsweredBy::ALL.len() + *by as usize;
                let count = |bucket: usize| {
                    (bucket, self.words[LATENCIES_AT + kind * BUCKETS + bucket].load(Ordering::Relaxed))
                };
                let buckets: Vec<_> = (0..BUCKETS).map(count).filter(|(_, count)| *count > 0).collect();
                if !buckets.is_empty() {
                    all.push(Latencies { operation: *operation, by: *by, buckets });
                }
            }
        }
        all
    }

    /// What happened when; times without any answer are left out.
    pub fn moments(&self) -> Vec<Moment> {
        let mut all = Vec::new();
        for bin in 0..SCALES.len() * BINS {
            let word = |n: usize| self.words[TIMES_AT + bin * BIN_WORDS + n].load(Ordering::Relaxed);
            let answers = std::array::from_fn(word);
            if answers.iter().any(|count| *count > 0) {
                let width_us = SCALES[bin / BINS] / 1000;
                let from_us = (bin % BINS) as u64 * width_us;
                let nanoseconds = word(AnsweredBy::ALL.len());
                all.push(Moment { from_us, until_us: from_us + width_us, answers, nanoseconds });
            }
        }
        all
    }

    fn rows(&self) -> MutexGuard<'_, Option<Rows>> {
        self.rows.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Only with the lock of the rows.
    fn add(&self, word: usize, n: u64) {
        add(&self.words[word], n);
    }
}

/// Adds to what nobody else adds to at the same time: whoever may has the lock, and a process that reads sees the old sum
/// or the new one.
pub(super) fn add(word: &AtomicU64, n: u64) -> u64 {
    let sum = word.load(Ordering::Relaxed).wrapping_add(n);
    word.store(sum, Ordering::Relaxed);
    sum
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// The finest bin that reaches so far; `None` after 16 hours.
fn bin_of(since_ns: u64) -> Option<usize> {
    let scale = SCALES.iter().position(|width| since_ns < width * BINS as u64)?;
    Some(scale * BINS + (since_ns / SCALES[scale]) as usize)
}

/// Nanoseconds of a clock that all processes of this machine share and nobody sets.
pub(super) fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    (now.tv_sec as u64) * 1_000_000_000 + now.tv_nsec as u64
}

fn unix_us() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_micros() as u64)
}

#[cfg(test)]
mod tests {
    use super::super::event::Outcome;
    use super::*;

    fn event(relative: &[u8]) -> Event<'_> {
        let (operation, outcome) = (Operation::Lookup, Outcome::Found);
        Event { view: 0, relative, operation, outcome, by: AnsweredBy::Cache, bytes: 7 }
    }

    #[test]
    fn a_successor_goes_on_where_the_dead_daemon_stopped() {
        for mode in [Mode::Full, Mode::Top(10)] {
            let memory = tempfile::tempfile().unwrap();
            memory.set_len(Events::shared_bytes(mode)).unwrap();
            for _life in 0..3 {
                let events = Events::shared(&memory, mode).unwrap();
                events.note(now_ns(), &event(b"lib/a"));
                events.note(now_ns(), &event(b"lib/b"));
                events.note_task(std::process::id(), 5);
            }
            let events = Events::shared(&memory, mode).unwrap();
            let mut paths: Vec<_> = events.paths().into_iter().map(|row| (row.relative, row.calls)).collect();
            paths.sort();
            assert_eq!(paths, [(b"lib/a".to_vec(), 3), (b"lib/b".to_vec(), 3)], "{mode:?}");
            let answers: u64 = events.moments().iter().map(|moment| moment.answers[0]).sum();
            let timed: u64 = events.latencies()[0].buckets.iter().map(|(_, count)| count).sum();
            assert_eq!((answers, timed, events.lost()), (6, 6, 0));
            assert_eq!(events.tasks()[0].calls, 3);
        }
    }

    #[test]
    fn without_paths_no_memory_is_set_aside_for_them() {
        assert!(Events::shared_bytes(Mode::Aggregate) < 1 << 20);
        let events = Events::private(Mode::Aggregate);
        events.note(now_ns(), &event(b"lib/a"));
        assert_eq!((events.paths().len(), events.latencies().len(), events.lost()), (0, 1, 0));
    }

    #[test]
    fn bins_follow_each_other_without_a_gap() {
        let cases = [
            (0, Some(0)),
            (9_999_999_999, Some(999)),
            (10_000_000_000, Some(1010)), // the first ten bins of a second are never used
            (999_999_999_999, Some(1999)),
            (u64::MAX, None), // later than is kept
        ];
        for (since, bin) in cases {
            assert_eq!(bin_of(since), bin, "{since}");
        }
    }
}
