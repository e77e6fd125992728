//! Asking the file system, counted and bounded.
//!
//! Choosing views happens on every node before anything is served, so each call here may be a call to
//! shared storage times the number of nodes. A path is asked for once, answers are kept, absent ones too
//! (the kernel of a storage client keeps no absences), and [`LOOKS_MAX`] ends a search that would be long.
//!
//! Not here: what the answers mean.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::bounds;

/// How many paths outside of the system directories one search may ask for.
///
/// A virtual environment needs four, see the table in [`mod@super::find`]. The limit is for the long
/// `PYTHONPATH` that some module systems build, which a note then reports.
pub const LOOKS_MAX: usize = 32;

/// How much of a file is read: a `#!` line, `pyvenv.cfg`, the head of R's start script.
///
/// Enough for the longest path (4096 bytes) in the second line that pip writes for long `#!` lines.
pub const START_BYTES_MAX: usize = 4608;

/// How many names of a directory are looked through where only a listing helps.
pub const NAMES_MAX: usize = 4096;

/// What lies at a path, links followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file that somebody may execute.
    Program,
    /// Anything else.
    Other,
}

/// A path without links, and what lies there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The path, absolute, all links followed.
    pub path: PathBuf,
    /// What is there.
    pub kind: Kind,
}

/// The beginning of a regular file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The file's path, absolute, all links followed.
    pub path: PathBuf,
    /// At most [`START_BYTES_MAX`] bytes.
    pub bytes: Vec<u8>,
}

/// The questions a search asks; an interface so that tests can count what they cost.
pub trait Look {
    /// Where `path` leads. Costs one open, no read.
    ///
    /// # Errors
    /// As `open` with `O_PATH`.
    fn place(&self, path: &Path) -> io::Result<Place>;

    /// The beginning of the regular file at `path`. Costs one open and one read.
    ///
    /// # Errors
    /// As `open`; `InvalidInput` for anything but a regular file.
    fn start(&self, path: &Path) -> io::Result<Start>;

    /// Some names of the directory at `path`, at most [`NAMES_MAX`]. Costs one open and a listing.
    ///
    /// # Errors
    /// As `opendir` and `readdir`.
    fn names(&self, path: &Path) -> io::Result<Vec<OsString>>;
}

/// The file system itself.
#[derive(Debug, Clone, Copy)]
pub struct Disk;

impl Look for Disk {
    fn place(&self, path: &Path) -> io::Result<Place> {
        // One open walks the links inside the kernel; the attributes came with it.
        let file = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let mode = rustix::fs::fstat(&file)?.st_mode;
        let kind = match rustix::fs::FileType::from_raw_mode(mode) {
            rustix::fs::FileType::Directory => Kind::Directory,
            rustix::fs::FileType::RegularFile if mode & 0o111 != 0 => Kind::Program,
            _ => Kind::Other,
        };
        Ok(Place { path: path_of(&file, path)?, kind })
    }

    fn start(&self, path: &Path) -> io::Result<Start> {
        // Not blocking: a FIFO of that name must not hold up the start of a job.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = rustix::fs::open(path, flags, Mode::empty())?;
        if !rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode).is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let path = path_of(&file, path)?;
        let mut bytes = vec![0; START_BYTES_MAX];
        let length = std::fs::File::from(file).read(&mut bytes)?;
        bytes.truncate(length);
        Ok(Start { path, bytes })
    }

    fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
        std::fs::read_dir(path)?.take(NAMES_MAX).map(|entry| Ok(entry?.file_name())).collect()
    }
}

/// The path behind a descriptor: the kernel knows it, so no component is asked for twice.
fn path_of(file: &OwnedFd, asked: &Path) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
        .or_else(|_| std::fs::canonicalize(asked)) // without /proc
}

/// A [`Look`] that asks for each path once and at most [`LOOKS_MAX`] times.
///
/// Every error is "not there": what cannot be reached cannot be served either.
pub struct Looks<'a> {
    look: &'a dyn Look,
    places: RefCell<HashMap<PathBuf, Option<Place>>>,
    starts: RefCell<HashMap<PathBuf, Option<Start>>>,
    asked: Cell<usize>,
    refused: Cell<bool>,
}

impl<'a> Looks<'a> {
    /// Nothing asked yet.
    pub fn new(look: &'a dyn Look) -> Self {
        let (places, starts) = (RefCell::default(), RefCell::default());
        Self { look, places, starts, asked: Cell::new(0), refused: Cell::new(false) }
    }

    /// The real path of a directory.
    pub fn directory(&self, path: &Path) -> Option<PathBuf> {
        self.place(path).filter(|place| place.kind == Kind::Directory).map(|place| place.path)
    }

    /// The real path of a file that can be executed.
    pub fn program(&self, path: &Path) -> Option<PathBuf> {
        self.place(path).filter(|place| place.kind == Kind::Program).map(|place| place.path)
    }

    /// The beginning of a regular file.
    pub fn start(&self, path: &Path) -> Option<Start> {
        if let Some(known) = self.starts.borrow().get(path) {
            return known.clone();
        }
        let start = self.may_ask(path).then(|| self.look.start(path).ok()).flatten();
        self.starts.borrow_mut().insert(path.to_owned(), start.clone());
        start
    }

    /// Names of a directory; none if it cannot be listed.
    pub fn names(&self, path: &Path) -> Vec<OsString> {
        if self.may_ask(path) { self.look.names(path).unwrap_or_default() } else { Vec::new() }
    }

    /// Whether the limit kept something from being asked, so that the answer may be incomplete.
    pub fn refused(&self) -> bool {
        self.refused.get()
    }

    fn place(&self, path: &Path) -> Option<Place> {
        if let Some(known) = self.places.borrow().get(path) {
            return known.clone();
        }
        let place = self.may_ask(path).then(|| self.look.place(path).ok()).flatten();
        self.places.borrow_mut().insert(path.to_owned(), place.clone());
        place
    }

    /// The node's own disk is free; everything else may be storage and counts.
    fn may_ask(&self, path: &Path) -> bool {
        if bounds::is_system(path) {
            return true;
        }
        if self.asked.get() == LOOKS_MAX {
            self.refused.set(true);
            return false;
        }
        self.asked.set(self.asked.get() + 1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_asked_for_once_even_if_it_is_absent() {
        struct Counted(Cell<usize>);
        impl Look for Counted {
            fn place(&self, _: &Path) -> io::Result<Place> {
                self.0.set(self.0.get() + 1);
                Err(io::ErrorKind::NotFound.into())
            }
            fn start(&self, _: &Path) -> io::Result<Start> {
                unreachable!("nothing is read here")
            }
            fn names(&self, _: &Path) -> io::Result<Vec<OsString>> {
                unreachable!("nothing is listed here")
            }
        }
        let counted = Counted(Cell::new(0));
        let looks = Looks::new(&counted);
        assert_eq!(looks.directory(Path::new("/sw/x")), None);
        assert_eq!(looks.program(Path::new("/sw/x")), None);
        assert_eq!(counted.0.get(), 1);
        for n in 0..2 * LOOKS_MAX {
            looks.directory(&PathBuf::from(format!("/sw/{n}")));
        }
        assert_eq!(counted.0.get(), LOOKS_MAX, "the limit holds");
        assert!(looks.refused(), "and is told");
    }

    #[test]
    fn a_fifo_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("python3");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert!(Disk.start(&fifo).is_err());
    }
}
