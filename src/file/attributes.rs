//! What `stat` tells of a file, and the part of it that says whether two looks saw the same file.
//!
//! Not here: how owners are shown inside a namespace (`view::owners`).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::AsOf;

/// A time stamp of a file: seconds since 1970 and nanoseconds, as storage gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Whole seconds, negative before 1970.
    pub seconds: i64,
    /// Nanoseconds in `0..1_000_000_000`.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// Whether this moment lies at least `age` before `now`. A moment in the future is not.
    pub fn is_older_than(self, age: Duration, now: SystemTime) -> bool {
        let Ok(since_epoch) = now.duration_since(UNIX_EPOCH) else { return false };
        let Some(limit) = since_epoch.checked_sub(age) else { return false };
        let limit = Timestamp {
            seconds: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            nanoseconds: limit.subsec_nanos(),
        };
        self <= limit
    }
}

/// What says that two looks saw the same file: size, modification and change time, inode number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Version {
    /// Size in bytes.
    pub size: u64,
    /// Last modification of the content.
    pub modified: Timestamp,
    /// Last change of content or attributes.
    pub changed: Timestamp,
    /// Inode number on storage.
    pub inode: u64,
}

/// The clock's grain: 2 s.
///
/// Within it a file can change without its version changing: file systems and servers stamp by ticks of 1 ms
/// to 1 s (NFSv3 servers on ext3, Lustre), FAT by 2 s. A younger version is not trusted yet.
const CLOCK_GRAIN: Duration = Duration::from_secs(2);

impl Version {
    /// Whether a later change would show in the version: both times lie [`CLOCK_GRAIN`] before `now`.
    pub fn is_settled(&self, now: SystemTime) -> bool {
        self.modified.is_older_than(CLOCK_GRAIN, now) && self.changed.is_older_than(CLOCK_GRAIN, now)
    }
}

/// The kinds of file there are, as in the upper bits of `st_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum FileKind {
    Regular,
    Directory,
    Symlink,
    Fifo,
    Socket,
    CharDevice,
    BlockDevice,
}

impl FileKind {
    /// The kind in `mode`; `None` for bits no kind has.
    pub fn of_mode(mode: u32) -> Option<Self> {
        Some(match mode & libc::S_IFMT {
            libc::S_IFREG => FileKind::Regular,
            libc::S_IFDIR => FileKind::Directory,
            libc::S_IFLNK => FileKind::Symlink,
            libc::S_IFIFO => FileKind::Fifo,
            libc::S_IFSOCK => FileKind::Socket,
            libc::S_IFCHR => FileKind::CharDevice,
            libc::S_IFBLK => FileKind::BlockDevice,
            _ => return None,
        })
    }

    /// The `d_type` that a directory entry of this kind carries.
    pub fn directory_entry_type(self) -> u8 {
        match self {
            FileKind::Regular => libc::DT_REG,
            FileKind::Directory => libc::DT_DIR,
            FileKind::Symlink => libc::DT_LNK,
            FileKind::Fifo => libc::DT_FIFO,
            FileKind::Socket => libc::DT_SOCK,
            FileKind::CharDevice => libc::DT_CHR,
            FileKind::BlockDevice => libc::DT_BLK,
        }
    }
}

/// What `stat` tells of a file on storage. The device number is left out: a view has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Inode number on storage.
    pub inode: u64,
    /// Kind and permissions, as `st_mode`.
    pub mode: u32,
    /// Number of hard links.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device file, in the kernel's 32-bit encoding.
    pub device: u32,
    /// Preferred size of a read in bytes.
    pub block_size: u32,
    /// Size in bytes.
    pub size: u64,
    /// Space taken, in units of 512 bytes.
    pub blocks: u64,
    /// Last access.
    pub accessed: Timestamp,
    /// Last modification of the content.
    pub modified: Timestamp,
    /// Last change of content or attributes.
    pub changed: Timestamp,
}

impl Attributes {
    /// Those of something that is not on storage: root's, empty, and as old as can be.
    pub fn made_up(inode: u64, mode: u32) -> Self {
        let time = Timestamp::default();
        Attributes {
            inode,
            mode,
            links: 1,
            uid: 0,
            gid: 0,
            device: 0,
            block_size: 4096,
            size: 0,
            blocks: 0,
            accessed: time,
            modified: time,
            changed: time,
        }
    }

    /// The version these attributes show.
    pub fn version(&self) -> Version {
        Version { size: self.size, modified: self.modified, changed: self.changed, inode: self.inode }
    }

    /// The kind of file.
    pub fn kind(&self) -> FileKind {
        FileKind::of_mode(self.mode).unwrap_or(FileKind::Regular)
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }
}

/// What is known of one name: its attributes, and where it points to if it is a symlink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Attributes of the name itself; a symlink is not followed.
    pub attributes: Attributes,
    /// The symlink's target, verbatim.
    pub target: Option<Box<[u8]>>,
    /// Whether the version was settled when it was read; if not, it must be asked again.
    pub settled: bool,
    /// When storage told it.
    pub as_of: AsOf,
}

impl Entry {
    /// Bytes of memory it takes, for the cache's budget.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Entry>() + self.target.as_ref().map_or(0, |t| t.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_younger_than_the_grain_is_not_settled() {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        let at = |seconds, nanoseconds| Timestamp { seconds, nanoseconds };
        let cases = [
            // modified, changed, settled
            (at(998, 0), at(998, 0), true),         // exactly the grain
            (at(998, 1), at(998, 0), false),        // a nanosecond younger
            (at(10, 0), at(999, 0), false),         // old content, fresh attributes
            (at(2000, 0), at(10, 0), false),        // a time stamp from the future
            (at(-5, 999_999_999), at(-5, 0), true), // before 1970
        ];
        for (modified, changed, settled) in cases {
            let version = Version { modified, changed, ..Version::default() };
            assert_eq!(version.is_settled(now), settled, "{version:?}");
        }
    }
}
