//! The table of node ids, in memory that outlives the daemon.
//!
//! The kernel names files by numbers that we gave it and asks with them for as long as it likes. A daemon
//! that takes over after another died must know them all, so the table lives in a memfd that the holder
//! keeps; the index over it is rebuilt by whoever takes over.
//!
//! Invariant: a record becomes live only when it is complete (its state is written last), so a process may be
//! killed between any two instructions. Lookups are counted before they are answered, forgets after they are
//! noted as handled: a death in between leaves a record too many, never one too few.
//!
//! Not here: what a node shows (`view`).

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};

use rustix::mm::{MapFlags, ProtFlags, mmap};

use crate::file::{FetchError, Timestamp, Version, ViewId};

/// Nodes at most: 4,194,304. The kernel's own inodes for them would take some 4 GB; beyond, lookups of new
/// names get ENOMEM.
const NODES_MAX: u32 = 1 << 22;
/// Room for names, in units of [`NAME_UNIT`] bytes: 32 bytes a node on average.
const NAME_UNITS_MAX: u32 = NODES_MAX * 2;
const NAME_UNIT: usize = 16;
const NAME_CLASSES: usize = 256 / NAME_UNIT + 1;

const RECORDS_AT: usize = 4096;
const NAMES_AT: usize = RECORDS_AT + NODES_MAX as usize * size_of::<Record>();
/// Size of the shared memory in bytes. Sparse: only what is used takes memory.
pub const NODES_SHARED_BYTES: u64 = (NAMES_AT + NAME_UNITS_MAX as usize * NAME_UNIT) as u64;

const NO_VIEW: u16 = u16::MAX;
const LIVE: u32 = 1;

const NOBODY: u8 = 0;
const THIS_DAEMON: u8 = 1;
const A_DEAD_DAEMON: u8 = 2;

/// The kernel's number for a file of this connection: slot in the table and how often the slot was reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeId(u64);

impl NodeId {
    /// The connection's root, which the kernel knows without asking.
    pub const ROOT: NodeId = NodeId(1);

    /// The id as the kernel says it.
    pub fn of_kernel(id: u64) -> Self {
        NodeId(id)
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }

    fn new(slot: u32, reuse: u32) -> Self {
        NodeId(u64::from(reuse) << 32 | u64::from(slot))
    }

    fn slot(self) -> u32 {
        (self.0 & 0xffff_ffff) as u32
    }
}

/// One node in shared memory. Only ever touched under the table's lock.
#[repr(C)]
struct Record {
    /// [`LIVE`] when everything else is valid; written last.
    state: AtomicU32,
    reuse: u32,
    parent: u64,
    lookups: u64,
    version: StoredVersion,
    children: u32,
    name_unit: u32,
    name_bytes: u16,
    /// The view whose root this is, or [`NO_VIEW`].
    view: u16,
    /// 1 for a directory, which has no version.
    directory: u8,
    /// 1 if later lookups of the same name and version get this node.
    indexed: u8,
    /// Who gave content to the kernel: [`NOBODY`] yet, [`THIS_DAEMON`] or [`A_DEAD_DAEMON`].
    given: u8,
}

/// A [`Version`] with a layout that does not change between builds.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct StoredVersion {
    size: u64,
    inode: u64,
    modified_s: i64,
    changed_s: i64,
    modified_ns: u32,
    changed_ns: u32,
}

impl From<Version> for StoredVersion {
    fn from(v: Version) -> Self {
        StoredVersion {
            size: v.size,
            inode: v.inode,
            modified_s: v.modified.seconds,
            changed_s: v.changed.seconds,
            modified_ns: v.modified.nanoseconds,
            changed_ns: v.changed.nanoseconds,
        }
    }
}

impl From<StoredVersion> for Version {
    fn from(v: StoredVersion) -> Self {
        Version {
            size: v.size,
            inode: v.inode,
            modified: Timestamp { seconds: v.modified_s, nanoseconds: v.modified_ns },
            changed: Timestamp { seconds: v.changed_s, nanoseconds: v.changed_ns },
        }
    }
}

#[repr(C)]
struct Header {
    slots_used: u32,
    name_units_used: u32,
}

