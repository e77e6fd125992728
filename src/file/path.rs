//! Where a file is: the number of its view and the bytes of its path beneath the view's root.
//!
//! Paths are bytes, as the kernel has them. They never hold `.`, `..`, empty components or NUL: the kernel
//! resolves those before it asks.
//!
//! Not here: opening anything by path (`storage::directories`, one component at a time).

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest name every file system of Linux knows: 255 bytes (`NAME_MAX`). A longer one is asked of storage,
/// which has its own errno for it.
pub const NAME_BYTES_MAX: usize = 255;

/// Number of a view: its position in the job's list of views.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ViewId(u16);

impl ViewId {
    /// The view at `position` of the job's list.
    ///
    /// # Panics
    /// Beyond 65,535 views; the command line has room for far fewer.
    pub fn new(position: usize) -> Self {
        ViewId(u16::try_from(position).expect("a command line holds fewer than 65,536 views"))
    }

    /// The view at `position`, which somebody else named; `None` if no list of views is that long.
    pub fn from_position(position: u64) -> Option<Self> {
        u16::try_from(position).ok().map(ViewId)
    }

    /// Position in the job's list of views.
    pub fn position(self) -> usize {
        usize::from(self.0)
    }
}

/// A file or directory within a view. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct FilePath {
    view: ViewId,
    /// Components joined by `/`, without a leading one; empty for the view's root.
    relative: Arc<[u8]>,
}

impl FilePath {
    /// The root of `view`.
    pub fn root(view: ViewId) -> Self {
        FilePath { view, relative: Arc::from([]) }
    }

    /// The path with these components joined by `/`.
    pub fn from_relative(view: ViewId, relative: &[u8]) -> Self {
        FilePath { view, relative: Arc::from(relative) }
    }

    /// The view it is in.
    pub fn view(&self) -> ViewId {
        self.view
    }

    /// The path beneath the view's root; empty for the root itself.
    pub fn relative(&self) -> &[u8] {
        &self.relative
    }

    /// The entry `name` of this directory.
    pub fn join(&self, name: &[u8]) -> Self {
        if self.relative.is_empty() {
            return FilePath { view: self.view, relative: Arc::from(name) };
        }
        let mut relative = Vec::with_capacity(self.relative.len() + 1 + name.len());
        relative.extend_from_slice(&self.relative);
        relative.push(b'/');
        relative.extend_from_slice(name);
        FilePath { view: self.view, relative: Arc::from(relative) }
    }

    /// The directory it is in and its name there; `None` for the view's root.
    pub fn split(&self) -> Option<(FilePath, &[u8])> {
        if self.relative.is_empty() {
            return None;
        }
        let (parent, name) = match self.relative.iter().rposition(|&b| b == b'/') {
            Some(slash) => (&self.relative[..slash], &self.relative[slash + 1..]),
            None => (&self.relative[..0], &self.relative[..]),
        };
        Some((FilePath { view: self.view, relative: Arc::from(parent) }, name))
    }

    /// Whether it is `other` or lies beneath it.
    pub fn is_within(&self, other: &FilePath) -> bool {
        let rest = self.relative.strip_prefix(&*other.relative);
        self.view == other.view
            && rest.is_some_and(|rest| other.relative.is_empty() || rest.is_empty() || rest[0] == b'/')
    }

    /// The path as people know it, beneath the view's own path.
    pub fn beneath(&self, view_root: &Path) -> PathBuf {
        view_root.join(std::ffi::OsStr::from_bytes(&self.relative))
    }
}

impl fmt::Debug for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.view.0, String::from_utf8_lossy(&self.relative))
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", String::from_utf8_lossy(&self.relative))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joining_and_splitting_are_inverse() {
        let root = FilePath::root(ViewId::new(3));
        let cases: [&[&[u8]]; 3] = [
            &[b"lib"],                        // one component has no slash
            &[b"lib", b"python3.11", b"os"],  // several
            &[b"a\nb", b"\xff\xfe", b"x y."], // names are bytes
        ];
        for components in cases {
            let mut path = root.clone();
            for name in components {
                let joined = path.join(name);
                assert_eq!(joined.split(), Some((path, *name)));
                path = joined;
            }
        }
        assert_eq!(root.split(), None);
    }
}
