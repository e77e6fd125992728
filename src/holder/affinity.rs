//! On which processors holder and daemon run.
//!
//! Launchers bind a task, and so whatever it starts, to a core or two; the daemon serves all tasks. So unless the
//! user names processors, both run on all that the job may use.
//!
//! Not here: reading the user's list (`cli::cpus`).

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Moves this process, which has one thread, to `wanted`, or to every processor there is. The kernel cuts either down
/// to what the control group allows.
///
/// # Errors
/// None of `wanted` may be used: `EINVAL`.
pub fn take(wanted: Option<&[usize]>) -> io::Result<()> {
    let mut set = CpuSet::new();
    match wanted {
        Some(wanted) => wanted.iter().for_each(|cpu| set.set(*cpu)),
        None => (0..CpuSet::MAX_CPU).for_each(|cpu| set.set(cpu)),
    }
    Ok(sched_setaffinity(None, &set)?)
}

/// Whether any of `wanted` may be used by this process, found out by trying; its own are put back.
///
/// # Errors
/// As [`take`].
pub fn check(wanted: &[usize]) -> io::Result<()> {
    let own = sched_getaffinity(None)?;
    let tried = take(Some(wanted));
    sched_setaffinity(None, &own)?;
    tried
}
