//! The daemon's line to the holder of the day, for those who have something to say to it.
//!
//! Not here: hearing what the holder says (`control`).

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::holder::channel::Channel;
use crate::holder::messages::FromDaemon;

/// The line. Cloning shares it.
#[derive(Clone)]
pub(super) struct Line(Arc<Mutex<Channel>>);

impl Line {
    /// To the holder at the other end of `peer`.
    ///
    /// # Errors
    /// No descriptor to be had.
    pub(super) fn new(peer: &impl AsFd) -> io::Result<Self> {
        Ok(Line(Arc::new(Mutex::new(Channel::from(peer.as_fd().try_clone_to_owned()?)))))
    }

    /// From now on to another holder.
    pub(super) fn replace(&self, channel: Channel) {
        *self.lock() = channel;
    }

    /// Says something. A holder that has just died is noticed by whoever listens to it.
    pub(super) fn say(&self, word: &FromDaemon) {
        let _ = self.lock().send(word, &[]);
    }

    /// The service ends with the last task.
    pub(super) fn go_down(&self) {
        self.say(&FromDaemon::GoDown);
    }

    fn lock(&self) -> MutexGuard<'_, Channel> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}
