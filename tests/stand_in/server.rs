//! The storage that all mounts share: when a call is answered, and whether it is refused.
//!
//! Every call waits the latency, calls at the same time wait together. Metadata calls besides pass one
//! server that serves them in the order they came, each for its service time. Reads share one bandwidth.
//! While the storage hangs, calls are kept and answered when it no longer does.
//!
//! Not here: what a call does (`mount`); waiting (`delay`).

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use fuser::Errno;

use crate::counters::{Kind, Lateness};
use crate::delay::{DelayQueue, Job};

/// How the storage behaves now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Settings {
    /// What every call waits, in µs.
    pub latency_us: u64,
    /// What the metadata server is busy with each of its calls, in µs. 0: no queue.
    pub metadata_service_us: u64,
    /// What all reads together get, in bytes per second. 0: no limit.
    pub bandwidth: u64,
}

/// Calls to refuse.
pub struct Failure {
    /// What to answer.
    pub errno: i32,
    /// At and beneath which path, relative to the root; empty for all.
    pub prefix: PathBuf,
    /// Only this kind, if any.
    pub kind: Option<Kind>,
}

/// One call on its way to the storage.
pub struct Call {
    /// What it asks.
    pub kind: Kind,
    /// How many bytes a read will give at most.
    pub bytes: u64,
    /// Which path it is about, found only if somebody wants to know.
    pub path: Box<dyn Fn() -> PathBuf + Send>,
    /// Carries it out; given an errno, refuses it with that.
    pub work: Box<dyn FnOnce(Option<Errno>) + Send>,
}

/// The storage.
pub struct Server {
    settings: RwLock<Settings>,
    busy: Mutex<Busy>,
    queue: Arc<DelayQueue>,
    /// Read before every call: most of the time there is no rule, and no path need be found.
    has_rules: AtomicBool,
    rules: Mutex<Rules>,
    /// Which `load` command is in force; clients of an earlier one stop at their next answer.
    load_order: AtomicU64,
    load_calls: AtomicU64,
    /// How late its answers were.
    pub lateness: Arc<Lateness>,
}

/// Until when each part is busy with what it has taken on.
struct Busy {
    metadata_until: Instant,
    bandwidth_until: Instant,
}

#[derive(Default)]
struct Rules {
    hangs_at: Option<PathBuf>,
    held: VecDeque<Call>,
    failures: Vec<Failure>,
}

impl Server {
    /// A storage that nobody uses yet.
    pub fn start(settings: Settings) -> Arc<Self> {
        let lateness = Arc::new(Lateness::default());
        let now = Instant::now();
        Arc::new(Self {
            settings: RwLock::new(settings),
            busy: Mutex::new(Busy { metadata_until: now, bandwidth_until: now }),
            queue: DelayQueue::start(lateness.clone()),
            has_rules: AtomicBool::new(false),
            rules: Mutex::default(),
            load_order: AtomicU64::new(0),
            load_calls: AtomicU64::new(0),
            lateness,
        })
    }

