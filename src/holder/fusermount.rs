//! The set-uid helper `fusermount3`, for machines where a user may not have a namespace of their own.
//!
//! It mounts for the whole node, over a directory that the user owns, and hands back the opened `/dev/fuse`.
//! With `auto_unmount` it stays in the background until the last copy of the socket it was given is closed, and
//! what is left mounted by a service that was killed is taken away: as far as the helper sees that the mount is dead.
//! It asks with `stat` (`recheck_ENOTCONN_as_owner` in `fusermount.c`), which the kernel may answer from memory; so the
//! wrapper, if it lives, unmounts as well.
//!
//! The protocol is that of libfuse (`lib/mount.c`, `util/fusermount.c`): a stream socket whose number is in
//! `_FUSE_COMMFD`, over which one byte with one descriptor comes back.

use std::io::{self, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType, recvmsg,
    socketpair,
};

const PROGRAM: &str = "fusermount3";
const OPTIONS: &str = "ro,nosuid,nodev,default_permissions,auto_unmount,fsname=spinney,subtype=spinney";

/// A mount made by the helper.
#[derive(Debug)]
pub struct Mounted {
    /// The opened `/dev/fuse`.
    pub fuse: OwnedFd,
    /// The socket whose closing makes the helper unmount.
    pub unmounter: OwnedFd,
}

/// Mounts over `point`, with `more_options` (each led by a comma) added.
///
/// # Errors
/// The helper is missing, or refused: then its own words.
pub fn mount(point: &Path, more_options: &str) -> io::Result<Mounted> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let number = theirs.as_raw_fd();
    let mut command = Command::new(PROGRAM);
    command
        .args(["-o", &format!("{OPTIONS}{more_options}"), "--"])
        .arg(point)
        .env("_FUSE_COMMFD", number.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    // SAFETY: one async-signal-safe call, on a descriptor that is open until after the spawn.
    unsafe {
        command.pre_exec(move || {
            libc::fcntl(number, libc::F_SETFD, 0);
            Ok(())
        });
    }
    let mut helper = command.spawn()?;
    drop(theirs);
    match receive_descriptor(&ours)? {
        // Not waited for: the helper lives as long as the mount.
        Some(fuse) => Ok(Mounted { fuse, unmounter: ours }),
        None => Err(io::Error::other(last_words(&mut helper))),
    }
}

/// Lazily: open files stay usable, new paths lead to storage. Does not wait for the helper.
fn unmount(point: &Path) -> io::Result<Child> {
    let mut command = Command::new(PROGRAM);
    command.args(["-u", "-z", "-q", "--"]).arg(point);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

/// Takes mounts away and waits until they are gone.
pub fn unmount_now(points: &[PathBuf]) {
    for point in points {
        if let Err(error) = unmount(point).and_then(|mut helper| helper.wait()) {
            tracing::error!(%error, point = %point.display(), "cannot unmount");
        }
    }
}

/// Takes all mounts of a service away: the one under `--mount-under`, or that over each view.
pub fn unmount_all(views: &[PathBuf], mount_under: Option<&PathBuf>) {
    for point in mount_under.map_or(views, std::slice::from_ref) {
        if let Err(error) = unmount(point) {
            tracing::error!(%error, point = %point.display(), "cannot unmount");
        }
    }
}

fn receive_descriptor(socket: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    rustix::io::retry_on_intr(|| {
        recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    Ok(control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    }))
}

/// What a helper that gave nothing wrote to its standard error.
fn last_words(helper: &mut Child) -> String {
    let mut words = String::new();
    if let Some(stderr) = &mut helper.stderr {
        let _ = stderr.take(4096).read_to_string(&mut words);
    }
    let _ = helper.wait();
    words.trim().to_owned()
}
