//! The wrappers connected to a holder, and which of them still have a task inside.
//!
//! Not here: what they ask for (`holder::service`).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::{SocketFlags, accept_with, sockopt};

use super::channel::Channel;
use super::messages::FromHolder;

/// Wrappers one holder takes: 4,096, more than a node has cores. Further ones are turned away and run
/// into the election's own limit.
pub const GUESTS_MAX: usize = 4096;

/// Where a wrapper stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Connected; has not yet said what it wants.
    New,
    /// No wrapper: waits for the answer to the question with this ticket.
    Asking(u64),
    /// Has a task inside.
    Present,
    /// Has no task inside, but keeps the service for tasks to come.
    Keeping,
    /// Its task has ended; it waits for the farewell.
    Leaving,
    /// Told farewell; it stays connected only to see the holder end.
    Dismissed,
}

/// A connected wrapper.
#[derive(Debug)]
pub struct Guest {
    /// The connection to it.
    pub channel: Channel,
    /// Where it stands.
    pub standing: Standing,
}

/// All connected wrappers.
#[derive(Debug, Default)]
pub struct Guests(Vec<Guest>);

impl Guests {
    /// Takes the next wrapper from `listener`. One of another user is dropped: it gets no word.
    ///
    /// # Errors
    /// What `accept` answers.
    pub fn accept(&mut self, listener: impl AsFd, uid: u32) -> io::Result<()> {
        let socket = accept_with(listener, SocketFlags::CLOEXEC)?;
        let peer = sockopt::socket_peercred(&socket)?.uid.as_raw();
        if peer == uid && self.0.len() < GUESTS_MAX {
            self.add(Channel::from(socket), Standing::New);
        } else {
            tracing::warn!(peer, guests = self.0.len(), "turned a wrapper away");
        }
        Ok(())
    }

    /// Adds a wrapper.
    pub fn add(&mut self, channel: Channel, standing: Standing) {
        self.0.push(Guest { channel, standing });
    }

    /// The guest at `place`.
    pub fn at(&mut self, place: usize) -> &mut Guest {
        &mut self.0[place]
    }

    /// Removes the guest at `place` and says where it stood. The last guest takes its place, so a caller that
    /// walks the list goes from the end.
    pub fn remove(&mut self, place: usize) -> Standing {
        self.0.swap_remove(place).standing
    }

    /// How many stand so.
    pub fn count(&self, standing: Standing) -> usize {
        self.0.iter().filter(|guest| guest.standing == standing).count()
    }

    /// Sends `message` to all who stand at `from` and moves them to `to`. One who does not listen is not waited
    /// for: it will be found gone.
    pub fn tell(&mut self, from: Standing, message: &FromHolder, to: Standing) {
        for guest in self.0.iter_mut().filter(|guest| guest.standing == from) {
            let _ = guest.channel.send_now(message, &[]);
            guest.standing = to;
        }
    }

    /// Has one wrapper tell the user: of a task that runs, else of one that ends, else the one that keeps the service.
    pub fn tell_user(&mut self, trouble: String) {
        let ranks = [Standing::Present, Standing::Leaving, Standing::Keeping];
        let found = ranks.iter().find_map(|rank| self.0.iter().find(|guest| guest.standing == *rank));
        if let Some(guest) = found {
            let _ = guest.channel.send_now(&FromHolder::Trouble(trouble), &[]);
        }
    }

    /// Hands the answer, which is in `descriptors`, to whoever asked the question with this `ticket`.
    pub fn answer(&mut self, ticket: u64, descriptors: &[BorrowedFd<'_>]) {
        for guest in self.0.iter_mut().filter(|guest| guest.standing == Standing::Asking(ticket)) {
            let _ = guest.channel.send_now(&FromHolder::Told, descriptors);
            guest.standing = Standing::New;
        }
    }

    /// Sends those away whose question died with the daemon; they may ask again.
    pub fn dismiss_askers(&mut self) {
        self.0.retain(|guest| !matches!(guest.standing, Standing::Asking(_)));
    }

    /// Their sockets, in order.
    pub fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(|guest| guest.channel.as_fd())
    }
}
