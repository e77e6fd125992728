//! A slim copy of an environment: what recordings used of it, and what that cannot do without.
//!
//! Invariant: the original is only read, and no file of the copy is a file of the original, unless that is asked for
//! ([`Files::Linked`]): a hard link is the same file, mode included, and whoever writes into one writes into both.
//!
//! Invariant: the copy has at least everything that the recordings found, or there is none. It gets its name when it is
//! whole; what is left of one that was interrupted has a name that says so.
//!
//! Not here: what recordings say (`recorded`), running a command against the copy (`cli::env`, `enter::stage`).

mod copy;
mod keep;
mod text;
pub mod verdict;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::coverage::{self, Amount};
use super::recorded::Recorded;
use crate::profile::recording::Header;
use crate::text::{counted, plain};
use copy::{Copied, Layout};
pub use keep::Reason;

/// Version of the layout of `--json`.
const SCHEMA: u32 = 1;

/// What the files of a copy are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// Files of their own, which share content with the original where the file system can keep that apart.
    Copied,
    /// Files of the original under other names, where they can be; else as above.
    Linked,
}

/// A copy that was made.
#[derive(Debug)]
pub struct Slim {
    /// Where it is.
    pub to: PathBuf,
    /// The directories that it was made of, as they were named.
    pub roots: Vec<PathBuf>,
    /// What there is beneath them.
    pub available: Amount,
    /// What of it is in the copy.
    pub kept: Amount,
    /// The same by why it is there.
    pub reasons: BTreeMap<Reason, Amount>,
    copied: Copied,
    source: String,
}

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum SlimError {
    /// What was used is not known well enough.
    #[error("the recordings do not tell all that was used: {} (hint: {hint})", .why.join("; "))]
    NotFull {
        /// What they lack.
        why: Vec<String>,
        /// What would help.
        hint: &'static str,
    },
    /// What there is cannot be told.
    #[error("the original cannot be read in full: {}", .0.join("; "))]
    Unreadable(Vec<String>),
    /// Nothing of the recordings lies beneath the roots.
    #[error("the recordings found nothing beneath the directories that are to be copied")]
    NothingUsed,
    /// The original is no longer what was recorded.
    #[error("{} found by the recorded job {} gone, such as `{}` (hint: record again)", counted(*.number, "path"), if *.number == 1 { "is" } else { "are" }, plain(.first))]
    Gone {
        /// How many paths.
        number: u64,
        /// The first of them.
        first: PathBuf,
    },
    /// The copy would be part of what is copied.
    #[error("`{}` lies in `{}`, which is to be copied", plain(.to), plain(.root))]
    Inside {
        /// Where the copy was to be.
        to: PathBuf,
        /// What it lies in.
        root: PathBuf,
    },
    /// Something is there already.
    #[error("`{}` is there and not an empty directory", plain(.0))]
    NotEmpty(PathBuf),
    /// The original was written to.
    #[error("`{}` has changed while it was copied", plain(.0))]
    Changed(PathBuf),
    /// The machine says so.
    #[error("`{}`: {cause}", plain(.path))]
    Io {
        /// What it is about.
        path: PathBuf,
        /// What it says.
        #[source]
        cause: io::Error,
    },
}

