//! Everything that a read-only file system refuses.

use std::ffi::CString;

use serde::{Deserialize, Serialize};

use super::words::{Said, check};

/// A way to change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Mutation {
    OpenToWrite,
    OpenToReadAndWrite,
    OpenToTruncate,
    Create,
    CreateUnnamed,
    MakeDirectory,
    MakeFifo,
    Unlink,
    RemoveDirectory,
    RenameAway,
    RenameOver,
    RenameExchange,
    Link,
    Symlink,
    ChangeMode,
    ChangeOwner,
    ChangeTimes,
    Truncate,
    SetXattr,
    RemoveXattr,
}

/// Each of them.
pub const MUTATIONS: [Mutation; 20] = {
    use Mutation::*;
    [
        OpenToWrite,
        OpenToReadAndWrite,
        OpenToTruncate,
        Create,
        CreateUnnamed,
        MakeDirectory,
        MakeFifo,
        Unlink,
        RemoveDirectory,
        RenameAway,
        RenameOver,
        RenameExchange,
        Link,
        Symlink,
        ChangeMode,
        ChangeOwner,
        ChangeTimes,
        Truncate,
        SetXattr,
        RemoveXattr,
    ]
};

/// Tries `how` on the file at `path`, which exists; `beside` is a name in the same directory that does not.
pub fn mutate(how: Mutation, path: &CString, beside: &CString) -> Said {
    let directory = CString::new(parent(path.as_bytes())).unwrap();
    let (p, b, d) = (path.as_ptr(), beside.as_ptr(), directory.as_ptr());
    let open = |path, flags: i32| {
        // SAFETY: a path that is alive; the descriptor, if any, is closed at once.
        unsafe {
            let file = libc::open(path, flags | libc::O_CLOEXEC, 0o600);
            if file >= 0 {
                libc::close(file);
            }
            file
        }
    };
    let cwd = libc::AT_FDCWD;
    // SAFETY: all pointers are to C strings that are alive, or to values of the call's own.
    let result = unsafe {
        match how {
            Mutation::OpenToWrite => open(p, libc::O_WRONLY),
            Mutation::OpenToReadAndWrite => open(p, libc::O_RDWR),
            Mutation::OpenToTruncate => open(p, libc::O_WRONLY | libc::O_TRUNC),
            Mutation::Create => open(b, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL),
            Mutation::CreateUnnamed => open(d, libc::O_WRONLY | libc::O_TMPFILE),
            Mutation::MakeDirectory => libc::mkdir(b, 0o700),
            Mutation::MakeFifo => libc::mkfifo(b, 0o600),
            Mutation::Unlink => libc::unlink(p),
            Mutation::RemoveDirectory => libc::rmdir(d),
            Mutation::RenameAway => libc::rename(p, b),
            Mutation::RenameOver => libc::rename(p, p),
            Mutation::RenameExchange => {
                let call = libc::syscall(libc::SYS_renameat2, cwd, p, cwd, d, libc::RENAME_NOREPLACE);
                i32::try_from(call).unwrap()
            }
            Mutation::Link => libc::link(p, b),
            Mutation::Symlink => libc::symlink(p, b),
            Mutation::ChangeMode => libc::chmod(p, 0o777),
            Mutation::ChangeOwner => libc::chown(p, libc::geteuid(), u32::MAX),
            Mutation::ChangeTimes => libc::utimensat(cwd, p, std::ptr::null(), 0),
            Mutation::Truncate => libc::truncate(p, 0),
            Mutation::SetXattr => libc::setxattr(p, c"user.spinney".as_ptr(), c"x".as_ptr().cast(), 1, 0),
            Mutation::RemoveXattr => libc::removexattr(p, c"user.spinney".as_ptr()),
        }
    };
    check(result).map(|_| "done".to_owned())
}

fn parent(path: &[u8]) -> &[u8] {
    &path[..path.iter().rposition(|byte| *byte == b'/').unwrap_or(0)]
}
