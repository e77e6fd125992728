//! Optional kernel features: which are here, and what is done without them.
//!
//! Calls are made to see whether they exist, since distributions port them back; what the FUSE protocol
//! offers shows only on a mount, so there the kernel's version decides.

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::process::PidfdFlags;
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
        feature("openat2", has_openat2(), "5.6", "paths of storage are walked one component at a time"),
        feature("pidfd_open", has_pidfd_open(), "5.3", "the end of a process is seen with a delay"),
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

fn has_openat2() -> bool {
    let opened = rustix::fs::openat2(
        CWD,
        c"/",
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS,
    );
    // A seccomp filter older than the call answers EPERM: not there either.
    opened.is_ok()
}

fn has_pidfd_open() -> bool {
    rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).is_ok()
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
