//! Numbers that look random and are the same on every node and in every run.
//!
//! Not for anything an attacker may choose: who knows the files of a job may know their shards.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Mixes all bits of `number` into all others (the finalizer of MurmurHash3, 64 bits).
pub fn mixed(mut number: u64) -> u64 {
    number ^= number >> 33;
    number = number.wrapping_mul(0xff51_afd7_ed55_8ccd);
    number ^= number >> 33;
    number = number.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ (number >> 33)
}

/// A number for these bytes (XXH3). Not the standard library's hasher: that one may differ between releases, and nodes
/// have to agree.
pub fn of_bytes(start: u64, bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, start)
}

/// A sequence of numbers that its seed decides (SplitMix64), for jitter.
#[derive(Debug, Clone)]
pub struct Sequence(u64);

impl Sequence {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Self {
        Sequence(mixed(seed))
    }

    /// The next number, evenly spread over `0..below`; 0 if `below` is 0.
    pub fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0).checked_rem(below).unwrap_or(0)
    }
}
