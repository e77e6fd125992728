//! The files that one mount's kernel knows, each by a descriptor that keeps it alive.
//!
//! A node's number is the file's own inode number, so that all mounts show the same. While the kernel
//! knows a number, the descriptor keeps the file system from giving it to another file. Mounts share descriptors: eight
//! that each know a large environment would together need more than a process may have.
//!
//! Not here: answering calls (`mount`).

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};
use rustix::fs::{self, AtFlags, Mode, OFlags, Stat};

/// One file of the backing directory.
pub struct Node {
    /// Opened as a place only (`O_PATH`): it can be looked at and through, not read.
    pub place: OwnedFd,
    /// Its number.
    pub ino: u64,
}

/// The files that one kernel knows, and what it has open.
pub struct NodeTable {
    backing: PathBuf,
    root_device: u64,
    root: Arc<Node>,
    known: Mutex<HashMap<u64, Known>>,
    open: Mutex<(u64, HashMap<u64, Arc<File>>)>,
}

struct Known {
    node: Arc<Node>,
    /// How often the kernel was given it and has not forgotten it.
    lookups: u64,
    /// Where it was found last: for the forgetting of the kernel's entry.
    found_at: (u64, OsString),
}

impl NodeTable {
    /// A table that knows the root only.
    pub fn new(backing: &Path) -> io::Result<Self> {
        let place = fs::open(backing, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let stat = fs::fstat(&place)?;
        Ok(Self {
            backing: backing.to_owned(),
            root_device: stat.st_dev,
            root: Arc::new(Node { place, ino: stat.st_ino }),
            known: Mutex::default(),
            open: Mutex::default(),
        })
    }

    /// The node of that number.
    ///
    /// # Errors
    /// ESTALE if the kernel was never given it, which cannot happen.
    pub fn get(&self, ino: INodeNo) -> io::Result<Arc<Node>> {
        if ino == INodeNo::ROOT {
            return Ok(self.root.clone());
        }
        match lock(&self.known).get(&ino.0) {
            Some(known) => Ok(known.node.clone()),
            None => Err(io::Error::from_raw_os_error(libc::ESTALE)),
        }
    }

    /// Finds `name` in the directory and counts that the kernel now knows it.
    pub fn look_up(&self, parent: INodeNo, name: &OsStr) -> io::Result<FileAttr> {
        let directory = self.get(parent)?;
        let place = fs::openat(
            &directory.place,
            name,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let stat = fs::fstat(&place)?;
        let ino = self.number(&stat);
        let mut known = lock(&self.known);
        let entry = known.entry(ino).or_insert_with(|| Known {
            node: shared(place, &stat, ino),
            lookups: 0,
            found_at: (parent.0, name.to_owned()),
        });
        entry.lookups += 1;
        entry.found_at = (parent.0, name.to_owned());
        Ok(self.attributes(ino, &stat))
    }

    /// The attributes as they are now.
    pub fn stat(&self, ino: INodeNo) -> io::Result<FileAttr> {
        let node = self.get(ino)?;
        Ok(self.attributes(node.ino, &fs::fstat(&node.place)?))
    }

    /// The kernel has forgotten the node `lookups` times.
    pub fn forget(&self, ino: INodeNo, lookups: u64) {
        let mut known = lock(&self.known);
        let Some(entry) = known.get_mut(&ino.0) else { return };
        entry.lookups = entry.lookups.saturating_sub(lookups);
        if entry.lookups == 0 {
            known.remove(&ino.0);
        }
    }

    /// Every node with where it was found: parent and name.
    pub fn all(&self) -> Vec<(INodeNo, INodeNo, OsString)> {
        let known = lock(&self.known);
        known.iter().map(|(ino, k)| (INodeNo(*ino), INodeNo(k.found_at.0), k.found_at.1.clone())).collect()
    }

    /// The number of a file of the backing directory, for one that the kernel may not know.
    pub fn number_of(&self, path: &Path) -> io::Result<u64> {
        let stat = fs::statat(fs::CWD, self.backing.join(path), AtFlags::SYMLINK_NOFOLLOW)?;
        if stat.st_dev == self.root_device && stat.st_ino == self.root.ino {
            return Ok(INodeNo::ROOT.0);
        }
        Ok(self.number(&stat))
    }

    /// Where the node is now, relative to the root.
    pub fn path(&self, ino: INodeNo) -> PathBuf {
        let Ok(node) = self.get(ino) else { return PathBuf::new() };
        let path = std::fs::read_link(node.proc_path()).unwrap_or_default();
        path.strip_prefix(&self.backing).map(Path::to_owned).unwrap_or_default()
    }

    /// Keeps what was opened and gives its handle.
    pub fn keep_open(&self, file: File) -> u64 {
        let mut open = lock(&self.open);
        open.0 += 1;
        let handle = open.0;
        open.1.insert(handle, Arc::new(file));
        handle
    }

    /// What was opened under that handle.
    pub fn opened(&self, handle: u64) -> io::Result<Arc<File>> {
        lock(&self.open).1.get(&handle).cloned().ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))
    }