/// How a node is reached: names from the root of a view, or from the connection's root.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Trail {
    pub(super) view: Option<ViewId>,
    pub(super) names: Vec<Box<[u8]>>,
}

/// The nodes of one connection.
pub struct NodeTable(Mutex<Table>);

struct Table {
    base: *mut u8,
    /// From a hash of (parent, name, version) to the slot.
    index: HashMap<u64, u32>,
    free_slots: Vec<u32>,
    free_names: [Vec<u32>; NAME_CLASSES],
    views: HashMap<ViewId, NodeId>,
}

// SAFETY: the mapping belongs to the table alone in this process and is reached only under its lock.
unsafe impl Send for Table {}

impl NodeTable {
    /// The table in `memory`, as a dead daemon left it or empty. `root_view`: the connection's root is the
    /// root of that view.
    ///
    /// # Errors
    /// What `ftruncate` and `mmap` answer.
    pub fn open(memory: &File, root_view: Option<ViewId>) -> io::Result<Self> {
        memory.set_len(NODES_SHARED_BYTES)?;
        let length = usize::try_from(NODES_SHARED_BYTES).map_err(io::Error::other)?;
        let (protection, flags) =
            (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::NORESERVE);
        // SAFETY: a fresh mapping of the whole memfd, never unmapped while the table lives.
        let base = unsafe { mmap(std::ptr::null_mut(), length, protection, flags, memory, 0)? };
        let mut table = Table {
            base: base.cast(),
            index: HashMap::new(),
            free_slots: Vec::new(),
            free_names: std::array::from_fn(|_| Vec::new()),
            views: HashMap::new(),
        };
        table.take_over(root_view);
        Ok(NodeTable(Mutex::new(table)))
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The node for `name` in `parent`, made if there is none, and counted as looked up once more.
    ///
    /// A directory has no `version` and one node for ever. A file whose version is not `settled` gets a node
    /// that no later lookup will find, since its content may change without the version showing it.
    pub(super) fn look_up(
        &self,
        parent: NodeId,
        name: &[u8],
        version: Option<Version>,
        view_root: Option<ViewId>,
        settled: bool,
    ) -> Result<NodeId, FetchError> {
        let mut table = self.lock();
        let indexed = settled || version.is_none();
        let key = hash_of(parent, name, version.as_ref());
        if indexed && let Some(node) = table.find(key, parent, name, version) {
            table.record(node.slot()).lookups += 1;
            return Ok(node);
        }
        let node = table.make(parent, name, version, view_root, indexed).ok_or(FetchError::Full)?;
        if indexed {
            table.index.entry(key).or_insert(node.slot());
        }
        Ok(node)
    }

    /// Gives back `lookups` lookups; true if the node is gone.
    pub(super) fn forget(&self, node: NodeId, lookups: u64) -> bool {
        let mut table = self.lock();
        if node == NodeId::ROOT || !table.is_live(node) {
            return false;
        }
        let record = table.record(node.slot());
        record.lookups = record.lookups.saturating_sub(lookups);
        table.remove_unused(node)
    }

    /// Notes that content of `node` goes to the kernel; true if none had before.
    pub(super) fn give_content(&self, node: NodeId) -> bool {
        let mut table = self.lock();
        table.is_live(node) && std::mem::replace(&mut table.record(node.slot()).given, THIS_DAEMON) == NOBODY
    }

    /// Notes that content of `node` goes to the kernel. False, and nothing noted, if the kernel may hold some that a dead
    /// daemon gave and nobody has looked since whether the file still is what it was.
    pub(super) fn may_give_content(&self, node: NodeId) -> bool {
        let mut table = self.lock();
        if !table.is_live(node) {
            return true; // the kernel has forgotten it, with what it held
        }
        let given = &mut table.record(node.slot()).given;
        let may = *given != A_DEAD_DAEMON;
        if may {
            *given = THIS_DAEMON;
        }
        may
    }

    /// How `node` is reached, and its version unless it is a directory; `None` if there is no such node.
    pub(super) fn trail(&self, node: NodeId) -> Option<(Trail, Option<Version>)> {
        let mut table = self.lock();
        if !table.is_live(node) {
            return None;
        }
        let record = table.record(node.slot());
        let version = (record.directory == 0).then(|| record.version.into());
        let mut names = Vec::new();
        let mut at = node;
        loop {
            let record = table.record(at.slot());
            let (view, parent) = (record.view, NodeId(record.parent));
            if view != NO_VIEW || at == NodeId::ROOT {
                names.reverse();
                let view = (view != NO_VIEW).then(|| ViewId::new(usize::from(view)));
                return Some((Trail { view, names }, version));
            }
            names.push(table.name(at.slot()).into());
            at = parent;
        }
    }

    /// Every node.
    pub(super) fn all(&self) -> Vec<NodeId> {
        let mut table = self.lock();
        let used = table.header().slots_used.min(NODES_MAX);
        let node = |slot| {
            let node = NodeId::new(slot, table.record(slot).reuse);
            table.is_live(node).then_some(node)
        };
        (NodeId::ROOT.slot()..used).filter_map(node).collect()
    }

    /// The node of a view's root, if the kernel has looked it up.
    pub(super) fn view_root(&self, view: ViewId) -> Option<NodeId> {
        self.lock().views.get(&view).copied()
    }

    /// The node of the directory `name` in `parent`, if the kernel has looked it up.
    pub(super) fn child_directory(&self, parent: NodeId, name: &[u8]) -> Option<NodeId> {
        let mut table = self.lock();
        let key = hash_of(parent, name, None);
        table.find(key, parent, name, None)
    }
}

fn hash_of(parent: NodeId, name: &[u8], version: Option<&Version>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (parent, name, version).hash(&mut hasher);
    hasher.finish()
}

impl Table {
    fn header(&mut self) -> &mut Header {
        // SAFETY: the mapping begins with the header and is page-aligned; `&mut self` makes it exclusive.
        unsafe { &mut *self.base.cast::<Header>() }
    }

