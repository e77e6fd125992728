//! The table of paths: for each path, operation, outcome and source how many answers there were.
//!
//! It is in shards, each behind a lock; the hash of a row says which is its own. Each thread remembers rows that it has met
//! and counts by itself (`by_thread`), so it takes a lock for a row that is new to it; once rows change hands, for many
//! calls of a path at once (`pending`).
//!
//! With a limit of N (`--profile top=N`) each shard is a space-saving sketch (Metwally, Agrawal, El Abbadi: Efficient
//! computation of frequent and top-k elements in data streams, 2005): a new row takes the place of the one with the
//! fewest calls and begins with that number, which is kept as its possible error. No count is too low, none is too high
//! by more than all calls of its shard divided by the rows of a shard, and whatever was called more often than that is there.
//!
//! Invariant: what was recorded is found again by whoever opens the memory after a death at any moment.
//!
//! Not here: sums over all paths (`events`).

mod pending;

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use super::by_thread::{ByThread, OfThread, add};
use super::event::{AnsweredBy, Event, Mode, Operation, Outcome};
use pending::{Counts, Key, Pending, Taken};

/// Rows of a full record at most: 524,288, some ten times what the largest environments touch.
const ROWS_MAX: usize = 1 << 19;
/// Bytes of their paths at most: 64 MiB.
const TEXT_BYTES: usize = 64 << 20;
/// Rows kept for each that is to be told with `top=N`, so that the error is small: 32, and 4,096 at least.
const ROWS_FOR_EACH: usize = 32;
const ROWS_MIN: usize = 4096;
/// Longest path with `top=N`, where rows change hands: 1,088 bytes, 17 lines of the processor's cache. With an even number of
/// lines the beginnings of all paths would share few of its sets.
const SLOT_BYTES: usize = 17 * 64;

/// Shards of a full record: 64, which share all rows.
const SHARDS: usize = 64;
/// Shards with `top=N`: 8. Each has rows of its own, so the fewer, the smaller the error may be; the six threads at most
/// that read requests seldom meet in eight.
const SHARDS_OF_TOP: usize = 8;

/// ByThread in which threads count, where all rows are kept: 16. More threads than that seldom answer; they share the first.
const COUNTING_PARTS: usize = 16;
/// Words of each row in a part: calls, bytes, nanoseconds.
const COUNTED_WORDS: usize = 3;
/// Rows that a thread remembers at most: 65,536. Then it begins anew.
const REMEMBERED_MAX: usize = 1 << 16;

/// Words before the rows: how many are taken, of each shard that has rows of its own, else of all; last, which parts are used.
const HEADER_WORDS: usize = 64;
const PARTS_USED: usize = HEADER_WORDS - 1;
/// Whether the rows themselves have the counts, because a shard was full and rows may change hands.
const CHANGED: usize = HEADER_WORDS - 2;

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
    /// A power of two.
    shards: usize,
    /// Whether a new row may take the place of another: then each shard has as many rows as the others, and each row as
    /// much room for its path.
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
    /// What tells this table from others that a thread remembers something of.
    own: u64,
    /// Where threads count by themselves.
    parts: ByThread,
    /// `None` where rows never change hands.
    change: Option<Change>,
    shards: Box<[Shard]>,
    /// Rows and text that no shard has taken yet; unused where each has its own.
    room: Mutex<Room>,
}

/// The moment from which on rows may change hands, and so are counted under the locks of their shards.
struct Change {
    /// Once it begins nobody counts in a part any more.
    begins: AtomicBool,
    /// And then the rows have all counts.
    is_done: AtomicBool,
    /// Held while it goes on.
    going_on: Mutex<()>,
    /// By part; held by whoever counts in it, and so taken by nobody else but whoever begins the change or reads.
    counting: Box<[Counting]>,
}

/// With what waits for the lock of its shard; nothing before the change.
#[repr(align(128))]
struct Counting(Mutex<Pending>);

/// What a thread remembers: rows by hash.
#[derive(Default)]
struct Remembered {
    of: u64,
    rows: HashMap<u64, u32, BuildHasherDefault<AsItIs>>,
}

thread_local! {
    static REMEMBERED: RefCell<Remembered> = RefCell::default();
}

/// Two lines of the processor's cache, which it fetches together: who takes one lock does not disturb the next.
#[repr(align(128))]
struct Shard(Mutex<Found>);

