//! Reading the shared file system: the only folder that opens the job's files.
//!
//! Everything is reached beneath the views' root descriptors, one component at a time, without following
//! links, so no request can leave its view and none is disturbed by a mount over the view's path.
//!
//! Invariant: what storage answers is passed on as it is. Nothing is remembered here but descriptors.
//!
//! Not here: keeping answers (`cache`), asking other nodes (`tree`).

mod calls;
mod directories;
mod files;
mod pool;

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use self::calls::Calls;
use self::directories::{DIRECTORIES_KEPT_MAX, Directories, Opened};
use self::files::Files;
pub use self::pool::allow_blocking_here;
use self::pool::{Pool, may_block_here};
use crate::file::{
    Answer, AsOf, Block, BlockIndex, Entry, Fetch, FetchError, FilePath, FileSystemUsage, Freshness, Listing,
    ListingEntry, NAMES_MAX, Origin, Passing, Source, Urgency, Version, ViewId,
};
use crate::profile::recorder::{Counter, Recorder};

/// Files kept open at most, if the descriptor limit allows twice as many: 16,384.
const FILES_KEPT_MAX: usize = 16_384;
/// Descriptors that are not for files and directories kept open: 40. Connections, shared memory, the line to the
/// holder and its like take some 20, the rest is for calls under way.
const DESCRIPTORS_RESERVED: usize = 40;

/// Names of a directory up to which attributes come with its listing: 4,096, some 12 ms of calls.
const ATTRIBUTES_LISTED_MAX: usize = 4096;
/// What listing a directory takes at most that this node has in memory: 400 µs; 1,000 names take 200 µs.
const QUICK_LISTING_MAX: Duration = Duration::from_micros(400);

/// Storage as this node sees it. Cloning shares descriptors and threads.
#[derive(Clone)]
pub struct Storage(Arc<Inner>);

struct Inner {
    directories: Directories,
    files: Files,
    calls: Calls,
    pool: Pool,
    recorder: Recorder,
}

impl Storage {
    /// Storage beneath these roots; position in the list is the view's number.
    ///
    /// Raises this process's soft descriptor limit to the hard one.
    pub fn new(roots: Vec<OwnedFd>, freshness: Freshness, recorder: Recorder) -> Self {
        let calls = Calls::new(recorder);
        let spare = descriptors_max().saturating_sub(DESCRIPTORS_RESERVED);
        let files = Files::new((spare / 2).clamp(4, FILES_KEPT_MAX), calls);
        let kept_max = (spare / 4).clamp(4, DIRECTORIES_KEPT_MAX);
        let directories = Directories::new(roots, kept_max, freshness, calls);
        Storage(Arc::new(Inner { directories, files, calls, pool: Pool::default(), recorder }))
    }

    /// Finds every directory anew from now on.
    pub fn forget_directories(&self) {
        self.0.directories.forget_all();
    }

    /// Runs `work` on storage and wraps its outcome.
    fn ask<T: Send + 'static>(
        &self,
        urgency: Urgency,
        work: impl FnOnce(&Inner) -> Result<T, FetchError> + Send + 'static,
    ) -> Fetch<T> {
        let inner = self.0.clone();
        let answer = self.0.pool.run(urgency, move || work(&inner));
        Box::pin(async move {
            match answer.await {
                Ok(result) => result.map(|value| Answer { value, origin: Origin::Storage }),
                // The job panicked. To wait for ever is the one answer that cannot mislead the task; the
                // panic is in the log.
                Err(_) => std::future::pending().await,
            }
        })
    }
}

/// The descriptor limit after raising it.
fn descriptors_max() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(u64::MAX);
    let raised = Rlimit { current: Some(hard), maximum: limit.maximum };
    let available = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => hard,
        Err(_) => limit.current.unwrap_or(1024),
    };
    usize::try_from(available).unwrap_or(usize::MAX)
}

impl Inner {
    fn entry(&self, path: &FilePath) -> Result<Arc<Entry>, FetchError> {
        if path.relative().is_empty() {
            let root = self.directories.at(path)?;
            return Ok(Arc::new(self.calls.root_entry(&root)?));
        }
        let (directory, parent, name) = self.directories.of(path)?;
        match self.entry_in(&directory, name) {
            Err(FetchError::Absent { .. }) if self.directories.drop_removed(&parent) => {
                let (directory, _, name) = self.directories.of(path)?;
                self.entry_in(&directory, name)
            }
            result => result,
        }
    }

    /// As old as the way to it: another directory may by now be at the path of this one.
    fn entry_in(&self, directory: &Opened, name: &[u8]) -> Result<Arc<Entry>, FetchError> {
        let as_of = directory.as_of.older(AsOf::now());
        let entry = self.calls.entry(directory, name).map_err(|error| error.dated(as_of))?;
        Ok(Arc::new(Entry { as_of, ..entry }))
    }

    /// Looks whether a directory is as it was when `known` was read; if not, reads it.
    fn listing_again(&self, path: &FilePath, known: &Listing) -> Result<Arc<Listing>, FetchError> {
        let directory = self.directories.at(path)?;
        let as_of = directory.as_of.older(AsOf::now());
        match known.renewed(self.calls.version(&directory)?, as_of) {
            Some(renewed) => Ok(Arc::new(renewed)),
            None => self.listing(path),
        }
    }

