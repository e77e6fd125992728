//! A member's part: into the view that another task of the job has founded on this node.
//!
//! Not here: who is a member (`enter::election`).

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::failure::Failure;
use super::plan::Plan;
use super::step::{EnterError, Step, failed};
use super::task::Task;
use super::tenancy::Tenancy;
use super::ward::{Arrival, Ward};
use crate::holder::channel::Channel;
use crate::holder::estate::WayIn;
use crate::holder::messages::{FromHolder, ToHolder, Wanted, Welcome};
use crate::holder::namespaces::Namespaces;

/// What came of asking the holder.
pub enum Joined {
    /// The task is inside.
    Inside(Box<Tenancy>),
    /// The view is just ending: wait until its name is free.
    Fading,
    /// The founder or its holder ended before it said anything: elect again.
    Gone,
    /// The service is not as wanted.
    Elsewhere,
}

/// Asks the holder at the other end of `channel` to be let in, and goes in. `wanted`: what a service that was not founded
/// under these flags must be like.
///
/// Waits as long as the founder founds. Signals have their ordinary effect until then.
///
/// # Errors
/// The view is there and this task cannot get in; tasks outside and inside could not read each other's memory, so
/// running COMMAND outside is no remedy.
pub fn join(plan: &Plan, name: String, channel: Channel, wanted: Option<Wanted>) -> Result<Joined, Failure> {
    if channel.send(&ToHolder::Join { wanted }, &[]).is_err() {
        return Ok(Joined::Gone);
    }
    match channel.receive()? {
        Some((FromHolder::Welcome(welcome), descriptors)) => go_in(plan, name, channel, welcome, descriptors),
        Some((FromHolder::Fading, _)) => Ok(Joined::Fading),
        Some((FromHolder::Elsewhere, _)) => Ok(Joined::Elsewhere),
        Some(_) => Err(io::Error::from(io::ErrorKind::InvalidData).into()),
        None => Ok(Joined::Gone),
    }
}

fn go_in(
    plan: &Plan,
    name: String,
    channel: Channel,
    welcome: Welcome,
    descriptors: Vec<OwnedFd>,
) -> Result<Joined, Failure> {
    if welcome.way_in == WayIn::Direct {
        // Whoever is on storage itself may be of any group.
        if plan.request.require {
            return Err(Failure::NoWay { attempts: Vec::new() });
        }
    } else {
        if welcome.gid != plan.caller.gid && welcome.way_in != WayIn::MountNamespace {
            return Err(Failure::OtherGroup { theirs: welcome.gid, ours: plan.caller.gid });
        }
        plan.check_identity(welcome.way_in).map_err(Failure::Join)?;
    }
    let talk = plan.request.talk;
    talk.note(format_args!("joined the view of job {}; way in: {}", plan.job.name, welcome.way_in.name()));
    for view in &welcome.views {
        talk.note(format_args!("view: {}", view.display()));
    }
    let namespaces = Namespaces::from_descriptors(descriptors);
    let mut ward = Ward::begin()?;
    let wrapper = rustix::process::getpid();
    let task = Task::fork(&ward.signals, || {
        enter(namespaces.as_ref()).err().unwrap_or_else(|| plan.become_command(wrapper))
    })?;
    // The holder alone decides how long the view is kept.
    drop(namespaces);
    ward.place_canary();
    match ward.arrival(&task)? {
        Arrival::Inside => Ok(Joined::Inside(Box::new(Tenancy {
            name,
            ward,
            task,
            holder: Some(channel),
            first_holder: None,
            keeps: false,
            way: welcome.way_in,
            views: welcome.views,
            mount_under: plan.mount_under.clone(),
        }))),
        Arrival::Failed(EnterError { step: Step::Exec, errno, .. }) => Err(plan.exec_failed(errno)),
        Arrival::Failed(error) => Err(Failure::Join(error)),
    }
}

/// The user namespace first: only there is a user allowed to enter the other.
fn enter(namespaces: Option<&Namespaces>) -> Result<(), EnterError> {
    let Some(Namespaces { mount, user }) = namespaces else { return Ok(()) };
    if let Some(user) = user {
        move_into_link_name_space(user.as_fd(), Some(LinkNameSpaceType::User))
            .map_err(failed(Step::JoinUser))?;
    }
    move_into_link_name_space(mount.as_fd(), Some(LinkNameSpaceType::Mount)).map_err(failed(Step::JoinMount))
}
