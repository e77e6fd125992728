//! The first minutes of a service, told in milliseconds: from an empty estate to tasks inside.
//!
//! One after the other, without a loop: the founder's child brings the connections, the daemon starts, the
//! child goes inside. Whoever else connects meanwhile waits in the listening socket's queue, unaccepted, so
//! that nobody can join what never comes to be: if the founder dies or fails, this process ends, and with it
//! the queue, and they elect another founder.
//!
//! Not here: the steps of the founder's child (`enter::inside`); life afterwards (`holder::service`).

use std::io::{self, Error};
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::MemfdFlags;

use super::channel::Channel;
use super::estate::{Connection, Estate, WayIn};
use super::failed::{Failed, cannot};
use super::ledger::Ledger;
use super::messages::{FromDaemon, FromHolder, ToHolder};
use super::namespaces::Namespaces;
use super::service::Service;
use super::succession;

/// Founds the service with the wrapper at the other end of `estate.peer`.
///
/// # Errors
/// The founder left or the daemon died before a task was inside; nothing is left behind then.
pub fn found(estate: Estate) -> io::Result<Service> {
    let line = Channel::from(estate.peer.try_clone()?);
    let founder = Channel::from(estate.peer.try_clone()?);
    found_with(estate, founder).inspect_err(|error| tell(&line, error))
}

/// Tells the founder why there is no service.
fn tell(founder: &Channel, error: &Error) {
    // One that is gone need not know.
    let _ = founder.send_now(&FromHolder::Failed(Failed::of(error)), &[]);
}

fn found_with(mut estate: Estate, founder: Channel) -> io::Result<Service> {
    let mut ledger = Ledger::begin();
    let namespaces = gather(&mut estate, &founder)?;
    ledger.mount_namespace = namespaces.as_ref().map(Namespaces::inode).transpose()?;
    ledger.kept = estate.settings.kept;
    ledger.present = usize::from(!ledger.kept);
    // Before the first task can be inside: from then on this process may be killed and must have a successor.
    ledger.store(&estate.ledger).map_err(cannot("write to shared memory"))?;
    let mut daemon = succession::start_daemon(&mut estate).map_err(cannot("start the daemon"))?;
    if let Err(error) = admit_founder(&estate, &founder) {
        // Not yet under the rule that the daemon outlives us: it would start a holder for nothing.
        let _ = daemon.kill();
        return Err(error);
    }
    ledger.inside = true;
    ledger.ready_us = ledger.elapsed_us();
    Service::new(estate, ledger, namespaces, founder, daemon)
}

/// Takes connections and namespaces from the founder's child until it says that this is all.
fn gather(estate: &mut Estate, founder: &Channel) -> io::Result<Option<Namespaces>> {
    loop {
        match founder.receive()? {
            Some((ToHolder::Mounted { only_view }, descriptors)) => {
                estate.connections.push(connection(only_view, descriptors)?);
            }
            Some((ToHolder::Start { way_in }, descriptors)) => {
                estate.settings.way_in = way_in;
                return match (way_in, Namespaces::from_descriptors(descriptors)) {
                    (WayIn::MountNamespace | WayIn::UserNamespace, None) => Err(out_of_order()),
                    (_, namespaces) => Ok(namespaces),
                };
            }
            Some(_) => return Err(out_of_order()),
            None => return Err(founder_left()),
        }
    }
}

fn connection(only_view: Option<usize>, descriptors: Vec<OwnedFd>) -> io::Result<Connection<OwnedFd>> {
    let mut descriptors = descriptors.into_iter();
    Ok(Connection {
        fuse: descriptors.next().ok_or_else(out_of_order)?,
        requests: memory("spinney-requests")?,
        nodes: memory("spinney-nodes")?,
        only_view,
        unmounter: descriptors.next(),
    })
}

fn memory(name: &str) -> io::Result<OwnedFd> {
    rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC).map_err(cannot("make shared memory"))
}

/// Waits until the daemon serves and the founder's child is inside.
fn admit_founder(estate: &Estate, founder: &Channel) -> io::Result<()> {
    let daemon = Channel::from(estate.peer.try_clone()?);
    wait_for_either(&daemon, founder)?;
    match daemon.receive()? {
        Some((FromDaemon::Ready, _)) => founder.send_now(&FromHolder::Started, &[])?,
        Some((FromDaemon::Failed(failed), _)) => return Err(failed.into()),
        Some(_) => return Err(out_of_order()),
        None => return Err(Error::new(io::ErrorKind::BrokenPipe, "the daemon ended without a word")),
    }
    match founder.receive()? {
        Some((ToHolder::Inside, _)) => Ok(()),
        Some(_) => Err(out_of_order()),
        None => Err(founder_left()),
    }
}

/// Waits for the daemon to say something. The founder has nothing to say here, so if it can be read it is gone.
fn wait_for_either(daemon: &Channel, founder: &Channel) -> io::Result<()> {
    let mut both = [PollFd::new(daemon, PollFlags::IN), PollFd::new(founder, PollFlags::IN)];
    rustix::io::retry_on_intr(|| poll(&mut both, None))?;
    if both[1].revents().is_empty() { Ok(()) } else { Err(founder_left()) }
}

fn founder_left() -> Error {
    Error::new(io::ErrorKind::BrokenPipe, "the founder left before it was inside")
}

fn out_of_order() -> Error {
    Error::new(io::ErrorKind::InvalidData, "a message out of order")
}
