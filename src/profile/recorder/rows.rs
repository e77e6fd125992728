//! The table of paths: for each path, operation, outcome and source how many answers there were.
//!
//! With a limit of N (`--profile top=N`) the table is a space-saving sketch (Metwally, Agrawal, El Abbadi: Efficient
//! computation of frequent and top-k elements in data streams, 2005): a new row takes the place of the one with the
//! fewest calls and begins with that number, which is kept as its possible error. No count is too low, none is too high
//! by more than all calls divided by the rows, and whatever was called more often than that is there.
//!
//! Not here: the lock around it (`events`).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use super::event::{AnsweredBy, Event, Mode, Operation, Outcome};
use super::events::add;

/// Rows of a full record at most: 524,288, some ten times what the largest environments touch.
const ROWS_MAX: usize = 1 << 19;
/// Bytes of their paths at most: 64 MiB.
const TEXT_BYTES: usize = 64 << 20;
/// Rows kept for each that is to be told with `top=N`, so that the error is small: 32, and 4,096 at least.
const ROWS_FOR_EACH: usize = 32;
const ROWS_MIN: usize = 4096;
/// Longest path with `top=N`, where rows change hands: 1,024 bytes.
const SLOT_BYTES: usize = 1024;

const ROW_WORDS: usize = 8;
const HASH: usize = 0;
const TEXT: usize = 1;
const WHAT: usize = 2;
const CALLS: usize = 3;
const BYTES: usize = 4;
const NANOSECONDS: usize = 5;
const ERROR: usize = 6;

/// How many rows there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    rows: usize,
    text_bytes: usize,
    replaces: bool,
}

/// One row, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowRead {
    /// Number of the view.
    pub view: u16,
    /// The path beneath it.
    pub relative: Vec<u8>,
    /// What was asked.
    pub operation: Operation,
    /// What was answered.
    pub outcome: Outcome,
    /// By whom.
    pub by: AnsweredBy,
    /// How often.
    pub calls: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// How long the answers took, added up.
    pub nanoseconds: u64,
    /// By how much `calls` may be too high.
    pub error: u64,
}

/// The table.
pub(super) struct Rows {
    words: &'static [AtomicU64],
    kept: Kept,
    used: usize,
    text_used: usize,
    places: HashMap<u64, u32, BuildHasherDefault<AsItIs>>,
    /// Rows by a number of calls that they had once: at least one that is not too high for each row.
    fewest: BinaryHeap<Reverse<(u64, u32)>>,
}

impl Kept {
    pub(super) fn of(mode: Mode) -> Option<Self> {
        match mode {
            Mode::Off | Mode::Aggregate => None,
            Mode::Full => Some(Kept { rows: ROWS_MAX, text_bytes: TEXT_BYTES, replaces: false }),
            Mode::Top(n) => {
                let rows = (n as usize).saturating_mul(ROWS_FOR_EACH).clamp(ROWS_MIN, ROWS_MAX);
                Some(Kept { rows, text_bytes: rows * SLOT_BYTES, replaces: true })
            }
        }
    }

    pub(super) fn bytes(self) -> u64 {
        (self.rows * ROW_WORDS * 8 + self.text_bytes) as u64
    }
}

impl Rows {
    /// The table in `words`, as it was left.
    pub(super) fn over(words: &'static [AtomicU64], kept: Kept) -> Self {
        let (places, fewest) = (HashMap::default(), BinaryHeap::new());
        let mut rows = Rows { words, kept, used: 0, text_used: 0, places, fewest };
        // Rows are taken in order. One that a dying thread had begun has no hash yet, and is used again.
        while rows.used < kept.rows && rows.word(rows.used, HASH) != 0 {
            let (at, length) = rows.text_place(rows.used);
            rows.text_used = rows.text_used.max(at + length);
            rows.places.insert(rows.word(rows.used, HASH), rows.used as u32);
            rows.note_fewest(rows.used);
            rows.used += 1;
        }
        rows
    }

    /// Adds an answer; false if there is no room for its path.
    pub(super) fn note(&mut self, event: &Event<'_>, took: u64) -> bool {
        let what = packed(event);
        let mut hash = xxhash_rust::xxh3::xxh3_64_with_seed(event.relative, what).max(1);
        let row = loop {
            match self.places.get(&hash) {
                Some(row) if self.is(*row as usize, what, event.relative) => break *row as usize,
                // Another path with the same hash: the next number is its own.
                Some(_) => hash = hash.wrapping_add(1).max(1),
                None => match self.take_row(hash, what, event.relative) {
                    Some(row) => break row,
                    None => return false,
                },
            }
        };
        self.add(row, CALLS, 1);
        self.add(row, BYTES, event.bytes);
        self.add(row, NANOSECONDS, took);
        true
    }

