//! What this process was given and COMMAND must find again, although Rust's start-up changes it.
//!
//! Before `main`, Rust's runtime ignores SIGPIPE and opens `/dev/null` in place of standard streams that were
//! closed; Spinney itself ignores SIGXFSZ. All would be visible to COMMAND. So a function that runs even earlier looks, and the child
//! puts things back before its exec.
//!
//! Not here: the signal mask, which nothing has changed before `enter::ward` does.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Signals that are ignored here, and whether they were before.
static WERE_IGNORED: [(libc::c_int, AtomicBool); 2] =
    [(libc::SIGPIPE, AtomicBool::new(false)), (libc::SIGXFSZ, AtomicBool::new(false))];
static WAS_CLOSED: [AtomicBool; 3] = [const { AtomicBool::new(false) }; 3];

/// The C library calls what is in this section before it calls `main`, dynamic and static, glibc and musl.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    // SAFETY: both calls only ask; `old` is a plain structure for which all zeroes are valid.
    unsafe {
        for (signal, was_ignored) in &WERE_IGNORED {
            let mut old: libc::sigaction = std::mem::zeroed();
            libc::sigaction(*signal, std::ptr::null(), &raw mut old);
            was_ignored.store(old.sa_sigaction == libc::SIG_IGN, Relaxed);
        }
        for (fd, closed) in (0..).zip(&WAS_CLOSED) {
            closed.store(libc::fcntl(fd, libc::F_GETFD) == -1, Relaxed);
        }
    }
}

/// A limit on file sizes holds for shared memory too. It must give an error, not end this process.
pub fn ignore_file_size_signal() {
    // SAFETY: a disposition without a handler.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Puts the signals that are ignored here back as they were.
pub fn restore_signals() {
    for (signal, was_ignored) in &WERE_IGNORED {
        let disposition = if was_ignored.load(Relaxed) { libc::SIG_IGN } else { libc::SIG_DFL };
        // SAFETY: a disposition without a handler.
        unsafe { libc::signal(*signal, disposition) };
    }
}

/// Closes the standard streams that were closed. For a process about to exec: if standard error was, it can
/// no longer talk.
pub fn restore_streams() {
    for (fd, closed) in (0..).zip(&WAS_CLOSED) {
        if closed.load(Relaxed) {
            // SAFETY: a stream that this process was never given; what is open there is Rust's `/dev/null`.
            unsafe { libc::close(fd) };
        }
    }
}
