//! Signals as data: blocked, and read from a descriptor like any other news.
//!
//! The wrapper blocks everything that can be blocked before it forks, so no signal is lost and none kills it
//! before COMMAND. Those that report a fault of the wrapper's own (SEGV and the like) stay as they are.
//!
//! Not here: what is done about each signal (`enter::ward`).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::{c_int, signalfd_siginfo, sigset_t};

/// Faults: blocking them would turn a crash into silence.
const FAULTS: [c_int; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS];

/// All signals of this process, blocked and readable.
pub struct Signals {
    source: OwnedFd,
    original: sigset_t,
}

impl Signals {
    /// Blocks all signals but faults.
    ///
    /// # Errors
    /// What `signalfd` answers; the mask is then as before.
    pub fn block() -> io::Result<Self> {
        // SAFETY: plain structures that the calls fill in; the descriptor is new and owned by nobody else.
        unsafe {
            let mut all: sigset_t = std::mem::zeroed();
            let mut original: sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            for fault in FAULTS {
                libc::sigdelset(&raw mut all, fault);
            }
            let source = libc::signalfd(-1, &raw const all, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if source == -1 {
                return Err(io::Error::last_os_error());
            }
            libc::sigprocmask(libc::SIG_SETMASK, &raw const all, &raw mut original);
            Ok(Signals { source: OwnedFd::from_raw_fd(source), original })
        }
    }

    /// Puts the mask back as it was before [`Self::block`]. What has come meanwhile then takes effect.
    pub fn restore(&self) {
        // SAFETY: a mask that the kernel gave us.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const self.original, std::ptr::null_mut()) };
    }

    /// The next signal that has come, if there is one.
    pub fn next(&self) -> Option<signalfd_siginfo> {
        let size = size_of::<signalfd_siginfo>();
        // SAFETY: all zeroes are a valid value, and the kernel writes at most `size` bytes into it.
        unsafe {
            let mut info: signalfd_siginfo = std::mem::zeroed();
            let read = libc::read(self.source.as_raw_fd(), (&raw mut info).cast(), size);
            (read == size.cast_signed()).then_some(info)
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }
}

/// Takes `signal` if it is pending for this process, which must have it blocked, or comes within
/// `nanoseconds`.
pub fn take_pending(signal: c_int, nanoseconds: i64) -> bool {
    let wait = libc::timespec { tv_sec: 0, tv_nsec: nanoseconds };
    // SAFETY: the set is made before it is used; no information about the signal is asked for.
    unsafe {
        let mut one: sigset_t = std::mem::zeroed();
        libc::sigaddset(&raw mut one, signal);
        libc::sigtimedwait(&raw const one, std::ptr::null_mut(), &raw const wait) == signal
    }
}

/// Whether a signal that stops a job has come and has not been read yet.
pub fn stop_is_pending() -> bool {
    is_pending(&[libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU])
}

/// Whether one of these signals has come and has not been read yet.
fn is_pending(signals: &[c_int]) -> bool {
    // SAFETY: the set is filled in before it is looked at.
    unsafe {
        let mut pending: sigset_t = std::mem::zeroed();
        libc::sigpending(&raw mut pending);
        signals.iter().any(|signal| libc::sigismember(&raw const pending, *signal) == 1)
    }
}

/// Sends `signal` to process `pid`. One that is gone needs none.
pub fn send(pid: i32, signal: c_int) {
    // SAFETY: sends a signal; touches no memory.
    unsafe { libc::kill(pid, signal) };
}

/// Lets `signal`, which is blocked, have its default effect on this process: for one that stops it, returns when it is
/// continued.
pub fn suffer(signal: c_int) {
    suffer_if(signal, || true);
}

/// Stops this process by `signal`, which has stopped a task, if the task stands still by then.
///
/// This process may have been stopped with the task, and have been continued with it, at any moment on its way here; if it
/// stopped now, nobody would continue it again. So the signal waits, blocked: a CONT that comes takes it back, and one that
/// came before is told by itself or by the task. SIGSTOP, which cannot wait, is told by SIGTSTP.
pub fn stop_with(signal: c_int, stands: impl Fn() -> bool) {
    let signal = if signal == libc::SIGSTOP { libc::SIGTSTP } else { signal };
    if !is_pending(&[libc::SIGCONT]) {
        suffer_if(signal, stands);
    }
}

/// Lets `signal` take effect if `holds` when it has been sent; else it is taken back.
fn suffer_if(signal: c_int, holds: impl Fn() -> bool) {
    // SAFETY: the default disposition has no handler; the set is made before it is used.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        let mut one: sigset_t = std::mem::zeroed();
        libc::sigaddset(&raw mut one, signal);
        libc::raise(signal);
        if !holds() {
            take_pending(signal, 0);
            return;
        }
        let mut before: sigset_t = std::mem::zeroed();
        libc::sigprocmask(libc::SIG_UNBLOCK, &raw const one, &raw mut before);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
    }
}
