//! One packet of JSON with descriptors beside it, over a `SOCK_SEQPACKET` socket.
//!
//! Guarantees: a message arrives whole or not at all; descriptors that arrive are close-on-exec; a peer
//! that is gone reads as `None`, never as an error, since on these sockets that is ordinary news.
//!
//! Not here: what is said (`holder::messages`).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType, recvmsg, sendmsg, shutdown,
    socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::messages::MESSAGE_BYTES_MAX;

/// Descriptors one message may carry: the most any message needs is two.
const DESCRIPTORS_MAX: usize = 4;

/// One end of a connection between two processes of a node.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// What came in: the message and the descriptors beside it.
pub type Received<T> = (T, Vec<OwnedFd>);

impl Channel {
    /// Both ends of a new connection, close-on-exec.
    ///
    /// # Errors
    /// What `socketpair` answers.
    pub fn pair() -> io::Result<(Channel, Channel)> {
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Channel(a), Channel(b)))
    }

    /// Sends `message` with `descriptors`. Waits while the peer's queue is full.
    ///
    /// # Errors
    /// `EPIPE` or `ECONNRESET` if the peer is gone, `EMSGSIZE` beyond [`MESSAGE_BYTES_MAX`].
    pub fn send<T: Serialize>(&self, message: &T, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        send(&self.0, message, descriptors, SendFlags::NOSIGNAL)
    }

    /// As [`Self::send`], but a full queue is an error (`EAGAIN`): for a process that many depend on.
    ///
    /// # Errors
    /// As `send`.
    pub fn send_now<T: Serialize>(&self, message: &T, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        send(&self.0, message, descriptors, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
    }

    /// Waits for the next message. `None`: the peer is gone, and so is all that it said.
    ///
    /// # Errors
    /// What `recvmsg` answers; `InvalidData` for a packet that is no message.
    pub fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<Received<T>>> {
        let mut bytes = vec![0; MESSAGE_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut was_reset = false;
        let got = loop {
            let mut parts = [IoSliceMut::new(&mut bytes)];
            match recvmsg(&self.0, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => {}
                // A peer that closed without reading everything: the kernel says so first, once, and only then gives
                // what the peer had said before.
                Err(Errno::CONNRESET) if !was_reset => was_reset = true,
                Err(Errno::CONNRESET | Errno::PIPE) => return Ok(None),
                answer => break answer?,
            }
        };
        let descriptors = control.drain().filter_map(rights).flatten().collect();
        if got.bytes == 0 {
            return Ok(None);
        }
        if got.flags.contains(ReturnFlags::TRUNC) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message longer than the limit"));
        }
        Ok(Some((serde_json::from_slice(&bytes[..got.bytes])?, descriptors)))
    }

    /// What the peer has said so far is still received, by whoever has this end; then it reads as gone. What it says from
    /// now on is an error there.
    pub fn hear_no_more(&self) {
        // Fails where the peer is gone already.
        let _ = shutdown(&self.0, Shutdown::Read);
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Channel {
    fn from(socket: OwnedFd) -> Self {
        Channel(socket)
    }
}

impl From<Channel> for OwnedFd {
    fn from(channel: Channel) -> Self {
        channel.0
    }
}

/// Sends one message over a socket that is owned elsewhere, such as `Estate::peer`.
///
/// # Errors
/// As [`Channel::send`].
pub fn send<T: Serialize>(
    socket: impl AsFd,
    message: &T,
    descriptors: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(Errno::MSGSIZE.into());
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::TOOMANYREFS.into());
    }
    rustix::io::retry_on_intr(|| sendmsg(&socket, &[IoSlice::new(&bytes)], &mut control, flags))?;
    Ok(())
}

fn rights(message: RecvAncillaryMessage<'_>) -> Option<impl Iterator<Item = OwnedFd>> {
    match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::holder::messages::{FromDaemon, ToHolder};
    use std::io::{Read, Write};

    #[test]
    fn a_message_brings_its_descriptors() {
        let (here, there) = Channel::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        there.send(&ToHolder::Mounted { only_view: Some(2) }, &[writer.as_fd()]).unwrap();
        drop(writer);
        let (message, mut fds) = here.receive::<ToHolder>().unwrap().unwrap();
        assert_eq!(message, ToHolder::Mounted { only_view: Some(2) });
        std::fs::File::from(fds.pop().unwrap()).write_all(b"x").unwrap();
        assert!(fds.is_empty());
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
    }

    #[test]
    fn a_peer_that_is_gone_reads_as_none() {
        let (here, there) = Channel::pair().unwrap();
        drop(there);
        assert!(here.receive::<ToHolder>().unwrap().is_none());
        assert!(here.send(&ToHolder::Join { wanted: None }, &[]).is_err());
    }

    #[test]
    fn the_last_word_of_a_peer_is_heard_though_it_closed_without_reading_ours() {
        let (here, there) = Channel::pair().unwrap();
        here.send(&ToHolder::Join { wanted: None }, &[]).unwrap();
        there.send(&FromDaemon::Ready, &[]).unwrap();
        drop(there);
        assert_eq!(here.receive::<FromDaemon>().unwrap().map(|heard| heard.0), Some(FromDaemon::Ready));
        assert!(here.receive::<FromDaemon>().unwrap().is_none());
    }

    #[test]
    fn a_message_over_the_limit_is_refused_by_the_sender() {
        let (here, _there) = Channel::pair().unwrap();
        let error = Some("x".repeat(MESSAGE_BYTES_MAX));
        let message = FromDaemon::Reported { error, record: None, uncompiled: None };
        assert_eq!(here.send(&message, &[]).unwrap_err().raw_os_error(), Some(libc::EMSGSIZE));
    }
}
