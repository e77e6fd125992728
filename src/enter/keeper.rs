//! What is inside while no task is: a process that waits to be told to end.
//!
//! It is a task to its wrapper, so all that holds for tasks holds for it: the service lives while it lives, whoever of
//! holder and daemon dies, and it dies with its wrapper.
//!
//! Not here: becoming it (`enter::command`).

use std::process::ExitCode;

use crate::holder::{OF_SCHEDULERS, ignore};

/// Waits for TERM. Other signals that schedulers send to all processes of a job are not for it.
pub fn keep() -> ExitCode {
    ignore(&OF_SCHEDULERS);
    let _ = rustix::thread::set_name(c"spinney-keeper");
    loop {
        // SAFETY: waits for a signal and does nothing else.
        unsafe { libc::pause() };
    }
}