    /// How it behaves now.
    pub fn settings(&self) -> Settings {
        *self.settings.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `change` alter how it behaves; calls already waiting keep their moment.
    pub fn change(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Carries the call out when it is due: at once, on this thread, if nothing has to be waited for.
    pub fn submit(self: &Arc<Self>, call: Call) {
        match self.due(call.kind, call.bytes) {
            None => self.perform(call),
            Some(due) => {
                let server = self.clone();
                self.queue.push(due, Box::new(move || server.perform(call)));
            }
        }
    }

    /// Occupies the metadata server with a call that nobody waits for.
    pub fn occupy(&self, kind: Kind) {
        let _ = self.due(kind, 0);
    }

    /// Books a call and says when it is answered.
    fn due(&self, kind: Kind, bytes: u64) -> Option<Instant> {
        let settings = self.settings();
        if settings == Settings::default() {
            return None;
        }
        let mut done = Instant::now();
        let service = Duration::from_micros(settings.metadata_service_us);
        if kind.is_metadata() && !service.is_zero() {
            let mut busy = lock(&self.busy);
            done = busy.metadata_until.max(done) + service;
            busy.metadata_until = done;
        } else if kind == Kind::Read && settings.bandwidth > 0 {
            let transfer = Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / settings.bandwidth);
            let mut busy = lock(&self.busy);
            done = busy.bandwidth_until.max(done) + transfer;
            busy.bandwidth_until = done;
        }
        Some(done + Duration::from_micros(settings.latency_us))
    }

    fn perform(&self, call: Call) {
        if !self.has_rules.load(Relaxed) {
            return (call.work)(None);
        }
        let path = (call.path)();
        let mut rules = lock(&self.rules);
        if rules.hangs_at.as_ref().is_some_and(|prefix| path.starts_with(prefix)) {
            rules.held.push_back(call);
            return;
        }
        let errno = rules.failures.iter().find(|failure| failure.is_meant(call.kind, &path)).map(|f| f.errno);
        drop(rules);
        (call.work)(errno.map(Errno::from_i32));
    }

    /// Keeps every call at and beneath `prefix` until [`Server::release`].
    pub fn hang(&self, prefix: &Path) {
        self.alter_rules(|rules| rules.hangs_at = Some(prefix.to_owned()));
    }

    /// Ends the hanging and answers what was kept, in the order it came.
    pub fn release(self: &Arc<Self>) {
        let held = self.alter_rules(|rules| {
            rules.hangs_at = None;
            std::mem::take(&mut rules.held)
        });
        for call in held {
            let server = self.clone();
            self.queue.push(Instant::now(), Box::new(move || server.perform(call)));
        }
    }

    /// Calls kept by the hanging.
    pub fn held(&self) -> usize {
        lock(&self.rules).held.len()
    }

    /// Refuses what `failure` describes, besides what is already refused.
    pub fn fail(&self, failure: Failure) {
        self.alter_rules(|rules| rules.failures.push(failure));
    }

    /// Refuses nothing any more.
    pub fn fail_nothing(&self) {
        self.alter_rules(|rules| rules.failures.clear());
    }

    fn alter_rules<T>(&self, alter: impl FnOnce(&mut Rules) -> T) -> T {
        let mut rules = lock(&self.rules);
        let result = alter(&mut rules);
        self.has_rules.store(rules.hangs_at.is_some() || !rules.failures.is_empty(), Relaxed);
        result
    }

    /// Sets how many other clients keep asking: each sends a metadata call as soon as its last is answered.
    pub fn set_load(self: &Arc<Self>, clients: usize) {
        let order = self.load_order.fetch_add(1, Relaxed) + 1;
        for _ in 0..clients {
            self.ask_as_other(order);
        }
    }

    fn ask_as_other(self: &Arc<Self>, order: u64) {
        // Without latency and queue an answer takes no time; a call each 100 µs then keeps a core free.
        let due = self.due(Kind::Getattr, 0).unwrap_or_else(|| Instant::now() + Duration::from_micros(100));
        let server = self.clone();
        let again: Job = Box::new(move || {
            if server.load_order.load(Relaxed) == order {
                server.load_calls.fetch_add(1, Relaxed);
                server.ask_as_other(order);
            }
        });
        self.queue.push(due, again);
    }

    /// Calls the other clients have made.
    pub fn load_calls(&self) -> u64 {
        self.load_calls.load(Relaxed)
    }

    /// Forgets what was counted here.
    pub fn reset_counters(&self) {
        self.load_calls.store(0, Relaxed);
        self.lateness.reset();
    }
}

impl Failure {
    fn is_meant(&self, kind: Kind, path: &Path) -> bool {
        self.kind.is_none_or(|only| only == kind) && path.starts_with(&self.prefix)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
