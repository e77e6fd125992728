//! Optional kernel features: which are here, and what is done without them.
//!
//! All are the FUSE protocol's, and what it offers shows only on a mount, so the kernel's version decides.
//!
//! Two newer calls that one might expect are not used. `openat2` (5.6) resolves a path without leaving a directory;
//! here every path is walked one name at a time beneath descriptors that are kept, so there is nothing to leave.
//! `pidfd_open` (5.3) is for processes that are not one's children; here each process is waited for by its parent,
//! and the end of all others is seen as the end of a socket.

use serde::Serialize;

/// A feature that is used where it exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Feature {
    /// Its name in the kernel's documentation.
    pub name: &'static str,
    /// Whether this kernel has it.
    pub is_here: bool,
    /// The Linux version that brought it.
    pub since: &'static str,
    /// What is different without it.
    pub without: &'static str,
}

/// The features of the running kernel, whose version is `version`.
pub fn of_this_kernel(version: (u32, u32)) -> Vec<Feature> {
    let feature = |name, is_here, since, without| Feature { name, is_here, since, without };
    vec![
        feature(
            "FUSE_NO_OPENDIR_SUPPORT",
            version >= (5, 1),
            "5.1",
            "each opening of a directory is a request",
        ),
        feature(
            "FUSE_NOTIFY_RESEND",
            version >= (6, 9),
            "6.9",
            "after the death of a daemon its successor relies on kept requests alone",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocols_features_follow_the_version() {
        let here = |version, name| of_this_kernel(version).iter().any(|f| f.name == name && f.is_here);
        let cases = [
            ((4, 18), "FUSE_NO_OPENDIR_SUPPORT", false), // the floor
            ((5, 1), "FUSE_NO_OPENDIR_SUPPORT", true),   // the version that brought it
            ((6, 8), "FUSE_NOTIFY_RESEND", false),       // just before
            ((6, 18), "FUSE_NOTIFY_RESEND", true),       // two digits count as a number
        ];
        for (version, name, want) in cases {
            assert_eq!(here(version, name), want, "{name} {version:?}");
        }
    }
}