/// What is in a shard.
struct Found {
    /// Rows by hash.
    places: HashMap<u64, u32, BuildHasherDefault<AsItIs>>,
    /// Rows by a number of calls that they had once: at least one that is not too high for each row.
    fewest: BinaryHeap<Reverse<(u64, u32)>>,
    room: Room,
}

/// Whether a row was there.
#[derive(Debug, PartialEq, Eq)]
enum Met {
    First,
    Again,
}

/// Rows that are free.
struct Room {
    /// Where it is written how many are taken.
    counted_at: usize,
    first: usize,
    taken: usize,
    count: usize,
    /// Among those taken: rows that a dying thread had not finished.
    holes: Vec<u32>,
    text_used: usize,
}

impl Kept {
    pub(super) fn of(mode: Mode) -> Option<Self> {
        match mode {
            Mode::Off | Mode::Aggregate => None,
            Mode::Full => {
                Some(Kept { rows: ROWS_MAX, text_bytes: TEXT_BYTES, shards: SHARDS, replaces: false })
            }
            Mode::Top(n) => {
                let rows = (n as usize).saturating_mul(ROWS_FOR_EACH).clamp(ROWS_MIN, ROWS_MAX);
                Some(Kept { rows, text_bytes: rows * SLOT_BYTES, shards: SHARDS_OF_TOP, replaces: true })
            }
        }
    }

    pub(super) fn bytes(self) -> u64 {
        let counted = COUNTING_PARTS * self.rows * COUNTED_WORDS;
        ((HEADER_WORDS + self.rows * ROW_WORDS + counted) * 8 + self.text_bytes.next_multiple_of(8)) as u64
    }

    /// The shard of a hash. The bits are none of those by which a table of hashes finds its places.
    fn shard_of(self, hash: u64) -> usize {
        (hash >> 40) as usize & (self.shards - 1)
    }
}

impl Rows {
    /// The table in `words`, as it was left.
    pub(super) fn over(words: &'static [AtomicU64], kept: Kept) -> Self {
        let own = if kept.replaces { kept.rows / kept.shards } else { 0 };
        let shard = |number: usize| {
            let room = Room::of(words, number, number * own, own);
            Shard(Mutex::new(Found { places: HashMap::default(), fewest: BinaryHeap::new(), room }))
        };
        let shards = (0..kept.shards).map(shard).collect();
        let all = if kept.replaces { 0 } else { kept.rows };
        let counted_at = HEADER_WORDS + kept.rows * ROW_WORDS + kept.text_bytes.div_ceil(8);
        let part_words = kept.rows * COUNTED_WORDS;
        let counted = &words[counted_at..][..COUNTING_PARTS * part_words];
        let parts = ByThread::over(counted, part_words, &words[PARTS_USED]);
        let change = kept.replaces.then(|| Change::of(words[CHANGED].load(Ordering::Acquire) != 0));
        static TABLES: AtomicU64 = AtomicU64::new(1);
        let own = TABLES.fetch_add(1, Ordering::Relaxed);
        let room = Mutex::new(Room::of(words, 0, 0, all));
        let rows = Rows { words, kept, own, parts, change, shards, room };
        rows.find_again();
        rows
    }

    fn find_again(&self) {
        if self.kept.replaces {
            for shard in &self.shards {
                let mut found = shard.lock();
                for row in found.room.first..found.room.next() {
                    match self.word(row, HASH) {
                        0 => found.room.holes.push(row as u32),
                        hash => self.put(&mut found, row, hash, self.word(row, CALLS)),
                    }
                }
            }
            return;
        }
        let mut room = locked(&self.room);
        for row in room.first..room.next() {
            match self.word(row, HASH) {
                0 => room.holes.push(row as u32),
                hash => {
                    let (at, length) = self.text_place(row);
                    room.text_used = room.text_used.max(at + length);
                    self.put(&mut self.shards[self.kept.shard_of(hash)].lock(), row, hash, 0);
                }
            }
        }
    }

    /// Adds an answer; false if there is no room for its path.
    ///
    /// # Cost
    /// A look into a table of hashes and a comparison of paths; under a lock where rows change hands, or if this thread
    /// does not know the row yet.
    pub(super) fn note(&self, event: &Event<'_>, took: u64) -> bool {
        let key = key_of(event);
        let counts = Counts { calls: 1, bytes: event.bytes, nanoseconds: took };
        let Some(change) = &self.change else {
            let row = self.known_row(key);
            return row.map(|row| self.count(self.parts.own(), row, counts)).is_some();
        };
        if !change.is_done.load(Ordering::Acquire) {
            if self.note_before(change, key, counts).is_some() {
                return true;
            }
            drop(locked(&change.going_on));
        }
        if key.text.len() > SLOT_BYTES {
            return false;
        }
        self.note_after(change, key, counts);
        true
    }

