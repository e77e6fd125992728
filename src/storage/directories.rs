//! Descriptors of directories, so that a call on storage resolves one component and not a whole path.
//!
//! Not here: what is then called on them (`calls`).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::Cache;
use rustix::io::Errno;

use super::calls::Calls;
use crate::file::{AsOf, FetchError, FilePath, Freshness};

/// Directories kept open: 1,024, if the descriptor limit allows four times as many. An import of torch uses
/// some 400.
pub(super) const DIRECTORIES_KEPT_MAX: usize = 1024;

/// A directory, and when the way to it was walked. Cloning shares it.
#[derive(Clone)]
pub(super) struct Opened {
    descriptor: Arc<OwnedFd>,
    pub(super) as_of: AsOf,
}

impl AsFd for Opened {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// The views' roots and the directories recently used beneath them.
pub(super) struct Directories {
    roots: Vec<Arc<OwnedFd>>,
    kept: Cache<FilePath, Opened>,
    /// How often all were forgotten: one that was opened on the way from an older one is not kept.
    generation: AtomicU64,
    /// How old the way to a directory may be.
    freshness: Freshness,
    calls: Calls,
}

impl Directories {
    /// Keeps at most `kept_max` directories open besides the roots.
    pub(super) fn new(roots: Vec<OwnedFd>, kept_max: usize, freshness: Freshness, calls: Calls) -> Self {
        let roots = roots.into_iter().map(Arc::new).collect();
        Directories { roots, kept: Cache::new(kept_max), generation: AtomicU64::new(0), freshness, calls }
    }

    /// A descriptor of the directory at `path` that leads further (O_PATH).
    pub(super) fn at(&self, path: &FilePath) -> Result<Opened, FetchError> {
        let Some((parent, name)) = path.split() else {
            let descriptor = self.roots[path.view().position()].clone();
            return Ok(Opened { descriptor, as_of: AsOf::now() });
        };
        if let Some(kept) = self.kept.get(path).filter(|kept| self.freshness.allows(kept.as_of)) {
            return Ok(kept);
        }
        let generation = self.generation.load(Ordering::Acquire);
        let above = self.at(&parent)?;
        let as_of = above.as_of.older(AsOf::now());
        let descend = self.calls.descend(&above, name).map_err(|errno| FetchError::from(errno).dated(as_of));
        let opened = Opened { descriptor: Arc::new(descend?), as_of };
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
    pub(super) fn of<'p>(&self, path: &'p FilePath) -> Result<(Opened, FilePath, &'p [u8]), FetchError> {
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

    fn is_removed(&self, directory: &Opened) -> bool {
        match self.calls.attributes(directory) {
            Ok(attributes) => attributes.links == 0,
            Err(errno) => errno == Errno::STALE,
        }
    }
}
