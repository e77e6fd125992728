//! Memory in which each thread counts by itself: parts of the same layout, which are added up when they are read.
//!
//! A thread takes the lowest part that is free and gives it back when it ends; whoever has it next adds to what is there.
//! So no thread waits for another, nor for a cache line that another has just written, and needs no atomic addition. Threads
//! beyond the parts share the first, where additions are atomic.
//!
//! Invariant: at most one process at a time takes parts in the same memory: the node's daemon.
//!
//! Not here: what the words of a part mean (`recorder`, `events`).

use std::sync::atomic::{AtomicU64, Ordering};

/// Parts that threads have: 64, the bits of a word. A daemon has some ten threads that answer, and 64 that ask storage where it is slow.
pub(super) const OWN_MAX: usize = 64;

/// The part of those without one of their own.
const SHARED: usize = 0;

/// A bit for each part that a thread of this process has.
static TAKEN: AtomicU64 = AtomicU64::new(1 << SHARED);

/// A thread's hold on its part.
struct Own(usize);

impl Own {
    fn take() -> Self {
        let lowest_free = |taken: u64| (taken != u64::MAX).then(|| taken | (taken + 1));
        match TAKEN.fetch_update(Ordering::Acquire, Ordering::Relaxed, lowest_free) {
            Ok(taken) => Own(taken.trailing_ones() as usize),
            Err(_) => Own(SHARED),
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if self.0 != SHARED {
            // Whoever takes the part next sees all that this thread has added to it.
            TAKEN.fetch_and(!(1 << self.0), Ordering::Release);
        }
    }
}

thread_local! {
    static OWN: Own = Own::take();
}

/// The parts of one memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct ByThread {
    words: &'static [AtomicU64],
    part_words: usize,
    /// A bit for each part that was ever added to: only these are read, since reading a page of the others would make one.
    used: &'static AtomicU64,
}

/// One of them, for the thread that asked for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct OfThread {
    words: &'static [AtomicU64],
    number: usize,
}

impl ByThread {
    /// As many parts of `part_words` each as are in `words`, [`OWN_MAX`] at most; `used` says which were added to.
    pub(super) fn over(words: &'static [AtomicU64], part_words: usize, used: &'static AtomicU64) -> Self {
        ByThread { words, part_words, used }
    }

    /// The part of this thread.
    pub(super) fn own(&self) -> OfThread {
        // A thread that is ending has none any more.
        let number = OWN.try_with(|own| own.0).unwrap_or(SHARED);
        self.part(if (number + 1) * self.part_words <= self.words.len() { number } else { SHARED })
    }

    /// The part of all, for a process that takes none.
    pub(super) fn shared(&self) -> OfThread {
        self.part(SHARED)
    }

    fn part(&self, number: usize) -> OfThread {
        let bit = 1 << number;
        if self.used.load(Ordering::Relaxed) & bit == 0 {
            self.used.fetch_or(bit, Ordering::Relaxed);
        }
        OfThread { words: self.words_of(number), number }
    }

    /// One word, of all parts added up.
    pub(super) fn sum(&self, word: usize) -> u64 {
        let values = self.used_parts().map(|part| part[word].load(Ordering::Relaxed));
        values.fold(0, u64::wrapping_add)
    }

    /// The words from `at` on, of all parts added up.
    pub(super) fn sums(&self, at: usize, count: usize) -> Vec<u64> {
        let mut sums = vec![0_u64; count];
        for part in self.used_parts() {
            for (sum, word) in sums.iter_mut().zip(&part[at..at + count]) {
                *sum = sum.wrapping_add(word.load(Ordering::Relaxed));
            }
        }
        sums
    }

    fn used_parts(&self) -> impl Iterator<Item = &'static [AtomicU64]> {
        let (parts, used) = (*self, self.used.load(Ordering::Relaxed));
        let there = OWN_MAX.min(self.words.len() / self.part_words);
        (0..there).filter(move |number| used >> number & 1 == 1).map(move |number| parts.words_of(number))
    }

    fn words_of(&self, number: usize) -> &'static [AtomicU64] {
        &self.words[number * self.part_words..][..self.part_words]
    }
}

impl OfThread {
    /// Which of the parts it is.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// Adds `n` to a word and returns the sum.
    pub(super) fn add(&self, word: usize, n: u64) -> u64 {
        let word = &self.words[word];
        if self.number != SHARED {
            add(word, n)
        } else {
            word.fetch_add(n, Ordering::Relaxed).wrapping_add(n)
        }
    }

    /// The word itself, for what is set and not added to.
    pub(super) fn word(&self, word: usize) -> &'static AtomicU64 {
        &self.words[word]
    }
}

/// Adds to what nobody else adds to at the same time; whoever reads it meanwhile sees the old sum or the new one. Several
/// times as fast as an atomic addition.
pub(super) fn add(word: &AtomicU64, n: u64) -> u64 {
    let sum = word.load(Ordering::Relaxed).wrapping_add(n);
    word.store(sum, Ordering::Relaxed);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(part_words: usize) -> ByThread {
        let words = (0..=OWN_MAX * part_words).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
        let (used, words) = Vec::leak(words).split_first().unwrap();
        ByThread::over(words, part_words, used)
    }

    #[test]
    fn nothing_is_lost_where_there_are_more_threads_than_parts() {
        let parts = parts(3);
        let all_there = std::sync::Barrier::new(2 * OWN_MAX);
        for _round in 0..2 {
            std::thread::scope(|scope| {
                for _ in 0..2 * OWN_MAX {
                    scope.spawn(|| {
                        let part = parts.own();
                        all_there.wait();
                        for n in 0..1000 {
                            part.add(n % 3, 1);
                        }
                    });
                }
            });
        }
        assert_eq!(parts.sums(0, 3), [334, 333, 333].map(|each| each * 4 * OWN_MAX as u64));
        assert_eq!(parts.sum(1), 333 * 4 * OWN_MAX as u64);
    }

    #[test]
    fn two_threads_never_have_the_same_part_for_themselves() {
        let parts = parts(1);
        let both = std::sync::Barrier::new(2);
        let mine = || {
            let part = parts.own();
            both.wait();
            (part.number != SHARED, part.word(0) as *const AtomicU64 as usize)
        };
        let (one, other) = std::thread::scope(|scope| {
            let (one, other) = (scope.spawn(mine), scope.spawn(mine));
            (one.join().unwrap(), other.join().unwrap())
        });
        assert!(one.1 != other.1 || !(one.0 || other.0));
    }
}
