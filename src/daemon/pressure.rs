//! Gives memory back while the node is short of it, and takes it again when that has passed.
//!
//! The kernel tells of shortage through a PSI trigger (Documentation/accounting/psi.rst): of the daemon's own
//! control group where it may set one, else of the whole machine. Nothing wakes up until it fires. Where there is
//! no PSI, available memory is looked at now and then.
//!
//! Invariant: the cache only ever gets slower by this. What falls out is asked for again.
//!
//! Not here: how large the budget is to begin with, and where control groups are (`memory`).

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::memory;
use crate::cache::Cache;
use crate::profile::recorder::{Counter, Recorder};

/// What the cache keeps under any pressure: 16 MiB, which holds the names of an import of torch. With less, the
/// node would ask storage for them again and again, which helps nobody.
const SHRUNK_MIN: u64 = 16 << 20;

/// How long there must be no pressure before the budget doubles: 60 s, longer than a job takes to fill what was
/// given back.
const CALM: Duration = Duration::from_secs(60);

/// When the kernel is to tell: some task waited for memory for 200 ms of 2 s. Users without rights may only ask for
/// windows of multiples of 2 s (Linux 6.1; before that the write is refused).
const TRIGGER: &[u8] = b"some 200000 2000000\0";

/// With so much of the machine's memory available, a quarter, nothing is given back though the kernel tells that a task
/// waited: it waits then for pages to be read, or for one busy processor to reclaim some, and what eight nodes of one
/// machine gave back at once was asked of storage again (1.75 times a file that all of them read, with 13 of 24 GB free).
const PLENTY_PART: u64 = 4;

/// How often available memory is looked at where the kernel does not tell: every 5 s.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Which part of the memory must be available, then: a twentieth.
const AVAILABLE_PART: u64 = 20;

/// What was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// The node is short of memory.
    Pressure,
    /// Nothing happened in the time given.
    Calm,
}

/// Whoever knows whether the node is short of memory.
trait Watch {
    /// Waits for pressure, at most so long, or for ever.
    fn wait(&mut self, at_most: Option<Duration>) -> io::Result<Heard>;
}

/// The budget of the cache as pressure comes and goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Budget {
    full: u64,
    now: u64,
}

impl Budget {
    fn new(full: u64) -> Self {
        Budget { full, now: full }
    }

    /// Half of what is held, or of the budget where that is less, but not under the least; the new budget if it
    /// is another.
    fn press(&mut self, held: u64) -> Option<u64> {
        let least = SHRUNK_MIN.min(self.full);
        self.go_to((self.now.min(held) / 2).max(least).min(self.now))
    }

    /// Twice the budget, up to the full one; the new budget if it is another.
    fn relax(&mut self) -> Option<u64> {
        self.go_to(self.now.saturating_mul(2).min(self.full))
    }

    fn go_to(&mut self, bytes: u64) -> Option<u64> {
        (std::mem::replace(&mut self.now, bytes) != bytes).then_some(bytes)
    }

    fn is_full(&self) -> bool {
        self.now == self.full
    }
}

/// Shrinks and grows the budget of `cache` for the rest of the process's life. A thread of
/// its own; where none can be had the budget stays.
pub(super) fn mind(cache: Cache, recorder: Recorder) {
    let begun = std::thread::Builder::new().name("pressure".into()).spawn(move || {
        let mut apply = |bytes: u64, heard: Heard| {
            tracing::info!(bytes, ?heard, "the cache gets another budget");
            if heard == Heard::Pressure {
                recorder.count(Counter::MemoryPressed);
            }
            cache.set_budget(bytes);
            memory::give_back();
        };
        let mut budget = Budget::new(cache.budget_bytes());
        if let Some(mut trigger) = Trigger::set() {
            let error = obey(&mut trigger, &mut budget, || cache.bytes(), &mut apply);
            tracing::warn!(%error, "the kernel tells no more of memory pressure");
        }
        let error = obey(&mut Look, &mut budget, || cache.bytes(), &mut apply);
        tracing::warn!(%error, "nobody tells of memory pressure");
    });
    if let Err(error) = begun {
        tracing::warn!(%error, "memory pressure is not minded");
    }
}

/// Does what `watch` says until it breaks.
fn obey(
    watch: &mut impl Watch,
    budget: &mut Budget,
    held: impl Fn() -> u64,
    apply: &mut impl FnMut(u64, Heard),
) -> io::Error {
    loop {
        let heard = match watch.wait((!budget.is_full()).then_some(CALM)) {
            Ok(heard) => heard,
            Err(error) => return error,
        };
        let changed = match heard {
            Heard::Pressure => budget.press(held()),
            Heard::Calm => budget.relax(),
        };
        if let Some(bytes) = changed {
            apply(bytes, heard);
        }
    }
}

