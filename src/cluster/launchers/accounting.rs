//! What a site accounts a launch by: project, cluster, number, size. For records, not for finding anybody.

use super::Variable;

/// What the job is charged to: Slurm, PBS (as sites set it), Flux.
const PROJECTS: &[&str] = &["SLURM_JOB_ACCOUNT", "PBS_ACCOUNT", "FLUX_JOB_BANK"];
/// The cluster's name.
const SYSTEMS: &[&str] = &["SLURM_CLUSTER_NAME", "LMOD_SYSTEM_NAME"];
/// The job's number.
const JOBS: &[&str] = &["SLURM_JOB_ID", "PBS_JOBID", "FLUX_JOB_ID", "LSB_JOBID"];
/// How many nodes the step has.
const NODES: &[&str] = &["SLURM_STEP_NUM_NODES", "SLURM_NNODES", "FLUX_JOB_NNODES"];
/// How many tasks it has.
const TASKS: &[&str] =
    &["SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "FLUX_JOB_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE"];

/// One launch in a site's books. What nobody says is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accounting {
    /// What it is charged to.
    pub project: Option<String>,
    /// The cluster.
    pub system: Option<String>,
    /// The scheduler's number of the job.
    pub job: Option<String>,
    /// How many nodes.
    pub n_nodes: Option<u32>,
    /// How many tasks.
    pub n_tasks: Option<u32>,
}

impl Accounting {
    /// That of this process.
    pub fn of_environment() -> Self {
        Accounting::find(&|name| std::env::var(name).ok())
    }

    fn find(variable: Variable) -> Self {
        let set = |name: &&str| variable(name).filter(|value| !value.is_empty());
        let first = |names: &[&str]| names.iter().find_map(set);
        let count = |names: &[&str]| first(names).and_then(|count| count.parse().ok());
        Accounting {
            project: first(PROJECTS),
            system: first(SYSTEMS),
            job: first(JOBS),
            n_nodes: count(NODES),
            n_tasks: count(TASKS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_empty_or_no_number_is_not_said() {
        let of = |name: &str| match name {
            "SLURM_JOB_ACCOUNT" => Some(String::new()),
            "PBS_ACCOUNT" => Some("climate".to_owned()),
            "SLURM_JOB_ID" => Some("7".to_owned()),
            "SLURM_NNODES" => Some("many".to_owned()),
            "PMI_SIZE" => Some("12".to_owned()),
            _ => None,
        };
        let accounting = Accounting::find(&of);
        assert_eq!(accounting.project.as_deref(), Some("climate"));
        assert_eq!((accounting.job.as_deref(), accounting.system), (Some("7"), None));
        assert_eq!((accounting.n_nodes, accounting.n_tasks), (None, Some(12)));
    }
}
