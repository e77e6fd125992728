//! What is told of a run: who, where, on how much. Read once, at its start.
//!
//! Invariant: of the environment nothing is read but the variables named here, which say what job this is.

use std::ffi::{CStr, OsString};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use xxhash_rust::xxh3::xxh3_128;

use super::record::Run;
use crate::cluster::launchers::Launch;
use crate::enter::job::Job;

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

impl Run {
    /// The run of `command` that begins here. Tasks of one step find the same identity without asking each other.
    pub fn here(command: &[OsString], named: Option<&str>) -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let first = |names: &[&str]| names.iter().find_map(|name| variable(name));
        let count = |names| first(names).and_then(|count| count.parse().ok()).unwrap_or(1);
        let job = Job::find(named, &Launch::of_environment());
        let name = command.first().map(Path::new).and_then(Path::file_name).unwrap_or_default();
        let command = name.to_string_lossy().into_owned();
        let uid = rustix::process::getuid().as_raw();
        let system = first(SYSTEMS);
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        // A job that nobody named is this process alone, so its host is part of its identity.
        let place =
            if job.is_told { system.clone().unwrap_or_default() } else { format!("{host} {}", now()) };
        let identity = format!("{place}\0{}\0{uid}\0{command}", job.name);
        Run {
            uuid: uuid(xxh3_128(identity.as_bytes())),
            user: user(uid),
            project: first(PROJECTS),
            system,
            job: first(JOBS),
            host,
            command,
            nodes: count(NODES),
            tasks: count(TASKS),
            started: now(),
            probability: 1.0,
        }
    }
}

/// Seconds since 1970, by the wall clock.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// 128 bits as UUIDs are written.
fn uuid(bits: u128) -> String {
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Login name of `uid`, or its digits.
fn user(uid: u32) -> String {
    let mut entry = std::mem::MaybeUninit::<libc::passwd>::zeroed();
    let mut text = vec![0; 16 << 10];
    let mut found = std::ptr::null_mut();
    // SAFETY: all pointers are valid for the call, and `text` has the length that is told.
    let failed =
        unsafe { libc::getpwuid_r(uid, entry.as_mut_ptr(), text.as_mut_ptr(), text.len(), &raw mut found) };
    if failed != 0 || found.is_null() {
        return uid.to_string();
    }
    // SAFETY: the call filled `entry`, whose name points into `text` and ends with a zero.
    unsafe { CStr::from_ptr((*found).pw_name) }.to_string_lossy().into_owned()
}
