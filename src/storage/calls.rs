//! The system calls on storage, each counted, each beneath a directory descriptor.
//!
//! Names are single components and links are never followed, so no call can leave a view.
//!
//! Not here: which descriptor to use (`directories`, `files`); threads (`pool`).

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{AtFlags, Mode, OFlags, RawDir, Statx, StatxFlags};
use rustix::io::Errno;

use crate::file::{AsOf, Attributes, Entry, FetchError, FileSystemUsage, ListingEntry, Timestamp, Version};
use crate::profile::recorder::{Counter, Recorder};

/// Bytes of directory entries read per call: what glibc's largest buffer holds, some 1,000 names.
const LISTING_BUFFER_BYTES: usize = 32 * 1024;

/// Bytes set aside for the target of a symlink: Linux's PATH_MAX, which holds any but on odd file systems.
const TARGET_BYTES: usize = 4096;

/// What fetching the attributes of a whole directory may take: 300 µs and 15 µs a name. A warm call takes
/// 3 µs; the rest is for being interrupted by other work.
const QUICK_START: Duration = Duration::from_micros(300);
const QUICK_NAME: Duration = Duration::from_micros(15);

/// How long to wait before trying again when there was no descriptor: 1 ms, a few calls on storage.
const DESCRIPTOR_WAIT: Duration = Duration::from_millis(1);

/// The calls, with the counters they count into.
#[derive(Clone, Copy)]
pub(super) struct Calls {
    recorder: Recorder,
}

impl Calls {
    pub(super) fn new(recorder: Recorder) -> Self {
        Calls { recorder }
    }

    /// One call that concerns names and attributes is about to be made. Also on descriptors: it depends on the client
    /// of the file system whether it then asks a server.
    fn count(&self, kind: Counter) {
        self.recorder.count(kind);
        self.recorder.count(Counter::StorageMetadata);
    }

    /// Attributes of `name` in `directory`, and its target if it is a symlink.
    pub(super) fn entry(&self, directory: impl AsFd, name: &[u8]) -> Result<Entry, FetchError> {
        self.count(Counter::StorageStats);
        let (now, as_of) = (SystemTime::now(), AsOf::now());
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        let statx = rustix::fs::statx(&directory, name, flags, StatxFlags::BASIC_STATS)?;
        let attributes = attributes_of(&statx);
        let mut target = None;
        if attributes.mode & libc::S_IFMT == libc::S_IFLNK {
            target = Some(self.target(&directory, name)?);
        }
        Ok(Entry { attributes, target, settled: attributes.version().is_settled(now), as_of })
    }

    /// Where the symlink `name` points to.
    fn target(&self, directory: impl AsFd, name: &[u8]) -> Result<Box<[u8]>, Errno> {
        let mut target = Vec::with_capacity(TARGET_BYTES);
        loop {
            self.count(Counter::StorageReadlinks);
            rustix::fs::readlinkat_raw(&directory, name, rustix::buffer::spare_capacity(&mut target))?;
            if target.len() < target.capacity() {
                return Ok(target.into_boxed_slice());
            }
            // It may be longer: some file systems have targets that are longer than a path may be.
            let longer = 2 * target.capacity();
            target = Vec::with_capacity(longer);
        }
    }