    /// Counts in the part of this thread if rows do not change hands yet. Nor do they while it does.
    fn note_before(&self, change: &Change, key: Key<'_>, counts: Counts) -> Option<()> {
        let mut met = None;
        loop {
            let part = self.parts.own();
            let counting = locked(&change.counting[part.number()].0);
            if change.begins.load(Ordering::Acquire) {
                return None;
            }
            if let Some(row) = met.or_else(|| self.remembered_row(key)) {
                self.count(part, row, counts);
                return Some(());
            }
            drop(counting);
            if key.text.len() > SLOT_BYTES {
                return None;
            }
            met = self.known_row(key);
            if met.is_none() {
                self.begin_change(change);
            }
        }
    }

    /// Puts the counts of all parts into the rows.
    fn begin_change(&self, change: &Change) {
        let _going_on = locked(&change.going_on);
        if change.begins.swap(true, Ordering::AcqRel) {
            return;
        }
        // Whoever still counts is waited for; later ones see that it has begun.
        change.counting.iter().for_each(|part| drop(locked(&part.0)));
        for shard in &self.shards {
            let mut found = shard.lock();
            found.fewest = (found.places.values())
                .map(|row| {
                    let [calls, bytes, nanoseconds] = self.counted(*row as usize);
                    self.set(*row as usize, CALLS, calls);
                    self.set(*row as usize, BYTES, bytes);
                    self.set(*row as usize, NANOSECONDS, nanoseconds);
                    Reverse((calls, *row))
                })
                .collect();
        }
        // Until then a successor takes the counts of the parts.
        self.words[CHANGED].store(1, Ordering::Release);
        change.is_done.store(true, Ordering::Release);
    }

    fn count(&self, part: OfThread, row: usize, counts: Counts) {
        let at = row * COUNTED_WORDS;
        part.add(at, counts.calls);
        if counts.bytes > 0 {
            part.add(at + 1, counts.bytes);
        }
        part.add(at + 2, counts.nanoseconds);
    }

    /// The row of an event if this thread knows it.
    fn remembered_row(&self, key: Key<'_>) -> Option<usize> {
        let remembered = |remembered: &RefCell<Remembered>| {
            let remembered = remembered.borrow();
            let row = *remembered.rows.get(&key.hash).filter(|_| remembered.of == self.own)? as usize;
            self.is(row, key).then_some(row)
        };
        REMEMBERED.try_with(remembered).ok().flatten()
    }

    /// The row of an event, which this thread then knows; `None` if there is no room for it.
    fn known_row(&self, key: Key<'_>) -> Option<usize> {
        if self.change.is_none()
            && let Some(row) = self.remembered_row(key)
        {
            return Some(row);
        }
        let (row, _) = self.row_in(&mut self.shards[self.kept.shard_of(key.hash)].lock(), key)?;
        // A thread that is ending remembers nothing any more.
        let _ = REMEMBERED.try_with(|remembered| {
            let mut remembered = remembered.borrow_mut();
            if remembered.of != self.own || remembered.rows.len() >= REMEMBERED_MAX {
                *remembered = Remembered { of: self.own, rows: HashMap::default() };
            }
            remembered.rows.insert(key.hash, row as u32);
        });
        Some(row)
    }

    /// Counts where rows change hands. A path that has a row already is likely to come again, so its next calls wait.
    fn note_after(&self, change: &Change, key: Key<'_>, counts: Counts) {
        let mut pending = locked(&change.counting[self.parts.own().number()].0);
        match pending.take(key, counts) {
            Taken::Waits => {}
            Taken::Due(counts) => {
                self.put_in(key, counts);
            }
            Taken::Unknown if self.put_in(key, counts) == Some(Met::Again) => {
                if pending.is_full() {
                    self.settle(&mut pending);
                }
                pending.admit(key);
            }
            Taken::Unknown => {}
        }
    }

    fn put_in(&self, key: Key<'_>, counts: Counts) -> Option<Met> {
        let mut found = self.shards[self.kept.shard_of(key.hash)].lock();
        let (row, met) = self.row_in(&mut found, key)?;
        self.add(row, CALLS, counts.calls);
        if counts.bytes > 0 {
            self.add(row, BYTES, counts.bytes);
        }
        self.add(row, NANOSECONDS, counts.nanoseconds);
        Some(met)
    }