    fn record(&mut self, slot: u32) -> &mut Record {
        assert!(slot < NODES_MAX);
        // SAFETY: slots below NODES_MAX lie within the mapping and are aligned; zeroed memory is a valid
        // record; `&mut self` makes it exclusive.
        unsafe { &mut *self.base.add(RECORDS_AT).cast::<Record>().add(slot as usize) }
    }

    fn name_memory(&mut self, unit: u32, bytes: usize) -> &mut [u8] {
        assert!(unit as usize * NAME_UNIT + bytes <= NAME_UNITS_MAX as usize * NAME_UNIT);
        // SAFETY: within the mapping, checked above; bytes have no alignment; `&mut self` makes it exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.base.add(NAMES_AT + unit as usize * NAME_UNIT), bytes) }
    }

    fn name(&mut self, slot: u32) -> &[u8] {
        let record = self.record(slot);
        let (unit, bytes) = (record.name_unit, usize::from(record.name_bytes));
        self.name_memory(unit, bytes)
    }

    fn is_live(&mut self, node: NodeId) -> bool {
        let (slot, used) = (node.slot(), self.header().slots_used);
        if slot >= used.min(NODES_MAX) {
            return false;
        }
        let record = self.record(slot);
        record.state.load(Ordering::Acquire) == LIVE && NodeId::new(slot, record.reuse) == node
    }

    fn find(&mut self, key: u64, parent: NodeId, name: &[u8], version: Option<Version>) -> Option<NodeId> {
        let slot = *self.index.get(&key)?;
        let record = self.record(slot);
        let same_version = match version {
            None => record.directory == 1,
            Some(version) => record.directory == 0 && version == record.version.into(),
        };
        let node = NodeId::new(slot, record.reuse);
        let same = same_version && record.parent == parent.get();
        (same && self.name(slot) == name).then_some(node)
    }

