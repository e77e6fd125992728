//! What the processes of one node say to each other: holder and daemon, wrapper and holder.
//!
//! Each message is one packet of JSON on a `SOCK_SEQPACKET` socket, so there is no framing; descriptors
//! travel beside it. Both ends are the same binary (its version is part of the socket's name), so there is no
//! negotiation of formats.
//!
//! Not here: sending and receiving (`holder::channel`); what the holder does with a message
//! (`holder::service`).

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::estate::WayIn;
use super::failed::Failed;

/// Bytes of the longest message: 64 KiB, far below the default send buffer of 208 KiB.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// From the holder to the daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToDaemon {
    /// Write the report, if `Settings::report` asks for one; answered with [`FromDaemon::Reported`].
    ///
    /// Sent when the last wrapper leaves; again, with newer figures, if others came afterwards.
    Report(RunOutcome),
    /// Somebody wants to know or do something; answered with [`FromDaemon::Told`].
    Ask {
        /// Comes back with the answer.
        ticket: u64,
        /// What.
        wish: Wish,
    },
    /// No task is here: answered with [`FromDaemon::Unneeded`] when nobody needs this node any more. Tasks may come meanwhile.
    Linger,
    /// No task is left. Only of a node without a mount, whose tasks the kernel does not know.
    End,
}

/// What may be asked of a service that runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// How is it? Answered with the JSON of `daemon::status`.
    Status,
    /// Forget on all nodes, and say which did not.
    Refresh {
        /// Absolute; none: everything.
        #[serde(with = "super::paths::list")]
        paths: Vec<PathBuf>,
    },
    /// Write what is recorded so far, on all nodes, and say which did not.
    Snapshot,
    /// Are all nodes connected? Answered once they are, or with those that are not in time.
    Ready {
        /// Milliseconds to wait at most.
        within_ms: u64,
    },
    /// End with the last task; answered with the nodes that could not be told.
    Down {
        /// Whether this one is to tell the other nodes.
        everywhere: bool,
    },
}

/// From the daemon to the holder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromDaemon {
    /// The daemon answers the kernel on every connection. Sent once by each daemon.
    Ready,
    /// The report is written, or could not be: then why.
    Reported {
        /// The error in words, for the user.
        error: Option<String>,
        /// The node's record (`daemon::record`), if `Settings::hand_up_record` wants it.
        record: Option<serde_json::Value>,
        /// Modules without bytecode, if they are many.
        uncompiled: Option<Uncompiled>,
    },
    /// Answer to [`ToDaemon::Ask`]. Descriptor: a memfd with JSON, since it may be longer than a message.
    Told {
        /// That of the question.
        ticket: u64,
    },
    /// Answer to [`ToDaemon::Linger`].
    Unneeded,
    /// Nobody keeps the service any more: it ends with the last task, and takes no more.
    GoDown,
    /// What the user should know: one line with the remedy.
    Trouble(String),
    /// It cannot serve, and ends.
    Failed(Failed),
    /// The kernel ended every connection, or the last task of a node without any has left; the daemon is about to leave and must not be restarted.
    Ended,
}

/// Modules that every process compiled anew, because the view cannot take their bytecode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Uncompiled {
    /// How many, at least.
    pub modules: usize,
    /// Where to compile them: the innermost directory that holds them all, or most of them.
    #[serde(with = "super::paths::one")]
    pub directory: PathBuf,
}

/// What became of the tasks on this node, as `run.json` tells it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunOutcome {
    /// Exit code of the first task (by rank) that did not end with 0; 128 + N after signal N.
    pub exit_code: i32,
    /// Tasks that have left.
    pub tasks: u64,
    /// Those of them that did not end with 0.
    pub tasks_failed: u64,
    /// Rank, among the tasks of the job, of the one that `exit_code` is of; `None` if all ended with 0.
    pub first_failed: Option<u64>,
    /// When the service was founded, microseconds since 1970: tells two services that a node had one after the other.
    pub founded_unix_us: u64,
    /// Seconds since the founding wrapper started.
    pub wall_seconds: f64,
    /// Seconds from there until the view could be used.
    pub ready_seconds: f64,
}

