//! Requests that were read from the kernel but not answered yet, in memory that outlives the daemon.
//!
//! Each worker reads into an area of its own; a request that has to wait moves to a slot. A successor finds
//! in areas and slots what the dead daemon owed and answers that, on any kernel.
//!
//! Invariant: at any instant a request that was read and not answered stands in an area or a slot, perhaps in
//! both. Answering twice is harmless: the kernel refuses the second answer by its number.
//!
//! Not here: asking the kernel to send requests again (`session`), which newer kernels can.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex};

use rustix::mm::{MapFlags, ProtFlags, mmap};

use super::request;

/// Workers of one connection at most: 16.
pub(super) const WORKERS_MAX: usize = 16;
/// Size of a worker's area: what the kernel demands of a read buffer (`FUSE_MIN_READ_BUFFER`).
const AREA_BYTES: usize = 8192;
/// Requests that may wait at once: 4,096. Beyond, workers stop reading until one is answered; the kernel
/// keeps the rest.
const SLOTS: usize = 4096;
/// Size of a slot: the longest request that waits is a lookup of a 1,024-byte name.
const SLOT_BYTES: usize = 1152;

const AREAS_AT: usize = 4096;
const SLOTS_AT: usize = AREAS_AT + WORKERS_MAX * AREA_BYTES;
/// Size of the shared memory in bytes.
pub const REQUESTS_SHARED_BYTES: u64 = (SLOTS_AT + SLOTS * SLOT_BYTES) as u64;

/// What INIT settled, for a successor.
#[repr(C)]
struct Header {
    negotiated: AtomicU32,
    minor: AtomicU32,
    flags: AtomicU64,
    /// Slots above this were never used.
    slots_used: AtomicU32,
}

/// What a connection's INIT settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Negotiated {
    pub(super) minor: u32,
    pub(super) flags: u64,
}

/// The shared memory of one connection.
#[derive(Clone)]
pub(super) struct KeptRequests(Arc<Inner>);

struct Inner {
    base: *mut u8,
    free: Mutex<Vec<u32>>,
    freed: Condvar,
}

// SAFETY: areas are used by one worker each, slots by whoever took them from `free`; the rest is atomic.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

/// A slot that holds a request; freed when dropped, which means answered.
pub(super) struct Slot {
    number: u32,
    of: KeptRequests,
}

impl KeptRequests {
    /// The memory as a dead daemon left it, or empty.
    pub(super) fn open(memory: &File) -> io::Result<Self> {
        memory.set_len(REQUESTS_SHARED_BYTES)?;
        let length = usize::try_from(REQUESTS_SHARED_BYTES).map_err(io::Error::other)?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping of the whole memfd that lives as long as the process.
        let base = unsafe { mmap(std::ptr::null_mut(), length, protection, MapFlags::SHARED, memory, 0)? };
        let inner = Inner { base: base.cast(), free: Mutex::default(), freed: Condvar::new() };
        // Low numbers first, so that few pages are ever touched.
        let is_free =
            |number: &u32| !inner.was_used(*number) || request::length(inner.slot(*number)).is_none();
        let free = (0..SLOTS as u32).rev().filter(is_free).collect();
        *inner.free.lock().unwrap_or_else(|e| e.into_inner()) = free;
        Ok(KeptRequests(Arc::new(inner)))
    }

    /// What INIT settled, if it was answered.
    pub(super) fn negotiated(&self) -> Option<Negotiated> {
        let header = self.0.header();
        (header.negotiated.load(Ordering::Acquire) == 1).then(|| Negotiated {
            minor: header.minor.load(Ordering::Relaxed),
            flags: header.flags.load(Ordering::Relaxed),
        })
    }

    /// Notes what INIT settled, before it is answered.
    pub(super) fn set_negotiated(&self, settled: Negotiated) {
        let header = self.0.header();
        header.minor.store(settled.minor, Ordering::Relaxed);
        header.flags.store(settled.flags, Ordering::Relaxed);
        header.negotiated.store(1, Ordering::Release);
    }

    /// The area of worker `number`, emptied.
    ///
    /// # Safety
    /// One worker at a time uses an area.
    #[allow(clippy::mut_from_ref)]
    pub(super) unsafe fn area(&self, number: usize) -> &mut [u8] {
        // SAFETY: within the mapping; the caller's promise makes it exclusive.
        let area = unsafe { self.0.bytes(AREAS_AT + number * AREA_BYTES, AREA_BYTES) };
        empty(area);
        area
    }

    /// Moves a request to a slot, waiting for a free one if need be.
    pub(super) fn keep(&self, bytes: &[u8]) -> Slot {
        let mut free = self.0.free.lock().unwrap_or_else(|e| e.into_inner());
        let number = loop {
            match free.pop() {
                Some(number) => break number,
                None => free = self.0.freed.wait(free).unwrap_or_else(|e| e.into_inner()),
            }
        };
        drop(free);
        self.0.header().slots_used.fetch_max(number + 1, Ordering::Relaxed);
        let slot = Slot { number, of: self.clone() };
        let into = slot.bytes();
        let length = bytes.len().min(SLOT_BYTES);
        // The header last: until then the slot counts as empty, and the area still has the request.
        into[HEADER..length].copy_from_slice(&bytes[HEADER..length]);
        fence(Ordering::Release);
        into[..HEADER].copy_from_slice(&bytes[..HEADER]);
        slot
    }

