//! The threads that make calls on storage, since such a call can block for as long as storage likes.
//!
//! Two lanes: what a task waits for goes first, then what is fetched ahead. How much is fetched ahead is for
//! the layers above to decide.
//!
//! A thread that asks on behalf of the kernel may make the call itself when it is allowed to block
//! ([`allow_blocking_here`]): that saves two thread switches, which is more than a warm call costs.
//!
//! Not here: what is called (`calls`).

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::file::Urgency;

/// Threads at most: 64. Storage that hangs holds one per waiting request; those beyond queue behind it, as
/// they would wait for storage anyway.
const THREADS_MAX: usize = 64;
/// How long an idle thread stays.
const IDLE_MAX: Duration = Duration::from_secs(5);

type Job = Box<dyn FnOnce() + Send>;

thread_local! {
    static MAY_BLOCK: Cell<bool> = const { Cell::new(false) };
}

/// Runs `body` on this thread with leave to make calls on storage, if `allowed`.
pub fn allow_blocking_here<R>(allowed: bool, body: impl FnOnce() -> R) -> R {
    let before = MAY_BLOCK.replace(allowed);
    let result = body();
    MAY_BLOCK.set(before);
    result
}

/// Whether this thread may make calls on storage now.
pub(super) fn may_block_here() -> bool {
    MAY_BLOCK.get()
}

#[derive(Default)]
struct State {
    demand: VecDeque<Job>,
    ahead: VecDeque<Job>,
    idle: usize,
    threads: usize,
}

impl State {
    /// What a task waits for goes first.
    fn next(&mut self) -> Option<Job> {
        self.demand.pop_front().or_else(|| self.ahead.pop_front())
    }
}

/// The threads and their queues. Cloning shares them.
#[derive(Clone, Default)]
pub(super) struct Pool(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

impl Pool {
    /// Runs `job`, here if this thread may block, else on a thread of the pool.
    pub(super) fn run<T: Send + 'static>(
        &self,
        urgency: Urgency,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (sender, receiver) = oneshot::channel();
        // The asker may have gone; nobody then has a use for the answer.
        let answer = move || drop(sender.send(job()));
        if urgency == Urgency::Demand && may_block_here() {
            answer();
        } else {
            self.enqueue(urgency, Box::new(answer));
        }
        receiver
    }

    fn enqueue(&self, urgency: Urgency, job: Job) {
        let mut state = self.0.lock();
        match urgency {
            Urgency::Demand => state.demand.push_back(job),
            Urgency::Ahead => state.ahead.push_back(job),
        }
        if state.idle > 0 {
            self.0.work.notify_one();
        } else if state.threads < THREADS_MAX {
            state.threads += 1;
            drop(state);
            self.start_thread();
        }
    }

    fn start_thread(&self) {
        let shared = self.0.clone();
        let started = std::thread::Builder::new()
            .name("storage".into())
            .stack_size(256 * 1024)
            .spawn(move || shared.work_until_idle());
        if started.is_err() {
            // No thread to be had: the jobs wait for one of those that exist. Without any, this one does them.
            let mut state = self.0.lock();
            state.threads -= 1;
            while state.threads == 0
                && let Some(job) = state.next()
            {
                drop(state);
                job();
                state = self.0.lock();
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn work_until_idle(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.next() {
                drop(state);
                job();
                state = self.lock();
            } else {
                state.idle += 1;
                let (guard, wait) =
                    self.work.wait_timeout(state, IDLE_MAX).unwrap_or_else(|e| e.into_inner());
                state = guard;
                state.idle -= 1;
                if wait.timed_out() && state.demand.is_empty() && state.ahead.is_empty() {
                    state.threads -= 1;
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_may_block_makes_the_call_itself() {
        let here = std::thread::current().id();
        let pool = Pool::default();
        let own = allow_blocking_here(true, || pool.run(Urgency::Demand, || std::thread::current().id()));
        assert_eq!(own.blocking_recv(), Ok(here));
        let other = pool.run(Urgency::Demand, || std::thread::current().id());
        assert_ne!(other.blocking_recv(), Ok(here));
    }
}
