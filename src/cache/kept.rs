//! What fits into the cache's budget: directories and blocks side by side, the least used falling out.
//!
//! Not here: when to keep something (`mod.rs`).

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::directory::Directory;
use crate::file::{Block, BlockIndex, FilePath, Freshness, Version};

#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    Directory(FilePath),
    Block(FilePath, Version, BlockIndex),
}

#[derive(Clone)]
enum Value {
    /// With its size when it was last weighed: a weight must not change while the table has it.
    Directory(Arc<Directory>, usize),
    Block(Arc<Block>),
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Key, Value> for Bytes {
    fn weight(&self, key: &Key, value: &Value) -> u64 {
        let (Key::Directory(path) | Key::Block(path, ..)) = key;
        let held = match value {
            Value::Directory(_, bytes) => *bytes,
            Value::Block(block) => block.len(),
        };
        (held + path.relative().len() + size_of::<Key>()) as u64
    }
}

/// Everything that is kept. A lookup takes one shard lock, never across a call to another layer.
pub(super) struct Kept {
    things: Cache<Key, Value, Bytes>,
    /// Blocks that went to the kernel and were dropped, so that no late guess fetches them again.
    consumed: Cache<(FilePath, Version, BlockIndex), ()>,
    freshness: Freshness,
}

/// Consumed blocks remembered: 8,192, some 1 MB of paths. One forgotten may be fetched twice.
const CONSUMED_MAX: usize = 8192;

impl Kept {
    /// Keeps at most about `budget_bytes`, and tells nothing of directories that is older than `freshness` allows.
    pub(super) fn new(budget_bytes: u64, freshness: Freshness) -> Self {
        // Directories of some 4 KiB and blocks of up to 256 KiB; only the size of tables rests on this.
        let items = usize::try_from(budget_bytes / 16_384).unwrap_or(1 << 16).clamp(256, 1 << 16);
        let things = Cache::with_weighter(items, budget_bytes, Bytes);
        Kept { things, consumed: Cache::new(CONSUMED_MAX), freshness }
    }

    /// The directory at `path`, an empty one if nothing is known of it.
    pub(super) fn directory(&self, path: &FilePath) -> Arc<Directory> {
        let made = self.things.get_or_insert_with(&Key::Directory(path.clone()), || {
            let directory = Arc::new(Directory::new(self.freshness));
            let bytes = directory.memory_bytes();
            Ok::<_, std::convert::Infallible>(Value::Directory(directory, bytes))
        });
        match made {
            Ok(Value::Directory(directory, _)) => directory,
            Ok(Value::Block(_)) => unreachable!("a directory's key holds a directory"),
        }
    }

    /// The directory at `path` if anything is known of it.
    pub(super) fn peek_directory(&self, path: &FilePath) -> Option<Arc<Directory>> {
        match self.things.get(&Key::Directory(path.clone()))? {
            Value::Directory(directory, _) => Some(directory),
            Value::Block(_) => None,
        }
    }

    /// Every directory of which something is known. Not a moment's picture: others go on meanwhile.
    pub(super) fn directories(&self) -> impl Iterator<Item = (FilePath, Arc<Directory>)> + '_ {
        self.things.iter().filter_map(|thing| match thing {
            (Key::Directory(path), Value::Directory(directory, _)) => Some((path, directory)),
            _ => None,
        })
    }

    /// Forgets the directories that lie at or beneath `path`.
    pub(super) fn forget_beneath(&self, path: &FilePath) {
        self.things.retain(|key, _| !matches!(key, Key::Directory(directory) if directory.is_within(path)));
    }

    /// Tells the budget that `directory` has grown.
    pub(super) fn weigh_again(&self, path: &FilePath, directory: &Arc<Directory>) {
        let value = Value::Directory(directory.clone(), directory.memory_bytes());
        self.things.insert(Key::Directory(path.clone()), value);
    }

    /// A block, if it is kept.
    pub(super) fn block(&self, path: &FilePath, version: Version, index: BlockIndex) -> Option<Arc<Block>> {
        match self.things.get(&Key::Block(path.clone(), version, index))? {
            Value::Block(block) => Some(block),
            Value::Directory(..) => None,
        }
    }

    /// Keeps a block.
    pub(super) fn keep_block(&self, path: &FilePath, version: Version, index: BlockIndex, block: Arc<Block>) {
        self.things.insert(Key::Block(path.clone(), version, index), Value::Block(block));
    }

    /// Lets a block go that the kernel now has.
    pub(super) fn consume_block(&self, path: &FilePath, version: Version, index: BlockIndex) {
        self.consumed.insert((path.clone(), version, index), ());
        self.things.remove(&Key::Block(path.clone(), version, index));
    }

    /// Whether the kernel has had this block lately.
    pub(super) fn was_consumed(&self, path: &FilePath, version: Version, index: BlockIndex) -> bool {
        self.consumed.get(&(path.clone(), version, index)).is_some()
    }

    /// Bytes to hold at most.
    pub(super) fn budget_bytes(&self) -> u64 {
        self.things.capacity()
    }

    /// Another budget from now on.
    pub(super) fn set_budget(&self, bytes: u64) {
        self.things.set_capacity(bytes);
    }

    /// Bytes held now.
    pub(super) fn bytes(&self) -> u64 {
        self.things.weight()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::ViewId;

    #[test]
    fn a_smaller_budget_drops_what_does_not_fit_and_a_larger_one_takes_again() {
        const MIB: u64 = 1 << 20;
        let kept = Kept::new(16 * MIB, Freshness::FOR_THE_JOB);
        let path = FilePath::root(ViewId::new(0)).join(b"file");
        let fill = || {
            (0..64).for_each(|i| {
                let block = Arc::new(Block::new(vec![1; 128 << 10]));
                kept.keep_block(&path, Version::default(), BlockIndex(i), block);
            });
        };
        fill();
        assert!(kept.bytes() > 7 * MIB, "{} bytes", kept.bytes());
        kept.set_budget(2 * MIB);
        assert!(kept.bytes() <= 2 * MIB, "{} bytes", kept.bytes());
        fill();
        assert!(kept.bytes() <= kept.budget_bytes() && kept.bytes() > MIB, "{} bytes", kept.bytes());
        kept.set_budget(16 * MIB);
        fill();
        assert!(kept.bytes() > 7 * MIB, "{} bytes", kept.bytes());
    }
}
