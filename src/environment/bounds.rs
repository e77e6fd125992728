//! What is never chosen as a view.
//!
//! A view is read-only and shows storage as it was first seen, so a place where the job writes, or looks
//! for what others write, must not become one by itself: the working directory, the home directory and the
//! directory for temporary files, or anything that holds one of them. System directories lie on the node's
//! own disk and pseudo file systems are not storage at all.
//!
//! Not here: what a user names with `--view`, which is a decision and not a guess.

use std::path::{Path, PathBuf};

/// Directories that are the system's, though a prefix of its own may lie directly beneath.
///
/// `/usr/local/miniforge3` and `/opt/x` are such prefixes; `/usr/local` is not.
const SYSTEM_ROOTS: [&str; 18] = [
    "/",
    "/usr",
    "/usr/local",
    "/usr/share",
    "/usr/local/share",
    "/usr/src",
    "/opt",
    "/var",
    "/var/lib",
    "/home",
    "/mnt",
    "/media",
    "/srv",
    "/tmp",
    "/var/tmp",
    "/nix",
    "/nix/store",
    "/snap",
];

/// Directories that are the system's with everything beneath.
const SYSTEM_TREES: [&str; 20] = [
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc",
    "/boot",
    "/usr/bin",
    "/usr/sbin",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/include",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/usr/share/R",
];

/// Kernel and run-time file systems: nothing beneath is software on storage.
const PSEUDO_TREES: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];

/// Why a directory is not chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Part of the operating system.
    System,
    /// Beneath /proc, /sys, /dev or /run.
    Pseudo,
    /// The working directory, or it lies inside.
    WorkingDirectory,
    /// The home directory, or it lies inside.
    Home,
    /// `~/.local`, where programs keep what they write.
    HomeLocal,
    /// The directory for temporary files, or it lies inside.
    Temporary,
}

impl Refusal {
    /// The rest of a sentence that begins with the directory.
    pub fn because(self) -> &'static str {
        match self {
            Refusal::System => "belongs to the system and is read from the node's own disk",
            Refusal::Pseudo => "is not on storage",
            Refusal::WorkingDirectory => "is or holds the working directory, where the job may write",
            Refusal::Home => "is or holds the home directory, where programs write",
            Refusal::HomeLocal => "is where programs keep what they write",
            Refusal::Temporary => "is or holds the directory for temporary files",
        }
    }
}

/// The directories of one process that no view may cover. All without links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// The working directory.
    pub cwd: PathBuf,
    /// The home directory as named and as it really is, where those differ.
    pub homes: Vec<PathBuf>,
    /// The directory for temporary files, likewise.
    pub tmpdirs: Vec<PathBuf>,
}

impl Bounds {
    /// Why `view`, a path without links, may not be chosen; `None` if it may.
    pub fn refuse(&self, view: &Path) -> Option<Refusal> {
        let holds = |inner: &PathBuf| inner.starts_with(view);
        if let Some(refusal) = refuse_for_anyone(view) {
            Some(refusal)
        } else if holds(&self.cwd) {
            Some(Refusal::WorkingDirectory)
        } else if self.homes.iter().any(holds) {
            Some(Refusal::Home)
        } else if self.homes.iter().any(|home| view == home.join(".local")) {
            Some(Refusal::HomeLocal)
        } else if self.tmpdirs.iter().any(holds) {
            Some(Refusal::Temporary)
        } else {
            None
        }
    }
}

/// Why `view` may not be chosen in any process; needs no directory of the job and no look at storage.
pub fn refuse_for_anyone(view: &Path) -> Option<Refusal> {
    // Pseudo first: it is the better reason for /run, which is also a system directory.
    if PSEUDO_TREES.iter().any(|tree| view.starts_with(tree)) {
        Some(Refusal::Pseudo)
    } else if is_system(view) {
        Some(Refusal::System)
    } else {
        None
    }
}

/// Whether `path` is a system directory or lies in a part of the system that holds no prefix of its own.
pub fn is_system(path: &Path) -> bool {
    SYSTEM_ROOTS.iter().any(|root| path == Path::new(root))
        || SYSTEM_TREES.iter().chain(&PSEUDO_TREES).any(|tree| path.starts_with(tree))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_software_of_its_own_may_be_chosen() {
        let bounds = Bounds {
            cwd: "/lus/proj/run1".into(),
            homes: vec!["/home/ada".into(), "/lus/home/ada".into()],
            tmpdirs: vec!["/scratch/tmp".into()],
        };
        let cases = [
            ("/", Some(Refusal::System)),                             // holds everything
            ("/usr", Some(Refusal::System)),                          // the distribution's Python
            ("/usr/local", Some(Refusal::System)),                    // the system's, by contract
            ("/usr/local/lib/R/site-library", Some(Refusal::System)), // Debian's R
            ("/usr/lib/R/library", Some(Refusal::System)),            // the same
            ("/usr/local/miniforge3", None),                          // a prefix of its own
            ("/usr/share/miniconda", None),                           // as on hosted build machines
            ("/opt", Some(Refusal::System)),                          // not a prefix itself
            ("/opt/x", None),                                         // a prefix of its own
            ("/optimal", None),                                       // a name that only begins alike
            ("/proc/self/root/sw", Some(Refusal::Pseudo)),            // not storage
            ("/run/user/1000/env", Some(Refusal::Pseudo)),            // memory
            ("/lus/proj/run1", Some(Refusal::WorkingDirectory)),      // the working directory
            ("/lus/proj", Some(Refusal::WorkingDirectory)),           // holds it
            ("/lus/proj/run1/.venv", None),                           // beside the job's files, not above
            ("/lus/proj/run10", None),                                // a sibling whose name begins alike
            ("/lus", Some(Refusal::WorkingDirectory)),                // holds it and more
            ("/home/ada", Some(Refusal::Home)),                       // as named
            ("/lus/home/ada", Some(Refusal::Home)),                   // as it really is
            ("/home/ada/.local", Some(Refusal::HomeLocal)),           // holds .local/share
            ("/home/ada/.local/lib/python3.11", None),                // only packages
            ("/home/ada/miniconda3", None),                           // the usual place
            ("/scratch", Some(Refusal::Temporary)),                   // holds TMPDIR
            ("/scratch/tmp/env", None),                               // unpacked there on purpose
            ("/tmp", Some(Refusal::System)),                          // also when TMPDIR is elsewhere
        ];
        for (path, want) in cases {
            assert_eq!(bounds.refuse(Path::new(path)), want, "{path}");
        }
    }
}
