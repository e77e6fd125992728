//! Why `spinney run` did not run COMMAND, what the user can do about it, and the exit code.

use std::io;
use std::path::PathBuf;

use super::command::CommandError;
use super::election::ElectionError;
use super::site::SiteError;
use super::step::EnterError;
use super::views::ViewError;
use crate::cluster::ClusterError;
use crate::holder::estate::WayIn;

/// One reason per variant; who spoke is in its source.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A `--view` or `--mount-under` that cannot be.
    #[error(transparent)]
    View(#[from] ViewError),
    /// COMMAND is not there or cannot be executed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The site's file.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The nodes of the job.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// `--local-nodes` with `--way fusermount`.
    #[error("nodes on one machine cannot be shown their views with `fusermount3`, which everybody would see")]
    NotForLocalNodes,
    /// `--require`, and no environment was found.
    #[error("no software environment found for the command")]
    NoViews,
    /// `--require` or a fixed `--way`, and no way worked.
    #[error("no way to show a view: {}", tell(attempts))]
    NoWay {
        /// What was tried, in order.
        attempts: Vec<(WayIn, EnterError)>,
    },
    /// The node's service exists, but this task cannot get to it.
    #[error("cannot join the view of this job on this node: {0}")]
    Join(EnterError),
    /// As before: the kernel lets only the founder's group pass.
    #[error(
        "cannot join the view of this job on this node: it was founded with group {theirs}, this is {ours}"
    )]
    OtherGroup {
        /// Effective group of the founder.
        theirs: u32,
        /// Effective group of this process.
        ours: u32,
    },
    /// `spinney up`, twice.
    #[error("another service of this job is up already")]
    UpAlready,
    /// `spinney up`, and what it has started has ended, saying why.
    #[error("the service did not come up")]
    NothingUp,
    /// `spinney up`, and some nodes did not come.
    #[error("not all nodes are ready after {seconds} s: {missing} are missing")]
    NotReady {
        /// Their ranks, or what else is known.
        missing: String,
        /// How long they were waited for.
        seconds: u64,
    },
    /// Nobody could be elected.
    #[error("cannot find or found the service of this job on this node")]
    Election(#[source] Option<ElectionError>),
    /// `--daemon-cpus` names only processors that this process may not use.
    #[error("`--daemon-cpus`: none of these processors may be used")]
    Processors(#[source] io::Error),
    /// Where the report or log is to go.
    #[error("`{}`: {cause}", path.display())]
    Output {
        /// The directory or file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// The operating system refused something ordinary.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

impl Failure {
    /// As documented in the help.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::View(_) | Failure::Cluster(_) | Failure::NotForLocalNodes | Failure::Processors(_) => 2,
            Failure::Command(error) => error.exit_code(),
            _ => 125,
        }
    }

    /// The remedy, if there is one to name.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Failure::View(error) => Some(error.hint()),
            Failure::Cluster(error) => Some(error.hint()),
            Failure::NotForLocalNodes => Some("leave `--way` out, or try `--way direct`"),
            Failure::NoViews => Some("name its directory with `--view DIR`"),
            Failure::NoWay { attempts } => {
                remedy(attempts).or(Some("`spinney doctor` tells what works here and what to ask for"))
            }
            Failure::Join(_) => {
                Some("start all tasks of the job the same way, or give this one its own `--job`")
            }
            Failure::OtherGroup { .. } => {
                Some("start all tasks with the same effective group, or give this one its own `--job`")
            }
            Failure::Processors(_) => {
                Some("`nproc --all` tells how many there are; a job may be allowed fewer")
            }
            Failure::NothingUp => None,
            Failure::UpAlready => Some("`spinney down` ends it"),
            Failure::NotReady { .. } => Some("`spinney status` tells more; `spinney down` ends the others"),
            Failure::Election(_) => Some("try again with another `--job NAME`"),
            Failure::Command(_) | Failure::Site(_) | Failure::Output { .. } | Failure::System(_) => None,
        }
    }
}

/// What was tried, for the user: `user-namespace (cannot make a namespace: ...), fusermount (...)`.
pub fn tell(attempts: &[(WayIn, EnterError)]) -> String {
    if attempts.is_empty() {
        return "another task of the job has tried on this node".to_owned();
    }
    let told: Vec<String> = attempts.iter().map(|(way, error)| format!("{} ({error})", way.name())).collect();
    told.join(", ")
}

/// What the user can do for the first of them that only a limit of this process prevented.
pub fn remedy(attempts: &[(WayIn, EnterError)]) -> Option<&'static str> {
    attempts.iter().find_map(|(_, error)| error.remedy())
}
