//! The descriptor of `/dev/fuse`: requests come out, answers and notifications go in.
//!
//! Not here: what they mean (`request`, `replies`).

use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;
use zerocopy::IntoBytes;

use super::abi::{
    NOTIFY_EXPIRE_ONLY, NOTIFY_INVAL_ENTRY, NOTIFY_INVAL_INODE, NOTIFY_RESEND, NOTIFY_STORE,
    NotifyInvalEntry, NotifyInvalInode, NotifyStore, OutHeader,
};
use crate::view::{Content, NodeId};

/// One FUSE connection. Cloning shares the descriptor; there is no `clone_fd`, since the kernel aborts the
/// requests of a clone that is closed.
#[derive(Clone)]
pub(super) struct Channel {
    device: Arc<OwnedFd>,
    memory: KernelMemory,
}

/// Whether the kernel may remember what it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelMemory {
    /// For the whole job: most questions then never reach the daemon.
    Allowed,
    /// Not at all, so that every question is seen.
    Off,
}

/// What a read from the kernel brought.
pub(super) enum Received {
    /// A request of this many bytes.
    Request(usize),
    /// Nothing this time.
    Nothing,
    /// The kernel has ended the connection.
    Ended,
}

impl Channel {
    pub(super) fn new(descriptor: OwnedFd, memory: KernelMemory) -> Self {
        Channel { device: Arc::new(descriptor), memory }
    }

    /// Whether every question is to reach the daemon.
    pub(super) fn sees_everything(&self) -> bool {
        self.memory == KernelMemory::Off
    }

    /// Waits for a request. `into` must hold `FUSE_MIN_READ_BUFFER` bytes.
    pub(super) fn receive(&self, into: &mut [u8]) -> Received {
        match rustix::io::read(&*self.device, into) {
            Ok(0) => Received::Ended,
            Ok(length) => Received::Request(length),
            Err(Errno::NODEV | Errno::BADF | Errno::CONNABORTED) => Received::Ended,
            // ENOENT: the request was interrupted before it could be read.
            Err(_) => Received::Nothing,
        }
    }

    /// Answers request `unique` with the concatenated `pieces`. False if the kernel no longer wants it.
    pub(super) fn answer(&self, unique: u64, pieces: &[IoSlice<'_>]) -> bool {
        self.send(unique, 0, pieces)
    }

    /// Answers request `unique` with an errno.
    pub(super) fn refuse(&self, unique: u64, errno: i32) -> bool {
        self.send(unique, -errno, &[])
    }

    /// Makes the kernel forget where `name` in `parent` leads. May block while requests on that directory
    /// are unanswered, so never from a thread that owes an answer.
    pub(super) fn forget_entry(&self, parent: NodeId, name: &[u8]) {
        self.invalidate(parent, name, 0);
    }

    /// Makes the kernel look `name` in `parent` up before it uses it again. May block as [`Self::forget_entry`].
    pub(super) fn doubt_entry(&self, parent: NodeId, name: &[u8]) {
        self.invalidate(parent, name, NOTIFY_EXPIRE_ONLY);
    }

    fn invalidate(&self, parent: NodeId, name: &[u8], flags: u32) {
        let length = u32::try_from(name.len()).unwrap_or(0);
        let body = NotifyInvalEntry { parent: parent.get(), name_len: length, flags };
        let pieces = [IoSlice::new(body.as_bytes()), IoSlice::new(name), IoSlice::new(&[0])];
        self.send(0, NOTIFY_INVAL_ENTRY, &pieces);
    }

    /// Makes the kernel forget attributes and pages of `node`. May block as [`Self::forget_entry`].
    pub(super) fn forget_content(&self, node: NodeId) {
        let body = NotifyInvalInode { node: node.get(), offset: 0, length: 0 };
        self.send(0, NOTIFY_INVAL_INODE, &[IoSlice::new(body.as_bytes())]);
    }

    /// Puts the whole content of `node` into the kernel's page cache. Waits for pages that are being read.
    pub(super) fn give(&self, node: NodeId, content: &Content) {
        let size =
            u32::try_from(content.pieces().map(<[u8]>::len).sum::<usize>()).expect("given files are small");
        let body = NotifyStore { node: node.get(), offset: 0, size, padding: 0 };
        let mut pieces = vec![IoSlice::new(body.as_bytes())];
        pieces.extend(content.pieces().map(IoSlice::new));
        self.send(0, NOTIFY_STORE, &pieces);
    }

    /// Makes the kernel send again what it has sent to a reader that died (Linux 6.9).
    pub(super) fn resend(&self) -> bool {
        self.send(0, NOTIFY_RESEND, &[])
    }

    fn send(&self, unique: u64, error: i32, pieces: &[IoSlice<'_>]) -> bool {
        let body: usize = pieces.iter().map(|p| p.len()).sum();
        let len = u32::try_from(size_of::<OutHeader>() + body).expect("answers are small");
        let header = OutHeader { len, error, unique };
        let mut all = Vec::with_capacity(1 + pieces.len());
        all.push(IoSlice::new(header.as_bytes()));
        all.extend_from_slice(pieces);
        loop {
            match rustix::io::writev(&*self.device, &all) {
                Ok(_) => return true,
                Err(Errno::INTR) => {}
                Err(errno) => {
                    // ENOENT: nobody waits for it any more. ENODEV: the connection has ended.
                    if errno != Errno::NOENT && errno != Errno::NODEV {
                        tracing::error!(unique, error, %errno, "the kernel refused an answer");
                    }
                    return false;
                }
            }
        }
    }
}