    /// All rows.
    pub(super) fn read(&self) -> Vec<RowRead> {
        (0..self.used).filter_map(|row| self.read_row(row)).collect()
    }

    /// Those with the most nanoseconds, from the top; `count` at most. Only these are copied.
    pub(super) fn slowest(&self, count: usize) -> Vec<RowRead> {
        let mut best: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
        for row in 0..self.used {
            best.push(Reverse((self.word(row, NANOSECONDS), row)));
            if best.len() > count {
                best.pop();
            }
        }
        best.into_sorted_vec().into_iter().filter_map(|Reverse((_, row))| self.read_row(row)).collect()
    }

    fn read_row(&self, row: usize) -> Option<RowRead> {
        let what = self.word(row, WHAT);
        let part = |shift: u32| (what >> shift & 0xff) as usize;
        Some(RowRead {
            view: (what & 0xffff) as u16,
            relative: self.text(row).to_vec(),
            operation: *Operation::ALL.get(part(16))?,
            outcome: *Outcome::ALL.get(part(24))?,
            by: *AnsweredBy::ALL.get(part(32))?,
            calls: self.word(row, CALLS),
            bytes: self.word(row, BYTES),
            nanoseconds: self.word(row, NANOSECONDS),
            error: self.word(row, ERROR),
        })
        .filter(|read| read.calls > 0)
    }

    fn take_row(&mut self, hash: u64, what: u64, text: &[u8]) -> Option<usize> {
        if self.kept.replaces && text.len() > SLOT_BYTES {
            return None;
        }
        let row = if self.used < self.kept.rows { self.new_row(text.len())? } else { self.replace_row()? };
        let (at, length) = (self.text_place(row).0, text.len());
        // SAFETY: within the table's text, which only the holder of the lock touches.
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), self.text_start().add(at), length) };
        self.set(row, TEXT, (at as u64) << 16 | length as u64);
        self.set(row, WHAT, what);
        // Last: until then a successor takes the row for free.
        self.set(row, HASH, hash);
        self.places.insert(hash, row as u32);
        self.note_fewest(row);
        Some(row)
    }

    fn new_row(&mut self, length: usize) -> Option<usize> {
        let row = self.used;
        let at = if self.kept.replaces { row * SLOT_BYTES } else { self.text_used };
        if at + length > self.kept.text_bytes || length > usize::from(u16::MAX) {
            return None;
        }
        self.text_used = at + length;
        self.used += 1;
        for word in 0..ROW_WORDS {
            self.set(row, word, 0);
        }
        self.set(row, TEXT, (at as u64) << 16);
        Some(row)
    }

    /// The row with the fewest calls, which become the error of whoever gets it.
    fn replace_row(&mut self) -> Option<usize> {
        if !self.kept.replaces {
            return None;
        }
        loop {
            let Reverse((calls, row)) = self.fewest.pop()?;
            let row = row as usize;
            if self.word(row, CALLS) > calls {
                self.note_fewest(row);
                continue;
            }
            self.places.remove(&self.word(row, HASH));
            self.set(row, ERROR, calls);
            self.set(row, BYTES, 0);
            self.set(row, NANOSECONDS, 0);
            return Some(row);
        }
    }

    fn note_fewest(&mut self, row: usize) {
        if self.kept.replaces {
            self.fewest.push(Reverse((self.word(row, CALLS), row as u32)));
        }
    }

    fn is(&self, row: usize, what: u64, text: &[u8]) -> bool {
        self.word(row, WHAT) == what && self.text(row) == text
    }

    fn text(&self, row: usize) -> &[u8] {
        let (at, length) = self.text_place(row);
        // SAFETY: checked to lie within the table's text, which is written only under the lock that the caller holds.
        unsafe { std::slice::from_raw_parts(self.text_start().add(at), length) }
    }

    /// Where the text of `row` is, within bounds whatever memory says.
    fn text_place(&self, row: usize) -> (usize, usize) {
        let place = self.word(row, TEXT);
        let at = ((place >> 16) as usize).min(self.kept.text_bytes);
        (at, ((place & 0xffff) as usize).min(self.kept.text_bytes - at))
    }

    fn text_start(&self) -> *mut u8 {
        self.words[self.kept.rows * ROW_WORDS..].as_ptr().cast_mut().cast()
    }

    fn word(&self, row: usize, word: usize) -> u64 {
        self.words[row * ROW_WORDS + word].load(Ordering::Relaxed)
    }

    fn set(&self, row: usize, word: usize, value: u64) {
        self.words[row * ROW_WORDS + word].store(value, Ordering::Release);
    }

    fn add(&self, row: usize, word: usize, n: u64) {
        add(&self.words[row * ROW_WORDS + word], n);
    }
}

