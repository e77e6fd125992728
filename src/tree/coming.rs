//! Content that comes without a question of its own: small files that rode along, blocks asked for with others.
//!
//! Not here: asking (`asking`), keeping what was asked for (`cache`).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::sync::oneshot;

use crate::file::{Block, BlockIndex, FilePath, SmallFile, Version};

/// Bytes of small files kept until somebody asks for them: 4 MiB, what some dozen answers bring. What falls out is asked
/// for.
const FILES_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How many files that is about.
const FILES_USUAL: usize = 512;

#[derive(Clone)]
struct Bytes;

impl Weighter<(FilePath, Version), Arc<Block>> for Bytes {
    fn weight(&self, key: &(FilePath, Version), block: &Arc<Block>) -> u64 {
        (block.len() + key.0.relative().len() + 128) as u64
    }
}

/// Small files that rode along with others, until somebody asks for them.
pub(super) struct RidingFiles(Cache<(FilePath, Version), Arc<Block>, Bytes>);

impl RidingFiles {
    pub(super) fn new() -> Self {
        RidingFiles(Cache::with_weighter(FILES_USUAL, FILES_BYTES_MAX, Bytes))
    }

    pub(super) fn take(&self, files: Vec<SmallFile>) {
        files.into_iter().for_each(|file| self.0.insert((file.path, file.version), file.block));
    }

    pub(super) fn remove(&self, path: &FilePath, version: Version) -> Option<Arc<Block>> {
        if self.0.is_empty() {
            return None;
        }
        self.0.remove(&(path.clone(), version)).map(|(_, block)| block)
    }
}

type Key = (FilePath, Version, BlockIndex);

/// Blocks on their way, each to be taken once.
///
/// Bounded by the questions that bring them: each takes its own out when it has ended.
#[derive(Default)]
pub(super) struct Expected(Mutex<HashMap<Key, oneshot::Receiver<Arc<Block>>>>);

impl Expected {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, oneshot::Receiver<Arc<Block>>>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Notes that the first run of `blocks` that is not on its way comes: where it begins and what to send its blocks to.
    /// `None` if fewer than two are left.
    pub(super) fn begin(
        &self,
        path: &FilePath,
        version: Version,
        blocks: Range<u64>,
    ) -> Option<(BlockIndex, Vec<oneshot::Sender<Arc<Block>>>)> {
        let mut coming = self.lock();
        let key = |index| (path.clone(), version, BlockIndex(index));
        let first = blocks.clone().find(|index| !coming.contains_key(&key(*index)))?;
        let is_free = |index: &u64| !coming.contains_key(&key(*index));
        let end = first + (first..blocks.end).take_while(is_free).count() as u64;
        if end - first < 2 {
            return None;
        }
        let mut senders = Vec::new();
        for index in first..end {
            if let Entry::Vacant(place) = coming.entry(key(index)) {
                let (sender, receiver) = oneshot::channel();
                place.insert(receiver);
                senders.push(sender);
            }
        }
        Some((BlockIndex(first), senders))
    }

    /// What to wait on for a block that is on its way.
    pub(super) fn take(&self, key: &Key) -> Option<oneshot::Receiver<Arc<Block>>> {
        self.lock().remove(key)
    }

    /// The question for these blocks has ended; what nobody took is dropped.
    pub(super) fn end(&self, path: &FilePath, version: Version, blocks: Range<u64>) {
        let mut untaken = Vec::new();
        let mut coming = self.lock();
        for index in blocks {
            untaken.extend(coming.remove(&(path.clone(), version, BlockIndex(index))));
        }
        drop(coming);
        drop(untaken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::ViewId;

    #[test]
    fn only_blocks_that_are_not_on_their_way_are_asked_for_and_each_is_taken_once() {
        let (expected, path, version) =
            (Expected::default(), FilePath::root(ViewId::new(0)), Version::default());
        let begun =
            |blocks| expected.begin(&path, version, blocks).map(|(first, senders)| (first.0, senders.len()));
        assert_eq!(begun(2..5), Some((2, 3)));
        assert_eq!(begun(2..8), Some((5, 3)), "the first three are coming");
        assert_eq!(begun(7..9), None, "one alone is asked for by itself");
        assert!(expected.take(&(path.clone(), version, BlockIndex(3))).is_some());
        assert!(expected.take(&(path.clone(), version, BlockIndex(3))).is_none());
        expected.end(&path, version, 2..8);
        assert!(expected.lock().is_empty());
    }
}
