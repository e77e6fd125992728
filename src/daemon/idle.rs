//! Lets a kept service go that nobody has used for as long as it was to linger.
//!
//! Used is a service that has tasks, that the kernel asks something or that another node asks something. What is asked
//! for is seen in the counters, so being watched costs the others nothing.
//!
//! Not here: the end itself (`holder::service`).

use std::os::fd::OwnedFd;
use std::thread::Builder;
use std::time::{Duration, Instant};

use super::line::Line;
use crate::holder::estate::Settings;
use crate::holder::ledger::Ledger;
use crate::profile::recorder::{Counter, Recorder};

/// How often it is looked at, at most: once a second. A short lingering is looked at eight times.
const LOOK_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// Begins to watch, if `settings` say that the service is to go by itself.
pub(super) fn watch(settings: &Settings, recorder: Recorder, ledger: OwnedFd, line: Line) {
    let (true, Some(linger)) = (settings.kept, settings.linger) else { return };
    let watching = move || {
        let mut idle = Idle::new(linger, used(recorder), Instant::now());
        loop {
            std::thread::sleep((linger / 8).min(LOOK_INTERVAL_MAX));
            let has_tasks = Ledger::load(&ledger).is_ok_and(|ledger| ledger.present > 0);
            if idle.look(has_tasks, used(recorder), Instant::now()) {
                tracing::info!("nobody has used the service for {linger:?}");
                line.go_down();
            }
        }
    };
    if let Err(error) = Builder::new().name("idle".into()).stack_size(256 * 1024).spawn(watching) {
        tracing::warn!(%error, "the service stays until it is told to go");
    }
}

/// Grows with everything that is asked here. Records of other nodes do not count: they come while nobody is served.
fn used(recorder: Recorder) -> u64 {
    let kernel = Counter::ALL.iter().filter(|counter| counter.name().starts_with("fuse."));
    let asked = kernel.map(|counter| recorder.get(*counter)).sum::<u64>();
    asked + recorder.get(Counter::WireRequestsIn)
}

/// For how long nothing has happened: pure.
struct Idle {
    linger: Duration,
    used: u64,
    since: Instant,
}

impl Idle {
    fn new(linger: Duration, used: u64, now: Instant) -> Self {
        Idle { linger, used, since: now }
    }

    /// Whether it has been long enough.
    fn look(&mut self, has_tasks: bool, used: u64, now: Instant) -> bool {
        if has_tasks || used != self.used {
            (self.used, self.since) = (used, now);
        }
        now.saturating_duration_since(self.since) >= self.linger
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_lingers_from_the_last_time_it_was_used() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut idle = Idle::new(Duration::from_secs(10), 5, began);
        for (second, has_tasks, used, gone) in [
            (9, false, 5, false),
            (11, false, 6, false), // the kernel asked
            (20, false, 6, false),
            (21, true, 6, false), // a task that asks nothing
            (60, true, 6, false),
            (69, false, 6, false),
            (70, false, 6, true),
        ] {
            assert_eq!(idle.look(has_tasks, used, at(second)), gone, "after {second} s");
        }
    }
}
