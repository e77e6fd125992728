//! Which directories are shown: checks what the user asked for, and opens each on storage.
//!
//! Opening comes first and everything else is asked of the descriptor: one call on storage names the directory
//! canonically (the kernel tells its path), proves that it is one, and is the descriptor that the daemon will
//! read beneath once the path is covered.
//!
//! Not here: choosing views from COMMAND (`environment::find`).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, StatVfsMountFlags};
use rustix::io::Errno;

use super::site::Site;

/// Views one run may have: 64. An environment consists of a handful of directories.
pub const VIEWS_MAX: usize = 64;

/// Bytes of their paths taken together: 12 KiB, so that any message that lists them fits its limit.
pub const VIEW_BYTES_MAX: usize = 12 * 1024;

/// Where only the kernel's own file systems are, or the root of everything. `/dev/shm` is memory for anybody's
/// files.
const NEVER: &[&str] = &["/proc", "/sys", "/dev"];

fn is_never_a_view(path: &Path) -> bool {
    let is_memory = path.starts_with("/dev/shm") && path != Path::new("/dev/shm");
    path == Path::new("/") || !is_memory && NEVER.iter().any(|never| path.starts_with(never))
}

/// File systems that are no storage, by the magic of `statfs(2)`: proc, sysfs, devpts, cgroup, cgroup2,
/// debugfs, tracefs, securityfs, bpf, mqueue, binfmt_misc, selinuxfs, pstore, efivarfs, nsfs.
const PSEUDO: &[u64] = &[
    0x9fa0,
    0x6265_6572,
    0x1cd1,
    0x0027_e0eb,
    0x6367_7270,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0xcafe_4a11,
    0x1980_0202,
    0x4249_4e4d,
    0xf97c_ff8c,
    0x6165_676c,
    0xde5e_81e4,
    0x6e73_6673,
];

/// The magic of FUSE, `FUSE_SUPER_MAGIC`.
const FUSE: u64 = 0x6573_5546;

/// What a view stands on.
#[derive(Debug, Clone, Copy)]
pub struct Ground {
    /// The flags of the mount.
    pub flags: StatVfsMountFlags,
    /// Whether it is a FUSE file system, perhaps a view of our own.
    pub is_fuse: bool,
}

/// A view and what it stands on.
#[derive(Debug)]
pub struct Chosen {
    /// The view.
    pub view: View,
    /// The file system it is on.
    pub ground: Ground,
}

/// What is to be shown.
#[derive(Debug)]
pub struct Choice {
    /// The views; may be none.
    pub views: Vec<Chosen>,
    /// What to say if there are none.
    pub nothing: String,
}

impl Choice {
    /// The same views with descriptors of their own.
    ///
    /// # Errors
    /// No descriptor to be had.
    pub fn try_clone(&self) -> io::Result<Self> {
        let again = |chosen: &Chosen| Ok(Chosen { view: chosen.view.try_clone()?, ground: chosen.ground });
        let views: io::Result<Vec<Chosen>> = self.views.iter().map(again).collect();
        Ok(Choice { views: views?, nothing: self.nothing.clone() })
    }
}

/// A directory that is to be shown.
#[derive(Debug)]
pub struct View {
    /// Absolute, without symlinks.
    pub path: PathBuf,
    /// The directory on storage.
    pub root: OwnedFd,
    /// Why it was chosen, for `-v`.
    pub reason: String,
}

/// Why a directory cannot be a view.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// It does not exist, is no directory, or may not be opened.
    #[error("`{}` cannot be a view: {cause}", path.display())]
    Unusable {
        /// As typed.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// The root directory, or something of the kernel's own.
    #[error("`{}` cannot be a view: it is not software on a file system", path.display())]
    NotStorage {
        /// Canonical.
        path: PathBuf,
    },
    /// The site forbids it.
    #[error("`{}` cannot be a view: the site denies `{}`", path.display(), denied.display())]
    Denied {
        /// Canonical.
        path: PathBuf,
        /// The entry of the site file.
        denied: PathBuf,
    },
    /// Mounting there would hide a view, or the other way round.
    #[error("`--mount-under {}` meets the view `{}`", under.display(), view.display())]
    MountUnder {
        /// Canonical.
        under: PathBuf,
        /// The view in question.
        view: PathBuf,
    },
    /// More or longer than the limits above.
    #[error("too many views: at most {VIEWS_MAX}, with paths of {VIEW_BYTES_MAX} bytes in all")]
    TooMany,
}

