//! The nodes of a launch: which of the lists that its launcher gives holds, and which node of it this is.
//!
//! A launcher that says only how many tasks there are may use some nodes of the allocation and leave others idle. A node
//! that is listed but has no task would be waited for, so a list is taken only if its length fits the numbers.
//!
//! What does not fit is told and costs sharing, never the job: the node then serves itself.
//!
//! Not here: what the launchers say (`cluster::launchers`), what the user names (`cluster::named`).

use super::NodeRank;
use super::error::ClusterError;
use super::identity::{self, Own};
use super::launchers::{self, Launch, Listed, Nodes};

/// The nodes, by rank, and how that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detected {
    /// All hosts, by rank.
    pub hosts: Vec<String>,
    /// Which of them this is.
    pub own: NodeRank,
    /// The variable or program that told it.
    pub source: &'static str,
}

/// Why a task of several nodes is on its own. Each says which node, and [`Trouble::hint`] the remedy.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// Nobody lists the nodes.
    #[error("{launcher} does not say who the nodes are, so each reads from storage itself")]
    Untold {
        /// Who started the task.
        launcher: &'static str,
    },
    /// The list of the allocation and the number of tasks or nodes do not fit each other.
    #[error(
        "{launcher} has started tasks on some of the {listed} nodes in `{source_name}` and does not say on which, so each reads from storage itself"
    )]
    Partial {
        /// Who started the task.
        launcher: &'static str,
        /// Which list.
        source_name: &'static str,
        /// How long it is.
        listed: usize,
    },
    /// A list cannot be read.
    #[error("node `{own}`: `{source_name}` lists no nodes: {reason}; it reads from storage itself")]
    Unreadable {
        /// This node.
        own: String,
        /// Which list.
        source_name: &'static str,
        /// Why.
        reason: String,
    },
    /// Two variables of one launcher do not fit.
    #[error(
        "node `{own}`: `{source_name}` lists {listed} nodes, but {launcher} says {told}; it reads from storage itself"
    )]
    Contradiction {
        /// This node.
        own: String,
        /// Which list.
        source_name: &'static str,
        /// How long it is.
        listed: usize,
        /// Who started the task.
        launcher: &'static str,
        /// How many nodes it says there are.
        told: u64,
    },
    /// This node is not in the list, or cannot be told from others, or is there twice.
    #[error("node `{own}`: `{source_name}`: {cause}; it reads from storage itself")]
    Unplaced {
        /// This node.
        own: String,
        /// Which list.
        source_name: &'static str,
        /// What is wrong.
        #[source]
        cause: ClusterError,
    },
    /// Others may have the interface that was asked for.
    #[error("node `{own}`: {cause}; it uses all it has")]
    Interface {
        /// This node.
        own: String,
        /// Which one.
        #[source]
        cause: ClusterError,
    },
}

impl Trouble {
    /// The remedy.
    pub fn hint(&self) -> &'static str {
        match self {
            Trouble::Untold { .. } | Trouble::Partial { .. } => {
                "name the nodes that run tasks with `--hosts`, or start one task or more on every node"
            }
            Trouble::Unreadable { .. } | Trouble::Contradiction { .. } => "name the nodes with `--hosts`",
            Trouble::Interface { .. } => "name addresses with `--address-book`",
            Trouble::Unplaced { .. } => "name the nodes with `--hosts`, each as `hostname` prints it there",
        }
    }

    /// Whether all nodes have it, so that one need tell.
    pub fn is_of_all(&self) -> bool {
        matches!(self, Trouble::Untold { .. } | Trouble::Partial { .. })
    }
}

/// The nodes of `launch`; none if it is on this node only.
///
/// # Errors
/// There may be several, but not in a way that can be relied on.
pub fn nodes(launch: &Launch, own: &Own) -> Result<Option<Detected>, Trouble> {
    let launcher = launch.launcher.unwrap_or("the launcher");
    match &launch.nodes {
        Nodes::Alone => Ok(None),
        Nodes::Untold => Err(Trouble::Untold { launcher }),
        Nodes::Exactly(listed) => {
            let detected = placed(listed, launch, own)?;
            let told = launch.n_nodes.unwrap_or(detected.hosts.len() as u64);
            if told != detected.hosts.len() as u64 {
                return Err(Trouble::Contradiction {
                    own: own.name.clone(),
                    source_name: detected.source,
                    listed: detected.hosts.len(),
                    launcher,
                    told,
                });
            }
            Ok(Some(detected).filter(|detected| detected.hosts.len() > 1))
        }
        Nodes::Among(lists) => among(lists, launch, own).map(Some),
    }
}

/// What to put in front of a command so that it runs on the first node of the allocation: for a process that is on none of
/// its nodes, such as the shell of `salloc` on a host for logins.
pub fn from_outside() -> Option<Vec<String>> {
    let (listed, words) = launchers::on_first_node()?;
    let own = identity::rank_of(&listed.hosts.ok()?, &Own::find(), &[]);
    matches!(own, Err(ClusterError::NotListed { .. })).then_some(words)
}

