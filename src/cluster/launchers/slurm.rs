//! Slurm: `srun`, `sbatch`, `salloc`. See `srun(1)`, output environment variables.
//!
//! A script of `sbatch` and a shell of `salloc` are on one node, whatever the allocation has: only a step is on many. A
//! step of a heterogeneous job that spans several components sees one list, one step and the first component's job.

use super::{Launch, Listed, Nodes, Place, Variable, number, place};

/// What a task of a step was started by.
pub const LAUNCHER: &str = "srun";

/// Number of a task.
pub const RANK: &str = "SLURM_PROCID";

/// The job, which for a heterogeneous one is its first component.
pub fn allocation(set: Variable) -> Option<String> {
    let job = set("SLURM_JOB_ID_HET_GROUP_0").or_else(|| set("SLURM_JOB_ID"))?;
    Some(format!("slurm={job}"))
}

/// The nodes of the job.
pub fn allocated(set: Variable) -> Option<Listed> {
    const LIST: &str = "SLURM_JOB_NODELIST";
    Some(Listed::parse(LIST, &set(LIST)?))
}

/// The nodes of the step, if there is one around this task and it is within the job: a script that was submitted from a
/// step inherits that step's variables.
pub fn stepped(set: Variable) -> Option<Listed> {
    const LIST: &str = "SLURM_STEP_NODELIST";
    let step = Listed::parse(LIST, &set(LIST)?);
    let (Ok(hosts), Some(Listed { hosts: Ok(job), .. })) = (&step.hosts, allocated(set)) else {
        return Some(step);
    };
    let job: std::collections::HashSet<String> = job.into_iter().collect();
    hosts.iter().all(|host| job.contains(host)).then_some(step)
}

/// A step on all nodes.
pub fn on_each_node(set: Variable) -> Option<Vec<String>> {
    super::with_count(allocated(set), beside_others)
}

/// A step on the first node, for a process that is in no step.
pub fn on_first_node(set: Variable) -> Option<(Listed, Vec<String>)> {
    let listed = if stepped(set).is_none() { allocated(set)? } else { return None };
    let first = ["--relative=0".to_owned()];
    Some((listed, beside_others(1).into_iter().chain(first).collect()))
}

/// A step beside all others, which takes nothing from them and says only what goes wrong.
fn beside_others(n_nodes: usize) -> Vec<String> {
    let counts = [format!("--nodes={n_nodes}"), format!("--ntasks={n_nodes}")];
    let rest = [
        "--ntasks-per-node=1",
        "--cpu-bind=none",
        "--mpi=none",
        "--input=none",
        "--kill-on-bad-exit=0",
        "--quiet",
        "--job-name=spinney",
    ];
    let words = ["srun", "--overlap"].map(str::to_owned).into_iter();
    words.chain(counts).chain(rest.map(str::to_owned)).collect()
}

/// What a step is called.
pub fn step_name(set: Variable) -> Option<String> {
    Some(format!("step={}", set("SLURM_STEP_ID")?))
}

/// The step that this task is of.
pub fn step(set: Variable, is_terminal: bool) -> Option<Launch> {
    let job = set("SLURM_JOB_ID")?;
    let listed = stepped(set)?;
    // `srun --pty` gives a terminal to one task only: a shell, whose commands run nowhere else.
    let is_shell = is_terminal && set("SLURM_PTY_PORT").is_some();
    Some(Launch {
        launcher: Some(LAUNCHER),
        name: Some(format!("slurm={job},{}", step_name(set)?)),
        task: place(set, RANK, "SLURM_STEP_NUM_TASKS").or_else(|| place(set, RANK, "SLURM_NTASKS")),
        here: here(set),
        nodes: if is_shell { Nodes::Alone } else { Nodes::Exactly(listed) },
        n_nodes: set("SLURM_STEP_NUM_NODES").and_then(|count| count.parse().ok()),
        node_id: number(set, "SLURM_NODEID"),
        aliases: set("SLURMD_NODENAME").into_iter().collect(),
        ..Launch::default()
    })
}

/// `SLURM_STEP_TASKS_PER_NODE` is a list such as `2(x3),1`; this node's part of it is how often its rank counts.
fn here(set: Variable) -> Option<Place> {
    let rank = set("SLURM_LOCALID")?.parse().ok()?;
    let node = set("SLURM_NODEID")?.parse().ok()?;
    let size = tasks_per_node(&set("SLURM_STEP_TASKS_PER_NODE")?, node)?;
    Some(Place { rank, size })
}

