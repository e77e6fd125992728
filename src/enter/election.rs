//! Who founds the service of a node: the process that binds an abstract socket first.
//!
//! The kernel decides, atomically, and forgets the name with the last descriptor: there is no file to be left
//! behind and no stale lock. Names are guessable, so another user may hold ours; then the next of a few names is
//! tried, by all tasks in the same order. A peer is believed by its SO_PEERCRED only.
//!
//! Not here: what founder and members do next (`enter::found`, `enter::join`).

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with, sockopt,
};

use crate::holder::channel::Channel;

/// Names tried when others hold the first ones: 4.
pub const NAMES_MAX: u32 = 4;

/// Connections that wait while the founder founds: as many as tasks may be on a node
/// (`net.core.somaxconn` caps it; beyond, `connect` waits).
const QUEUE_MAX: i32 = 4096;

/// The outcome.
#[derive(Debug)]
pub enum Elected {
    /// The name is ours: here is the listening socket.
    Founder(OwnedFd),
    /// Somebody else's of this user: a connection to the holder, now or as soon as there is one.
    Member(Channel),
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum ElectionError {
    /// Bound, but nobody listens: the founder is between two steps, or has just died. Try again.
    #[error("nobody answers yet")]
    Nobody,
    /// A process of another user holds this name.
    #[error("the socket name is held by user {0}")]
    Foreign(u32),
    /// Anything else.
    #[error("cannot use Unix sockets")]
    Socket(#[from] Errno),
}

/// Founds or finds the service called `name`.
///
/// # Errors
/// See [`ElectionError`]; the first is worth another try, the second another name.
pub fn elect(name: &str, uid: u32) -> Result<Elected, ElectionError> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes())?;
    match bind(&socket, &address) {
        Ok(()) => {
            listen(&socket, QUEUE_MAX)?;
            Ok(Elected::Founder(socket))
        }
        Err(Errno::ADDRINUSE) => find(socket, &address, uid).map(Elected::Member),
        Err(other) => Err(other.into()),
    }
}

/// Connects to a service that exists, without founding one.
///
/// # Errors
/// As [`elect`].
pub fn reconnect(name: &str, uid: u32) -> Result<Channel, ElectionError> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    find(socket, &SocketAddrUnix::new_abstract_name(name.as_bytes())?, uid)
}

/// As [`reconnect`], but no longer than `patience`, which is at least a millisecond: the queue of a service that is stopped
/// may be full. What is sent later waits no longer either.
///
/// # Errors
/// As [`elect`].
pub fn reconnect_within(name: &str, uid: u32, patience: Duration) -> Result<Channel, ElectionError> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let patience = patience.max(Duration::from_millis(1));
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(patience))?;
    find(socket, &SocketAddrUnix::new_abstract_name(name.as_bytes())?, uid)
}

fn find(socket: OwnedFd, address: &SocketAddrUnix, uid: u32) -> Result<Channel, ElectionError> {
    match rustix::io::retry_on_intr(|| connect(&socket, address)) {
        Ok(()) => {}
        Err(Errno::CONNREFUSED) => return Err(ElectionError::Nobody),
        Err(other) => return Err(other.into()),
    }
    // The kernel notes the credentials of whoever called `listen`.
    let owner = sockopt::socket_peercred(&socket)?.uid.as_raw();
    if owner == uid { Ok(Channel::from(socket)) } else { Err(ElectionError::Foreign(owner)) }
}

/// The nth name to try for the service `base`.
pub fn nth_name(base: &str, n: u32) -> String {
    if n == 0 { base.to_owned() } else { format!("{base}.{n}") }
}

/// Turns an election error into one of the operating system's kind.
impl From<ElectionError> for io::Error {
    fn from(error: ElectionError) -> Self {
        io::Error::other(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_to_come_becomes_a_member_until_the_founder_is_gone() {
        let uid = rustix::process::geteuid().as_raw();
        let name = format!("spinney-test-{}-election", std::process::id());
        let Elected::Founder(listener) = elect(&name, uid).unwrap() else { panic!("not the first") };
        assert!(matches!(elect(&name, uid), Ok(Elected::Member(_))));
        drop(listener);
        // Another test's child may hold a copy between its fork and its exec.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !matches!(elect(&name, uid), Ok(Elected::Founder(_))) {
            assert!(std::time::Instant::now() < until, "the name is not free again");
        }
    }

    #[test]
    fn a_full_queue_is_not_waited_for_longer_than_wanted() {
        let uid = rustix::process::geteuid().as_raw();
        let name = format!("spinney-test-{}-full", std::process::id());
        let listener =
            socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        bind(&listener, &SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap()).unwrap();
        listen(&listener, 0).unwrap();
        let mut queued = Vec::new();
        let refused = loop {
            match reconnect_within(&name, uid, Duration::from_millis(10)) {
                Ok(channel) => queued.push(channel),
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, ElectionError::Socket(Errno::AGAIN)), "{refused:?} after {}", queued.len());
    }

    #[test]
    fn a_name_that_another_user_holds_is_not_joined() {
        let uid = rustix::process::geteuid().as_raw();
        let name = format!("spinney-test-{}-foreign", std::process::id());
        let _held = elect(&name, uid).unwrap();
        assert!(matches!(elect(&name, uid + 1), Err(ElectionError::Foreign(owner)) if owner == uid));
    }
}
