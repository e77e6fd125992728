//! What a process sees of a path: run outside and inside of a view, the two answers are compared.
//!
//! Inside it is the COMMAND of a run (`spinney doctor-probe PATH...`, a hidden subcommand), so what it prints
//! on its standard output is one line of JSON per path and nothing else.

use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use serde::{Deserialize, Serialize};

/// The file system type that `statfs` gives for FUSE (linux/magic.h).
const FUSE_SUPER_MAGIC: u64 = 0x6573_5546;

/// How much of a file is read; the file made for a try is far smaller.
const READ_BYTES_MAX: u64 = 1 << 20;

/// A path as one process sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Bytes of the path, hashed: paths need not be UTF-8.
    pub path_hash: u64,
    /// Number of the device it lies on.
    pub device: u64,
    /// Whether that is a FUSE file system.
    pub is_fuse: bool,
    /// Hash of the first MiB of a regular file.
    pub contents_hash: Option<u64>,
}

/// Looks at each path and prints one line of JSON for it.
///
/// # Errors
/// When a path cannot be opened or read.
pub fn run(paths: &[PathBuf], out: &mut dyn Write) -> io::Result<()> {
    for path in paths {
        serde_json::to_writer(&mut *out, &look(path)?)?;
        writeln!(out)?;
    }
    out.flush()
}

/// Looks at one path.
///
/// # Errors
/// When it cannot be opened or read.
pub fn look(path: &Path) -> io::Result<Seen> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    let attributes = rustix::fs::fstat(&file)?;
    let is_fuse =
        u64::try_from(rustix::fs::fstatfs(&file)?.f_type).is_ok_and(|kind| kind == FUSE_SUPER_MAGIC);
    let is_file = FileType::from_raw_mode(attributes.st_mode) == FileType::RegularFile;
    let contents_hash = match is_file {
        true => {
            let mut contents = Vec::new();
            std::fs::File::from(file).take(READ_BYTES_MAX).read_to_end(&mut contents)?;
            Some(hash(&contents))
        }
        false => None,
    };
    Ok(Seen { path_hash: hash_of_path(path), device: attributes.st_dev, is_fuse, contents_hash })
}

/// The hash by which a path is found among the lines.
pub fn hash_of_path(path: &Path) -> u64 {
    hash(path.as_os_str().as_bytes())
}

/// Its keys are fixed and both ends are the same program, so equal bytes give equal hashes.
fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// The lines of a probe's output that can be understood.
pub fn parse(output: &[u8]) -> Vec<Seen> {
    output.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "contents").unwrap();
        let mut output = Vec::new();
        run(&[file.clone(), directory.path().to_owned()], &mut output).unwrap();
        let seen = parse(&output);
        assert_eq!(seen, [look(&file).unwrap(), look(directory.path()).unwrap()]);
        assert!(seen[0].contents_hash.is_some() && seen[1].contents_hash.is_none());
        assert!(!seen[0].is_fuse);
    }

    #[test]
    fn a_path_that_is_not_there_is_an_error() {
        assert!(look(Path::new("/nothing/here")).is_err());
    }
}