    fn make(
        &mut self,
        parent: NodeId,
        name: &[u8],
        version: Option<Version>,
        view: Option<ViewId>,
        indexed: bool,
    ) -> Option<NodeId> {
        let name_unit = self.allocate_name(name)?;
        let slot = self.allocate_slot()?;
        let record = self.record(slot);
        record.reuse = record.reuse.wrapping_add(1);
        record.parent = parent.get();
        record.lookups = 1;
        record.version = version.unwrap_or_default().into();
        record.children = 0;
        record.name_unit = name_unit;
        record.name_bytes = u16::try_from(name.len()).ok()?;
        record.view = view.map_or(NO_VIEW, |v| u16::try_from(v.position()).unwrap_or(NO_VIEW));
        record.directory = u8::from(version.is_none());
        record.indexed = u8::from(indexed);
        record.given = NOBODY;
        let node = NodeId::new(slot, record.reuse);
        record.state.store(LIVE, Ordering::Release);
        if self.is_live(parent) {
            self.record(parent.slot()).children += 1;
        }
        if let Some(view) = view {
            self.views.insert(view, node);
        }
        Some(node)
    }

    fn allocate_slot(&mut self) -> Option<u32> {
        if let Some(slot) = self.free_slots.pop() {
            return Some(slot);
        }
        let header = self.header();
        let slot = header.slots_used;
        if slot >= NODES_MAX {
            return None;
        }
        header.slots_used += 1;
        Some(slot)
    }

    fn allocate_name(&mut self, name: &[u8]) -> Option<u32> {
        let units = name.len().div_ceil(NAME_UNIT);
        let unit = match self.free_names.get_mut(units).and_then(Vec::pop) {
            Some(unit) => unit,
            None => {
                let header = self.header();
                let unit = header.name_units_used;
                let end = unit.checked_add(u32::try_from(units).ok()?)?;
                if end > NAME_UNITS_MAX {
                    return None;
                }
                header.name_units_used = end;
                unit
            }
        };
        self.name_memory(unit, name.len()).copy_from_slice(name);
        Some(unit)
    }

    /// Removes `node` if neither the kernel nor a child needs it, then its ancestors likewise.
    fn remove_unused(&mut self, node: NodeId) -> bool {
        let mut at = node;
        let mut removed = false;
        while at != NodeId::ROOT && self.is_live(at) {
            let record = self.record(at.slot());
            if record.lookups > 0 || record.children > 0 {
                break;
            }
            let parent = NodeId(record.parent);
            self.remove(at);
            removed = true;
            if self.is_live(parent) {
                let above = self.record(parent.slot());
                above.children = above.children.saturating_sub(1);
            }
            at = parent;
        }
        removed
    }

    fn remove(&mut self, node: NodeId) {
        let slot = node.slot();
        let key = self.key_of(slot);
        if self.index.get(&key) == Some(&slot) {
            self.index.remove(&key);
        }
        self.views.retain(|_, root| *root != node);
        let record = self.record(slot);
        record.state.store(0, Ordering::Release);
        let (unit, units) = (record.name_unit, usize::from(record.name_bytes).div_ceil(NAME_UNIT));
        if units > 0
            && let Some(free) = self.free_names.get_mut(units)
        {
            free.push(unit);
        }
        self.free_slots.push(slot);
    }

    fn key_of(&mut self, slot: u32) -> u64 {
        let record = self.record(slot);
        let parent = NodeId(record.parent);
        let version: Option<Version> = (record.directory == 0).then(|| record.version.into());
        hash_of(parent, self.name(slot), version.as_ref())
    }

    /// Makes the root if the table is new, else rebuilds the index from what the dead daemon left.
    fn take_over(&mut self, root_view: Option<ViewId>) {
        if self.header().slots_used == 0 {
            let root = self.record(NodeId::ROOT.slot());
            root.lookups = 1;
            root.directory = 1;
            root.view = root_view.map_or(NO_VIEW, |v| u16::try_from(v.position()).unwrap_or(NO_VIEW));
            root.state.store(LIVE, Ordering::Release);
            self.header().slots_used = NodeId::ROOT.slot() + 1;
        }
        let used = self.header().slots_used;
        (0..used).for_each(|slot| self.record(slot).children = 0);
        for slot in NodeId::ROOT.slot()..used {
            if self.record(slot).state.load(Ordering::Acquire) == LIVE {
                self.adopt(slot);
            } else {
                self.free_slots.push(slot);
            }
        }
    }

