//! The counters of one node: a table of atomic cells, one per [`Counter`], for each thread that counts (`by_thread`).
//!
//! The cells can live in memory that holder and daemon share, so a daemon that is killed and restarted
//! goes on counting where the dead one stopped.
//!
//! Invariant: a cell is only ever added to (or raised, for a peak), never reset.
//!
//! Beside the counters there may be [`Events`]: what was asked, where, and how long it took. Where nothing is recorded
//! that costs one load.
//!
//! Not here: which report shows which counter (`daemon::report`).

pub mod buckets;
mod by_thread;
pub mod event;
pub mod events;
mod rows;
mod tasks;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use self::by_thread::{ByThread, OWN_MAX};
use self::event::{Began, Event};
use self::events::{Events, now_ns};
pub use self::rows::RowRead;
pub use self::tasks::{NumberOf, TaskRead};

macro_rules! counters {
    ($($(#[doc = $meaning:literal])+ $variant:ident = $name:literal, $unit:literal;)+) => {
        /// One thing that is counted. The names are those of `run.json`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Counter { $($(#[doc = $meaning])+ $variant,)+ }

        impl Counter {
            /// Every counter, in the order of the table.
            pub const ALL: &'static [Counter] = &[$(Counter::$variant,)+];

            /// `group.name`, as in `run.json`.
            pub fn name(self) -> &'static str {
                match self { $(Counter::$variant => $name,)+ }
            }

            /// What one unit of the counter is.
            pub fn unit(self) -> &'static str {
                match self { $(Counter::$variant => $unit,)+ }
            }

            /// What is counted, in one sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Counter::$variant => concat!($($meaning),+).trim_ascii(),)+ }
            }
        }
    };
}

counters! {
    /// LOOKUP requests read from the kernel.
    FuseLookup = "fuse.lookup", "requests";
    /// FORGET and BATCH_FORGET requests.
    FuseForget = "fuse.forget", "requests";
    /// GETATTR and STATX requests.
    FuseGetattr = "fuse.getattr", "requests";
    /// READLINK requests.
    FuseReadlink = "fuse.readlink", "requests";
    /// OPEN requests (the first is answered ENOSYS; none follow on kernels that take that).
    FuseOpen = "fuse.open", "requests";
    /// READ requests.
    FuseRead = "fuse.read", "requests";
    /// OPENDIR requests (as for open, from Linux 5.1).
    FuseOpendir = "fuse.opendir", "requests";
    /// READDIR and READDIRPLUS requests.
    FuseReaddir = "fuse.readdir", "requests";
    /// STATFS requests.
    FuseStatfs = "fuse.statfs", "requests";
    /// INTERRUPT requests.
    FuseInterrupt = "fuse.interrupt", "requests";
    /// FLUSH, RELEASE and RELEASEDIR requests.
    FuseRelease = "fuse.release", "requests";
    /// IOCTL requests: Python asks each file it opens whether it is a terminal, and the kernel passes it on.
    FuseIoctl = "fuse.ioctl", "requests";
    /// All other requests: INIT, xattrs, locks, unknown ones.
    FuseOther = "fuse.other", "requests";

    /// Answers that came from this node's own cache.
    AnswersCache = "answers.cache", "answers";
    /// Answers that came from the parent node.
    AnswersParent = "answers.parent", "answers";
    /// Answers that needed storage.
    AnswersStorage = "answers.storage", "answers";
    /// Answers that were an error other than a proven absence.
    AnswersErrors = "answers.errors", "answers";

    /// System calls on storage that concern names and attributes, also on descriptors: the sum of the next five.
    StorageMetadata = "storage.metadata_calls", "calls";
    /// Of these, statx: attributes of a name, or whether what was opened is still the same.
    StorageStats = "storage.stat_calls", "calls";
    /// Of these, openat, of files and directories.
    StorageOpens = "storage.open_calls", "calls";
    /// Of these, getdents64, which gives names of a directory, some hundred at once.
    StorageLists = "storage.list_calls", "calls";
    /// Of these, readlinkat.
    StorageReadlinks = "storage.readlink_calls", "calls";
    /// Of these, fstatfs.
    StorageUsages = "storage.usage_calls", "calls";
    /// Calls on storage that read file content.
    StorageReads = "storage.read_calls", "calls";
    /// Bytes of file content read from storage.
    StorageBytes = "storage.bytes_read", "bytes";
    /// Bytecode files fetched before anybody asked for them.
    StorageAhead = "storage.ahead_files", "files";
    /// Of those, how many were then asked for.
    AheadUsed = "storage.ahead_used", "files";

    /// Bytes received from other nodes.
    WireBytesIn = "wire.bytes_in", "bytes";
    /// Bytes sent to other nodes.
    WireBytesOut = "wire.bytes_out", "bytes";
    /// Requests received from other nodes.
    WireRequestsIn = "wire.requests_in", "requests";
    /// Requests sent to other nodes.
    WireRequestsOut = "wire.requests_out", "requests";

    /// Parents that were left because they fell silent.
    FaultsParentsLost = "faults.parents_lost", "events";
    /// Answers of other nodes that could not be used: checksums that did not match, bytes that made no sense.
    FaultsChecksums = "faults.checksum_mismatches", "events";
    /// Views that this node reads from storage itself, since they are other directories here than on other nodes.
    FaultsViewsApart = "faults.views_apart", "views";
    /// Times the daemon was started again after it had died.
    FaultsDaemonRestarts = "faults.daemon_restarts", "events";
    /// Times the holder was started again after it had died.
    FaultsHolderRestarts = "faults.holder_restarts", "events";
    /// Reads refused with ESTALE because the file was overwritten in place or lost.
    FaultsStale = "faults.stale_reads", "events";
    /// Requests let go because the task had a SIGKILL pending.
    FaultsKilled = "faults.killed_waits", "events";

    /// Bytes held by the cache when last looked at.
    MemoryCached = "memory.cached_bytes", "bytes";
    /// Largest resident memory of the daemon seen so far.
    MemoryPeakRss = "memory.peak_rss_bytes", "bytes";
    /// Times the cache gave up memory because the node was short of it.
    MemoryPressed = "memory.pressed", "events";

    /// Times a documented limit was hit (listing size, descriptors, requests in flight).
    LimitsHit = "limits.hit", "events";
    /// Tasks that joined this node's view.
    TasksJoined = "tasks.joined", "tasks";
}

