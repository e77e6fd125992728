//! The file in which a node's recording waits at the top until it is put together, and the pieces it came in.
//!
//! Invariant: the file is whole, and none replaces one that was made later.
//! Invariant: whoever hands up the last piece is told that the recording is safe only if all others are here too.
//!
//! Not here: where it lies and how it is read (`profile::recording::parts`), when it comes and goes (`collecting`).

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};

use super::report::replace_with;
use crate::profile::recording::parts::name_of;

/// The file of one node and tag.
pub(super) struct PartFile {
    /// That of the tag.
    pub(super) directory: PathBuf,
    /// Which node.
    pub(super) node: u32,
}

impl PartFile {
    /// Writes a recording that came in one piece and was made at `unix_us`.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn write(&self, unix_us: u64, packed: &[u8]) -> Result<()> {
        self.replace(unix_us, |file| file.write_all(packed))
    }

    /// Keeps one of several pieces; with the last the recording is whole, and then this is true.
    ///
    /// # Errors
    /// It cannot be written; or it is the last and others are missing: they went to another node.
    pub(super) fn add(&self, unix_us: u64, piece: u32, pieces: u32, packed: &[u8]) -> Result<bool> {
        let name = |piece: u32| format!("{}{unix_us}.{piece}", self.piece_prefix());
        replace_with(&self.directory, &name(piece), |file| file.write_all(packed))?;
        if piece + 1 < pieces {
            return Ok(false);
        }
        let all: Vec<PathBuf> = (0..pieces).map(|piece| self.directory.join(name(piece))).collect();
        // Whoever was not heard says it again.
        if self.made().is_none_or(|known| known < made_at(unix_us)) {
            if !all.iter().all(|piece| piece.exists()) {
                bail!("pieces of the recording of node {} are missing", self.node);
            }
            self.replace(unix_us, |file| {
                all.iter().try_for_each(|piece| io::copy(&mut File::open(piece)?, file).map(drop))
            })?;
        }
        self.remove_pieces();
        Ok(true)
    }

    /// Takes it away.
    pub(super) fn remove(&self) {
        // What cannot be taken away is in nobody's way.
        let _ = fs::remove_file(self.directory.join(name_of(self.node)));
        self.remove_pieces();
    }

    /// Its time is when it was made: one that was overtaken on its way is not newer for that.
    fn replace(&self, unix_us: u64, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
        if self.made().is_some_and(|known| known > made_at(unix_us)) {
            return Ok(());
        }
        replace_with(&self.directory, &name_of(self.node), |file| {
            write(file)?;
            file.set_modified(made_at(unix_us))
        })
    }

    fn made(&self) -> Option<SystemTime> {
        fs::metadata(self.directory.join(name_of(self.node))).and_then(|about| about.modified()).ok()
    }

    fn piece_prefix(&self) -> String {
        format!(".{}.", name_of(self.node))
    }

    fn remove_pieces(&self) {
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&self.piece_prefix()) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

fn made_at(unix_us: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(unix_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_in_pieces_is_whole_only_with_all_of_them() {
        let directory = tempfile::tempdir().unwrap();
        let part = PartFile { directory: directory.path().join("on-demand"), node: 7 };
        let whole = || fs::read(part.directory.join("000007")).ok();
        let files = || fs::read_dir(&part.directory).unwrap().count();
        assert!(!part.add(5, 0, 3, b"ab").unwrap());
        let missing = part.add(5, 2, 3, b"e").unwrap_err().to_string();
        assert!(missing.contains("missing") && whole().is_none(), "{missing}");
        assert!(!part.add(5, 1, 3, b"cd").unwrap());
        assert!(part.add(5, 2, 3, b"e").unwrap());
        assert_eq!((whole().as_deref(), files()), (Some(&b"abcde"[..]), 1));
        assert!(part.add(5, 2, 3, b"e").unwrap(), "the answer was lost, and it is said again");
        assert_eq!((whole().as_deref(), files()), (Some(&b"abcde"[..]), 1));
    }

    #[test]
    fn what_was_overtaken_on_its_way_replaces_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let part = PartFile { directory: directory.path().to_owned(), node: 0 };
        let whole = || String::from_utf8(fs::read(part.directory.join("000000")).unwrap()).unwrap();
        part.write(6, b"newer").unwrap();
        part.write(5, b"older").unwrap();
        assert_eq!(whole(), "newer");
        part.add(5, 0, 2, b"older, ").unwrap();
        part.add(5, 1, 2, b"in pieces").unwrap();
        assert_eq!(whole(), "newer");
        part.write(7, b"newest").unwrap();
        assert_eq!(whole(), "newest");
        part.remove();
        assert_eq!(fs::read_dir(&part.directory).unwrap().count(), 0);
    }
}