    fn adopt(&mut self, slot: u32) {
        let record = self.record(slot);
        if record.given != NOBODY {
            record.given = A_DEAD_DAEMON;
        }
        let node = NodeId::new(slot, record.reuse);
        let (parent, view, indexed) = (NodeId(record.parent), record.view, record.indexed == 1);
        if view != NO_VIEW {
            self.views.insert(ViewId::new(usize::from(view)), node);
        }
        if node == NodeId::ROOT {
            return;
        }
        if self.is_live(parent) {
            self.record(parent.slot()).children += 1;
        }
        if indexed {
            let key = self.key_of(slot);
            self.index.entry(key).or_insert(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(size: u64) -> Option<Version> {
        Some(Version { size, ..Version::default() })
    }

    fn table() -> (File, NodeTable) {
        let memory = tempfile::tempfile().unwrap();
        let table = NodeTable::open(&memory, None).unwrap();
        (memory, table)
    }

    #[test]
    fn a_path_and_version_has_one_node_and_another_version_another() {
        let (_memory, table) = table();
        let look = |name: &[u8], version, settled| {
            table.look_up(NodeId::ROOT, name, version, None, settled).unwrap()
        };
        let first = look(b"a", version(1), true);
        assert_eq!(look(b"a", version(1), true), first);
        assert_ne!(look(b"a", version(2), true), first, "a replaced file");
        assert_ne!(look(b"b", version(1), true), first, "a hard link");
        assert_ne!(look(b"a", version(1), false), first, "too young to be trusted");
        assert_eq!(look(b"d", None, false), look(b"d", None, true), "a directory");
    }

    #[test]
    fn a_forgotten_node_is_gone_and_its_number_is_not_used_again() {
        let (_memory, table) = table();
        let node = table.look_up(NodeId::ROOT, b"a", version(1), None, true).unwrap();
        table.look_up(NodeId::ROOT, b"a", version(1), None, true).unwrap();
        assert!(!table.forget(node, 1), "looked up twice, forgotten once");
        assert!(table.forget(node, 1));
        assert!(table.trail(node).is_none());
        assert_ne!(table.look_up(NodeId::ROOT, b"a", version(1), None, true).unwrap(), node);
    }

    #[test]
    fn a_directory_stays_while_a_file_in_it_is_known_though_it_is_forgotten_first() {
        let (_memory, table) = table();
        let directory = table.look_up(NodeId::ROOT, b"d", None, Some(ViewId::new(0)), true).unwrap();
        let file = table.look_up(directory, b"f", version(1), None, true).unwrap();
        table.forget(directory, 1);
        let (trail, _) = table.trail(file).unwrap();
        assert_eq!((trail.view, trail.names), (Some(ViewId::new(0)), vec![b"f".as_slice().into()]));
        assert!(table.forget(file, 1));
        assert!(table.trail(directory).is_none());
    }

    #[test]
    fn a_successor_knows_every_node() {
        let (memory, table) = table();
        let directory = table.look_up(NodeId::ROOT, b"d", None, None, true).unwrap();
        let nodes: Vec<_> = (0..100)
            .map(|i| {
                let name = format!("a rather long name, longer than one unit {i}");
                table.look_up(directory, name.as_bytes(), version(i), None, true).unwrap()
            })
            .collect();
        table.forget(nodes[50], 1);
        let before: Vec<_> = nodes.iter().map(|n| table.trail(*n)).collect();
        assert!(table.give_content(nodes[3]) && !table.give_content(nodes[3]));
        assert!(table.may_give_content(nodes[3]));
        drop(table);
        let successor = NodeTable::open(&memory, None).unwrap();
        assert!(!successor.may_give_content(nodes[3]) && successor.may_give_content(nodes[4]));
        assert!(!successor.give_content(nodes[3]), "the kernel has some");
        assert!(successor.may_give_content(nodes[3]), "looked at");
        assert_eq!(nodes.iter().map(|n| successor.trail(*n)).collect::<Vec<_>>(), before);
        let name = b"a rather long name, longer than one unit 7";
        assert_eq!(successor.look_up(directory, name, version(7), None, true).unwrap(), nodes[7]);
        assert!(!successor.forget(directory, 1), "it has children");
    }
}