impl ViewError {
    /// The remedy.
    pub fn hint(&self) -> &'static str {
        match self {
            ViewError::Unusable { cause, .. } if cause.raw_os_error() == Some(libc::ENOTCONN) => {
                "a mount whose server is gone is in the way: take it away with `fusermount3 -u -z DIR`"
            }
            ViewError::Unusable { .. } => "name an existing directory, such as `--view /opt/env`",
            ViewError::NotStorage { .. } => {
                "name the directory that holds the software, such as `--view /opt/env`"
            }
            ViewError::Denied { .. } => "ask your site's staff; the list is in `/etc/spinney.toml`",
            ViewError::MountUnder { .. } => "name an empty directory that is in no view",
            ViewError::TooMany => "name a directory that contains several of them",
        }
    }
}

impl View {
    /// Opens what the user, or the choice of views, named.
    ///
    /// # Errors
    /// See [`ViewError`].
    /// # Cost
    /// One `open` on storage.
    pub fn open(named: &Path, reason: String) -> Result<Self, ViewError> {
        let unusable = |cause: io::Error| ViewError::Unusable { path: named.into(), cause };
        let root = open_directory(named).map_err(|errno| unusable(errno.into()))?;
        let path = path_of(&root).map_err(unusable)?;
        if is_never_a_view(&path) {
            return Err(ViewError::NotStorage { path });
        }
        Ok(View { path, root, reason })
    }

    /// The same view with a descriptor of its own.
    ///
    /// # Errors
    /// No descriptor to be had.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(View { path: self.path.clone(), root: self.root.try_clone()?, reason: self.reason.clone() })
    }

    /// What only the founder needs to ask: whether this is storage at all and the site allows it.
    ///
    /// # Errors
    /// See [`ViewError`].
    /// # Cost
    /// One `statfs` on storage.
    pub fn check(&self, site: &Site) -> Result<Ground, ViewError> {
        if let Some(denied) = site.denies(&self.path) {
            return Err(ViewError::Denied { path: self.path.clone(), denied: denied.into() });
        }
        let mount = rustix::fs::fstatfs(&self.root)
            .map_err(|errno| ViewError::Unusable { path: self.path.clone(), cause: errno.into() })?;
        // The magic is 32 bits in a signed word.
        let magic = mount.f_type as u64 & 0xffff_ffff;
        if PSEUDO.contains(&magic) {
            return Err(ViewError::NotStorage { path: self.path.clone() });
        }
        let flags = StatVfsMountFlags::from_bits_retain(mount.f_flags as u64);
        Ok(Ground { flags, is_fuse: magic == FUSE })
    }
}

/// Removes views inside others, and says so. The order stays.
pub fn collapse(views: Vec<View>) -> (Vec<View>, Vec<String>) {
    let paths: Vec<PathBuf> = views.iter().map(|view| view.path.clone()).collect();
    let mut notes = Vec::new();
    let mut kept: Vec<View> = Vec::new();
    for view in views {
        let twice = kept.iter().any(|other| other.path == view.path);
        let outer = paths.iter().find(|other| view.path != **other && view.path.starts_with(other));
        match outer {
            Some(outer) => {
                notes.push(format!("view `{}` is inside `{}`", view.path.display(), outer.display()));
            }
            None if twice => {}
            None => kept.push(view),
        }
    }
    (kept, notes)
}