fn packed(event: &Event<'_>) -> u64 {
    u64::from(event.view)
        | (event.operation as u64) << 16
        | (event.outcome as u64) << 24
        | (event.by as u64) << 32
}

/// For keys that are hashes already, or numbers as the kernel gives them out.
#[derive(Default)]
pub(super) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |sum, byte| sum << 8 | u64::from(*byte));
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }

    /// Spread over all bits: a table looks at the first seven too.
    fn write_u32(&mut self, key: u32) {
        self.0 = u64::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(kept: Kept) -> Rows {
        let words = (0..kept.bytes() / 8).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
        Rows::over(Vec::leak(words), kept)
    }

    fn event(relative: &[u8]) -> Event<'_> {
        let (operation, outcome) = (Operation::Read, Outcome::Found);
        Event { view: 1, relative, operation, outcome, by: AnsweredBy::Storage, bytes: 2 }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn no_count_is_too_low_nor_too_high_by_more_than_the_bound(names in prop::collection::vec(0_u32..60, 1..2000)) {
            let mut rows = table(Kept { rows: 20, text_bytes: 20 * SLOT_BYTES, replaces: true });
            let mut exact: HashMap<Vec<u8>, u64> = HashMap::new();
            for name in &names {
                // A few are asked for often.
                let path = (name * name / 60).to_string().into_bytes();
                prop_assert!(rows.note(&event(&path), 1));
                *exact.entry(path).or_default() += 1;
            }
            let bound = names.len() as u64 / 20;
            let read: HashMap<Vec<u8>, RowRead> = rows.read().into_iter().map(|row| (row.relative.clone(), row)).collect();
            for (path, calls) in &exact {
                match read.get(path) {
                    Some(row) => {
                        prop_assert!(row.calls >= *calls && row.calls - row.error <= *calls);
                        prop_assert!(row.error <= bound);
                    }
                    None => prop_assert!(*calls <= bound),
                }
            }
        }
    }

    #[test]
    fn a_full_table_says_that_it_is_full_and_stays_right() {
        let mut rows = table(Kept { rows: 2, text_bytes: 64, replaces: false });
        let noted = [b"a", b"b", b"c", b"a"].map(|path| rows.note(&event(path), 10));
        assert_eq!(noted, [true, true, false, true]);
        let read: Vec<_> = rows.read().into_iter().map(|row| (row.relative, row.calls, row.bytes)).collect();
        assert_eq!(read, [(b"a".to_vec(), 2, 4), (b"b".to_vec(), 1, 2)]);
        let mut rows = table(Kept { rows: 9, text_bytes: 4, replaces: false });
        assert!(!rows.note(&event(b"longer"), 1), "no room for the text");
    }

    #[test]
    fn the_slowest_are_those_that_took_longest_in_all() {
        let mut rows = table(Kept { rows: 9, text_bytes: 64, replaces: false });
        for (path, took) in [(b"a", 5), (b"b", 9), (b"c", 1), (b"a", 5), (b"d", 2)] {
            assert!(rows.note(&event(path), took));
        }
        let slowest: Vec<_> =
            rows.slowest(3).into_iter().map(|row| (row.relative, row.nanoseconds)).collect();
        assert_eq!(slowest, [(b"a".to_vec(), 10), (b"b".to_vec(), 9), (b"d".to_vec(), 2)]);
        assert_eq!(rows.slowest(0), []);
    }

    #[test]
    fn any_memory_can_be_read() {
        let kept = Kept { rows: 4, text_bytes: 64, replaces: false };
        let words = (0..kept.bytes() / 8).map(|_| AtomicU64::new(u64::MAX)).collect::<Vec<_>>();
        let mut rows = Rows::over(Vec::leak(words), kept);
        rows.read();
        assert!(!rows.note(&event(b"a"), 1));
    }
}
