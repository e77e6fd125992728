//! Open files, kept for as long as the kernel knows their version, so that a file that is replaced or
//! removed goes on under its open readers.
//!
//! Invariant: bytes are handed out only if the file was the asked version both before and after they were
//! read; so a file overwritten in place gives ESTALE and never a mixture.
//!
//! Not here: blocks kept in memory (`cache`).

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use quick_cache::sync::Cache;
use rustix::io::Errno;

use super::calls::Calls;
use super::directories::Directories;
use crate::file::{Attributes, FetchError, FilePath, UsualTime, Version};

/// A file opened under the version it had.
pub(super) struct OpenFile {
    descriptor: OwnedFd,
    version: Version,
    /// Attributes as last seen through this descriptor; tell a harmless change of them from a new content.
    seen: Mutex<Attributes>,
}

/// The open files, by path and version.
pub(super) struct Files {
    kept: Cache<(FilePath, Version), Arc<OpenFile>>,
    calls: Calls,
    /// What a read takes.
    usual_read: UsualTime,
}

/// What a read takes on average at most when it comes out of this node's memory: 200 µs.
///
/// A copy of 128 KiB takes 20 to 50 µs; a server, or a disk, takes longer than that alone.
const QUICK_READ_NS: u64 = 200_000;

impl Files {
    /// Keeps at most `kept_max` files open; what falls out is opened again and must then still be the same.
    pub(super) fn new(kept_max: usize, calls: Calls) -> Self {
        Files { kept: Cache::new(kept_max), calls, usual_read: UsualTime::default() }
    }

    /// The file at `path` if it still is `version`.
    pub(super) fn open(
        &self,
        directories: &Directories,
        path: &FilePath,
        version: Version,
    ) -> Result<Arc<OpenFile>, FetchError> {
        let key = (path.clone(), version);
        if let Some(kept) = self.kept.get(&key) {
            return Ok(kept);
        }
        let opened = Arc::new(self.open_fresh(directories, path, version)?);
        self.kept.insert(key, opened.clone());
        Ok(opened)
    }

    fn open_fresh(
        &self,
        directories: &Directories,
        path: &FilePath,
        version: Version,
    ) -> Result<OpenFile, FetchError> {
        let (directory, _, name) = directories.of(path)?;
        let descriptor = match self.calls.open(&directory, name) {
            Ok(descriptor) => descriptor,
            // Gone, or something else stands there: the version asked for cannot be had any more.
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::NXIO) => return Err(FetchError::Stale),
            Err(errno) => return Err(errno.into()),
        };
        let seen = self.calls.attributes(&descriptor)?;
        // The change time alone may differ: nothing of this version was read yet through a descriptor, and
        // making a hard link of a file (as package managers do) changes it. SEMANTICS tells what this leaves.
        let now = seen.version();
        if (now.size, now.modified, now.inode) != (version.size, version.modified, version.inode) {
            return Err(FetchError::Stale);
        }
        Ok(OpenFile { descriptor, version, seen: Mutex::new(seen) })
    }

    /// Reads the bytes in `range` into the empty `bytes`; all of them, or [`FetchError::Stale`].
    pub(super) fn read(
        &self,
        directories: &Directories,
        path: &FilePath,
        file: &OpenFile,
        range: Range<u64>,
        bytes: &mut Vec<u8>,
    ) -> Result<(), FetchError> {
        let length = usize::try_from(range.end - range.start).expect("a read is small");
        let started = Instant::now();
        self.calls.read(&file.descriptor, range.start, length, bytes)?;
        self.usual_read.learn(started.elapsed());
        self.check(directories, path, file)?;
        if bytes.len() < length {
            return Err(FetchError::Stale);
        }
        Ok(())
    }

    /// Whether reads take as long as a copy does. Also before anything is known.
    pub(super) fn reads_quickly(&self) -> bool {
        self.usual_read.nanoseconds() < QUICK_READ_NS
    }

    /// Whether the content is still that of the version the file was opened under.
    fn check(&self, directories: &Directories, path: &FilePath, file: &OpenFile) -> Result<(), FetchError> {
        let now = self.calls.attributes(&file.descriptor)?;
        let (current, wanted) = (now.version(), file.version);
        if (current.size, current.modified) != (wanted.size, wanted.modified) {
            return Err(FetchError::Stale);
        }
        let before = *file.seen.lock().unwrap_or_else(|e| e.into_inner());
        if now.changed == before.changed {
            return Ok(());
        }
        let facts = |a: &Attributes| (a.mode, a.links, a.uid, a.gid);
        let explained = facts(&now) != facts(&before) || self.has_moved(directories, path, &now);
        if !explained {
            // Only the change time moved, and nothing says why: somebody may have written and set the
            // modification time back.
            return Err(FetchError::Stale);
        }
        *file.seen.lock().unwrap_or_else(|e| e.into_inner()) = now;
        Ok(())
    }

    /// Whether another file, or none, now stands at `path`: renaming changes the change time.
    fn has_moved(&self, directories: &Directories, path: &FilePath, file: &Attributes) -> bool {
        let Ok((directory, _, name)) = directories.of(path) else { return true };
        match self.calls.entry(&directory, name) {
            Ok(entry) => entry.attributes.inode != file.inode,
            Err(_) => true,
        }
    }

    /// Closes the file if nobody is reading it.
    pub(super) fn release(&self, path: &FilePath, version: Version) {
        self.kept.remove(&(path.clone(), version));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::profile::recorder::Recorder;

    #[test]
    fn a_slow_read_ends_reading_on_the_spot_and_quick_ones_bring_it_back() {
        let files = Files::new(4, Calls::new(Recorder::private()));
        assert!(files.reads_quickly(), "the first read is made on the spot");
        files.usual_read.learn(Duration::from_millis(5));
        assert!(!files.reads_quickly());
        for _ in 0..64 {
            files.usual_read.learn(Duration::from_micros(30));
        }
        assert!(files.reads_quickly());
    }
}
