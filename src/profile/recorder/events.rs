//! What tasks were told: latencies, the course of time, paths, tasks; in memory that outlives the daemon.
//!
//! Each thread counts by itself (`by_thread`), and sums are made by whoever reads; rows of paths are in shards (`rows`).
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

use super::buckets::{BUCKETS, bucket_of};
use super::by_thread::{ByThread, OWN_MAX};
use super::event::{AnsweredBy, Event, Mode, Operation, Outcome};
use super::rows::{Kept, RowRead, Rows};
use super::tasks::{NumberOf, TASKS_MAX, TaskRead, Tasks};

/// The course of time is kept in bins of 10 ms, 1 s and 60 s, a thousand each: fine for the first 10 s, coarse for the
/// first 16 hours.
const SCALES: [u64; 3] = [10_000_000, 1_000_000_000, 60_000_000_000];
const BINS: usize = 1000;
/// Answers by who gave them, then the nanoseconds they took.
const BIN_WORDS: usize = AnsweredBy::ALL.len() + 1;

const KINDS: usize = Operation::ALL.len() * AnsweredBy::ALL.len();
/// Of each kind its buckets, then of all its answers: nanoseconds, bytes of content, how many were absences and other errors.
const NANOSECONDS: usize = BUCKETS;
const BYTES: usize = BUCKETS + 1;
const ABSENCES: usize = BUCKETS + 2;
const ERRORS: usize = BUCKETS + 3;
const KIND_WORDS: usize = BUCKETS + 4;

/// Words of the header: when it began (monotonic, nanoseconds), when that was (microseconds since 1970), which parts are
/// used, how many tasks there are. These hardly change; what was lost may, so it has a line of its own.
const BEGAN: usize = 0;
const BEGAN_UNIX_US: usize = 1;
const PARTS_USED: usize = 2;
const TASKS_TAKEN: usize = 3;
const LOST: usize = 32;
const TASKS_AT: usize = 64;
const PARTS_AT: usize = TASKS_AT + super::tasks::WORDS;
const ROWS_AT: usize = PARTS_AT + OWN_MAX * PART_WORDS;

/// Words of a part: calls and nanoseconds of each task, latencies, bins; filled up to whole pages.
const TASK_WORDS: usize = 2;
const LATENCIES_AT: usize = TASKS_MAX * TASK_WORDS;
const TIMES_AT: usize = LATENCIES_AT + KINDS * KIND_WORDS;
const PART_WORDS: usize = (TIMES_AT + SCALES.len() * BINS * BIN_WORDS).next_multiple_of(512);

/// The record of one node.
pub struct Events {
    words: &'static [AtomicU64],
    mode: Mode,
    parts: ByThread,
    tasks: Tasks,
    rows: Option<Rows>,
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
    /// How long they took, added up.
    pub nanoseconds: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// How many of them said that there is no such name.
    pub absences: u64,
    /// How many of them were another error.
    pub errors: u64,
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
    /// dead daemon left it. `number_of` tells tasks' numbers.
    ///
    /// # Errors
    /// What `mmap` answers.
    pub fn shared(memory: impl AsFd, mode: Mode, number_of: NumberOf) -> io::Result<Self> {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        let bytes = usize::try_from(Self::shared_bytes(mode)).map_err(io::Error::other)?;
        // SAFETY: a fresh shared mapping of `bytes`, never unmapped; atomics make access from another process sound.
        let words = unsafe {
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            let start = mmap(std::ptr::null_mut(), bytes, protection, MapFlags::SHARED, memory, 0)?;
            std::slice::from_raw_parts(start.cast::<AtomicU64>(), bytes / 8)
        };
        Ok(Self::over(words, mode, number_of))
    }

    /// A record of this process alone, never freed, in which no task has a number.
    pub fn private(mode: Mode) -> Self {
        // Zeroes that the system gives page by page.
        let words = Vec::leak(vec![0_u64; (Self::shared_bytes(mode) / 8) as usize]);
        // SAFETY: the two have one layout, and nobody else has the words.
        let words = unsafe { std::slice::from_raw_parts(words.as_ptr().cast::<AtomicU64>(), words.len()) };
        Self::over(words, mode, |_| None)
    }

    fn over(words: &'static [AtomicU64], mode: Mode, number_of: NumberOf) -> Self {
        let first = words[BEGAN].compare_exchange(0, now_ns(), Ordering::Relaxed, Ordering::Relaxed);
        if first.is_ok() {
            words[BEGAN_UNIX_US].store(unix_us(), Ordering::Relaxed);
        }
        Events {
            words,
            mode,
            parts: ByThread::over(&words[PARTS_AT..ROWS_AT], PART_WORDS, &words[PARTS_USED]),
            tasks: Tasks::over(&words[TASKS_AT..PARTS_AT], &words[TASKS_TAKEN], number_of),
            rows: Kept::of(mode).map(|kept| Rows::over(&words[ROWS_AT..], kept)),
        }
    }