/// From a wrapper, or the founder's child, to the holder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToHolder {
    /// Founder's child: one mounted connection. Descriptors: `/dev/fuse`, then the unmounter if there is one.
    Mounted {
        /// As in `estate::Connection`.
        only_view: Option<usize>,
    },
    /// Founder's child: all is mounted, start the daemon. Descriptors: mount namespace, then user namespace.
    Start {
        /// How it got in.
        way_in: WayIn,
    },
    /// Founder's child: the views are in place, others may join.
    Inside,
    /// A wrapper that found the name taken: let me in.
    Join {
        /// What the service must be like; `None`: the name says it all.
        wanted: Option<Wanted>,
    },
    /// A wrapper whose holder died.
    Resume {
        /// Its child, which is inside.
        task: i32,
        /// Whether it is the one that keeps the service, and its child no task.
        keeps: bool,
    },
    /// What the wrapper had inside has ended.
    Leave {
        /// How, if it was a task; `None`: the wrapper kept the service.
        ended: Option<TaskEnd>,
    },
    /// Not a wrapper: somebody who wants to know or do something.
    Ask(Wish),
}

/// What a task wants of a service that was there before it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Wanted {
    /// Each must be shown, or be beneath what is shown.
    #[serde(with = "super::paths::list")]
    pub views: Vec<PathBuf>,
    /// Where.
    #[serde(with = "super::paths::maybe")]
    pub mount_under: Option<PathBuf>,
    /// As many nodes must be on one machine; `None`: any number.
    pub local_nodes: Option<u32>,
    /// Changes must be seen as soon as this; `None`: whenever.
    pub freshness: Option<Duration>,
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TaskEnd {
    /// Its rank among those of the job, 0 if there is but one.
    pub rank: u64,
    /// Its exit code; 128 + N after signal N.
    pub exit_code: i32,
}

/// From the holder to a wrapper or the founder's child.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromHolder {
    /// Answer to [`ToHolder::Start`]: the daemon answers the kernel.
    Started,
    /// To the founder: there will be no service. The holder ends.
    Failed(Failed),
    /// Answer to [`ToHolder::Join`]. Descriptors: mount namespace, then user namespace, as the way needs.
    Welcome(Welcome),
    /// Answer to [`ToHolder::Join`]: the view is fading away, found another.
    Fading,
    /// Answer to [`ToHolder::Join`]: the service is not what is wanted.
    Elsewhere,
    /// To one wrapper, which tells the user.
    Trouble(String),
    /// To the wrapper that keeps the service: let it go.
    GoDown,
    /// Answer to [`ToHolder::Leave`].
    Farewell(Farewell),
    /// Answer to [`ToHolder::Ask`]. Descriptor: a memfd with JSON.
    Told,
    /// The kernel ended the connection while wrappers were here: somebody unmounted or aborted it.
    Ended,
}

/// What a joining wrapper needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    /// How tasks get in here.
    pub way_in: WayIn,
    /// Effective group of the founder; the kernel lets no other group pass.
    pub gid: u32,
    /// What is shown.
    #[serde(with = "super::paths::list")]
    pub views: Vec<PathBuf>,
}

/// What a leaving wrapper is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Farewell {
    /// `None` while other wrappers are still here: only the last one sums up.
    pub summary: Option<Summary>,
    /// Whether the service stays for tasks to come.
    pub stays: bool,
    /// Inode number of the mount namespace the tasks are in, if they are in one of their own.
    pub mount_namespace: Option<u64>,
    /// Why the report could not be written.
    pub report_error: Option<String>,
    /// The node's record, for the one who sums up, if `Settings::hand_up_record` wants it.
    pub record: Option<serde_json::Value>,
    /// Modules without bytecode, if they are many: told once.
    pub uncompiled: Option<Uncompiled>,
}

/// Figures of the node for the one line at the end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// What was shown.
    #[serde(with = "super::paths::list")]
    pub views: Vec<PathBuf>,
    /// Requests of the kernel, without FORGET, which nobody waits for.
    pub requests: u64,
    /// Answers out of this node's memory.
    pub from_memory: u64,
    /// All answers.
    pub answers: u64,
    /// Calls on storage, for names and for content.
    pub storage_calls: u64,
    /// Bytes of content read from storage.
    pub storage_bytes: u64,
    /// Seconds until the view could be used; `None`: it was there already.
    pub ready_seconds: Option<f64>,
    /// Nodes that had it.
    pub nodes: u64,
    /// Tasks that used it.
    pub tasks: u64,
    /// Restarts of daemon and holder.
    pub restarts: u64,
    /// Questions of other nodes.
    pub asked_by_others: u64,
}

impl Summary {
    /// What has come since `before`.
    pub fn since(self, before: &Summary) -> Self {
        Summary {
            requests: self.requests - before.requests,
            from_memory: self.from_memory - before.from_memory,
            answers: self.answers - before.answers,
            storage_calls: self.storage_calls - before.storage_calls,
            storage_bytes: self.storage_bytes - before.storage_bytes,
            tasks: self.tasks - before.tasks,
            restarts: self.restarts - before.restarts,
            asked_by_others: self.asked_by_others - before.asked_by_others,
            ..self
        }
    }
}
