//! Letting go of descriptors that belong to COMMAND.
//!
//! What a launcher hands over (pipes, `PMI_FD`, the standard streams) is COMMAND's. If the wrapper kept copies,
//! a reader at the other end would not see its end when COMMAND closes it.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use rustix::io::FdFlags;

/// Closes every descriptor of this process but `kept`. For a child that is to be nobody's.
pub fn close_all_but(kept: &[BorrowedFd<'_>]) {
    for fd in open_descriptors() {
        if !kept.iter().any(|kept| kept.as_raw_fd() == fd) {
            // SAFETY: the caller says that nothing else in this process uses it.
            unsafe { libc::close(fd) };
        }
    }
}

/// Closes what this process was given at its start and has handed to COMMAND, except standard error.
///
/// Those are the descriptors that are not close-on-exec: all that Spinney opens itself is. Standard input and
/// output become `/dev/null` rather than nothing, so that no later descriptor gets their numbers.
pub fn release_inherited() {
    for fd in open_descriptors().into_iter().filter(|fd| *fd > 2) {
        // SAFETY: the list is fresh and this process has one thread, so the number is open.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        if rustix::io::fcntl_getfd(borrowed).is_ok_and(|flags| !flags.contains(FdFlags::CLOEXEC)) {
            // SAFETY: inherited, and not known to anything in this process.
            unsafe { libc::close(fd) };
        }
    }
    if let Ok(null) = std::fs::File::options().read(true).write(true).open("/dev/null") {
        for stream in [libc::STDIN_FILENO, libc::STDOUT_FILENO] {
            // SAFETY: replaces a stream that nothing here reads or writes any more.
            unsafe { libc::dup2(null.as_raw_fd(), stream) };
        }
    }
}

fn open_descriptors() -> Vec<RawFd> {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    // The one that reads the directory is among them and closed by the end.
    let listed: Vec<RawFd> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    // SAFETY: asks for the flags of a number, open or not.
    listed.into_iter().filter(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } != -1).collect()
}
