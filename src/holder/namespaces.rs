//! The namespaces that the tasks of a node live in: finding, opening and entering them.
//!
//! A namespace lives as long as a process is inside or a descriptor is open on it. So whoever holds
//! [`Namespaces`] keeps the mount alive, and the holder drops it with the last wrapper.
//!
//! Not here: making them (`enter::inside`).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use super::estate::WayIn;

/// Open descriptors of a mount namespace and of the user namespace that owns it.
#[derive(Debug)]
pub struct Namespaces {
    /// The mount namespace.
    pub mount: OwnedFd,
    /// The user namespace; none for root, who needs none.
    pub user: Option<OwnedFd>,
}

impl Namespaces {
    /// Those of process `who` (a pid, or `self`), as `way_in` needs them.
    ///
    /// # Errors
    /// The process is gone, or not ours to look at.
    pub fn of(who: &str, way_in: WayIn) -> io::Result<Self> {
        let open = |kind: &str| File::open(format!("/proc/{who}/ns/{kind}")).map(OwnedFd::from);
        let user = if way_in == WayIn::UserNamespace { Some(open("user")?) } else { None };
        Ok(Namespaces { mount: open("mnt")?, user })
    }

    /// Those of any process inside the mount namespace with this inode number, if there is one.
    pub fn of_any_inside(mount_namespace: u64, way_in: WayIn) -> Option<Self> {
        processes_inside(mount_namespace)
            .filter_map(|pid| Namespaces::of(&pid.to_string(), way_in).ok())
            .find(|found| found.inode().is_ok_and(|inode| inode == mount_namespace))
    }

    /// The inode number of the mount namespace: what tells one from another.
    ///
    /// # Errors
    /// What `fstat` answers.
    pub fn inode(&self) -> io::Result<u64> {
        Ok(rustix::fs::fstat(&self.mount)?.st_ino)
    }

    /// The descriptors in the order in which messages carry them.
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        std::iter::once(self.mount.as_fd()).chain(self.user.as_ref().map(AsFd::as_fd)).collect()
    }

    /// From descriptors in the order of [`Self::descriptors`]; `None` if there are none.
    pub fn from_descriptors(descriptors: Vec<OwnedFd>) -> Option<Self> {
        let mut descriptors = descriptors.into_iter();
        Some(Namespaces { mount: descriptors.next()?, user: descriptors.next() })
    }
}

/// The inode number of the mount namespace of process `who` (a pid, or `self`), if we may see it.
pub fn mount_namespace_of(who: &str) -> Option<u64> {
    std::fs::metadata(format!("/proc/{who}/ns/mnt")).ok().map(|namespace| namespace.ino())
}

/// Processes whose mount namespace has this inode number, as far as we may look.
///
/// # Cost
/// One `stat` per process of the node.
pub fn processes_inside(mount_namespace: u64) -> impl Iterator<Item = i32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(move |pid| mount_namespace_of(&pid.to_string()) == Some(mount_namespace))
}
