//! What a process of the service could not do, told to whoever started it before it ends.
//!
//! Holder and daemon have no terminal, so without this word a founder would only see the line go dead.
//!
//! Not here: sending it (`holder::founding`, `daemon`); what helps (`enter::step`).

use std::io;

use serde::{Deserialize, Serialize};

/// Bytes of words that travel at most: 400, so that they fit into one atomic write to a pipe with what goes along.
pub const WORDS_BYTES_MAX: usize = 400;

/// What failed and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{words}")]
pub struct Failed {
    /// For the user: what could not be done, and the kernel's reason.
    pub words: String,
    /// The kernel's reason, if it was the kernel's.
    pub errno: Option<i32>,
}

impl Failed {
    /// What `error` says, and what was said of it by [`cannot`].
    pub fn of(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Failed>()) {
            Some(failed) => failed.clone(),
            None => Failed { words: error.to_string(), errno: error.raw_os_error() },
        }
    }
}

impl From<Failed> for io::Error {
    fn from(failed: Failed) -> Self {
        io::Error::other(failed)
    }
}

/// Says what was being done when an error came, as in `cannot start the daemon`.
pub fn cannot<E: Into<io::Error>>(what: &str) -> impl Fn(E) -> io::Error {
    move |error| {
        let Failed { words, errno } = Failed::of(&error.into());
        Failed { words: format!("cannot {what}: {words}"), errno }.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_reason_is_kept_however_often_something_is_said_of_it() {
        let kernel = io::Error::from_raw_os_error(libc::ENOMEM);
        let error = cannot::<io::Error>("serve")(cannot::<io::Error>("map the counters")(kernel));
        let failed = Failed::of(&error);
        assert_eq!(failed.errno, Some(libc::ENOMEM));
        assert!(
            failed.words.starts_with("cannot serve: cannot map the counters: Cannot allocate"),
            "{failed}"
        );
    }
}
