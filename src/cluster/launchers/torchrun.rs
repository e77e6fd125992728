//! `torchrun`, which starts workers on its own node: below `srun` once a node, or by hand.
//!
//! What started `torchrun` knows the nodes better, so only the place of the worker is always taken from here.

use super::{Launch, Nodes, Place, Variable, allocated, place};

/// Place among all workers.
pub fn task(set: Variable) -> Option<Place> {
    set("TORCHELASTIC_RUN_ID")?;
    place(set, "RANK", "WORLD_SIZE")
}

/// Place among those of this node.
pub fn here(set: Variable) -> Option<Place> {
    set("TORCHELASTIC_RUN_ID")?;
    place(set, "LOCAL_RANK", "LOCAL_WORLD_SIZE")
}

/// The launch, where nobody else has started `torchrun`.
pub fn launch(set: Variable) -> Option<Launch> {
    let (run, task) = (set("TORCHELASTIC_RUN_ID")?, task(set)?);
    let meet = [set("MASTER_ADDR"), set("MASTER_PORT")].map(Option::unwrap_or_default).join(":");
    let n_nodes: Option<u64> = set("GROUP_WORLD_SIZE").and_then(|size| size.parse().ok());
    let nodes = match allocated(set) {
        _ if n_nodes == Some(1) => Nodes::Alone,
        lists if lists.is_empty() => Nodes::Untold,
        lists => Nodes::Among(lists),
    };
    Some(Launch {
        launcher: Some("torchrun"),
        // The run is called `none` unless somebody names it; where the workers meet tells runs apart.
        name: Some(format!("torchrun={run}@{meet}")),
        task: Some(task),
        here: here(set),
        n_nodes,
        nodes,
        ..Launch::default()
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::launch;
    use super::*;

    const WORKER: &[(&str, &str)] = &[
        ("GROUP_RANK", "1"),
        ("GROUP_WORLD_SIZE", "2"),
        ("LOCAL_RANK", "3"),
        ("LOCAL_WORLD_SIZE", "4"),
        ("MASTER_ADDR", "a1"),
        ("MASTER_PORT", "29500"),
        ("RANK", "7"),
        ("TORCHELASTIC_RUN_ID", "none"),
        ("WORLD_SIZE", "8"),
    ];

    #[test]
    fn workers_of_several_nodes_without_a_scheduler_know_their_place_but_no_nodes() {
        let worker = launch(WORKER);
        assert_eq!(worker.name.as_deref(), Some("torchrun=none@a1:29500"));
        assert_eq!((worker.task, worker.nodes), (Some(Place { rank: 7, size: 8 }), Nodes::Untold));
    }

    #[test]
    fn below_srun_the_step_tells_the_nodes() {
        let step = [
            ("SLURM_JOB_ID", "7"),
            ("SLURM_STEP_ID", "0"),
            ("SLURM_STEP_NODELIST", "a[1-2]"),
            ("SLURM_PROCID", "1"),
            ("SLURM_NTASKS", "2"),
        ];
        let worker = launch(&[&step, WORKER].concat());
        assert_eq!((worker.launcher, worker.name.as_deref()), (Some("srun"), Some("slurm=7,step=0")));
        assert_eq!(worker.task, Some(Place { rank: 7, size: 8 }));
        assert_eq!(worker.here, Some(Place { rank: 3, size: 4 }));
        assert!(matches!(worker.nodes, Nodes::Exactly(_)));
    }
}