    /// What a dead daemon owed. To be called once, before any worker starts.
    pub(super) fn take_owed(&self) -> Vec<Slot> {
        let used = (0..SLOTS as u32).filter(|number| self.0.was_used(*number));
        let waiting = used.filter(|number| request::length(self.0.slot(*number)).is_some());
        let mut owed: Vec<Slot> = waiting.map(|number| Slot { number, of: self.clone() }).collect();
        for number in 0..WORKERS_MAX {
            // SAFETY: within the mapping, and no worker runs yet.
            let area = unsafe { self.0.bytes(AREAS_AT + number * AREA_BYTES, AREA_BYTES) };
            if let Some(length) = request::length(area) {
                owed.push(self.keep(&area[..length]));
                empty(area);
            }
        }
        owed
    }
}

/// Length of the part that says whether a request stands here: the kernel's header.
const HEADER: usize = 40;

/// Marks an area or slot as holding no request. Touches it only if it does, to leave unused pages alone.
pub(super) fn empty(bytes: &mut [u8]) {
    if bytes[..HEADER].iter().any(|b| *b != 0) {
        bytes[..HEADER].fill(0);
    }
}

impl Inner {
    fn header(&self) -> &Header {
        // SAFETY: the mapping begins with the header, page-aligned; all its fields are atomic.
        unsafe { &*self.base.cast::<Header>() }
    }

    fn was_used(&self, slot: u32) -> bool {
        slot < self.header().slots_used.load(Ordering::Relaxed)
    }

    /// A slot's bytes while nobody holds it.
    fn slot(&self, number: u32) -> &[u8] {
        // SAFETY: within the mapping; only called before any worker starts.
        unsafe { self.bytes(SLOTS_AT + number as usize * SLOT_BYTES, SLOT_BYTES) }
    }

    /// # Safety
    /// `at + length` lies within the mapping and nobody else uses these bytes meanwhile.
    #[allow(clippy::mut_from_ref)]
    unsafe fn bytes(&self, at: usize, length: usize) -> &mut [u8] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.base.add(at), length) }
    }
}

impl Slot {
    /// The request it holds.
    pub(super) fn request(&self) -> &[u8] {
        self.bytes()
    }

    #[allow(clippy::mut_from_ref)]
    fn bytes(&self) -> &mut [u8] {
        // SAFETY: this slot was taken from the free list and is given back only when dropped.
        unsafe { self.of.0.bytes(SLOTS_AT + self.number as usize * SLOT_BYTES, SLOT_BYTES) }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        empty(self.bytes());
        self.of.0.free.lock().unwrap_or_else(|e| e.into_inner()).push(self.number);
        self.of.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::super::abi::InHeader;
    use super::*;
    use zerocopy::IntoBytes;

    fn request(unique: u64, body: &[u8]) -> Vec<u8> {
        let len = (HEADER + body.len()) as u32;
        let header = InHeader { len, opcode: 1, unique, node: 1, uid: 0, gid: 0, pid: 5, padding: 0 };
        [header.as_bytes(), body].concat()
    }

    #[test]
    fn a_successor_finds_what_was_read_and_not_answered_and_nothing_else() {
        let memory = tempfile::tempfile().unwrap();
        let kept = KeptRequests::open(&memory).unwrap();
        let answered = kept.keep(&request(2, b"answered\0"));
        let waiting = kept.keep(&request(4, b"waiting\0"));
        drop(answered);
        // SAFETY: the only user of this area.
        let area = unsafe { kept.area(3) };
        let just_read = request(6, b"just read\0");
        area[..just_read.len()].copy_from_slice(&just_read);
        std::mem::forget(waiting); // the daemon dies
        let successor = KeptRequests::open(&memory).unwrap();
        let owed = successor.take_owed();
        let bytes: Vec<_> = owed.iter().map(|slot| slot.request()[..slot_length(slot)].to_vec()).collect();
        assert_eq!(bytes, [request(4, b"waiting\0"), just_read]);
        drop(owed); // all answered
        assert!(KeptRequests::open(&memory).unwrap().take_owed().is_empty());
    }

    fn slot_length(slot: &Slot) -> usize {
        request::length(slot.request()).unwrap()
    }

    #[test]
    fn what_init_settled_outlives_the_daemon() {
        let memory = tempfile::tempfile().unwrap();
        let kept = KeptRequests::open(&memory).unwrap();
        assert_eq!(kept.negotiated(), None);
        let settled = Negotiated { minor: 40, flags: INIT };
        kept.set_negotiated(settled);
        assert_eq!(KeptRequests::open(&memory).unwrap().negotiated(), Some(settled));
    }

    const INIT: u64 = super::super::abi::INIT_HAS_RESEND;
}