    /// What is known of a view's root, through its own descriptor.
    pub(super) fn root_entry(&self, root: impl AsFd) -> Result<Entry, FetchError> {
        self.count(Counter::StorageStats);
        let (now, as_of) = (SystemTime::now(), AsOf::now());
        let statx = rustix::fs::statx(root, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
        let attributes = attributes_of(&statx);
        Ok(Entry { attributes, target: None, settled: attributes.version().is_settled(now), as_of })
    }

    /// Attributes of what `descriptor` refers to.
    pub(super) fn attributes(&self, descriptor: impl AsFd) -> Result<Attributes, Errno> {
        self.count(Counter::StorageStats);
        // Without the access time, which reading changes and a client would have to fetch again.
        let mask = StatxFlags::BASIC_STATS - StatxFlags::ATIME;
        let statx = rustix::fs::statx(descriptor, c"", AtFlags::EMPTY_PATH, mask)?;
        Ok(attributes_of(&statx))
    }

    /// A descriptor of directory `name` that only leads further (O_PATH), without listing it.
    pub(super) fn descend(&self, directory: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
        self.count(Counter::StorageOpens);
        open_at(directory, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC)
    }

    /// Opens the file `name` for reading. Never blocks on a FIFO or a device.
    pub(super) fn open(&self, directory: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
        self.count(Counter::StorageOpens);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        open_at(directory, name, flags)
    }

    /// The version of what `directory` refers to.
    pub(super) fn version(&self, directory: impl AsFd) -> Result<Version, Errno> {
        Ok(self.attributes(directory)?.version())
    }

    /// All names of the directory `name` in `directory`, its version once they were read, and whether that had been its
    /// version for a while by then. `.` is `directory` itself, which must then allow to be passed.
    pub(super) fn names(
        &self,
        directory: impl AsFd,
        name: &[u8],
    ) -> Result<(Vec<ListingEntry>, Version, bool), Errno> {
        self.count(Counter::StorageOpens);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = open_at(directory, name, flags)?;
        let mut buffer = vec![MaybeUninit::uninit(); LISTING_BUFFER_BYTES];
        let mut raw = RawDir::new(&opened, &mut buffer);
        let mut entries = Vec::new();
        loop {
            if raw.is_buffer_empty() {
                self.count(Counter::StorageLists);
            }
            let Some(row) = raw.next() else { break };
            let row = row?;
            let name = row.file_name().to_bytes();
            if name != b"." && name != b".." {
                let kind = row.file_type().as_raw_mode_type();
                entries.push(ListingEntry { name: name.into(), inode: row.ino(), kind, entry: None });
            }
        }
        let now = SystemTime::now();
        let version = self.attributes(&opened)?.version();
        Ok((entries, version, version.is_settled(now)))
    }

    /// Adds the attributes of names to their rows, as long as storage answers out of this node's memory.
    ///
    /// Attributes are then cheaper to fetch at once, by one thread that is already here, than one by one
    /// when they are asked for.
    pub(super) fn add_quick_attributes(&self, directory: impl AsFd, as_of: AsOf, rows: &mut [ListingEntry]) {
        let started = Instant::now();
        let mut allowed = QUICK_START;
        for row in rows {
            let entry = self.entry(&directory, &row.name);
            let as_of = |entry: Entry| Arc::new(Entry { as_of: entry.as_of.older(as_of), ..entry });
            row.entry = entry.ok().filter(|entry| entry.settled).map(as_of);
            allowed += QUICK_NAME;
            if started.elapsed() > allowed {
                return;
            }
        }
    }

    /// Reads from byte `offset` into the empty `bytes` until `length` bytes or the end of the file are reached.
    pub(super) fn read(
        &self,
        file: impl AsFd,
        offset: u64,
        length: usize,
        bytes: &mut Vec<u8>,
    ) -> Result<(), Errno> {
        bytes.reserve_exact(length);
        while bytes.len() < length {
            self.recorder.count(Counter::StorageReads);
            let at = offset + bytes.len() as u64;
            let room = length - bytes.len();
            let count = match rustix::io::pread(&file, &mut bytes.spare_capacity_mut()[..room], at) {
                Ok((filled, _)) => filled.len(),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno),
            };
            if count == 0 {
                break;
            }
            // SAFETY: pread initialised `count` bytes right behind the old length.
            unsafe { bytes.set_len(bytes.len() + count) };
        }
        self.recorder.add(Counter::StorageBytes, bytes.len() as u64);
        Ok(())
    }

    /// The figures of `statfs` for the file system `directory` is on.
    pub(super) fn usage(&self, directory: impl AsFd) -> Result<FileSystemUsage, Errno> {
        self.count(Counter::StorageUsages);
        let figures = rustix::fs::fstatfs(directory)?;
        Ok(FileSystemUsage {
            block_bytes: u32::try_from(figures.f_bsize).unwrap_or(4096),
            blocks: figures.f_blocks,
            blocks_free: figures.f_bfree,
            blocks_available: figures.f_bavail,
            files: figures.f_files,
            files_free: figures.f_ffree,
            name_bytes_max: u32::try_from(figures.f_namelen).unwrap_or(255),
        })
    }
}

/// Opens `name`. While this process or this node has no descriptor to spare it waits for one: that is nothing
/// storage said, so no task may hear of it. What is kept open leaves room, so one comes free soon.
fn open_at(directory: impl AsFd, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    loop {
        match rustix::fs::openat(&directory, name, flags, Mode::empty()) {
            Err(Errno::MFILE | Errno::NFILE) if has_no_descriptor(&directory) => {
                std::thread::sleep(DESCRIPTOR_WAIT)
            }
            result => return result,
        }
    }
}

/// Whether it is this node that has no descriptor, not storage.
fn has_no_descriptor(some: impl AsFd) -> bool {
    matches!(rustix::io::fcntl_dupfd_cloexec(some, 0), Err(Errno::MFILE | Errno::NFILE))
}

fn attributes_of(statx: &Statx) -> Attributes {
    let time = |t: &rustix::fs::StatxTimestamp| Timestamp { seconds: t.tv_sec, nanoseconds: t.tv_nsec };
    Attributes {
        inode: statx.stx_ino,
        mode: u32::from(statx.stx_mode),
        links: statx.stx_nlink,
        uid: statx.stx_uid,
        gid: statx.stx_gid,
        device: encode_device(statx.stx_rdev_major, statx.stx_rdev_minor),
        block_size: statx.stx_blksize,
        size: statx.stx_size,
        blocks: statx.stx_blocks,
        accessed: time(&statx.stx_atime),
        modified: time(&statx.stx_mtime),
        changed: time(&statx.stx_ctime),
    }
}

/// The 32-bit device number of the FUSE protocol, `new_encode_dev` of the kernel's include/linux/kdev_t.h.
fn encode_device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

trait RawType {
    fn as_raw_mode_type(&self) -> u8;
}

impl RawType for rustix::fs::FileType {
    /// `d_type`, which is the file type bits of the mode shifted down (`IFTODT`).
    fn as_raw_mode_type(&self) -> u8 {
        match self {
            rustix::fs::FileType::Unknown => libc::DT_UNKNOWN,
            other => u8::try_from(other.as_raw_mode() >> 12).unwrap_or(libc::DT_UNKNOWN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_are_encoded_as_the_kernel_does() {
        assert_eq!(encode_device(1, 3), 0x103); // /dev/null
        assert_eq!(encode_device(259, 0x345), 0x0031_0345); // a minor number over 8 bits
    }
}
