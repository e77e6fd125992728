//! Records as files: one for each run and node, or XALT's, one for each package.
//!
//! Invariant: a file has its name only when it is whole; directories have mode 0700, files 0600.
//!
//! Not here: what stands in them.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::{Piece, SendError};

/// Where files of different kinds lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// All in one directory.
    Together,
    /// Each kind in a directory named by it.
    Separate,
}

/// Writes each piece into a file beneath `directory`, which is made if it is not there.
///
/// # Errors
/// What the kernel said; files that were written before stay.
pub fn write(directory: &Path, pieces: &[Piece], layout: Layout) -> Result<(), SendError> {
    for piece in pieces {
        let place = match layout {
            Layout::Together => directory.to_owned(),
            Layout::Separate => directory.join(piece.kind),
        };
        DirBuilder::new().recursive(true).mode(0o700).create(&place)?;
        let end = if piece.text.ends_with('\n') { "" } else { "\n" };
        whole(&place, &piece.file, format!("{}{end}", piece.text).as_bytes())?;
    }
    Ok(())
}

/// Makes the file `name` in `directory` with all of `bytes`, or not at all.
///
/// # Errors
/// What the kernel said.
pub fn whole(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let beside = directory.join(format!(".{name}.{}", std::process::id()));
    let _ = fs::remove_file(&beside);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let written = options
        .open(&beside)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&beside, directory.join(name)));
    if written.is_err() {
        let _ = fs::remove_file(&beside); // what a full disk left of it
    }
    written
}