    /// Lets go of a handle.
    pub fn close(&self, handle: u64) {
        let closed = lock(&self.open).1.remove(&handle);
        drop(closed);
    }

    /// Files on other file systems beneath the backing directory get numbers apart from its own.
    fn number(&self, stat: &Stat) -> u64 {
        match stat.st_dev == self.root_device {
            true => stat.st_ino,
            false => stat.st_ino ^ stat.st_dev.rotate_right(24),
        }
    }

    fn attributes(&self, ino: u64, stat: &Stat) -> FileAttr {
        FileAttr {
            ino: INodeNo(ino),
            size: stat.st_size as u64,
            blocks: stat.st_blocks as u64,
            atime: moment(stat.st_atime, stat.st_atime_nsec),
            mtime: moment(stat.st_mtime, stat.st_mtime_nsec),
            ctime: moment(stat.st_ctime, stat.st_ctime_nsec),
            crtime: UNIX_EPOCH,
            kind: file_type(fs::FileType::from_raw_mode(stat.st_mode)),
            perm: (stat.st_mode & 0o7777) as u16,
            nlink: stat.st_nlink as u32,
            uid: stat.st_uid,
            gid: stat.st_gid,
            rdev: stat.st_rdev as u32,
            blksize: stat.st_blksize as u32,
            flags: 0,
        }
    }
}

/// By device and inode number.
type Places = HashMap<(u64, u64), Weak<Node>>;

/// The node of the file that any mount has, or a new one with `place`; all mounts show the same directory.
fn shared(place: OwnedFd, stat: &Stat, ino: u64) -> Arc<Node> {
    static ALL: LazyLock<Mutex<Places>> = LazyLock::new(Mutex::default);
    let mut all = lock(&ALL);
    let held = all.entry((stat.st_dev, stat.st_ino)).or_default();
    if let Some(node) = held.upgrade() {
        return node;
    }
    let node = Arc::new(Node { place, ino });
    *held = Arc::downgrade(&node);
    node
}

impl Node {
    /// A path that leads to the file whatever it is called now, for calls that take no place.
    pub fn proc_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.place.as_fd().as_raw_fd()))
    }

    /// The target of a symlink, as bytes.
    pub fn link_target(&self) -> io::Result<Vec<u8>> {
        Ok(fs::readlinkat(&self.place, "", Vec::new())?.into_bytes())
    }

    /// Opens the file to read it.
    pub fn open(&self, flags: OFlags) -> io::Result<File> {
        let path = self.proc_path();
        let path = path.as_os_str().as_bytes();
        Ok(fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | flags, Mode::empty())?.into())
    }
}

/// The same kind of file in the words of `fuser`.
pub fn file_type(kind: fs::FileType) -> FileType {
    match kind {
        fs::FileType::Directory => FileType::Directory,
        fs::FileType::Symlink => FileType::Symlink,
        fs::FileType::Fifo => FileType::NamedPipe,
        fs::FileType::Socket => FileType::Socket,
        fs::FileType::CharacterDevice => FileType::CharDevice,
        fs::FileType::BlockDevice => FileType::BlockDevice,
        _ => FileType::RegularFile,
    }
}

fn moment(seconds: i64, nanoseconds: impl TryInto<u32>) -> SystemTime {
    let nanoseconds = Duration::from_nanos(nanoseconds.try_into().unwrap_or(0).into());
    let whole = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { UNIX_EPOCH - whole + nanoseconds } else { UNIX_EPOCH + whole + nanoseconds }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