/// Copies what `recorded` used of `roots` to the directory `to`, which must not be there or be empty.
///
/// # Errors
/// Nothing is left of a copy that failed.
///
/// # Cost
/// A listing of every directory of the original; a read of every file that is copied, unless the file system can share
/// the content of two files.
pub fn slim(recorded: &Recorded, roots: &[PathBuf], to: &Path, files: Files) -> Result<Slim, SlimError> {
    if !recorded.is_full() {
        let words = |note: String| note.strip_prefix("lower bound: ").unwrap_or(&note).to_owned();
        let is_full = !recorded.headers.is_empty() && recorded.headers.iter().all(Header::is_full);
        let hint = if is_full { "record again" } else { "record with `--profile full`" };
        return Err(SlimError::NotFull { why: recorded.bounds().into_iter().map(words).collect(), hint });
    }
    let coverage = coverage::coverage(recorded, roots);
    let tree = &coverage.tree;
    if !tree.troubles.is_empty() {
        return Err(SlimError::Unreadable(tree.troubles.clone()));
    }
    let is_found = |path: &&PathBuf| recorded.paths.get(*path).is_some_and(|usage| usage.found > 0);
    let gone: Vec<&PathBuf> = coverage.changed.iter().filter(is_found).collect();
    if let Some(first) = gone.first() {
        return Err(SlimError::Gone { number: gone.len() as u64, first: first.to_path_buf() });
    }
    if coverage.used.is_empty() {
        return Err(SlimError::NothingUsed);
    }
    let to = std::path::absolute(to).map_err(|cause| SlimError::Io { path: to.to_owned(), cause })?;
    check_place(&to, tree.roots.iter().map(|(_, real)| real.as_path()))?;
    let kept = keep::keep(&coverage);
    let copied = copy::copy(tree, &kept, &Layout::of(tree, &to), files)?;
    let mut slim = Slim {
        to,
        roots: tree.roots.iter().map(|(named, _)| named.clone()).collect(),
        available: coverage.total.available,
        kept: Amount::default(),
        reasons: BTreeMap::new(),
        copied,
        source: recorded.source(),
    };
    for (path, reason) in &kept {
        let is_read = coverage.used.get(path).copied().unwrap_or(false);
        slim.kept.add(&tree.things[path], is_read);
        slim.reasons.entry(*reason).or_default().add(&tree.things[path], is_read);
    }
    Ok(slim)
}

/// An error if there must not be a copy at `to`.
fn check_place<'a>(to: &Path, mut roots: impl Iterator<Item = &'a Path>) -> Result<(), SlimError> {
    match std::fs::read_dir(to).map(|mut entries| entries.next().is_some()) {
        Ok(true) => return Err(SlimError::NotEmpty(to.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(SlimError::NotEmpty(to.to_owned()));
        }
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            return Err(SlimError::Io { path: to.to_owned(), cause });
        }
        _ => {}
    }
    // A part of it that is not there yet cannot lead elsewhere.
    let real = to.ancestors().find_map(|ancestor| {
        let rest = to.strip_prefix(ancestor).ok()?;
        Some(ancestor.canonicalize().ok()?.join(rest))
    });
    let real = coverage::without_dots(&real.unwrap_or_else(|| to.to_owned()));
    match roots.find(|root| real.starts_with(root)) {
        Some(root) => Err(SlimError::Inside { to: to.to_owned(), root: root.to_owned() }),
        None => Ok(()),
    }
}

impl Slim {
    /// For people.
    pub fn lines(&self) -> Vec<String> {
        text::lines(self)
    }

    /// Where the copy of each directory of the original is, and where that is itself.
    pub fn places(&self) -> impl Iterator<Item = (PathBuf, PathBuf)> {
        self.roots.iter().map(|root| (copy::place_of(&self.to, root, self.roots.len()), root.clone()))
    }

    /// One object with everything.
    pub fn json(&self) -> Value {
        let amount = |amount: &Amount| {
            json!({
                "files": amount.files, "directories": amount.directories,
                "links": amount.links, "bytes": amount.bytes,
            })
        };
        let reasons = self.reasons.iter().map(|(reason, of)| (reason.name().to_owned(), amount(of)));
        json!({
            "schema": SCHEMA,
            "source": self.source,
            "to": plain(&self.to),
            "roots": self.roots.iter().map(plain).collect::<Vec<_>>(),
            "available": amount(&self.available),
            "kept": amount(&self.kept),
            "kept_because": reasons.collect::<serde_json::Map<_, _>>(),
            "bytes_shared_with_original": self.copied.shared_bytes,
            "bytes_linked_to_original": self.copied.linked_bytes,
            "left_out": self.copied.left_out.iter().map(plain).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests;