    /// Puts all that waits into the table.
    fn settle(&self, pending: &mut Pending) {
        pending.leave(|key, counts| {
            self.put_in(key, counts);
        });
    }

    /// The same for all threads, before somebody reads.
    fn settle_all(&self) {
        let all = self.change.iter().flat_map(|change| &change.counting);
        all.for_each(|counting| self.settle(&mut locked(&counting.0)));
    }

    /// The row that is meant, a new one if need be.
    fn row_in(&self, found: &mut Found, key: Key<'_>) -> Option<(usize, Met)> {
        let mut hash = key.hash;
        loop {
            match found.places.get(&hash) {
                Some(row) if self.is(*row as usize, key) => return Some((*row as usize, Met::Again)),
                // Another path with the same hash: the next number is its own.
                Some(_) => hash = next_hash(hash),
                None => return Some((self.take_row(found, Key { hash, ..key })?, Met::First)),
            }
        }
    }

    /// All rows.
    pub(super) fn read(&self) -> Vec<RowRead> {
        self.settle_all();
        let mut all = Vec::new();
        for shard in &self.shards {
            let found = shard.lock();
            all.extend(found.places.values().filter_map(|row| Some((*row, self.read_row(*row as usize)?))));
        }
        // In the order in which they were first met, where rows do not change hands.
        all.sort_by_key(|(row, _)| *row);
        all.into_iter().map(|(_, read)| read).collect()
    }

    /// Those with the most nanoseconds, from the top; `count` at most. Of each shard only these are copied.
    pub(super) fn slowest(&self, count: usize) -> Vec<RowRead> {
        self.settle_all();
        let mut slowest = Vec::new();
        for shard in &self.shards {
            let found = shard.lock();
            let mut best: BinaryHeap<Reverse<(u64, u32)>> = BinaryHeap::new();
            for row in found.places.values() {
                best.push(Reverse((self.counted(*row as usize)[2], *row)));
                if best.len() > count {
                    best.pop();
                }
            }
            slowest.extend(best.into_iter().filter_map(|Reverse((_, row))| self.read_row(row as usize)));
        }
        slowest.sort_by_key(|row| Reverse(row.nanoseconds));
        slowest.truncate(count);
        slowest
    }

    /// Only with the lock of the row's shard.
    fn read_row(&self, row: usize) -> Option<RowRead> {
        let what = self.word(row, WHAT);
        let part = |shift: u32| (what >> shift & 0xff) as usize;
        let [calls, bytes, nanoseconds] = self.counted(row);
        Some(RowRead {
            view: (what & 0xffff) as u16,
            relative: self.text(row).to_vec(),
            operation: *Operation::ALL.get(part(16))?,
            outcome: *Outcome::ALL.get(part(24))?,
            by: *AnsweredBy::ALL.get(part(32))?,
            calls,
            bytes,
            nanoseconds,
            error: self.word(row, ERROR),
        })
        .filter(|read| read.calls > 0)
    }

    /// Calls, bytes and nanoseconds.
    fn counted(&self, row: usize) -> [u64; COUNTED_WORDS] {
        if self.has_changed() {
            return [CALLS, BYTES, NANOSECONDS].map(|word| self.word(row, word));
        }
        std::array::from_fn(|word| self.parts.sum(row * COUNTED_WORDS + word))
    }

    /// Whether rows change hands, and so have their counts themselves.
    fn has_changed(&self) -> bool {
        self.change.as_ref().is_some_and(|change| change.is_done.load(Ordering::Acquire))
    }

