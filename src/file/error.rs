//! Why a question got no answer, by who spoke.
//!
//! Invariant: there is no variant for "the parent was silent", "the queue was full" or "it took too long".
//! Such things cost time; a task never hears of them, since CPython and the loader would take any error for
//! "not there" and load something else.

use std::io;

use super::{AsOf, Origin};

/// Why a question about storage got no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FetchError {
    /// Storage answered ENOENT, or a complete listing lacks the name.
    #[error("no such file or directory")]
    Absent {
        /// Proven by a complete listing: it stays so within the job. Otherwise believed for a time only.
        proven: bool,
        /// When storage told it.
        as_of: AsOf,
        /// Who told that.
        origin: Origin,
    },
    /// Storage answered with another error. Passed on unchanged, never cached.
    #[error("storage failed with errno {errno}")]
    Storage {
        /// The errno, as storage gave it.
        errno: i32,
    },
    /// The file is no longer the version that was asked for.
    #[error("the file changed on storage")]
    Stale,
    /// A directory that can be passed but not listed, or one over a limit: ask for its names one by one.
    #[error("the directory cannot be listed")]
    NotListed {
        /// What storage answered to opening it, if it answered.
        errno: Option<i32>,
    },
    /// This node has no room for another node id. The kernel gives ENOMEM too when it has no room for
    /// another inode.
    #[error("no room for another node")]
    Full,
}

impl FetchError {
    /// What an error of a storage call means.
    pub fn of_storage(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOENT) => {
                FetchError::Absent { proven: false, as_of: AsOf::now(), origin: Origin::Storage }
            }
            Some(errno) => FetchError::Storage { errno },
            None => FetchError::Storage { errno: libc::EIO },
        }
    }

    /// The same; if it is an absence, as old as `as_of` if that is older.
    pub fn dated(self, as_of: AsOf) -> Self {
        match self {
            FetchError::Absent { proven, as_of: told, origin } => {
                FetchError::Absent { proven, as_of: told.older(as_of), origin }
            }
            other => other,
        }
    }

    /// The errno a task sees. The only place in the project that chooses one.
    pub fn errno(&self) -> i32 {
        match self {
            FetchError::Absent { .. } => libc::ENOENT,
            FetchError::Storage { errno } => *errno,
            FetchError::Stale => libc::ESTALE,
            FetchError::Full => libc::ENOMEM,
            FetchError::NotListed { errno } => errno.unwrap_or(libc::EACCES),
        }
    }
}

impl From<rustix::io::Errno> for FetchError {
    fn from(errno: rustix::io::Errno) -> Self {
        FetchError::of_storage(&errno.into())
    }
}
