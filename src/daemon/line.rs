//! The daemon's line to the holder of the day, for those who have something to say to it.
//!
//! Invariant: the first word is that the daemon is ready. What was to be said before is kept until then.
//!
//! Not here: hearing what the holder says (`control`).

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::holder::channel::Channel;
use crate::holder::messages::FromDaemon;

/// Lines for the user that one daemon has told at most: 8. A job has many nodes, and what troubles one often troubles all.
const TROUBLES_MAX: usize = 8;

/// The line. Cloning shares it.
#[derive(Clone)]
pub(super) struct Line(Arc<Inner>);

struct Inner {
    channel: Mutex<Channel>,
    /// What waits until the daemon is ready; `None`: it is.
    waiting: Mutex<Option<Vec<FromDaemon>>>,
    troubles: AtomicUsize,
}

impl Line {
    /// To the holder at the other end of `peer`.
    ///
    /// # Errors
    /// No descriptor to be had.
    pub(super) fn new(peer: &impl AsFd) -> io::Result<Self> {
        Ok(Line(Arc::new(Inner {
            channel: Mutex::new(Channel::from(peer.as_fd().try_clone_to_owned()?)),
            waiting: Mutex::new(Some(Vec::new())),
            troubles: AtomicUsize::new(0),
        })))
    }

    /// From now on to another holder.
    pub(super) fn replace(&self, channel: Channel) {
        *self.lock() = channel;
    }

    /// Says that the daemon is ready, and then what had to wait for that.
    pub(super) fn ready(&self) {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(|e| e.into_inner());
        self.say(&FromDaemon::Ready);
        waiting.take().into_iter().flatten().for_each(|word| self.say(&word));
    }

    /// Has the user told of some trouble, in one line with the remedy. Waits for nobody.
    pub(super) fn complain(&self, trouble: String) {
        tracing::error!("{trouble}");
        if self.0.troubles.fetch_add(1, Ordering::Relaxed) >= TROUBLES_MAX {
            return;
        }
        let word = FromDaemon::Trouble(trouble);
        let mut waiting = self.0.waiting.lock().unwrap_or_else(|e| e.into_inner());
        match &mut *waiting {
            Some(waiting) => waiting.push(word),
            None => drop(self.lock().send_now(&word, &[])),
        }
    }

    /// Says something. A holder that has just died is noticed by whoever listens to it.
    pub(super) fn say(&self, word: &FromDaemon) {
        let _ = self.lock().send(word, &[]);
    }

    /// The service ends with the last task.
    pub(super) fn go_down(&self) {
        self.say(&FromDaemon::GoDown);
    }

    /// Whoever listens to the holder hears what it has said so far, and then that it is gone.
    pub(super) fn hear_no_more(&self) {
        self.lock().hear_no_more();
    }

    fn lock(&self) -> MutexGuard<'_, Channel> {
        self.0.channel.lock().unwrap_or_else(|e| e.into_inner())
    }
}
