//! The founder's child on its way inside: namespaces, the mount, the views at their own paths.
//!
//! Runs in a forked child, in order: a namespace of its own, `/dev/fuse` opened inside (the kernel wants the
//! opener and the mount in one user namespace), mounted over the first view, both handed to the holder; when the
//! daemon answers, each view is bound from the connection to its path.
//!
//! Invariant: nothing here is seen by processes outside, and all of it ends with the last process inside.
//!
//! Not here: joining what exists (`enter::join`), the set-uid way (`holder::fusermount`).

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, StatVfsMountFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change, mount_remount};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::step::{EnterError, Step, failed};
use crate::holder::channel::Channel;
use crate::holder::estate::{Caller, WayIn};
use crate::holder::failed::Failed;
use crate::holder::messages::{FromHolder, ToHolder};
use crate::holder::namespaces::Namespaces;

/// What is to be mounted.
#[derive(Debug)]
pub struct Scenery {
    /// Through which namespaces: not `Fusermount`, not `Direct`.
    pub way_in: WayIn,
    /// Who the tasks are.
    pub caller: Caller,
    /// Each view with the flags of the storage mount it is on.
    pub views: Vec<(PathBuf, StatVfsMountFlags)>,
    /// Where to show them instead of in place.
    pub mount_under: Option<PathBuf>,
}

/// Goes inside with the help of the holder at the other end of `holder`.
///
/// # Errors
/// The step that failed; the process may by then be in a half-made namespace and is good for nothing else.
pub fn enter(scenery: &Scenery, holder: &Channel) -> Result<(), EnterError> {
    make_namespaces(scenery)?;
    let point = scenery.mount_under.as_ref().unwrap_or(&scenery.views[0].0);
    let fuse = mount_connection(scenery, point)?;
    say(holder, &ToHolder::Mounted { only_view: None }, &[fuse.as_fd()])?;
    drop(fuse);
    let namespaces = Namespaces::of("self", scenery.way_in).map_err(failed(Step::Holder))?;
    say(holder, &ToHolder::Start { way_in: scenery.way_in }, &namespaces.descriptors())?;
    await_start(holder)?;
    if scenery.mount_under.is_none() {
        show_in_place(scenery, point)?;
    }
    say(holder, &ToHolder::Inside, &[])
}

/// Says something to the holder.
///
/// # Errors
/// The holder is gone; its last word, if it left one.
pub fn say(holder: &Channel, message: &ToHolder, descriptors: &[BorrowedFd<'_>]) -> Result<(), EnterError> {
    holder.send(message, descriptors).map_err(|error| match holder.receive::<FromHolder>() {
        Ok(Some((FromHolder::Failed(failed), _))) => EnterError::of_service(failed),
        _ => failed(Step::Holder)(error),
    })
}

/// Waits for the holder's word that the daemon answers the kernel.
///
/// # Errors
/// The holder is gone, because it or the daemon could not start.
pub fn await_start(holder: &Channel) -> Result<(), EnterError> {
    match holder.receive::<FromHolder>() {
        Ok(Some((FromHolder::Started, _))) => Ok(()),
        Ok(Some((FromHolder::Failed(failed), _))) => Err(EnterError::of_service(failed)),
        Ok(_) => {
            let words = "the holder ended without a word".to_owned();
            Err(EnterError::of_service(Failed { words, errno: None }))
        }
        Err(error) => Err(failed(Step::Holder)(error)),
    }
}

fn make_namespaces(scenery: &Scenery) -> Result<(), EnterError> {
    let flags = match scenery.way_in {
        WayIn::UserNamespace => UnshareFlags::NEWUSER | UnshareFlags::NEWNS,
        _ => UnshareFlags::NEWNS,
    };
    // SAFETY: descriptors are not unshared, which is what the function warns of.
    unsafe { unshare_unsafe(flags) }.map_err(failed(Step::Unshare))?;
    if scenery.way_in == WayIn::UserNamespace {
        return map_caller(&scenery.caller).map_err(failed(Step::MapIds));
    }
    // Mounts made outside later, such as automounts, still arrive; ours do not leave. In a user namespace of
    // its own the kernel does this by itself.
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", slave).map_err(failed(Step::Propagation))
}

/// The one id a user may map is their own; `setgroups` must be given up for the group.
pub(super) fn map_caller(caller: &Caller) -> io::Result<()> {
    match std::fs::write("/proc/self/setgroups", "deny") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::write("/proc/self/uid_map", format!("{0} {0} 1", caller.uid))?;
    std::fs::write("/proc/self/gid_map", format!("{0} {0} 1", caller.gid))
}

fn mount_connection(scenery: &Scenery, point: &Path) -> Result<OwnedFd, EnterError> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let fuse = rustix::fs::open("/dev/fuse", flags, Mode::empty()).map_err(failed(Step::OpenFuse))?;
    // Root's tasks may change their user id and must still get through.
    let others = if scenery.way_in == WayIn::MountNamespace { ",allow_other" } else { "" };
    let options = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions{others}",
        fuse.as_raw_fd(),
        scenery.caller.uid,
        scenery.caller.gid,
    );
    let options = CString::new(options).map_err(failed(Step::Mount))?;
    let flags = mount_flags(scenery.way_in, common_flags(&scenery.views));
    mount("spinney", point, "fuse.spinney", flags, options.as_c_str()).map_err(failed(Step::Mount))?;
    Ok(fuse)
}

