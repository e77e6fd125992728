//! Runs a question to its end on whichever thread brings the answer.
//!
//! A runtime would hand each answer to yet another thread, and a thread switch costs more than most answers.
//! Here a task is polled where it is started and then by whoever wakes it.
//!
//! Invariant: a task is polled by one thread at a time, and a wake-up during a poll leads to another poll.
//!
//! Not here: what the tasks do.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

const IDLE: u8 = 0;
const POLLING: u8 = 1;
const WOKEN_WHILE_POLLING: u8 = 2;
const DONE: u8 = 3;

struct Task {
    state: AtomicU8,
    /// Uncontended: `state` lets one thread in. `None` once done.
    future: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
}

/// Polls `future` now and, if it has to wait, again on each thread that wakes it.
pub fn spawn(future: impl Future<Output = ()> + Send + 'static) {
    let task = Task { state: AtomicU8::new(POLLING), future: Mutex::new(Some(Box::pin(future))) };
    Arc::new(task).poll_until_idle();
}

impl Task {
    /// Precondition: the caller has moved `state` to POLLING.
    fn poll_until_idle(self: Arc<Self>) {
        let waker = Waker::from(self.clone());
        let mut context = Context::from_waker(&waker);
        loop {
            let mut future = self.future.lock().unwrap_or_else(|e| e.into_inner());
            let Some(polled) = future.as_mut() else { return };
            if let Poll::Ready(()) = polled.as_mut().poll(&mut context) {
                self.state.store(DONE, Ordering::Release);
                *future = None;
                return;
            }
            drop(future);
            let idle = self.state.compare_exchange(POLLING, IDLE, Ordering::AcqRel, Ordering::Acquire);
            if idle.is_ok() {
                return;
            }
            self.state.store(POLLING, Ordering::Release);
        }
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        loop {
            let (from, to) = match self.state.load(Ordering::Acquire) {
                IDLE => (IDLE, POLLING),
                POLLING => (POLLING, WOKEN_WHILE_POLLING),
                _ => return,
            };
            if self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                if to == POLLING {
                    self.poll_until_idle();
                }
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_task_ends_on_the_thread_that_brings_the_answer() {
        let (answer, question) = tokio::sync::oneshot::channel::<u32>();
        let (report, reports) = mpsc::channel();
        spawn(async move {
            let value = question.await.unwrap();
            report.send((value, std::thread::current().id())).unwrap();
        });
        let bringer = std::thread::spawn(move || {
            answer.send(7).unwrap();
            std::thread::current().id()
        });
        let bringer = bringer.join().unwrap();
        assert_eq!(reports.recv().unwrap(), (7, bringer));
    }

    #[test]
    fn no_wake_up_is_lost_when_many_threads_wake_one_task() {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel::<u32>();
        let (report, reports) = mpsc::channel();
        spawn(async move {
            let mut sum = 0;
            while let Some(n) = receiver.recv().await {
                sum += n;
            }
            report.send(sum).unwrap();
        });
        let senders: Vec<_> = (0..8)
            .map(|_| {
                let sender = sender.clone();
                std::thread::spawn(move || (0..1000).for_each(|_| sender.send(1).unwrap()))
            })
            .collect();
        drop(sender);
        for thread in senders {
            thread.join().unwrap();
        }
        assert_eq!(reports.recv().unwrap(), 8000);
    }
}