/// Number of cells a table needs: 128, room for counters that come later in the same job's memory. The last says which
/// tables are used.
const CELLS: usize = 128;
const TABLES_USED: usize = CELLS - 1;
const _: () = assert!(Counter::ALL.len() <= TABLES_USED);

/// A handle on one node's counters. Copying it is free; all copies count into the same cells.
#[derive(Debug, Clone, Copy)]
pub struct Recorder {
    tables: ByThread,
    /// Whether threads of this process have tables of their own.
    is_by_thread: bool,
    /// `None`: nothing but counters.
    events: Option<&'static Events>,
}

impl Recorder {
    /// Bytes of one table: a counter's cell stands at its number times 8 in each, and its value is their sum.
    pub const TABLE_BYTES: usize = CELLS * 8;

    /// Bytes that shared tables take.
    pub const SHARED_BYTES: u64 = (OWN_MAX * CELLS * 8) as u64;

    /// Tables of this process alone. They are never freed: a process has them once (a test a few times).
    pub fn private() -> Self {
        Self::over(Box::leak(Box::new([const { AtomicU64::new(0) }; OWN_MAX * CELLS])))
    }

    /// The tables in `memory`, a memfd of at least [`Self::SHARED_BYTES`], mapped for the process's life. For the node's
    /// daemon, whose threads have tables of their own there.
    ///
    /// # Errors
    /// What `mmap` answers.
    pub fn shared(memory: impl std::os::fd::AsFd) -> io::Result<Self> {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        let len = OWN_MAX * CELLS * 8;
        // SAFETY: a fresh shared mapping of `len` bytes, page-aligned, never unmapped; atomics make
        // concurrent access from another process sound.
        let cells = unsafe {
            let start = mmap(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                memory,
                0,
            )?;
            &*start.cast::<[AtomicU64; OWN_MAX * CELLS]>()
        };
        Ok(Self::over(cells))
    }

    /// The same for another process beside the daemon.
    ///
    /// # Errors
    /// What `mmap` answers.
    pub fn shared_beside(memory: impl std::os::fd::AsFd) -> io::Result<Self> {
        Ok(Recorder { is_by_thread: false, ..Self::shared(memory)? })
    }

    fn over(cells: &'static [AtomicU64]) -> Self {
        Recorder {
            tables: ByThread::over(cells, CELLS, &cells[TABLES_USED]),
            is_by_thread: true,
            events: None,
        }
    }

    /// The same counters; what tasks are told is put into `events` as well, for the life of the process.
    pub fn with(self, events: Events) -> Self {
        Recorder { events: Some(Box::leak(Box::new(events))), ..self }
    }

    /// What is recorded beside the counters, if anything is.
    pub fn events(&self) -> Option<&'static Events> {
        self.events
    }

    /// A question begins.
    pub fn begin(&self) -> Began {
        Began(if self.events.is_some() { now_ns() } else { 0 })
    }

    /// The question that began at `began` is answered, to the task behind `thread` if one waits for it; `event` is made only
    /// where it is recorded.
    pub fn answered<'a>(&self, began: Began, thread: Option<u32>, event: impl FnOnce() -> Event<'a>) {
        let Some(events) = self.events else { return };
        let took = events.note(began.0, &event());
        if let Some(thread) = thread {
            events.note_task(thread, took);
        }
    }

    /// Adds `n` to `counter`.
    pub fn add(&self, counter: Counter, n: u64) {
        let table = if self.is_by_thread { self.tables.own() } else { self.tables.shared() };
        table.add(counter as usize, n);
    }

    /// Adds 1 to `counter`.
    pub fn count(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Sets a gauge such as [`Counter::MemoryCached`], which is never added to.
    pub fn set(&self, counter: Counter, value: u64) {
        self.gauge(counter).store(value, Ordering::Relaxed);
    }

    /// Raises a peak such as [`Counter::MemoryPeakRss`] to `value` if it is lower.
    pub fn raise(&self, counter: Counter, value: u64) {
        self.gauge(counter).fetch_max(value, Ordering::Relaxed);
    }

    /// The present value.
    pub fn get(&self, counter: Counter) -> u64 {
        self.tables.sum(counter as usize)
    }

    fn gauge(&self, counter: Counter) -> &'static AtomicU64 {
        self.tables.shared().word(counter as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_survive_the_process_that_made_them_in_shared_memory() {
        let memory = tempfile::tempfile().unwrap();
        memory.set_len(Recorder::SHARED_BYTES).unwrap();
        Recorder::shared(&memory).unwrap().add(Counter::FuseRead, 3);
        assert_eq!(Recorder::shared(&memory).unwrap().get(Counter::FuseRead), 3);
    }

    #[test]
    fn every_counter_has_a_group_a_unit_and_a_meaning() {
        for counter in Counter::ALL {
            assert!(counter.name().contains('.'), "{counter:?}");
            assert!(!counter.unit().is_empty() && counter.meaning().ends_with('.'), "{counter:?}");
        }
    }
}
