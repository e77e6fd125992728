//! Spinney's own processes, seen from outside.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use anyhow::Context;

/// The hidden subcommands that the processes of a node run under.
pub const DAEMON: &str = "daemon-process";
/// See [`DAEMON`].
pub const HOLDER: &str = "holder-process";

/// One of Spinney's own processes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Which it is.
    pub role: &'static str,
}

impl Process {
    /// A figure of `smaps_rollup`, in MB.
    pub fn figure_mb(&self, name: &str) -> anyhow::Result<f64> {
        let all = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid))?;
        let line = all.lines().find_map(|line| line.strip_prefix(name)).context("no such figure")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1024.0 / 1e6)
    }
}

impl Process {
    /// CPU time so far, its threads' together, also of those that have ended; `None` once it has gone.
    pub fn cpu_seconds(&self) -> Option<f64> {
        let pid = libc::pid_t::try_from(self.pid).ok()?;
        let (mut clock, mut time) = (0, libc::timespec { tv_sec: 0, tv_nsec: 0 });
        // SAFETY: both are written to while the calls last, and nothing else.
        let told = unsafe {
            libc::clock_getcpuclockid(pid, &mut clock) == 0 && libc::clock_gettime(clock, &mut time) == 0
        };
        told.then_some(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
    }

    /// CPU time so far, in clock ticks, its threads' together; `None` once it has gone.
    pub fn cpu_ticks(&self) -> Option<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        let mut after_name = stat.rsplit(')').next()?.split_whitespace();
        let user: u64 = after_name.nth(11)?.parse().ok()?;
        Some(user + after_name.next()?.parse::<u64>().ok()?)
    }
}

/// The holders and daemons that are running from this program file, of whatever job.
pub fn processes(spinney: &Path) -> HashSet<Process> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let mut words = command.split(|byte| *byte == 0);
        let word = words.nth(1)?;
        let role = [DAEMON, HOLDER].into_iter().find(|role| role.as_bytes() == word)?;
        // By the file, not the name: somebody else's may be running meanwhile.
        let exe = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        (exe == spinney).then_some(Process { pid, role })
    })
    .collect()
}
