//! What is told of a run: who, where, on how much. Read once, at its start.
//!
//! Invariant: of the environment nothing is read but what says which job this is (`cluster::launchers`).

use std::ffi::{CStr, OsString};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use xxhash_rust::xxh3::xxh3_128;

use super::record::Run;
use crate::cluster::launchers::{Accounting, Launch};
use crate::enter::job::Job;

impl Run {
    /// The run of `command` that begins here. Tasks of one step find the same identity without asking each other.
    pub fn here(command: &[OsString], named: Option<&str>) -> Self {
        let Accounting { project, system, job: number, n_nodes, n_tasks } = Accounting::of_environment();
        let job = Job::find(named, &Launch::of_environment());
        let name = command.first().map(Path::new).and_then(Path::file_name).unwrap_or_default();
        let command = name.to_string_lossy().into_owned();
        let uid = rustix::process::getuid().as_raw();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        // A job that nobody named is this process alone, so its host is part of its identity.
        let place =
            if job.is_told { system.clone().unwrap_or_default() } else { format!("{host} {}", now()) };
        let identity = format!("{place}\0{}\0{uid}\0{command}", job.name);
        Run {
            uuid: uuid(xxh3_128(identity.as_bytes())),
            user: user(uid),
            project,
            system,
            job: number,
            host,
            command,
            nodes: n_nodes.unwrap_or(1),
            tasks: n_tasks.unwrap_or(1),
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
