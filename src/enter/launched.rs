//! A wrapper that was started by a launcher of ours (`launch`): its place, and the line back.
//!
//! Such a wrapper says nothing on standard error itself: what it would say, its figures and its node's record go to the
//! launcher, which makes one line, one sum and one report of them.
//!
//! Not here: the launcher (`launch`).

use std::io;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;
use crate::holder::channel::Channel;
use crate::holder::messages::Summary;

/// From a wrapper to its launcher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToLauncher {
    /// A line for the user, without the name of the program.
    Said(String),
    /// What the nodes of a service that came up have answered (`Wish::Ready`).
    Ready(serde_json::Value),
    /// The figures of a node, from its last wrapper.
    Summary(Summary),
    /// The record of a node, from its last wrapper.
    Record(serde_json::Value),
}

/// What the launcher gives to each of its wrappers.
#[derive(Debug)]
pub struct Launched {
    /// The nodes, with the wrapper's own.
    pub cluster: Cluster,
    /// Number of the wrapper's task.
    pub task: u64,
    /// memfd: the key of the nodes.
    pub job_key: OwnedFd,
    /// The line back.
    pub line: Channel,
    /// Whether the launcher writes a report and so wants the record.
    pub wants_record: bool,
}

impl Launched {
    /// Tells the launcher.
    ///
    /// # Errors
    /// It is gone, and this process with it, as soon as the kernel gets to it.
    pub fn tell(&self, message: &ToLauncher) -> io::Result<()> {
        self.line.send(message, &[])
    }
}
