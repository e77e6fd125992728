//! Descriptors of directories, so that a call on storage resolves one component and not a whole path.
//!
//! Not here: what is then called on them (`calls`).

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::Cache;
use rustix::io::Errno;

use super::calls::Calls;
use crate::file::{FetchError, FilePath};

/// Directories kept open: 1,024, if the descriptor limit allows four times as many. An import of torch uses
/// some 400.
pub(super) const DIRECTORIES_KEPT_MAX: usize = 1024;

/// The views' roots and the directories recently used beneath them.
pub(super) struct Directories {
    roots: Vec<Arc<OwnedFd>>,
    kept: Cache<FilePath, Arc<OwnedFd>>,
    /// How often all were forgotten: one that was opened on the way from an older one is not kept.
    generation: AtomicU64,
    calls: Calls,
}

impl Directories {
    /// Keeps at most `kept_max` directories open besides the roots.
    pub(super) fn new(roots: Vec<OwnedFd>, kept_max: usize, calls: Calls) -> Self {
        let roots = roots.into_iter().map(Arc::new).collect();
        Directories { roots, kept: Cache::new(kept_max), generation: AtomicU64::new(0), calls }
    }

    /// A descriptor of the directory at `path` that leads further (O_PATH).
    pub(super) fn at(&self, path: &FilePath) -> Result<Arc<OwnedFd>, FetchError> {
        let Some((parent, name)) = path.split() else {
            return Ok(self.roots[path.view().position()].clone());
        };
        if let Some(kept) = self.kept.get(path) {
            return Ok(kept);
        }
        let generation = self.generation.load(Ordering::Acquire);
        let above = self.at(&parent)?;
        let opened = Arc::new(self.calls.descend(&*above, name)?);
        self.kept.insert(path.clone(), opened.clone());
        if self.generation.load(Ordering::Acquire) != generation {
            self.kept.remove(path);
        }
        Ok(opened)
    }

    /// Forgets all but the roots: other directories may stand at their paths.
    pub(super) fn forget_all(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.kept.clear();
    }

    /// The directory that `path` is in, and its name there.
    pub(super) fn of<'p>(
        &self,
        path: &'p FilePath,
    ) -> Result<(Arc<OwnedFd>, FilePath, &'p [u8]), FetchError> {
        let (parent, name) = path.split().ok_or(FetchError::Stale)?;
        Ok((self.at(&parent)?, parent, name))
    }

    /// After ENOENT: whether the kept descriptor of `path`, or one above it, is of a directory that has been
    /// removed, in which case everything is absent in it though a new directory may stand at its path. Such
    /// descriptors are dropped.
    pub(super) fn drop_removed(&self, path: &FilePath) -> bool {
        let mut dropped = false;
        let mut at = Some(path.clone());
        while let Some(path) = at {
            if let Some(kept) = self.kept.peek(&path)
                && self.is_removed(&kept)
            {
                self.kept.remove(&path);
                dropped = true;
            }
            at = path.split().map(|(parent, _)| parent);
        }
        dropped
    }

    fn is_removed(&self, directory: &OwnedFd) -> bool {
        match self.calls.attributes(directory) {
            Ok(attributes) => attributes.links == 0,
            Err(errno) => errno == Errno::STALE,
        }
    }
}
