//! Pieces of a file's content.
//!
//! A block that travels carries a checksum, made by the node that read it from storage and checked by every node
//! that it passes. On its way it is kept beside the bytes and never made anew, so bytes that go wrong in a node's
//! memory do not travel on unnoticed.
//!
//! Not here: reading them (`storage`), keeping them (`cache`), sending them (`wire`).

use std::cell::RefCell;
use std::ops::{Deref, Range};
use std::sync::OnceLock;

use xxhash_rust::xxh3::xxh3_64;

/// Size of a block: 128 KiB; the last block of a file is as long as what is left.
///
/// What the kernel asks for at a time (the device readahead, which only root raises). With 256 KiB the import
/// of numpy, scipy and pandas read 162 MB where the kernel asked for 101 MB: page faults in large libraries
/// touch them here and there.
pub const BLOCK_BYTES: u64 = 128 * 1024;

/// Position of a block in its file: it starts at byte `index * BLOCK_BYTES`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockIndex(pub u64);

impl BlockIndex {
    /// The block that holds byte `offset`.
    pub fn holding(offset: u64) -> Self {
        BlockIndex(offset / BLOCK_BYTES)
    }

    /// The bytes of a file of `size` bytes that this block holds; empty beyond the end.
    pub fn range(self, size: u64) -> Range<u64> {
        let start = self.0.saturating_mul(BLOCK_BYTES).min(size);
        start..start.saturating_add(BLOCK_BYTES).min(size)
    }

    /// The block after this one.
    pub fn next(self) -> Self {
        BlockIndex(self.0 + 1)
    }
}

/// The content of one block. Immutable.
#[derive(Debug)]
pub struct Block {
    bytes: Box<[u8]>,
    /// As it came with the bytes; else empty until somebody wants to send them: most blocks never travel.
    checksum: OnceLock<u64>,
    settled: bool,
}

impl Block {
    /// A block of these bytes, as storage gave them under a settled version.
    pub fn new(bytes: Vec<u8>) -> Self {
        Block { bytes: bytes.into_boxed_slice(), checksum: OnceLock::new(), settled: true }
    }

    /// A block that came from another node with its checksum; `None` if they do not belong together.
    pub fn received(bytes: Vec<u8>, checksum: u64) -> Option<Self> {
        (xxh3_64(&bytes) == checksum).then(|| Block {
            bytes: bytes.into_boxed_slice(),
            checksum: OnceLock::from(checksum),
            settled: true,
        })
    }

    /// The same, read when its version was too young to be trusted if `settled` is false.
    pub fn settled_if(self, settled: bool) -> Self {
        Block { settled, ..self }
    }

    /// Whether the version was settled when the bytes were read, by the clock of the node that read them. If not, the same
    /// version may by now stand for other bytes, so they are for whoever asked for them and not to be kept.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// XXH3 of the bytes, 64 bits: the one they came with, else made now and kept.
    ///
    /// It finds accidents, not forgers: against those connections are authenticated.
    pub fn checksum(&self) -> u64 {
        *self.checksum.get_or_init(|| xxh3_64(&self.bytes))
    }
}

impl Deref for Block {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

thread_local! {
    /// The memory of the [`Passing`] that this thread dropped last.
    static LAST_DROPPED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Bytes of a file on their way to one reader, kept nowhere.
///
/// The thread that drops them uses their memory for the next: it is then still in the core's cache, and no
/// page of it has to be faulted in again.
#[derive(Debug)]
pub struct Passing(Vec<u8>);

impl Passing {
    /// What `fill` puts into an empty vector that has some capacity already.
    ///
    /// # Errors
    /// Those of `fill`.
    pub fn fill<E>(fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<Self, E> {
        let mut passing = Passing(LAST_DROPPED.take());
        passing.0.clear();
        fill(&mut passing.0)?;
        Ok(passing)
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        // A thread that is ending keeps nothing.
        let _ = LAST_DROPPED.try_with(|last| last.replace(std::mem::take(&mut self.0)));
    }
}

impl Deref for Passing {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_bytes_use_the_memory_of_those_dropped() {
        let fill = |bytes: &mut Vec<u8>| {
            bytes.extend_from_slice(&[7; 5000]);
            Ok::<_, std::convert::Infallible>(())
        };
        let Ok(first) = Passing::fill(fill);
        let at = first.as_ptr();
        drop(first);
        let Ok(second) = Passing::fill(fill);
        assert_eq!((second.as_ptr(), second.len()), (at, 5000));
    }

    #[test]
    fn a_block_whose_bytes_went_wrong_on_the_way_is_not_taken() {
        let sent = Block::new(b"some bytes".to_vec());
        assert!(Block::received(b"some bytes".to_vec(), sent.checksum()).is_some());
        assert!(Block::received(b"some bytez".to_vec(), sent.checksum()).is_none());
    }

    #[test]
    fn a_block_is_clipped_to_the_file() {
        let cases = [
            // index, file size, want
            (0, 10, 0..10),                                     // shorter than a block
            (1, BLOCK_BYTES + 5, BLOCK_BYTES..BLOCK_BYTES + 5), // the last, partial one
            (1, BLOCK_BYTES, BLOCK_BYTES..BLOCK_BYTES),         // at the end: empty, not an error
            (u64::MAX, 10, 10..10),                             // a hostile index does not wrap
        ];
        for (index, size, want) in cases {
            assert_eq!(BlockIndex(index).range(size), want, "block {index} of {size} bytes");
        }
    }
}