/// The kernel tells.
struct Trigger {
    file: File,
    of_machine: bool,
}

impl Trigger {
    /// `None`: no kernel before 4.20 has it, some are built or started without, and before 6.1 users may not.
    fn set() -> Option<Self> {
        let own = memory::unified_control_group().map(|group| group.join("memory.pressure"));
        let own = own.and_then(|file| Trigger::of(&file, false).ok());
        own.or_else(|| Trigger::of(Path::new("/proc/pressure/memory"), true).ok())
    }

    fn of(file: &Path, of_machine: bool) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).open(file)?;
        file.write_all(TRIGGER)?;
        Ok(Trigger { file, of_machine })
    }

    /// What a control group is short of is its own limit, whatever the machine has.
    fn is_meant(&self) -> bool {
        !self.of_machine || !memory::available_and_total_bytes().is_some_and(has_plenty)
    }
}

fn has_plenty((available, total): (u64, u64)) -> bool {
    available > total / PLENTY_PART
}

impl Watch for Trigger {
    fn wait(&mut self, at_most: Option<Duration>) -> io::Result<Heard> {
        let until = at_most.map(|at_most| Instant::now() + at_most);
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let timeout = left.and_then(|left| Timespec::try_from(left).ok());
            let mut fds = [PollFd::new(&self.file, PollFlags::PRI)];
            rustix::io::retry_on_intr(|| poll(&mut fds, timeout.as_ref()))?;
            match fds[0].revents() {
                events if events.contains(PollFlags::ERR) => return Err(io::ErrorKind::BrokenPipe.into()),
                events if events.contains(PollFlags::PRI) && self.is_meant() => return Ok(Heard::Pressure),
                events if events.contains(PollFlags::PRI) => {} // it tells again after its window at the earliest
                _ => return Ok(Heard::Calm),
            }
        }
    }
}

/// This process looks.
struct Look;

impl Watch for Look {
    fn wait(&mut self, at_most: Option<Duration>) -> io::Result<Heard> {
        let mut waited = Duration::ZERO;
        while at_most.is_none_or(|at_most| waited < at_most) {
            std::thread::sleep(LOOK_EVERY);
            waited += LOOK_EVERY;
            let (available, total) = memory::available_and_total_bytes().ok_or(io::ErrorKind::NotFound)?;
            if available < total / AVAILABLE_PART {
                return Ok(Heard::Pressure);
            }
        }
        Ok(Heard::Calm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_machine_with_memory_to_spare_is_not_short_of_it() {
        assert!(has_plenty((13 * MIB, 24 * MIB)));
        assert!(!has_plenty((6 * MIB, 24 * MIB)));
        assert!(!has_plenty((0, 0)), "nobody knows");
    }

    /// Says what it was told to, then breaks.
    struct Script(Vec<Heard>);

    impl Watch for Script {
        fn wait(&mut self, at_most: Option<Duration>) -> io::Result<Heard> {
            let next = self.0.pop().ok_or(io::ErrorKind::BrokenPipe)?;
            assert!(next == Heard::Pressure || at_most.is_some(), "a full budget waits for ever");
            Ok(next)
        }
    }

    fn budgets(full: u64, held: u64, heard: &[Heard]) -> Vec<u64> {
        let mut script = Script(heard.iter().rev().copied().collect());
        let now = std::cell::Cell::new(full);
        let mut given = Vec::new();
        let error = obey(&mut script, &mut Budget::new(full), || held.min(now.get()), &mut |bytes, _| {
            now.set(bytes);
            given.push(bytes / MIB);
        });
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        given
    }

    #[test]
    fn the_budget_halves_under_pressure_and_doubles_afterwards() {
        use Heard::{Calm, Pressure};
        // Why; MiB of the full budget and held; what is heard; MiB of the budgets that follow.
        type Case = (&'static str, u64, u64, &'static [Heard], &'static [u64]);
        let cases: [Case; 6] = [
            ("what is held counts, not what might be", 4096, 200, &[Pressure], &[100]),
            ("again and again, down to the least", 100, 100, &[Pressure; 5], &[50, 25, 16]),
            ("nothing to give back", 16, 16, &[Pressure], &[]),
            ("a budget under the least stays", 1, 1, &[Pressure], &[]),
            ("grows back to what it was", 100, 100, &[Pressure, Pressure, Calm, Calm], &[50, 25, 50, 100]),
            (
                "pressure again while it grows",
                64,
                64,
                &[Pressure, Pressure, Calm, Pressure],
                &[32, 16, 32, 16],
            ),
        ];
        for (why, full, held, heard, want) in cases {
            assert_eq!(budgets(full * MIB, held * MIB, heard), want, "{why}");
        }
    }

    #[test]
    fn a_file_that_takes_no_trigger_is_none() {
        assert!(Trigger::of(Path::new("/proc/version"), true).is_err());
    }
}
