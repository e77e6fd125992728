//! What the view answers, in the kernel's layout.
//!
//! Not here: sending it (`channel`), choosing it (`view`).

use std::io::IoSlice;
use std::time::Duration;

use zerocopy::IntoBytes;

use super::abi::{Attr, AttrOut, Dirent, EntryOut, StatfsOut};
use super::channel::Channel;
use crate::file::{Attributes, FileSystemUsage, Timestamp};
use crate::view::{Content, Described, DirectoryRow, DirectorySink, Lasting, Looked, NodeId, Shown, View};

/// What "for the job" is in seconds: a year. Any value works (measured up to 2^64 - 1).
const FOR_THE_JOB: Duration = Duration::from_secs(365 * 24 * 3600);

/// An answer that can be sent.
pub(super) trait Sendable: Send + 'static {
    /// Sends it as the answer to request `unique`; false if the kernel no longer wants it.
    fn send(&self, channel: &Channel, unique: u64) -> bool;

    /// Takes back what the kernel would have owed for it, since it was not delivered.
    fn take_back(&self, _view: &View) {}
}

fn duration(lasting: Lasting) -> Duration {
    match lasting {
        Lasting::ForTheJob => FOR_THE_JOB,
        Lasting::For(duration) => duration,
        Lasting::NotAtAll => Duration::ZERO,
    }
}

fn attr(a: &Attributes) -> Attr {
    // Seconds before 1970 travel as the two's complement; the kernel reads them as signed.
    let seconds = |t: Timestamp| t.seconds.cast_unsigned();
    Attr {
        inode: a.inode,
        size: a.size,
        blocks: a.blocks,
        atime: seconds(a.accessed),
        mtime: seconds(a.modified),
        ctime: seconds(a.changed),
        atime_ns: a.accessed.nanoseconds,
        mtime_ns: a.modified.nanoseconds,
        ctime_ns: a.changed.nanoseconds,
        mode: a.mode,
        links: a.links,
        uid: a.uid,
        gid: a.gid,
        device: a.device,
        block_size: a.block_size,
        flags: 0,
    }
}

fn entry(shown: &Shown) -> EntryOut {
    let (valid, attr_valid) = (duration(shown.lasting), duration(shown.attributes_last));
    EntryOut {
        node: shown.node.get(),
        generation: 0,
        entry_valid: valid.as_secs(),
        entry_valid_ns: valid.subsec_nanos(),
        attr_valid: attr_valid.as_secs(),
        attr_valid_ns: attr_valid.subsec_nanos(),
        attr: attr(&shown.attributes),
    }
}

impl Sendable for Looked {
    fn send(&self, channel: &Channel, unique: u64) -> bool {
        let out = match self {
            Looked::Found(shown) if channel.sees_everything() => {
                let (entry_valid, entry_valid_ns, attr_valid, attr_valid_ns) = (0, 0, 0, 0);
                EntryOut { entry_valid, entry_valid_ns, attr_valid, attr_valid_ns, ..entry(shown) }
            }
            Looked::Found(shown) => entry(shown),
            Looked::Absent(_) if channel.sees_everything() => return channel.refuse(unique, libc::ENOENT),
            // Node 0 with a timeout is an absence that may be remembered.
            Looked::Absent(Lasting::NotAtAll) => return channel.refuse(unique, libc::ENOENT),
            Looked::Absent(lasting) => {
                let valid = duration(*lasting);
                let (entry_valid, entry_valid_ns) = (valid.as_secs(), valid.subsec_nanos());
                EntryOut { entry_valid, entry_valid_ns, ..EntryOut::default() }
            }
        };
        channel.answer(unique, &[IoSlice::new(out.as_bytes())])
    }

    fn take_back(&self, view: &View) {
        if let Looked::Found(shown) = self {
            view.forget(shown.node, 1);
        }
    }
}

impl Sendable for Described {
    fn send(&self, channel: &Channel, unique: u64) -> bool {
        let lasting = if channel.sees_everything() { Lasting::NotAtAll } else { self.lasting };
        let valid = duration(lasting);
        let (attr_valid, attr_valid_ns) = (valid.as_secs(), valid.subsec_nanos());
        let out = AttrOut { attr_valid, attr_valid_ns, attr: attr(&self.attributes), ..AttrOut::default() };
        channel.answer(unique, &[IoSlice::new(out.as_bytes())])
    }
}

impl Sendable for Box<[u8]> {
    fn send(&self, channel: &Channel, unique: u64) -> bool {
        channel.answer(unique, &[IoSlice::new(self)])
    }
}

impl Sendable for Content {
    fn send(&self, channel: &Channel, unique: u64) -> bool {
        let pieces: Vec<_> = self.pieces().map(IoSlice::new).collect();
        channel.answer(unique, &pieces)
    }
}

impl Sendable for FileSystemUsage {
    fn send(&self, channel: &Channel, unique: u64) -> bool {
        let out = StatfsOut {
            blocks: self.blocks,
            blocks_free: self.blocks_free,
            blocks_available: self.blocks_available,
            files: self.files,
            files_free: self.files_free,
            block_size: self.block_bytes,
            name_max: self.name_bytes_max,
            fragment_size: self.block_bytes,
            ..StatfsOut::default()
        };
        channel.answer(unique, &[IoSlice::new(out.as_bytes())])
    }
}

/// Rows of a directory, as many as fit what the kernel asked for.
pub(super) struct Rows {
    bytes: Vec<u8>,
    bytes_max: usize,
    plus: bool,
    shown: Vec<NodeId>,
}

impl Rows {
    pub(super) fn new(bytes_max: u32, plus: bool) -> Self {
        let bytes_max = bytes_max as usize;
        Rows { bytes: Vec::with_capacity(bytes_max.min(64 * 1024)), bytes_max, plus, shown: Vec::new() }
    }

    fn row_bytes(&self, name_bytes: usize) -> usize {
        let entry = if self.plus { size_of::<EntryOut>() } else { 0 };
        entry + (size_of::<Dirent>() + name_bytes).next_multiple_of(8)
    }
}

impl DirectorySink for Rows {
    fn has_room(&self, name_bytes: usize) -> bool {
        self.bytes.len() + self.row_bytes(name_bytes) <= self.bytes_max
    }

    fn wants_attributes(&self) -> bool {
        self.plus
    }

    fn add(&mut self, row: &DirectoryRow<'_>, shown: Option<&Shown>) {
        let end = self.bytes.len() + self.row_bytes(row.name.len());
        if self.plus {
            // Node 0: the name is listed, its attributes are not told.
            let out = shown.map(entry).unwrap_or_default();
            self.bytes.extend_from_slice(out.as_bytes());
            self.shown.extend(shown.map(|s| s.node));
        }
        let name_len = u32::try_from(row.name.len()).expect("names are short");
        let dirent = Dirent { inode: row.inode, position: row.position, name_len, kind: u32::from(row.kind) };
        self.bytes.extend_from_slice(dirent.as_bytes());
        self.bytes.extend_from_slice(row.name);
        self.bytes.resize(end, 0);
    }
}

impl Sendable for Rows {
    fn send(&self, channel: &Channel, unique: u64) -> bool {
        channel.answer(unique, &[IoSlice::new(&self.bytes)])
    }

    fn take_back(&self, view: &View) {
        self.shown.iter().for_each(|node| view.forget(*node, 1));
    }
}
