//! Open MPI (`mpirun`, `prterun`) and MPICH's hydra (also Intel MPI): tasks know how many they are, not where.
//!
//! The nodes are those of the allocation around, if the numbers fit (`cluster::detected`). Under Open MPI on Slurm the
//! first node has the variables of the batch script and the others those of a step without it, so only what the
//! allocation says is the same everywhere.

use super::{Launch, Nodes, Variable, allocated, place, slurm};

/// Number of a task of Open MPI.
pub const OPEN_MPI_RANK: &str = "OMPI_COMM_WORLD_RANK";
/// Number of a task of whatever speaks PMIx.
pub const PMIX_RANK: &str = "PMIX_RANK";
/// Number of a task of hydra.
pub const HYDRA_RANK: &str = "PMI_RANK";

/// How far up from a task the proxy of hydra may be: wrapper scripts may come between.
const ANCESTORS_MAX: usize = 8;

/// The launch of Open MPI or PRRTE that this task is of.
pub fn open_mpi(set: Variable) -> Option<Launch> {
    let task = place(set, OPEN_MPI_RANK, "OMPI_COMM_WORLD_SIZE")?;
    let here = place(set, "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE");
    let name = set("PMIX_NAMESPACE").map(|name| format!("pmix={name}"));
    // On the first node without an allocation there is nothing else that all share.
    let name = name.or_else(|| set("OMPI_MCA_orte_hnp_uri").map(|uri| format!("ompi={uri}")));
    let is_alone = here.is_some_and(|here| here.size == task.size);
    Some(Launch {
        launcher: Some("Open MPI mpiexec"),
        name,
        task: Some(task),
        here,
        nodes: nodes(is_alone, allocated(set)),
        ..Launch::default()
    })
}

/// The launch of hydra that this task is of.
pub fn hydra(set: Variable) -> Option<Launch> {
    let here = place(set, "MPI_LOCALRANKID", "MPI_LOCALNRANKS")?;
    let task = place(set, HYDRA_RANK, "PMI_SIZE")?;
    // Within Slurm it starts its proxies as a step of just the nodes it uses.
    let lists = slurm::stepped(set).into_iter().chain(allocated(set)).collect();
    let proxy = || control_port().map(|port| format!("mpi={port}"));
    Some(Launch {
        launcher: Some("MPICH mpiexec"),
        name: proxy().or_else(|| slurm::step_name(set)),
        task: Some(task),
        here: Some(here),
        nodes: nodes(here.size == task.size, lists),
        ..Launch::default()
    })
}

fn nodes(is_alone: bool, lists: Vec<super::Listed>) -> Nodes {
    match (is_alone, lists.is_empty()) {
        (true, _) => Nodes::Alone,
        (false, true) => Nodes::Untold,
        (false, false) => Nodes::Among(lists),
    }
}

/// Host and port where hydra's `mpiexec` listens for its proxies: the one thing that all tasks of a launch share and
/// no other launch has. It stands among the arguments of the proxy above this task.
fn control_port() -> Option<String> {
    let mut pid = rustix::process::getppid()?.as_raw_nonzero().get();
    for _ in 0..ANCESTORS_MAX {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        if let Some(port) = port_in(&line) {
            return Some(port);
        }
        pid = parent_in(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
    }
    None
}

fn port_in(line: &[u8]) -> Option<String> {
    let mut words = line.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    if !words.next()?.ends_with("hydra_pmi_proxy") {
        return None;
    }
    words.find(|word| word == "--control-port")?;
    words.next().filter(|port| !port.is_empty()).map(|port| port.into_owned())
}

/// Field 4 of `proc_pid_stat(5)`: the second after the name, which may hold anything.
fn parent_in(stat: &str) -> Option<i32> {
    let (_, after) = stat.rsplit_once(')')?;
    after.split_ascii_whitespace().nth(1)?.parse().ok().filter(|pid| *pid > 0)
}

#[cfg(test)]
mod tests {
    use super::super::tests::launch;
    use super::super::{Listed, Place};
    use super::*;

    /// What Open MPI 4.1 sets on the first node of four in a script of `sbatch`.
    const FIRST: &[(&str, &str)] = &[
        ("SLURM_JOB_ID", "7"),
        ("SLURM_JOB_NODELIST", "node[1-4]"),
        ("SLURM_NODEID", "0"),
        ("SLURM_PROCID", "0"),
        ("OMPI_COMM_WORLD_SIZE", "4"),
        ("OMPI_COMM_WORLD_LOCAL_RANK", "0"),
        ("OMPI_COMM_WORLD_LOCAL_SIZE", "1"),
        ("PMIX_NAMESPACE", "1266483201"),
        ("OMPI_COMM_WORLD_RANK", "0"),
    ];

    /// What its second node has instead: the daemons of Open MPI are a step without the first node.
    const SECOND: &[(&str, &str)] = &[
        ("OMPI_COMM_WORLD_RANK", "1"),
        ("SLURM_STEP_ID", "0"),
        ("SLURM_STEP_NODELIST", "node[2-4]"),
        ("SLURM_STEP_NUM_TASKS", "3"),
    ];

    #[test]
    fn nodes_that_see_different_steps_of_slurm_agree_under_open_mpi() {
        let (first, second) = (launch(FIRST), launch(&[SECOND, FIRST].concat()));
        assert_eq!(first.name.as_deref(), Some("slurm=7,pmix=1266483201"));
        assert_eq!((&first.name, &first.nodes), (&second.name, &second.nodes));
        assert_eq!(first.nodes, Nodes::Among(vec![Listed::parse("SLURM_JOB_NODELIST", "node[1-4]")]));
        assert_eq!(second.task, Some(Place { rank: 1, size: 4 }));
    }

    #[test]
    fn hydra_is_on_the_nodes_of_its_step_or_nobody_says() {
        let hydra: &[(&str, &str)] =
            &[("PMI_RANK", "1"), ("PMI_SIZE", "4"), ("MPI_LOCALRANKID", "0"), ("MPI_LOCALNRANKS", "1")];
        let found = launch(hydra);
        assert_eq!((found.nodes, found.task), (Nodes::Untold, Some(Place { rank: 1, size: 4 })));
        let alone = [&[("PMI_SIZE", "2"), ("MPI_LOCALNRANKS", "2")], hydra].concat();
        assert_eq!(launch(&alone).nodes, Nodes::Alone);
        let slurm = [
            ("SLURM_JOB_ID", "7"),
            ("SLURM_STEP_ID", "1"),
            ("SLURM_STEP_NODELIST", "b[1-4]"),
            ("SLURM_JOB_NODELIST", "b[1-9]"),
        ];
        let inside = launch(&[&slurm, hydra].concat());
        assert_eq!(inside.name.as_deref(), Some("slurm=7,step=1"));
        let lists =
            [Listed::parse("SLURM_STEP_NODELIST", "b[1-4]"), Listed::parse("SLURM_JOB_NODELIST", "b[1-9]")];
        assert_eq!(inside.nodes, Nodes::Among(lists.to_vec()));
    }

    #[test]
    fn the_proxy_of_hydra_tells_which_launch_it_serves() {
        let line = b"/usr/bin/hydra_pmi_proxy\0--control-port\0node1:35617\0--rmk\0user\0";
        assert_eq!(port_in(line).as_deref(), Some("node1:35617"));
        assert_eq!(port_in(b"/bin/sh\0--control-port\0node1:35617\0"), None, "another program");
        assert_eq!(parent_in("12 (a (b) c) S 7 12 12 0"), Some(7));
        assert_eq!(parent_in("1 (init) S 0 1"), None);
    }
}
