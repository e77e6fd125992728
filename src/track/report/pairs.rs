//! Pairs of numbers that were met, each once: which user had which package, a bit for each.
//!
//! For a million imports of a report that is a million questions, so what is looked at for one run lies close
//! together: the bits of its user, in lines of the processor's cache, of which only those exist that have a bit.

/// Words of a line: 64 bytes, as the lines of most processors have.
const WORDS: usize = 8;

/// Bits of a line.
const BITS: u32 = 512;

type Line = Option<Box<[u64; WORDS]>>;

/// The pairs. Both numbers should be dense.
#[derive(Debug, Default)]
pub(super) struct Pairs(Vec<Vec<Line>>);

impl Pairs {
    /// Whether the pair is met for the first time.
    pub(super) fn is_new(&mut self, one: u32, other: u32) -> bool {
        let lines = at(&mut self.0, one);
        let line = at(lines, other / BITS).get_or_insert_with(|| Box::new([0; WORDS]));
        let word = &mut line[(other % BITS / u64::BITS) as usize];
        let bit = 1 << (other % u64::BITS);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// Calls `each` with every pair.
    pub(super) fn each(&self, mut each: impl FnMut(u32, u32)) {
        for (one, lines) in self.0.iter().enumerate() {
            for (number, line) in lines.iter().enumerate() {
                for (word, bits) in line.iter().flat_map(|line| line.iter().enumerate()) {
                    let mut bits = *bits;
                    while bits != 0 {
                        let bit = bits.trailing_zeros();
                        each(one as u32, number as u32 * BITS + word as u32 * u64::BITS + bit);
                        bits &= bits - 1;
                    }
                }
            }
        }
    }
}

/// The item at `place`, which is made if there is none.
fn at<T: Default>(all: &mut Vec<T>, place: u32) -> &mut T {
    let place = place as usize;
    if all.len() <= place {
        all.resize_with(place + 1, T::default);
    }
    &mut all[place]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_pair_is_new_once_and_is_told_once(
            pairs in proptest::collection::vec((0_u32..40, 0_u32..2_000), 0..300)
        ) {
            let (mut seen, mut want) = (Pairs::default(), BTreeSet::new());
            for (one, other) in pairs {
                prop_assert_eq!(seen.is_new(one, other), want.insert((one, other)));
            }
            let mut told = Vec::new();
            seen.each(|one, other| told.push((one, other)));
            prop_assert_eq!(told, Vec::from_iter(want));
        }
    }
}
