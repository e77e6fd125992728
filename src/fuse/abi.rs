//! The words of the kernel's protocol: numbers and layouts from include/uapi/linux/fuse.h.
//!
//! Only what a read-only file system needs.
//!
//! Not here: what is done with them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Protocol version spoken; a kernel with a lower minor is answered with its own.
pub(super) const MAJOR: u32 = 7;
/// 7.40 (Linux 6.9) is the first with everything used here, RESEND being the last to come.
pub(super) const MINOR: u32 = 40;
/// The lowest minor served: 7.27, Linux 4.18.
pub(super) const MINOR_MIN: u32 = 27;

macro_rules! opcodes {
    ($($name:ident = $number:literal),+ $(,)?) => {
        /// Kinds of request.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Opcode { $($name = $number),+ }
        impl Opcode {
            pub(super) fn of(number: u32) -> Option<Self> {
                match number { $($number => Some(Opcode::$name),)+ _ => None }
            }
        }
    };
}

opcodes! {
    Lookup = 1, Forget = 2, Getattr = 3, Readlink = 5, Open = 14, Read = 15, Statfs = 17, Release = 18,
    Flush = 25, Init = 26, Opendir = 27, Readdir = 28, Releasedir = 29, Interrupt = 36, Destroy = 38, Ioctl = 39,
    BatchForget = 42, Readdirplus = 44,
}

pub(super) const INIT_ASYNC_READ: u64 = 1 << 0;
pub(super) const INIT_DO_READDIRPLUS: u64 = 1 << 13;
pub(super) const INIT_NO_OPEN_SUPPORT: u64 = 1 << 17;
pub(super) const INIT_PARALLEL_DIROPS: u64 = 1 << 18;
pub(super) const INIT_MAX_PAGES: u64 = 1 << 22;
pub(super) const INIT_CACHE_SYMLINKS: u64 = 1 << 23;
pub(super) const INIT_NO_OPENDIR_SUPPORT: u64 = 1 << 24;
pub(super) const INIT_EXPLICIT_INVAL_DATA: u64 = 1 << 25;
pub(super) const INIT_EXT: u64 = 1 << 30;
pub(super) const INIT_HAS_RESEND: u64 = 1 << 39;
pub(super) const INIT_REQUEST_TIMEOUT: u64 = 1 << 42;

pub(super) const OPEN_KEEP_CACHE: u32 = 1 << 1;
pub(super) const OPEN_CACHE_DIR: u32 = 1 << 3;

/// The ioctl that asks for terminal settings (asm-generic/ioctls.h; the same on x86_64 and aarch64).
pub(super) const TCGETS: u32 = 0x5401;

pub(super) const NOTIFY_INVAL_INODE: i32 = 2;
pub(super) const NOTIFY_INVAL_ENTRY: i32 = 3;
/// Flag of that: expire, do not drop (Linux 6.2). Older kernels do not look at flags.
pub(super) const NOTIFY_EXPIRE_ONLY: u32 = 1;
pub(super) const NOTIFY_STORE: i32 = 4;
pub(super) const NOTIFY_RESEND: i32 = 7;

/// In front of every request.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct InHeader {
    pub(super) len: u32,
    pub(super) opcode: u32,
    pub(super) unique: u64,
    pub(super) node: u64,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) pid: u32,
    pub(super) padding: u32,
}

/// In front of every answer and notification.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct OutHeader {
    pub(super) len: u32,
    pub(super) error: i32,
    pub(super) unique: u64,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct InitIn {
    pub(super) major: u32,
    pub(super) minor: u32,
    pub(super) max_readahead: u32,
    pub(super) flags: u32,
}

#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct InitOut {
    pub(super) major: u32,
    pub(super) minor: u32,
    pub(super) max_readahead: u32,
    pub(super) flags: u32,
    pub(super) max_background: u16,
    pub(super) congestion_threshold: u16,
    pub(super) max_write: u32,
    pub(super) time_gran: u32,
    pub(super) max_pages: u16,
    pub(super) map_alignment: u16,
    pub(super) flags2: u32,
    pub(super) max_stack_depth: u32,
    pub(super) request_timeout: u16,
    pub(super) unused: [u16; 11],
}

#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Attr {
    pub(super) inode: u64,
    pub(super) size: u64,
    pub(super) blocks: u64,
    pub(super) atime: u64,
    pub(super) mtime: u64,
    pub(super) ctime: u64,
    pub(super) atime_ns: u32,
    pub(super) mtime_ns: u32,
    pub(super) ctime_ns: u32,
    pub(super) mode: u32,
    pub(super) links: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) device: u32,
    pub(super) block_size: u32,
    pub(super) flags: u32,
}

#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct EntryOut {
    pub(super) node: u64,
    pub(super) generation: u64,
    pub(super) entry_valid: u64,
    pub(super) attr_valid: u64,
    pub(super) entry_valid_ns: u32,
    pub(super) attr_valid_ns: u32,
    pub(super) attr: Attr,
}

#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct AttrOut {
    pub(super) attr_valid: u64,
    pub(super) attr_valid_ns: u32,
    pub(super) padding: u32,
    pub(super) attr: Attr,
}

#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct OpenOut {
    pub(super) handle: u64,
    pub(super) flags: u32,
    pub(super) backing: i32,
}

/// Also of READDIR and READDIRPLUS.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct ReadIn {
    pub(super) handle: u64,
    pub(super) offset: u64,
    pub(super) size: u32,
    pub(super) read_flags: u32,
    pub(super) lock_owner: u64,
    pub(super) flags: u32,
    pub(super) padding: u32,
}

#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct StatfsOut {
    pub(super) blocks: u64,
    pub(super) blocks_free: u64,
    pub(super) blocks_available: u64,
    pub(super) files: u64,
    pub(super) files_free: u64,
    pub(super) block_size: u32,
    pub(super) name_max: u32,
    pub(super) fragment_size: u32,
    pub(super) padding: u32,
    pub(super) spare: [u32; 6],
}

/// In front of a name in READDIR; READDIRPLUS puts an [`EntryOut`] before it.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Dirent {
    pub(super) inode: u64,
    pub(super) position: u64,
    pub(super) name_len: u32,
    pub(super) kind: u32,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct ForgetOne {
    pub(super) node: u64,
    pub(super) lookups: u64,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct BatchForgetIn {
    pub(super) count: u32,
    pub(super) dummy: u32,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct NotifyInvalEntry {
    pub(super) parent: u64,
    pub(super) name_len: u32,
    pub(super) flags: u32,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct NotifyInvalInode {
    pub(super) node: u64,
    pub(super) offset: i64,
    pub(super) length: i64,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct IoctlIn {
    pub(super) handle: u64,
    pub(super) flags: u32,
    pub(super) command: u32,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct NotifyStore {
    pub(super) node: u64,
    pub(super) offset: u64,
    pub(super) size: u32,
    pub(super) padding: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_have_the_sizes_of_the_kernels_header() {
        let sizes = [
            (size_of::<InHeader>(), 40),
            (size_of::<OutHeader>(), 16),
            (size_of::<InitOut>(), 64),
            (size_of::<Attr>(), 88),
            (size_of::<EntryOut>(), 128),
            (size_of::<AttrOut>(), 104),
            (size_of::<OpenOut>(), 16),
            (size_of::<ReadIn>(), 40),
            (size_of::<StatfsOut>(), 80),
            (size_of::<Dirent>(), 24),
        ];
        for (i, (ours, kernels)) in sizes.iter().enumerate() {
            assert_eq!(ours, kernels, "row {i}");
        }
    }
}