    /// How much is recorded.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Records an answer to a question that began at `began`, and says how many nanoseconds it took.
    ///
    /// # Cost
    /// A look at the clock; where there are paths, one lock, held for a look into a table (`benches/recorder`).
    pub fn note(&self, began: u64, event: &Event<'_>) -> u64 {
        let now = now_ns();
        let took = now.saturating_sub(began);
        let part = self.parts.own();
        let kind = kind_at(event.operation, event.by);
        part.add(kind + bucket_of(took), 1);
        part.add(kind + NANOSECONDS, took);
        if event.bytes > 0 {
            part.add(kind + BYTES, event.bytes);
        }
        match event.outcome {
            Outcome::Found => {}
            Outcome::Absent => _ = part.add(kind + ABSENCES, 1),
            Outcome::Error => _ = part.add(kind + ERRORS, 1),
        }
        if let Some(bin) = bin_of(now.saturating_sub(self.words[BEGAN].load(Ordering::Relaxed))) {
            let at = TIMES_AT + bin * BIN_WORDS;
            part.add(at + event.by as usize, 1);
            part.add(at + AnsweredBy::ALL.len(), took);
        }
        if let Some(rows) = &self.rows
            && !rows.note(event, took)
        {
            self.words[LOST].fetch_add(1, Ordering::Relaxed);
        }
        took
    }

    /// Records that an answer was for the task behind thread `thread`.
    pub fn note_task(&self, thread: u32, took: u64) {
        let row = self.tasks.row_of(thread);
        let part = self.parts.own();
        let calls = part.add(row * TASK_WORDS, 1);
        part.add(row * TASK_WORDS + 1, took);
        // A process asks before and after it becomes another program: it is looked at again, ever more seldom.
        if calls > 1 && calls.is_power_of_two() {
            self.tasks.name_again(row);
        }
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
        self.rows.as_ref().map(Rows::read).unwrap_or_default()
    }

    /// The rows that tasks waited for longest, all calls added up; `count` at most.
    ///
    /// # Cost
    /// One look at each row under the lock of its shard: some milliseconds in all where there are 500,000.
    pub fn slowest(&self, count: usize) -> Vec<RowRead> {
        self.rows.as_ref().map(|rows| rows.slowest(count)).unwrap_or_default()
    }

    /// The tasks seen so far.
    pub fn tasks(&self) -> Vec<TaskRead> {
        let counted = self.parts.sums(0, TASKS_MAX * TASK_WORDS);
        self.tasks.read(|row| (counted[row * TASK_WORDS], counted[row * TASK_WORDS + 1]))
    }

    /// How long answers took, for each kind that there was.
    pub fn latencies(&self) -> Vec<Latencies> {
        let mut all = Vec::new();
        for operation in Operation::ALL {
            for by in AnsweredBy::ALL {
                let words = self.parts.sums(kind_at(*operation, *by), KIND_WORDS);
                let counts = words[..BUCKETS].iter().copied().enumerate();
                let buckets: Vec<_> = counts.filter(|(_, count)| *count > 0).collect();
                if !buckets.is_empty() {
                    all.push(Latencies {
                        operation: *operation,
                        by: *by,
                        buckets,
                        nanoseconds: words[NANOSECONDS],
                        bytes: words[BYTES],
                        absences: words[ABSENCES],
                        errors: words[ERRORS],
                    });
                }
            }
        }
        all
    }

    /// What happened when; times without any answer are left out.
    pub fn moments(&self) -> Vec<Moment> {
        let words = self.parts.sums(TIMES_AT, SCALES.len() * BINS * BIN_WORDS);
        let mut all = Vec::new();
        for (bin, words) in words.chunks_exact(BIN_WORDS).enumerate() {
            let answers = std::array::from_fn(|by| words[by]);
            if answers.iter().any(|count| *count > 0) {
                let width_us = SCALES[bin / BINS] / 1000;
                let from_us = (bin % BINS) as u64 * width_us;
                let nanoseconds = words[AnsweredBy::ALL.len()];
                all.push(Moment { from_us, until_us: from_us + width_us, answers, nanoseconds });
            }
        }
        all
    }
}

/// Where a part has the latencies of a kind.
fn kind_at(operation: Operation, by: AnsweredBy) -> usize {
    LATENCIES_AT + (operation as usize * AnsweredBy::ALL.len() + by as usize) * KIND_WORDS
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
mod tests;