/// Checks that `views` are within the limits and apart from `under`, where they are to be shown.
///
/// # Errors
/// See [`ViewError`].
pub fn check_together<'a>(
    views: impl Iterator<Item = &'a View> + Clone,
    under: Option<&Path>,
) -> Result<(), ViewError> {
    let bytes: usize = views.clone().map(|view| view.path.as_os_str().len()).sum();
    if views.clone().count() > VIEWS_MAX || bytes > VIEW_BYTES_MAX {
        return Err(ViewError::TooMany);
    }
    let Some(under) = under else { return Ok(()) };
    match views.clone().find(|view| under.starts_with(&view.path) || view.path.starts_with(under)) {
        Some(view) => Err(ViewError::MountUnder { under: under.into(), view: view.path.clone() }),
        None => Ok(()),
    }
}

/// The canonical path of the directory where the user wants the views shown.
///
/// # Errors
/// It is no directory that can be opened.
pub fn mount_under(named: &Path) -> Result<PathBuf, ViewError> {
    let unusable = |cause: io::Error| ViewError::Unusable { path: named.into(), cause };
    let path = open_directory(named).map_err(io::Error::from).and_then(|directory| path_of(&directory));
    match path.map_err(unusable)? {
        path if path == Path::new("/") => Err(ViewError::NotStorage { path }),
        path => Ok(path),
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::io::retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))
}

/// The kernel's own answer to where an open directory is: no further call on storage.
fn path_of(directory: &OwnedFd) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd()))
}

/// What to tell `fusermount3` so that a view keeps storage's `noexec`.
pub fn no_exec_option(flags: StatVfsMountFlags) -> &'static str {
    if flags.contains(StatVfsMountFlags::NOEXEC) { ",noexec" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_directory_of_storage_cannot_be_a_view() {
        let outcome = |path: &str| {
            let view = View::open(Path::new(path), String::new())?;
            view.check(&Site::default()).map(drop)
        };
        let directory = tempfile::tempdir().unwrap();
        assert!(outcome(directory.path().to_str().unwrap()).is_ok());
        let link = directory.path().join("link-to-root");
        std::os::unix::fs::symlink("/", &link).unwrap();
        for path in ["/", "/proc", "/proc/self", "/sys", "/dev", link.to_str().unwrap()] {
            assert!(matches!(outcome(path), Err(ViewError::NotStorage { .. })), "{path}");
        }
        for path in ["/nothing/here", "/etc/passwd", ""] {
            assert!(matches!(outcome(path), Err(ViewError::Unusable { .. })), "{path}");
        }
    }

    #[test]
    fn a_symlinked_view_is_known_by_its_canonical_path() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().canonicalize().unwrap().join("real");
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink("real", directory.path().join("link")).unwrap();
        assert_eq!(View::open(&directory.path().join("link/."), String::new()).unwrap().path, real);
    }

    #[test]
    fn views_inside_others_collapse_whatever_the_order() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        for name in ["a/b/c", "ab", "d"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        let open = |names: &[&str]| -> Vec<View> {
            names.iter().map(|name| View::open(&root.join(name), String::new()).unwrap()).collect()
        };
        let (kept, notes) = collapse(open(&["a/b/c", "d", "a", "ab", "d", "a/b"]));
        let kept: Vec<_> = kept.iter().map(|view| view.path.strip_prefix(&root).unwrap()).collect();
        assert_eq!(kept, ["d", "a", "ab"].map(Path::new));
        assert_eq!(notes.len(), 2, "{notes:?}");
    }

    #[test]
    fn a_view_must_not_be_shown_inside_itself() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let views = [View::open(&root, String::new()).unwrap()];
        assert!(check_together(views.iter(), None).is_ok());
        assert!(check_together(views.iter(), Some(Path::new("/elsewhere"))).is_ok());
        for under in [root.clone(), root.join("x"), root.parent().unwrap().to_owned()] {
            assert!(check_together(views.iter(), Some(&under)).is_err(), "{}", under.display());
        }
    }
}
