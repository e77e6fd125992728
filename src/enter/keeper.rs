//! What is inside while no task is: a process that waits to be told to end.
//!
//! It is a task to its wrapper, so all that holds for tasks holds for it: the service lives while it lives, whoever of
//! holder and daemon dies, and it dies with its wrapper.
//!
//! Not here: becoming it (`enter::command`).

use std::process::ExitCode;

/// Waits for TERM. Other signals that schedulers send to all processes of a job are not for it.
pub fn keep() -> ExitCode {
    for signal in [
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGALRM,
        libc::SIGXCPU,
    ] {
        // SAFETY: no handler is installed, only the disposition is set; nothing else runs in this process.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    let _ = rustix::thread::set_name(c"spinney-keeper");
    loop {
        // SAFETY: waits for a signal and does nothing else.
        unsafe { libc::pause() };
    }
}