    fn listing(&self, path: &FilePath) -> Result<Arc<Listing>, FetchError> {
        let directory = self.directories.at(path)?;
        let (started, as_of) = (Instant::now(), directory.as_of.older(AsOf::now()));
        let (mut entries, version, settled) = match self.names(path, &directory) {
            Ok(names) => names,
            Err(errno @ (Errno::ACCESS | Errno::PERM)) => {
                return Err(FetchError::NotListed { errno: Some(errno.raw_os_error()) });
            }
            Err(errno) => return Err(errno.into()),
        };
        if entries.is_empty() && self.directories.drop_removed(path) {
            return self.listing(path);
        }
        if entries.len() > NAMES_MAX {
            self.recorder.count(Counter::LimitsHit);
        }
        let is_quick = started.elapsed() < QUICK_LISTING_MAX;
        if settled && is_quick && entries.len() <= ATTRIBUTES_LISTED_MAX {
            self.calls.add_quick_attributes(&directory, directory.as_of, &mut entries);
        }
        tracing::debug!(%path, names = entries.len(), told = entries.iter().filter(|e| e.entry.is_some()).count(), settled, took = ?started.elapsed(), "listed");
        Ok(Arc::new(Listing::new(entries, settled).dated(as_of).of_version(version)))
    }

    fn names(
        &self,
        path: &FilePath,
        directory: &Opened,
    ) -> Result<(Vec<ListingEntry>, Version, bool), Errno> {
        match self.calls.names(directory, b".") {
            // One that can be listed but not passed (0444) can only be opened by its name.
            Err(Errno::ACCESS) => match self.directories.of(path) {
                Ok((above, _, name)) => self.calls.names(&above, name),
                Err(_) => Err(Errno::ACCESS),
            },
            result => result,
        }
    }

    fn block(&self, path: &FilePath, version: Version, index: BlockIndex) -> Result<Arc<Block>, FetchError> {
        // Before reading: what is settled by then changes no more without its times showing it.
        let settled = version.is_settled(SystemTime::now());
        let mut bytes = Vec::new();
        self.read(path, version, index.range(version.size), &mut bytes)?;
        Ok(Arc::new(Block::new(bytes).settled_if(settled)))
    }

    fn read(
        &self,
        path: &FilePath,
        version: Version,
        range: Range<u64>,
        into: &mut Vec<u8>,
    ) -> Result<(), FetchError> {
        let file = self.files.open(&self.directories, path, version)?;
        self.files.read(&self.directories, path, &file, range, into)
    }
}

impl Source for Storage {
    fn entry(&self, path: &FilePath, urgency: Urgency) -> Fetch<Arc<Entry>> {
        let path = path.clone();
        self.ask(urgency, move |storage| storage.entry(&path))
    }

    fn listing(&self, path: &FilePath, urgency: Urgency) -> Fetch<Arc<Listing>> {
        let path = path.clone();
        self.ask(urgency, move |storage| storage.listing(&path))
    }

    fn listing_again(&self, path: &FilePath, known: &Arc<Listing>, urgency: Urgency) -> Fetch<Arc<Listing>> {
        let (path, known) = (path.clone(), known.clone());
        self.ask(urgency, move |storage| storage.listing_again(&path, &known))
    }

    fn block(
        &self,
        path: &FilePath,
        version: Version,
        index: BlockIndex,
        urgency: Urgency,
    ) -> Fetch<Arc<Block>> {
        let path = path.clone();
        self.ask(urgency, move |storage| storage.block(&path, version, index))
    }

    fn read_here(
        &self,
        path: &FilePath,
        version: Version,
        range: Range<u64>,
    ) -> Option<Result<Passing, FetchError>> {
        (may_block_here() && self.reads_quickly())
            .then(|| Passing::fill(|bytes| self.0.read(path, version, range, bytes)))
    }

    fn reads_quickly(&self) -> bool {
        self.0.files.reads_quickly()
    }

    fn usage(&self, view: ViewId) -> Fetch<FileSystemUsage> {
        self.ask(Urgency::Demand, move |storage| {
            let root = storage.directories.at(&FilePath::root(view))?;
            Ok(storage.calls.usage(&root)?)
        })
    }

    fn release(&self, path: &FilePath, version: Version) {
        self.0.files.release(path, version);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_a_file_that_has_just_changed_is_not_settled() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("file"), "content").unwrap();
        let storage = Storage::new(
            vec![std::fs::File::open(root.path()).unwrap().into()],
            Freshness::FOR_THE_JOB,
            Recorder::private(),
        );
        let path = FilePath::root(ViewId::new(0)).join(b"file");
        let version = storage.0.entry(&path).unwrap().attributes.version();
        let block = storage.0.block(&path, version, BlockIndex(0)).unwrap();
        assert_eq!((&**block, block.is_settled()), (&b"content"[..], false));
    }

    #[test]
    fn a_directory_that_another_took_the_place_of_is_found_again_when_the_way_is_too_old() {
        for (freshness, want) in [
            (Freshness::FOR_THE_JOB, 3),
            (Freshness::at_most(Some(Duration::from_secs(3600))), 3), // not yet
            (Freshness::at_most(Some(Duration::ZERO)), 5),
        ] {
            let root = tempfile::tempdir().unwrap();
            let (directory, above) =
                (root.path().join("directory"), std::fs::File::open(root.path()).unwrap());
            let make = |content: &str| {
                std::fs::create_dir(&directory).unwrap();
                std::fs::write(directory.join("file"), content).unwrap();
            };
            let storage = Storage::new(vec![above.into()], freshness, Recorder::private());
            let path = FilePath::from_relative(ViewId::new(0), b"directory/file");
            let size = || storage.0.entry(&path).unwrap().attributes.size;
            make("old");
            assert_eq!(size(), 3);
            std::fs::rename(&directory, root.path().join("elsewhere")).unwrap();
            make("newer");
            assert_eq!(size(), want, "{freshness:?}");
        }
    }
}
