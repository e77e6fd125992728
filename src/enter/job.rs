//! Which job this task belongs to, as its launcher tells it in the environment.
//!
//! Tasks of one step see the same identifiers, other steps see others; that is all the election needs. All
//! identifiers that are set go into the key, since engines nest: Flux inside Slurm, `mpiexec` inside PBS.
//!
//! Not here: who the nodes of the job are (`cluster`).

use std::ffi::OsStr;

use xxhash_rust::xxh3::Xxh3;

/// Identifiers that are equal among the tasks of one step: variable, label in the key.
///
/// Slurm: `srun(1)`, output environment variables; PBS with PALS: `aprun(1)` of Cray PALS; Flux:
/// `flux-run(1)`; LSF: `bsub(1)`; PMIx namespaces are what Open MPI and PRRTE call a launch.
const IDENTIFIERS: &[(&str, &str)] = &[
    ("SLURM_JOB_ID", "slurm"),
    ("SLURM_STEP_ID", "step"),
    ("PBS_JOBID", "pbs"),
    ("PALS_APID", "pals"),
    ("FLUX_JOB_ID", "flux"),
    ("LSB_JOBID", "lsf"),
    ("LSB_JOBINDEX", "index"),
    ("PMIX_NAMESPACE", "pmix"),
];

/// Those of them that all steps of an allocation share.
const ALLOCATIONS: &[&str] = &["slurm", "pbs", "lsf", "index"];

/// Variables with the task's place among those of the job.
const RANKS: &[&str] =
    &["SLURM_PROCID", "PMIX_RANK", "PMI_RANK", "PALS_RANKID", "FLUX_TASK_RANK", "OMPI_COMM_WORLD_RANK"];

/// The job of this task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// For people: `--job NAME`, or the identifiers.
    pub name: String,
    /// Place among the tasks of the job; 0 if nobody says.
    pub rank: u64,
    /// What the job's steps have in common: a service that outlives one of them is found by it.
    pub allocation: String,
    /// Whether somebody said the name; else it is one that only this process knows.
    pub is_told: bool,
}

impl Job {
    /// The job as `named` by the user, else as `variable` tells it, else one that consists of this
    /// process alone.
    pub fn find(named: Option<&str>, variable: impl Fn(&str) -> Option<String>) -> Self {
        let rank = RANKS.iter().find_map(|name| variable(name)?.parse().ok()).unwrap_or(0);
        if let Some(name) = named {
            return Job { name: name.to_owned(), rank, allocation: name.to_owned(), is_told: true };
        }
        let set = |(name, label): &(&str, &str)| Some(format!("{label}={}", variable(name)?));
        let mut parts: Vec<String> = IDENTIFIERS.iter().filter_map(set).collect();
        let is_told = !parts.is_empty();
        if !is_told {
            // MPICH's launcher gives ranks but no name; its local proxy is the parent of all its tasks.
            let launched = variable("PMI_RANK").is_some();
            let launcher = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
            parts.push(if launched { unique("mpi", launcher) } else { unique_here("pid") });
        }
        let of_all_steps = |(_, label): &&(&str, &str)| ALLOCATIONS.contains(label);
        let allocation: Vec<String> = IDENTIFIERS.iter().filter(of_all_steps).filter_map(set).collect();
        Job { name: parts.join(","), rank, allocation: allocation.join(","), is_told }
    }

    /// A job that this process starts on nodes of its own: whatever is set in the environment is about others.
    pub fn launched_here(named: Option<&str>) -> Self {
        let Job { name, allocation, .. } = Job::find(named, |variable| std::env::var(variable).ok());
        let name = if named.is_some() { name } else { unique_here("local") };
        Job { name, rank: 0, allocation, is_told: true }
    }
}

/// A name that no other process ever has.
pub fn unique_here(label: &str) -> String {
    unique(label, std::process::id().cast_signed())
}

fn unique(label: &str, pid: i32) -> String {
    format!("{label}={pid}.{}", start_time(pid))
}

/// When process `pid` started, in clock ticks since boot: with the pid, a name that never comes again.
fn start_time(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold blanks; field 22 of `proc_pid_stat(5)` is the 20th after it.
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    after.split_ascii_whitespace().nth(19).and_then(|ticks| ticks.parse().ok()).unwrap_or(0)
}

/// The name under which tasks of one job, on one node, with the same flags find each other.
///
/// `parts` is whatever must be equal. The version of the program is part of it, so the messages of both ends are
/// those of one version. So are the file system root and the namespaces a process sees: two containers that share
/// the network (and with it the abstract sockets) have different files under the same paths.
pub fn rendezvous(uid: u32, parts: &[&OsStr]) -> String {
    let mut hash = Xxh3::new();
    let mut add = |bytes: &[u8]| {
        hash.update(&bytes.len().to_ne_bytes());
        hash.update(bytes);
    };
    add(env!("CARGO_PKG_VERSION").as_bytes());
    for place in ["/", "/proc/self/ns/mnt", "/proc/self/ns/user"] {
        let identity = rustix::fs::stat(place).map(|place| [place.st_dev, place.st_ino]).unwrap_or_default();
        add(&identity[0].to_ne_bytes());
        add(&identity[1].to_ne_bytes());
    }
    for part in parts {
        add(part.as_encoded_bytes());
    }
    format!("spinney-{uid}-{:016x}", hash.digest())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(variables: &[(&str, &str)]) -> Job {
        Job::find(None, |name| {
            variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn tasks_of_a_step_agree_and_other_steps_differ() {
        let task =
            |step, rank| job(&[("SLURM_JOB_ID", "7"), ("SLURM_STEP_ID", step), ("SLURM_PROCID", rank)]);
        assert_eq!(task("0", "1").name, task("0", "5").name);
        assert_eq!(task("0", "5").rank, 5);
        assert_ne!(task("0", "1").name, task("1", "1").name);
    }

    #[test]
    fn an_engine_inside_another_counts_as_both() {
        let nested = job(&[("FLUX_JOB_ID", "ƒA1"), ("SLURM_JOB_ID", "7")]);
        assert_eq!(nested.name, "slurm=7,flux=ƒA1");
    }

    #[test]
    fn without_a_launcher_a_process_is_a_job_of_its_own() {
        assert!(job(&[]).name.starts_with(&format!("pid={}.", std::process::id())));
        assert!(job(&[("PMI_RANK", "1")]).name.starts_with("mpi="));
    }

    #[test]
    fn what_is_hashed_cannot_be_shifted_between_parts() {
        let name = |parts: &[&str]| rendezvous(1, &parts.iter().map(OsStr::new).collect::<Vec<_>>());
        assert_eq!(name(&["a", "bc"]), name(&["a", "bc"]));
        assert_ne!(name(&["a", "bc"]), name(&["ab", "c"]));
        assert_ne!(name(&["a"]), name(&["a", ""]));
    }
}
