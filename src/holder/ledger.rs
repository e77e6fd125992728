//! What holders remember of a run, in memory that outlives each of them.
//!
//! A holder that was killed leaves its successor with the descriptors but without a past: which mount
//! namespace the tasks are in, when the run began, how earlier tasks ended. One record, rewritten as one page
//! with one `pwrite`: a signal, even SIGKILL, does not cut a write within a page of a memfd, so the record is
//! always whole.
//!
//! Not here: figures that are only ever added up (`profile::recorder`).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};

use super::messages::RunOutcome;

/// Bytes of the record, blanks included: a page on x86_64, the smallest page Linux has.
const RECORD_BYTES: usize = 4096;

/// The record.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// When the founding holder started, microseconds since 1970.
    pub founded_unix_us: u64,
    /// From there until the view could be used, microseconds.
    pub ready_us: u64,
    /// Whether a task has been inside: before that, the views may not all be in place.
    pub inside: bool,
    /// Inode number of the mount namespace the tasks are in; `None` if they are in no own one.
    pub mount_namespace: Option<u64>,
    /// Wrappers that have a task inside.
    pub present: usize,
    /// Whether a wrapper without a task keeps the service.
    pub kept: bool,
    /// Whether it ends with the last task and takes no more.
    pub going_down: bool,
    /// Tasks that have left.
    pub tasks_ended: u64,
    /// Those that did not end with 0.
    pub tasks_failed: u64,
    /// Rank and exit code of the lowest-ranked of them.
    pub first_failure: Option<(u64, i32)>,
}

impl Ledger {
    /// A memfd for the record.
    ///
    /// # Errors
    /// What `memfd_create` answers.
    pub fn memory() -> io::Result<OwnedFd> {
        Ok(rustix::fs::memfd_create("spinney-ledger", MemfdFlags::CLOEXEC)?)
    }

    /// An empty record of a run that begins now.
    pub fn begin() -> Self {
        Ledger { founded_unix_us: unix_us(), ..Ledger::default() }
    }

    /// The record in `memory`; an empty one if there is none yet.
    ///
    /// # Errors
    /// The memory is no ledger.
    pub fn load(memory: &impl AsFd) -> io::Result<Self> {
        let mut page = [0; RECORD_BYTES];
        let read = rustix::io::pread(memory, &mut page, 0)?;
        if read == 0 {
            return Ok(Ledger::begin());
        }
        Ok(serde_json::from_slice(page[..read].trim_ascii_end())?)
    }

    /// Replaces the record in `memory`.
    ///
    /// # Errors
    /// What `pwrite` answers.
    pub fn store(&self, memory: &impl AsFd) -> io::Result<()> {
        let mut page = serde_json::to_vec(self)?;
        page.resize(RECORD_BYTES, b' ');
        File::from(memory.as_fd().try_clone_to_owned()?).write_all_at(&page, 0)
    }

    /// Microseconds since the run began. Never negative, even if the clock was set back meanwhile.
    pub fn elapsed_us(&self) -> u64 {
        unix_us().saturating_sub(self.founded_unix_us)
    }

    /// Seconds until the view could be used.
    pub fn ready_seconds(&self) -> f64 {
        Duration::from_micros(self.ready_us).as_secs_f64()
    }

    /// Adds the end of one task.
    pub fn task_ended(&mut self, rank: u64, exit_code: i32) {
        self.tasks_ended += 1;
        if exit_code == 0 {
            return;
        }
        self.tasks_failed += 1;
        if self.first_failure.is_none_or(|(first, _)| rank < first) {
            self.first_failure = Some((rank, exit_code));
        }
    }

    /// The run so far, for the report.
    pub fn outcome(&self) -> RunOutcome {
        RunOutcome {
            exit_code: self.first_failure.map_or(0, |(_, code)| code),
            tasks: self.tasks_ended,
            tasks_failed: self.tasks_failed,
            first_failed: self.first_failure.map(|(rank, _)| rank),
            founded_unix_us: self.founded_unix_us,
            wall_seconds: Duration::from_micros(self.elapsed_us()).as_secs_f64(),
            ready_seconds: self.ready_seconds(),
        }
    }
}

fn unix_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_of_a_run_is_that_of_the_lowest_rank_that_failed() {
        let mut ledger = Ledger::begin();
        for (rank, code) in [(0, 0), (7, 3), (2, 139), (5, 1)] {
            ledger.task_ended(rank, code);
        }
        let outcome = ledger.outcome();
        assert_eq!((outcome.exit_code, outcome.tasks, outcome.tasks_failed), (139, 4, 3));
    }

    #[test]
    fn a_successor_reads_what_its_predecessor_wrote_last() {
        let memory = Ledger::memory().unwrap();
        let mut ledger = Ledger::load(&memory).unwrap();
        ledger.mount_namespace = Some(4_026_532_000);
        ledger.task_ended(1, 1);
        ledger.store(&memory).unwrap();
        ledger.first_failure = None;
        ledger.store(&memory).unwrap();
        assert_eq!(Ledger::load(&memory).unwrap(), ledger);
    }
}