/// The first list that fits, else why the first that could be read does not.
fn among(lists: &[Listed], launch: &Launch, own: &Own) -> Result<Detected, Trouble> {
    let mut first_trouble = None;
    for listed in lists {
        let trouble = match placed(listed, launch, own) {
            Ok(detected) if fits(detected.hosts.len() as u64, launch) => return Ok(detected),
            Ok(detected) => Trouble::Partial {
                launcher: launch.launcher.unwrap_or("the launcher"),
                source_name: listed.source,
                listed: detected.hosts.len(),
            },
            Err(trouble) => trouble,
        };
        first_trouble.get_or_insert(trouble);
    }
    Err(first_trouble.unwrap_or(Trouble::Untold { launcher: launch.launcher.unwrap_or("the launcher") }))
}

/// Whether a launch on several nodes is likely to be on each of `listed`.
///
/// If every node has as many tasks as this one, the tasks fill the list; where tasks do not divide evenly this node may
/// have one more or less than others.
fn fits(listed: u64, launch: &Launch) -> bool {
    match (launch.n_nodes, launch.task, launch.here) {
        _ if listed < 2 => false,
        (Some(told), _, _) => told == listed,
        (None, Some(all), Some(here)) => all.size >= listed && all.size.div_ceil(here.size) >= listed,
        (None, Some(all), None) => all.size == listed,
        (None, None, _) => false,
    }
}

fn placed(listed: &Listed, launch: &Launch, own: &Own) -> Result<Detected, Trouble> {
    let hosts = listed.hosts.clone().map_err(|reason| Trouble::Unreadable {
        own: own.name.clone(),
        source_name: listed.source,
        reason,
    })?;
    let rank = || {
        identity::check_unique(&hosts)?;
        identity::rank_of(&hosts, own, &launch.aliases)
    };
    let unplaced = |cause| Trouble::Unplaced { own: own.name.clone(), source_name: listed.source, cause };
    let rank = rank().map_err(unplaced)?;
    Ok(Detected { hosts, own: rank, source: listed.source })
}

#[cfg(test)]
mod tests {
    use super::super::launchers::Place;
    use super::*;

    fn own(name: &str) -> Own {
        Own { name: name.to_owned(), interfaces: vec!["hsn0".to_owned()], addresses: Vec::new() }
    }

    fn launch(nodes: Nodes, all: u64, here: u64) -> Launch {
        let place = |size| Some(Place { rank: 0, size });
        Launch { launcher: Some("mpiexec"), task: place(all), here: place(here), nodes, ..Launch::default() }
    }

    fn list(text: &str) -> Listed {
        Listed::parse("LIST", text)
    }

    #[test]
    fn a_list_is_taken_if_tasks_fill_it() {
        for (hosts, all, here, want) in [
            ("a[1-4]", 4, 1, true),
            ("a[1-4]", 16, 4, true),
            ("a[1-4]", 7, 2, true),  // 2, 2, 2, 1
            ("a[1-4]", 7, 1, true),  // the same, seen from the last
            ("a[1-4]", 4, 4, false), // all of them here
            ("a[1-4]", 2, 1, false), // on two nodes of four
            ("a[1-4]", 8, 4, false),
            ("a1", 4, 2, false), // more tasks than are here, so there is another node
        ] {
            let found = nodes(&launch(Nodes::Among(vec![list(hosts)]), all, here), &own("a1"));
            assert_eq!(found.is_ok(), want, "{hosts}, {all} tasks, {here} here: {found:?}");
        }
    }

    #[test]
    fn the_first_list_that_fits_is_taken() {
        let lists = vec![list("batch,a1,a2"), list("a1,a2")];
        let found = nodes(&launch(Nodes::Among(lists), 84, 42), &own("a2")).unwrap().unwrap();
        assert_eq!((found.hosts.len(), found.own.get()), (2, 1));
    }

    #[test]
    fn what_does_not_fit_is_one_line_with_the_node_and_a_remedy() {
        let exactly = |text| launch(Nodes::Exactly(list(text)), 4, 1);
        let mut told = exactly("a[1-4]");
        told.n_nodes = Some(5);
        for (launch, words) in [
            (launch(Nodes::Untold, 4, 1), "mpiexec does not say who the nodes are"),
            (launch(Nodes::Among(vec![list("a[1-4]")]), 2, 1), "on some of the 4 nodes in `LIST`"),
            (exactly("b[1-4]"), "node `a1`: `LIST`: this host, `a1`, is not among the 4 hosts"),
            (exactly("a1,a2,a1"), "node `a1`: `LIST`: host `a1` is listed twice"),
            (exactly("a[1-"), "node `a1`: `LIST` lists no nodes: its brackets do not match"),
            (told, "`LIST` lists 4 nodes, but mpiexec says 5"),
        ] {
            let trouble = nodes(&launch, &own("a1")).unwrap_err();
            assert!(trouble.to_string().contains(words) && !trouble.to_string().contains('\n'), "{trouble}");
            assert!(!trouble.hint().is_empty());
        }
    }

    #[test]
    fn a_launch_on_one_node_is_no_trouble() {
        assert_eq!(nodes(&Launch::default(), &own("a1")).unwrap(), None);
        assert_eq!(nodes(&launch(Nodes::Exactly(list("a1")), 4, 4), &own("a1")).unwrap(), None);
    }

    #[test]
    fn a_node_is_known_by_its_own_name_whatever_its_number_is_said_to_be() {
        let mut launch = launch(Nodes::Exactly(list("a[1-4]")), 4, 1);
        launch.node_id = Some(("SLURM_NODEID", 0));
        assert_eq!(nodes(&launch, &own("a3")).unwrap().unwrap().own.get(), 2);
    }
}
