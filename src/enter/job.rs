//! Which job this task belongs to, as its launcher tells it in the environment.
//!
//! Tasks of one step see the same name on all nodes, other steps see others; election, ports and keys rest on that.
//!
//! Not here: what launchers say (`cluster::launchers`), who the nodes of the job are (`cluster`).

use std::ffi::OsStr;

use xxhash_rust::xxh3::Xxh3;

use crate::cluster::launchers::Launch;

/// The job of this task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// For people: `--job NAME`, or the identifiers.
    pub name: String,
    /// What a service that outlives its step is found by: `--job NAME`, or the allocation, such as `slurm=7`; empty: nobody
    /// says, so it is this machine's.
    pub allocation: String,
    /// Place among the tasks of the job; 0 if nobody says.
    pub rank: u64,
    /// How many tasks its launcher starts on this node; 0 if nobody says.
    pub tasks_here: u64,
    /// Whether somebody said the name; else it is one that only this node knows.
    pub is_told: bool,
}

impl Job {
    /// The job as `named` by the user, else as its `launch` is called, else one that consists of this process alone.
    pub fn find(named: Option<&str>, launch: &Launch) -> Self {
        let told = named.map(str::to_owned).or_else(|| launch.name.clone());
        Job {
            is_told: told.is_some(),
            name: told.unwrap_or_else(|| untold(launch)),
            allocation: allocation(named, launch),
            rank: launch.task.map_or(0, |task| task.rank),
            tasks_here: launch.here.map_or(0, |here| here.size),
        }
    }

    /// A job that this process starts on nodes of its own: whatever is set in the environment is about others.
    pub fn launched_here(named: Option<&str>, launch: &Launch) -> Self {
        let name = named.map_or_else(|| unique_here("local"), str::to_owned);
        Job { name, allocation: allocation(named, launch), rank: 0, tasks_here: 0, is_told: true }
    }
}

fn allocation(named: Option<&str>, launch: &Launch) -> String {
    named.map(str::to_owned).or_else(|| launch.allocation.clone()).unwrap_or_default()
}

/// A launcher that gives places but no name has a process of its own on the node, which is the parent of all tasks.
fn untold(launch: &Launch) -> String {
    let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    if launch.task.is_some() { unique("mpi", parent) } else { unique_here("pid") }
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
        let of =
            |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
        Job::find(None, &Launch::find(&of, false))
    }

    #[test]
    fn tasks_of_a_step_agree_and_other_steps_differ_in_one_allocation() {
        let task = |step, rank| {
            job(&[
                ("SLURM_JOB_ID", "7"),
                ("SLURM_STEP_ID", step),
                ("SLURM_STEP_NODELIST", "a[1-8]"),
                ("SLURM_PROCID", rank),
                ("SLURM_NTASKS", "8"),
            ])
        };
        assert_eq!(task("0", "1").name, task("0", "5").name);
        assert_eq!(task("0", "5").rank, 5);
        assert_ne!(task("0", "1").name, task("1", "1").name);
        assert_eq!(task("0", "1").allocation, task("1", "5").allocation);
        assert_eq!(task("0", "1").allocation, "slurm=7");
    }

    #[test]
    fn an_engine_inside_another_counts_as_both() {
        let flux = [("FLUX_JOB_ID", "ƒA1"), ("FLUX_TASK_RANK", "0"), ("FLUX_JOB_NNODES", "1")];
        let nested = job(&[&flux[..], &[("SLURM_JOB_ID", "7")]].concat());
        assert_eq!(nested.name, "slurm=7,flux=ƒA1");
    }

    #[test]
    fn without_a_launcher_a_process_is_a_job_of_its_own() {
        assert!(job(&[]).name.starts_with(&format!("pid={}.", std::process::id())));
        let mpi = [("PMI_RANK", "1"), ("PMI_SIZE", "2"), ("MPI_LOCALRANKID", "0"), ("MPI_LOCALNRANKS", "2")];
        assert!(job(&mpi).name.starts_with("mpi="));
        assert!(!job(&mpi).is_told);
    }

    #[test]
    fn what_is_hashed_cannot_be_shifted_between_parts() {
        let name = |parts: &[&str]| rendezvous(1, &parts.iter().map(OsStr::new).collect::<Vec<_>>());
        assert_eq!(name(&["a", "bc"]), name(&["a", "bc"]));
        assert_ne!(name(&["a", "bc"]), name(&["ab", "c"]));
        assert_ne!(name(&["a"]), name(&["a", ""]));
    }
}