/// The flags that a view of storage mounted with `storage` has.
fn mount_flags(way_in: WayIn, storage: StatVfsMountFlags) -> MountFlags {
    let mut flags = MountFlags::RDONLY | MountFlags::NOATIME;
    if way_in == WayIn::UserNamespace {
        flags |= MountFlags::NODEV | MountFlags::NOSUID;
    }
    for (theirs, ours) in [
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
    ] {
        if storage.contains(theirs) {
            flags |= ours;
        }
    }
    flags
}

/// Binds each view from the connection to its own path; the one that `point` is last, since that hides the
/// connection's root.
fn show_in_place(scenery: &Scenery, point: &Path) -> Result<(), EnterError> {
    let common = common_flags(&scenery.views);
    for (path, storage) in scenery.views.iter().rev() {
        let shown = point.join(path.strip_prefix("/").unwrap_or(path));
        mount_bind(&shown, path).map_err(failed(Step::Bind))?;
        if *storage != common {
            let flags = MountFlags::BIND | mount_flags(scenery.way_in, *storage);
            mount_remount(path, flags, c"").map_err(failed(Step::Bind))?;
        }
    }
    Ok(())
}

/// What all storage mounts have; what one has beyond that is added when its view is bound.
fn common_flags(views: &[(PathBuf, StatVfsMountFlags)]) -> StatVfsMountFlags {
    views.iter().fold(StatVfsMountFlags::all(), |common, (_, flags)| common & *flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_is_read_only_and_allows_nothing_that_storage_does_not() {
        let (user, root) = (WayIn::UserNamespace, WayIn::MountNamespace);
        let none = StatVfsMountFlags::empty();
        for (way, storage, has, lacks) in [
            (user, none, MountFlags::NOSUID | MountFlags::NODEV, MountFlags::NOEXEC),
            (root, none, MountFlags::NOATIME, MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC),
            (root, StatVfsMountFlags::NOSUID, MountFlags::NOSUID, MountFlags::NODEV),
            (user, StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC, MountFlags::empty()),
        ] {
            let flags = mount_flags(way, storage);
            assert!(flags.contains(has | MountFlags::RDONLY), "{way:?} {storage:?}: {flags:?}");
            assert!(!flags.intersects(lacks), "{way:?} {storage:?}: {flags:?}");
        }
    }
}
