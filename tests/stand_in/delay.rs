//! A queue of calls that each become due at a moment, and the threads that then carry them out.
//!
//! Waiting is done by the queue, never by a thread per call, so ten thousand calls that wait two
//! milliseconds wait them together. Among the threads one, the leader, sleeps until the earliest
//! call is due; it hands the lead on before it works, so a slow call delays no other.
//!
//! Not here: when a call is due (`server`), what it does (`mount`).

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::num::NonZeroU64;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::counters::Lateness;

/// Threads that carry out due calls: 8.
///
/// Each call does a few system calls on a local directory; several threads only matter when one of
/// them has to wait for a disk.
const WORKERS: usize = 8;

/// How long before a call is due its thread stops sleeping and spins: 50 µs.
///
/// A sleep ends late by what the kernel needs to wake a thread, on a virtual machine 30 to 60 µs. So it is asked
/// to end early by as much; the spinning that is left is short. Measured: a latency of 200 µs is 195 to 215.
const SPIN: Duration = Duration::from_micros(50);

/// What is carried out when it is due.
pub type Job = Box<dyn FnOnce() + Send>;

/// Calls in the order in which they become due.
pub struct DelayQueue {
    waiting: Mutex<Waiting>,
    /// Wakes the thread that sleeps until the earliest call: an earlier one has come.
    leader: Condvar,
    /// Wakes a thread that waits for the lead.
    followers: Condvar,
    lateness: Arc<Lateness>,
}

struct Waiting {
    calls: BinaryHeap<Call>,
    /// Equal moments leave in the order in which they came: the queue of a server is first in, first out.
    next_number: u64,
    has_leader: bool,
}

struct Call {
    due: Instant,
    number: u64,
    job: Job,
}

impl DelayQueue {
    /// Starts the threads; they run until the process ends.
    pub fn start(lateness: Arc<Lateness>) -> Arc<Self> {
        let queue = Arc::new(Self {
            waiting: Mutex::new(Waiting { calls: BinaryHeap::new(), next_number: 0, has_leader: false }),
            leader: Condvar::new(),
            followers: Condvar::new(),
            lateness,
        });
        for number in 0..WORKERS {
            let queue = queue.clone();
            std::thread::Builder::new()
                .name(format!("delay-{number}"))
                .spawn(move || queue.work())
                .expect("a process that just started may have a few threads");
        }
        queue
    }

    /// Has `job` carried out at `due`, or at once if that has passed.
    pub fn push(&self, due: Instant, job: Job) {
        let mut waiting = self.lock();
        let number = waiting.next_number;
        waiting.next_number += 1;
        let is_first = waiting.calls.peek().is_none_or(|first| due < first.due);
        waiting.calls.push(Call { due, number, job });
        if !is_first {
            return;
        }
        if waiting.has_leader {
            self.leader.notify_one();
        } else {
            self.followers.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        // The default slack lets the kernel end a sleep 50 µs late on purpose; a quarter of a short latency.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        loop {
            let call = self.next();
            while Instant::now() < call.due {
                std::hint::spin_loop();
            }
            self.lateness.add(call.due.elapsed());
            (call.job)();
        }
    }

    /// Waits for the earliest call and hands the lead on.
    fn next(&self) -> Call {
        let mut waiting = self.lock();
        loop {
            let Some(first) = waiting.calls.peek() else {
                waiting = self.followers.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let sleep = first.due.saturating_duration_since(Instant::now()).saturating_sub(SPIN);
            if sleep.is_zero() && !waiting.has_leader {
                let call = waiting.calls.pop().expect("it was just looked at");
                if !waiting.calls.is_empty() {
                    self.followers.notify_one();
                }
                return call;
            }
            if waiting.has_leader {
                waiting = self.followers.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            waiting.has_leader = true;
            waiting = self.leader.wait_timeout(waiting, sleep).unwrap_or_else(PoisonError::into_inner).0;
            waiting.has_leader = false;
        }
    }
}

impl PartialEq for Call {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Call {}

impl PartialOrd for Call {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Call {
    /// Reversed, because the heap gives out its greatest: that must be the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.number).cmp(&(self.due, self.number))
    }
}
