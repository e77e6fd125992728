//! Why the nodes of a job cannot be told, and what the user can do about it.

use std::io;
use std::path::PathBuf;

use super::host_list::HostListError;

/// One reason per variant.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The file of `--hosts` or `--address-book`.
    #[error("`{}`: cannot be read: {cause}", file.display())]
    Unreadable {
        /// As named.
        file: PathBuf,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// What `--hosts` names is no list of hosts.
    #[error("`--hosts {named}`: {cause}")]
    HostList {
        /// As typed, or the file.
        named: String,
        /// What is wrong with it.
        #[source]
        cause: HostListError,
    },
    /// One host twice: two nodes could not be told from each other.
    #[error("host `{host}` is listed twice")]
    Duplicate {
        /// The host.
        host: String,
    },
    /// The list is not about this machine.
    #[error("this host, `{own}`, is not among the {listed} hosts of the list")]
    NotListed {
        /// Its name, as `hostname` prints it.
        own: String,
        /// How many are.
        listed: usize,
    },
    /// The list has several hosts of this name in different domains.
    #[error("this host, `{own}`, may be any of {}", hosts.join(", "))]
    Ambiguous {
        /// Its name.
        own: String,
        /// Those it may be.
        hosts: Vec<String>,
    },
    /// A line of the address book.
    #[error("`{}`, line {line}: {reason}", file.display())]
    BookLine {
        /// The book.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A host of the job that the book does not know.
    #[error("`{}` has no address of host `{host}`{}", file.display(), on(interface))]
    BookLacks {
        /// The book.
        file: PathBuf,
        /// The host.
        host: String,
        /// What `--interface` asks for.
        interface: Option<String>,
    },
    /// `--interface` names none with an address.
    #[error("this machine has no interface `{name}` with an address; it has {}", present.join(", "))]
    NoInterface {
        /// As typed.
        name: String,
        /// Those there are.
        present: Vec<String>,
    },
    /// The machine does not tell its interfaces.
    #[error("cannot list the interfaces of this machine: {0}")]
    Interfaces(#[source] io::Error),
    /// `--interface` alone tells nothing.
    #[error("`--interface` needs `--hosts` or `--address-book`")]
    NoHosts,
    /// Nobody says which job this is, and each node would think of another name.
    #[error("the nodes of the list cannot agree on the name of their job")]
    NoJob,
}

impl ClusterError {
    /// The remedy.
    pub fn hint(&self) -> &'static str {
        match self {
            ClusterError::Unreadable { .. } => {
                "name an existing file, or for `--hosts` a list such as `a[01-16],b3`"
            }
            ClusterError::HostList { .. } => {
                "write a list such as `a[01-16],b3`, or the name of a file with one"
            }
            ClusterError::Duplicate { .. } => {
                "list each host once; for several tasks on a host start the command several times there"
            }
            ClusterError::NotListed { .. } => {
                "list hosts as `hostname` prints them there, and start the command on those hosts only"
            }
            ClusterError::Ambiguous { .. } => "list hosts as `hostname` prints them there",
            ClusterError::BookLine { .. } => {
                "each line is HOST INTERFACE ADDRESS, such as `a01 hsn0 10.0.0.1`"
            }
            ClusterError::BookLacks { .. } => "add a line for it: HOST INTERFACE ADDRESS",
            ClusterError::NoInterface { .. } => "name one of these with `--interface`",
            ClusterError::Interfaces(_) => "name addresses with `--address-book`",
            ClusterError::NoHosts => "add `--hosts`",
            ClusterError::NoJob => "give the same `--job NAME` on all of them",
        }
    }
}

fn on(interface: &Option<String>) -> String {
    interface.as_ref().map_or(String::new(), |name| format!(" on interface `{name}`"))
}
