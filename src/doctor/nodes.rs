//! Who the nodes of a job started here would be, from which variable, and what the nodes would use to meet.
//!
//! Read from the environment, as `spinney run` does: under a launcher it tells what a job there would find. The key is
//! looked for and not made.
//!
//! Not here: how lists are found and chosen (`cluster`).

use std::path::Path;

use serde::Serialize;

use crate::cluster::identity::Own;
use crate::cluster::launchers::{Launch, Place};
use crate::cluster::named::{self, Wishes};
use crate::cluster::{interfaces, ports_of};
use crate::environment::mounts::{Mounts, Reach};
use crate::wire::KeyPlaces;

/// What `spinney run` would take.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NodesReport {
    /// This machine, as `hostname` prints it.
    pub host: String,
    /// What has started this process, such as `srun`.
    pub launcher: Option<String>,
    /// What names the step, and the allocation around it.
    pub job: Option<String>,
    /// See `job`.
    pub allocation: Option<String>,
    /// How many nodes there are; 1: this one is alone.
    pub count: u32,
    /// Which of them this is.
    pub rank: Option<u32>,
    /// The variable or program that told the nodes.
    pub told_by: Option<String>,
    /// This task among all.
    pub task: Option<TaskReport>,
    /// Why the nodes cannot be told, or not relied on, and the remedy.
    pub trouble: Option<String>,
    /// Where other nodes would be called from: the fastest interface first.
    pub interfaces: Vec<InterfaceReport>,
    /// Where this node would listen.
    pub ports: Vec<u16>,
    /// Where the key of the nodes would come from.
    pub key: Option<String>,
    /// Whether other nodes are sure to find the same key there; none: nobody knows.
    pub key_is_shared: Option<bool>,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskReport {
    /// Its number.
    pub rank: u64,
    /// How many there are.
    pub size: u64,
}

/// An interface that leads to other machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InterfaceReport {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Megabits per second, where the kernel says.
    pub speed_mbit: Option<u32>,
}

/// What this process would take.
pub fn examine(mounts: &Mounts) -> NodesReport {
    let launch = Launch::of_environment();
    let (key, key_is_shared) = key(&KeyPlaces::of_environment(), mounts);
    NodesReport { key, key_is_shared, ..of_launch(&launch, &Own::find()) }
}

fn of_launch(launch: &Launch, own: &Own) -> NodesReport {
    let job = launch.name.clone().unwrap_or_default();
    let found = named::find_as(&job, &Wishes::default(), launch, own).unwrap_or_default();
    let cluster = found.cluster.as_ref();
    let trouble = found.trouble.map(|trouble| format!("{trouble}; {}", trouble.hint()));
    NodesReport {
        host: own.name.clone(),
        launcher: launch.launcher.map(str::to_owned),
        job: launch.name.clone(),
        allocation: launch.allocation.clone(),
        count: cluster.map_or(1, |cluster| cluster.n_nodes()),
        rank: cluster.map(|cluster| cluster.own.get()),
        told_by: found.source.map(str::to_owned),
        task: launch.task.map(|Place { rank, size }| TaskReport { rank, size }),
        trouble: trouble.or_else(|| number_differs(launch, cluster.map(|cluster| cluster.own.get()))),
        interfaces: interfaces(),
        ports: cluster.map(|cluster| ports_of(&cluster.job, cluster.own).to_vec()).unwrap_or_default(),
        ..NodesReport::default()
    }
}

/// Worth telling, though it changes nothing: the name counts.
fn number_differs(launch: &Launch, rank: Option<u32>) -> Option<String> {
    let ((variable, told), rank) = (launch.node_id?, rank?);
    (told != rank)
        .then(|| format!("`{variable}` is {told}, but this host is number {rank} of the list, which counts"))
}

fn interfaces() -> Vec<InterfaceReport> {
    let rows = interfaces::rows();
    let report = |row: interfaces::Row| InterfaceReport {
        address: row.address.to_string(),
        speed_mbit: row.speed_mbit,
        name: row.interface,
    };
    rows.into_iter().map(report).collect()
}

/// In the order in which they count.
fn key(places: &KeyPlaces, mounts: &Mounts) -> (Option<String>, Option<bool>) {
    if places.variable.is_some() {
        return (Some("SPINNEY_KEY".to_owned()), None);
    }
    let reach = |directory: &Path| mounts.of(directory).map_or(Reach::Unknown, |mount| mount.reach());
    let launchers = (Some("PMI_SHARED_SECRET".to_owned()), Some(true));
    match &places.configuration {
        Some(_) if places.uses_launcher() => launchers,
        Some(directory) => {
            let shared = match reach(directory) {
                Reach::Network => Some(true),
                Reach::Local => Some(false),
                Reach::Unknown => None,
            };
            (Some(directory.join("spinney").join("key").display().to_string()), shared)
        }
        None if places.launcher.is_some() => launchers,
        None => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::launchers::{Listed, Nodes};

    #[test]
    fn the_second_of_two_nodes_is_told_with_its_source_and_a_number_that_differs() {
        let launch = Launch {
            launcher: Some("srun"),
            name: Some("slurm=7,step=0".to_owned()),
            allocation: Some("slurm=7".to_owned()),
            nodes: Nodes::Exactly(Listed::parse("SLURM_STEP_NODELIST", "a[1-2]")),
            node_id: Some(("SLURM_NODEID", 0)),
            ..Launch::default()
        };
        let report = of_launch(&launch, &Own { name: "a2".to_owned(), ..Own::default() });
        assert_eq!((report.count, report.rank), (2, Some(1)));
        assert_eq!(report.told_by.as_deref(), Some("SLURM_STEP_NODELIST"));
        assert_eq!(report.ports.len(), 4);
        assert!(report.trouble.unwrap().contains("`SLURM_NODEID` is 0, but this host is number 1"));
        let stranger = of_launch(&launch, &Own { name: "b1".to_owned(), ..Own::default() });
        assert_eq!((stranger.count, stranger.rank), (1, None));
        assert!(stranger.trouble.unwrap().contains("node `b1`"));
    }
}
