//! What happens when a run ends: its message is delivered, or put into the spool, within a few seconds.
//!
//! The work is done by threads that are left behind when their time is over: a file system that hangs holds up nobody.
//! COMMAND has ended by then, so nothing forks any more that threads could disturb.
//!
//! Invariant: no longer than [`SEND_TIME`] and [`SPOOL_TIME`] together.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::destination::Destination;
use super::spool::Spool;
use super::{Outgoing, deliver};

/// How long the end of a run may wait for what it sends: 2 s, in which a collector that works answers hundreds of times.
pub const SEND_TIME: Duration = Duration::from_secs(2);

/// How long it may wait for the spool: 2 s more, for a home directory that is slow to answer.
pub const SPOOL_TIME: Duration = Duration::from_secs(2);

/// Whether the message is safe: delivered, or accepted by the spool. One task of a run also sends what waits there.
pub fn leave(outgoing: &Outgoing, spool: Option<&Spool>, sends_waiting: bool) -> bool {
    let deadline = Instant::now() + SEND_TIME;
    let (for_delivery, for_spool) = (outgoing.clone(), outgoing.clone());
    if within(SEND_TIME, move || deliver(&for_delivery, deadline).is_ok()) {
        if let Some(spool) = spool.filter(|_| sends_waiting).cloned() {
            within(deadline.saturating_duration_since(Instant::now()), move || {
                spool.flush(deadline);
                true
            });
        }
        return true;
    }
    into_spool(for_spool, spool)
}

/// As [`leave`], without a word to anybody: into files, or into the spool.
pub fn put_away(outgoing: &Outgoing, spool: Option<&Spool>) -> bool {
    let (for_delivery, for_spool) = (outgoing.clone(), outgoing.clone());
    let is_file =
        matches!(outgoing.to, Destination::Files(_) | Destination::SeparateFiles(_) | Destination::Nowhere);
    let deadline = Instant::now() + SEND_TIME;
    is_file && within(SEND_TIME, move || deliver(&for_delivery, deadline).is_ok())
        || into_spool(for_spool, spool)
}

fn into_spool(outgoing: Outgoing, spool: Option<&Spool>) -> bool {
    let Some(spool) = spool.cloned() else { return false };
    within(SPOOL_TIME, move || spool.accept(&outgoing).is_ok())
}

/// What `work` says if it says so in time, else `false`.
fn within(time: Duration, work: impl FnOnce() -> bool + Send + 'static) -> bool {
    let (said, hear) = mpsc::channel();
    let worker = std::thread::Builder::new().spawn(move || {
        // Nobody listens any more if it is late.
        let _ = said.send(work());
    });
    worker.is_ok() && hear.recv_timeout(time).unwrap_or(false)
}