    fn take_row(&self, found: &mut Found, Key { hash, what, text }: Key<'_>) -> Option<usize> {
        let (row, at) = if self.kept.replaces {
            if text.len() > SLOT_BYTES {
                return None;
            }
            let row = found.room.take(self.words).or_else(|| self.give_up_row(found))?;
            (row, row * SLOT_BYTES)
        } else {
            self.room_for(text.len())?
        };
        // SAFETY: within the table's text, in a piece that no row has that others can find.
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), self.text_start().add(at), text.len()) };
        self.set(row, TEXT, (at as u64) << 16 | text.len() as u64);
        self.set(row, WHAT, what);
        // What was counted here for another path, also before a death, may be this one's.
        self.set(row, ERROR, self.word(row, CALLS));
        self.set(row, BYTES, 0);
        self.set(row, NANOSECONDS, 0);
        // Last: until then a successor takes the row for free.
        self.set(row, HASH, hash);
        // With the call that is about to be added, so that the row is not looked at in vain for its number of before.
        self.put(found, row, hash, self.word(row, CALLS).saturating_add(1));
        Some(row)
    }

    /// A row and a place for its text, of those that are everybody's.
    fn room_for(&self, length: usize) -> Option<(usize, usize)> {
        let mut room = locked(&self.room);
        let at = room.text_used;
        if at + length > self.kept.text_bytes || length > usize::from(u16::MAX) {
            return None;
        }
        let row = room.take(self.words)?;
        room.text_used = at + length;
        Some((row, at))
    }

    /// The row with the fewest calls.
    fn give_up_row(&self, found: &mut Found) -> Option<usize> {
        if !self.has_changed() {
            return None;
        }
        loop {
            let Reverse((calls, row)) = found.fewest.pop()?;
            if self.word(row as usize, CALLS) > calls {
                found.fewest.push(Reverse((self.word(row as usize, CALLS), row)));
                continue;
            }
            found.places.remove(&self.word(row as usize, HASH));
            self.set(row as usize, HASH, 0);
            return Some(row as usize);
        }
    }

    /// Lets `row` be found, by its hash and by its number of calls.
    fn put(&self, found: &mut Found, row: usize, hash: u64, calls: u64) {
        found.places.insert(hash, row as u32);
        if self.kept.replaces {
            found.fewest.push(Reverse((calls, row as u32)));
        }
    }

    fn is(&self, row: usize, key: Key<'_>) -> bool {
        self.word(row, WHAT) == key.what && self.text(row) == key.text
    }

    fn text(&self, row: usize) -> &[u8] {
        let (at, length) = self.text_place(row);
        // SAFETY: checked to lie within the table's text. That of a row which can be found does not change; but where rows
        // change hands it does, under the lock of the shard, which the caller then holds.
        unsafe { std::slice::from_raw_parts(self.text_start().add(at), length) }
    }

    /// Where the text of `row` is, within bounds whatever memory says.
    fn text_place(&self, row: usize) -> (usize, usize) {
        let place = self.word(row, TEXT);
        let at = ((place >> 16) as usize).min(self.kept.text_bytes);
        (at, ((place & 0xffff) as usize).min(self.kept.text_bytes - at))
    }

    fn text_start(&self) -> *mut u8 {
        self.words[HEADER_WORDS + self.kept.rows * ROW_WORDS..].as_ptr().cast_mut().cast()
    }

    fn word(&self, row: usize, word: usize) -> u64 {
        self.words[HEADER_WORDS + row * ROW_WORDS + word].load(Ordering::Relaxed)
    }

    fn set(&self, row: usize, word: usize, value: u64) {
        self.words[HEADER_WORDS + row * ROW_WORDS + word].store(value, Ordering::Release);
    }

    fn add(&self, row: usize, word: usize, n: u64) {
        add(&self.words[HEADER_WORDS + row * ROW_WORDS + word], n);
    }
}

impl Change {
    fn of(is_done: bool) -> Self {
        let counting = (0..COUNTING_PARTS).map(|_| Counting(Mutex::default())).collect();
        let (begins, is_done) = (AtomicBool::new(is_done), AtomicBool::new(is_done));
        Change { begins, is_done, going_on: Mutex::new(()), counting }
    }
}

impl Room {
    fn of(words: &[AtomicU64], counted_at: usize, first: usize, count: usize) -> Self {
        // Whatever memory says.
        let taken = (words[counted_at].load(Ordering::Relaxed) as usize).min(count);
        Room { counted_at, first, taken, count, holes: Vec::new(), text_used: 0 }
    }

    /// The first row that was never taken.
    fn next(&self) -> usize {
        self.first + self.taken
    }

    fn take(&mut self, words: &[AtomicU64]) -> Option<usize> {
        if let Some(hole) = self.holes.pop() {
            return Some(hole as usize);
        }
        if self.taken == self.count {
            return None;
        }
        let row = self.next();
        self.taken += 1;
        words[self.counted_at].store(self.taken as u64, Ordering::Release);
        Some(row)
    }
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, Found> {
        locked(&self.0)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// The next one in the same shard.
fn next_hash(hash: u64) -> u64 {
    let low = u64::from(u32::MAX);
    ((hash & !low) | (hash.wrapping_add(1) & low)).max(1)
}

fn key_of<'a>(event: &Event<'a>) -> Key<'a> {
    let what = packed(event);
    let hash = xxhash_rust::xxh3::xxh3_64_with_seed(event.relative, what).max(1);
    Key { hash, what, text: event.relative }
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
mod tests;