fn tasks_per_node(text: &str, node: u64) -> Option<u64> {
    let mut before = 0;
    for part in text.split(',') {
        let (tasks, times) = match part.split_once("(x") {
            Some((tasks, times)) => (tasks, times.strip_suffix(')')?.parse().ok()?),
            None => (part, 1_u64),
        };
        before += times;
        if node < before {
            return tasks.parse().ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::tests::launch;
    use super::*;

    /// The second node of a step on three of an allocation's four nodes.
    const STEP: &[(&str, &str)] = &[
        ("SLURMD_NODENAME", "node2"),
        ("SLURM_JOB_ID", "7"),
        ("SLURM_JOB_NODELIST", "node[1-4]"),
        ("SLURM_STEP_ID", "3"),
        ("SLURM_STEP_NODELIST", "node[1-3]"),
        ("SLURM_STEP_NUM_NODES", "3"),
        ("SLURM_STEP_NUM_TASKS", "5"),
        ("SLURM_STEP_TASKS_PER_NODE", "2(x2),1"),
        ("SLURM_NTASKS", "5"),
        ("SLURM_NODEID", "1"),
        ("SLURM_PROCID", "2"),
        ("SLURM_LOCALID", "0"),
    ];

    fn with<'a>(changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        [changes, STEP].concat()
    }

    #[test]
    fn a_task_of_a_step_knows_its_step_its_nodes_and_its_place() {
        let step = launch(STEP);
        assert_eq!(step.launcher, Some("srun"));
        assert_eq!(step.name.as_deref(), Some("slurm=7,step=3"));
        assert_eq!(step.allocation.as_deref(), Some("slurm=7"));
        assert_eq!(step.task, Some(Place { rank: 2, size: 5 }));
        assert_eq!(step.here, Some(Place { rank: 0, size: 2 }));
        assert_eq!(step.nodes, Nodes::Exactly(Listed::parse("SLURM_STEP_NODELIST", "node[1-3]")));
        assert_eq!((step.node_id, step.aliases), (Some(("SLURM_NODEID", 1)), vec!["node2".to_owned()]));
    }

    #[test]
    fn a_batch_script_is_on_one_node_of_its_allocation() {
        let script = &[
            ("SLURM_JOB_ID", "7"),
            ("SLURM_JOB_NODELIST", "node[1-4]"),
            ("SLURM_PROCID", "0"),
            ("SLURM_NTASKS", "4"),
            ("SLURM_NODEID", "0"),
        ];
        let script = launch(script);
        assert_eq!((script.nodes, script.launcher), (Nodes::Alone, None));
        assert_eq!(script.name.as_deref(), Some("slurm=7"));
        // Submitted from a step on nodes of another job, whose variables it has inherited.
        let stale = with(&[("SLURM_JOB_NODELIST", "node[2-3]")]);
        assert_eq!(launch(&stale).nodes, Nodes::Alone);
    }

    #[test]
    fn the_components_of_a_heterogeneous_job_have_one_allocation() {
        let groups = [("SLURM_JOB_ID_HET_GROUP_0", "7"), ("SLURM_JOB_ID_HET_GROUP_1", "8")];
        let first = launch(&with(&groups));
        let second = launch(&with(&[groups[0], groups[1], ("SLURM_JOB_ID", "8")]));
        assert_eq!(first.allocation, second.allocation);
        assert_ne!(first.name, second.name, "steps of different components");
        assert_eq!(second.name.as_deref(), Some("slurm=8,step=3"));
    }

    #[test]
    fn a_shell_on_a_terminal_runs_its_commands_on_its_own_node() {
        let variables = with(&[("SLURM_PTY_PORT", "40000")]);
        let of = |name: &str| {
            let found = variables.iter().find(|(set, _)| *set == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        assert_eq!(Launch::find(&of, true).nodes, Nodes::Alone);
        assert!(
            matches!(Launch::find(&of, false).nodes, Nodes::Exactly(_)),
            "a step started from that shell"
        );
    }

    #[test]
    fn tasks_per_node_are_counted_along_their_list() {
        for (text, node, want) in [
            ("4,2,1(x2)", 0, Some(4)),
            ("4,2,1(x2)", 1, Some(2)),
            ("4,2,1(x2)", 3, Some(1)),
            ("4,2,1(x2)", 4, None), // beyond the end
            ("1(x4)", 3, Some(1)),
            ("1(x", 0, None), // no list
        ] {
            assert_eq!(tasks_per_node(text, node), want, "{text} {node}");
        }
    }
}
