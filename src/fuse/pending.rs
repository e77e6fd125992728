//! Requests that are being answered, and letting go of tasks that are being killed.
//!
//! The kernel tells of a signal once, whatever it is, and then waits for the answer. Only a task that is
//! about to die may be sent away without one: any other would take EINTR from a `stat` for "not there". So
//! after an INTERRUPT the task is watched, and let go as soon as a SIGKILL is pending.
//!
//! Not here: the answers (`serve`).

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use super::channel::Channel;
use super::request::Asker;
use crate::profile::recorder::{Counter, Recorder};

/// How often an interrupted task is looked at: every 100 ms, so that it goes well within the second that
/// the design allows.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Table {
    under_way: HashMap<u64, u32>,
    interrupted: Vec<u64>,
    ended: bool,
}

/// The requests of one connection that are being answered. Cloning shares the table.
#[derive(Clone, Default)]
pub(super) struct Pending(Arc<(Mutex<Table>, Condvar)>);

impl Pending {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Notes that `asker` waits.
    pub(super) fn begin(&self, asker: Asker) {
        self.lock().under_way.insert(asker.unique, asker.pid);
    }

    /// Notes that an answer is about to be sent; false if the task was let go without one.
    pub(super) fn end(&self, unique: u64) -> bool {
        self.lock().under_way.remove(&unique).is_some()
    }

    /// A signal reached the task behind `unique`. False if no such request is known (yet).
    pub(super) fn interrupt(&self, unique: u64) -> bool {
        let mut table = self.lock();
        let known = table.under_way.contains_key(&unique);
        if known {
            table.interrupted.push(unique);
            self.0.1.notify_one();
        }
        known
    }

    /// Ends [`Self::watch`].
    pub(super) fn stop(&self) {
        self.lock().ended = true;
        self.0.1.notify_one();
    }

    /// Lets tasks go that have a SIGKILL pending, until stopped. Runs on a thread of its own.
    pub(super) fn watch(&self, channel: &Channel, recorder: Recorder) {
        let mut table = self.lock();
        while !table.ended {
            let interrupted = std::mem::take(&mut table.interrupted);
            for unique in interrupted {
                match table.under_way.get(&unique) {
                    Some(pid) if is_being_killed(*pid) => {
                        table.under_way.remove(&unique);
                        recorder.count(Counter::FaultsKilled);
                        channel.refuse(unique, libc::EINTR);
                    }
                    Some(_) => table.interrupted.push(unique),
                    None => {}
                }
            }
            let idle = table.interrupted.is_empty();
            table = if idle {
                self.0.1.wait(table).unwrap_or_else(|e| e.into_inner())
            } else {
                self.0.1.wait_timeout(table, LOOK_EVERY).unwrap_or_else(|e| e.into_inner()).0
            };
        }
    }
}

/// Whether thread `pid` has a SIGKILL pending. The kernel marks every thread of a dying process so, also
/// when another fatal signal was the cause.
fn is_being_killed(pid: u32) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return false };
    has_kill_pending(&status)
}

fn has_kill_pending(status: &str) -> bool {
    let pending = |line: &str| {
        let mask = line.strip_prefix("SigPnd:").or_else(|| line.strip_prefix("ShdPnd:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    };
    let kill = 1u64 << (libc::SIGKILL - 1);
    status.lines().filter_map(pending).any(|mask| mask & kill != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pending_kill_lets_a_task_go() {
        let cases = [
            ("SigPnd:\t0000000000000100\nShdPnd:\t0000000000000000\n", true), // SIGKILL to the thread
            ("SigPnd:\t0000000000000000\nShdPnd:\t0000000000000100\n", true), // to the process
            ("SigPnd:\t0000000000000002\nShdPnd:\t0000000000004000\n", false), // SIGINT and SIGTERM, handled
            ("SigBlk:\t0000000000000100\n", false),                           // some other mask
            ("", false),
        ];
        for (status, killed) in cases {
            assert_eq!(has_kill_pending(status), killed, "{status:?}");
        }
    }
}
