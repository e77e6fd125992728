//! The records of all nodes on their way up the first tree, and the report that comes of them.
//!
//! Each node keeps what it gets from those beneath it and passes it on, with its own record: every few seconds, and
//! when its last task has left. Whoever is at the top writes the report once its own tasks have ended, and again when
//! later records come. A node that gets another parent tells that one everything, since the old one may be dead.
//!
//! Invariant: nobody waits for a record longer than [`GATHERED_WITHIN`]; whoever is missing then is named.
//!
//! Not here: making a record (`record`), putting them together (`report`), nodes on one machine (`launch`).

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::Builder;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::record::Record;
use super::report::{self, Run};
use crate::cache::Cache;
use crate::cluster::{Cluster, NodeRank};
use crate::holder::estate::Settings;
use crate::holder::ledger::Ledger;
use crate::holder::messages::RunOutcome;
use crate::profile::recorder::{Counter, Recorder};
use crate::tree::{Shape, Shard, Tree};
use crate::wire::Question;

/// How long the end of a node's last task waits for records: 4.5 s, so that the holder hears of it within the 5 s that
/// it waits.
pub(super) const GATHERED_WITHIN: Duration = Duration::from_millis(4500);

/// How often a node's record goes up while its tasks run: 5 s. Where a scheduler kills everything with the last task,
/// that much is missing at most.
const RECORD_INTERVAL: Duration = Duration::from_secs(5);

/// The first goes up in a fifth of that time, so that whoever waits for records at its end has one of each node.
const FIRST_PART: u32 = 5;

/// Nodes up to which that holds: 1,024, some 300 KB/s at the root. With more nodes it is more seldom.
const NODES_AT_THAT_RATE: u32 = 1024;

/// Services of one node, one after the other, whose records are kept: 16. With more the oldest is forgotten.
const SERVICES_MAX: usize = 16;

/// Bytes that go up at once, some 2,000 records: a quarter of what the wire lets through.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How often the end of a task looks whether other nodes are still there: 20 ms.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Between two reports while records are still coming: 200 ms.
const REWRITE_PAUSE: Duration = Duration::from_millis(200);

/// The gathering, seen from one node. Cloning shares it.
#[derive(Clone)]
pub(super) struct Gathering(Arc<Inner>);

struct Inner {
    settings: Settings,
    n_nodes: u32,
    own: NodeRank,
    root: NodeRank,
    recorder: Recorder,
    table: Mutex<Table>,
    changed: Condvar,
    writing: Mutex<()>,
}

/// A record as it came.
struct Held {
    line: Vec<u8>,
    ended: bool,
    way: Way,
}

/// How far a record has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Here,
    Leaving,
    /// The node above has it, or there is none above.
    Delivered,
}

#[derive(Default)]
struct Table {
    /// By node, and the moment in which its service was founded.
    records: BTreeMap<NodeRank, BTreeMap<u64, Held>>,
    /// Who took records last; `None`: this node is at the top. Not known before the first try.
    above: Option<Option<NodeRank>>,
    /// A report was written, and is to be written again when something new comes.
    written: bool,
    /// Something came since the last report.
    fresh: bool,
}

impl Gathering {
    /// For one of several nodes.
    pub(super) fn new(settings: &Settings, cluster: &Cluster, shape: &Shape, recorder: Recorder) -> Self {
        let inner = Inner {
            settings: settings.clone(),
            n_nodes: cluster.n_nodes(),
            own: cluster.own,
            root: shape.root(Shard::new(0)),
            recorder,
            table: Mutex::default(),
            changed: Condvar::new(),
            writing: Mutex::default(),
        };
        Gathering(Arc::new(inner))
    }

    /// Begins to send records up.
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn start(&self, tree: Tree, runtime: Handle, cache: Cache, ledger: OwnedFd) -> io::Result<()> {
        let inner = self.0.clone();
        let courier = Courier { inner, tree, runtime, cache, ledger };
        Builder::new().name("records".into()).stack_size(512 * 1024).spawn(move || courier.work())?;
        Ok(())
    }

    /// Takes records of nodes beneath: one in each line. What is no record is left out.
    pub(super) fn take(&self, lines: &[u8]) {
        let mut table = self.0.lock();
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice::<Record>(line) {
                Ok(record) if record.rank.get() < self.0.n_nodes => {
                    table.put(&record, line.to_vec(), self.0.recorder)
                }
                _ => self.0.recorder.count(Counter::LimitsHit),
            }
        }
        drop(table);
        self.0.changed.notify_all();
    }

    /// Hands in the node's own record after its last task. Where there is to be a report, returns when a node above has it, or,
    /// at the top, when the report is written, with all whose records come while `others_are_there`; at the latest at
    /// `until`. The report has what was counted until then: the top still serves others after its own last task, so its
    /// `record` is made twice.
    ///
    /// # Errors
    /// The report cannot be written.
    pub(super) fn finish(
        &self,
        record: impl Fn() -> Record,
        until: Instant,
        others_are_there: impl Fn() -> bool,
    ) -> anyhow::Result<()> {
        let first = record();
        let founded = first.outcome.founded_unix_us;
        let mut table = self.0.lock();
        table.put(&first, serde_json::to_vec(&first)?, self.0.recorder);
        self.0.changed.notify_all();
        if self.0.settings.report.is_none() {
            return Ok(()); // it goes up for those who ask how the nodes are, and nobody waits for it
        }
        loop {
            drop(table);
            let are_there = others_are_there();
            table = self.0.lock();
            let left = until.saturating_duration_since(Instant::now());
            let delivered = table.records[&self.0.own].get(&founded).is_none_or(Held::is_delivered);
            match table.above {
                Some(Some(_)) if delivered => return Ok(()),
                Some(None) if left.is_zero() || !are_there || table.is_complete(self.0.n_nodes) => break,
                _ if left.is_zero() => {
                    tracing::warn!("no node above has taken the record");
                    return Ok(());
                }
                _ => {}
            }
            let pause = left.min(LOOK_INTERVAL); // nobody is told when a node's connection ends
            table = self.0.changed.wait_timeout(table, pause).unwrap_or_else(|e| e.into_inner()).0;
        }
        let last = record();
        table.put(&last, serde_json::to_vec(&last)?, self.0.recorder);
        table.written = true;
        drop(table);
        self.0.write()
    }

    /// Whether this node is the one that writes the report, and others still run whose records it awaits.
    pub(super) fn awaits_others(&self) -> bool {
        let table = self.0.lock();
        self.0.settings.report.is_some() && table.above == Some(None) && !table.is_complete(self.0.n_nodes)
    }

    /// The newest record of each service that has come by here.
    pub(super) fn records(&self) -> Vec<Record> {
        self.0.lock().all()
    }
}

impl Held {
    fn is_delivered(&self) -> bool {
        self.way == Way::Delivered
    }
}

impl Table {
    fn put(&mut self, record: &Record, line: Vec<u8>, recorder: Recorder) {
        let services = self.records.entry(record.rank).or_default();
        let founded = record.outcome.founded_unix_us;
        if services.get(&founded).is_some_and(|held| held.ended && !record.ended && !is_newer(record, held)) {
            return; // one that was overtaken on its way
        }
        services.insert(founded, Held { line, ended: record.ended, way: Way::Here });
        if services.len() > SERVICES_MAX {
            recorder.count(Counter::LimitsHit);
            services.pop_first();
        }
        self.fresh = true;
    }

    fn is_complete(&self, n_nodes: u32) -> bool {
        let has_ended = |services: &BTreeMap<u64, Held>| services.values().all(|held| held.ended);
        self.records.len() == n_nodes as usize && self.records.values().all(has_ended)
    }

    /// Whether a report that this node wrote lacks what has come since.
    fn is_outdated(&self) -> bool {
        self.written && self.fresh && self.above == Some(None)
    }

    fn held(&mut self) -> impl Iterator<Item = &mut Held> {
        self.records.values_mut().flat_map(BTreeMap::values_mut)
    }

    fn all(&self) -> Vec<Record> {
        let lines = self.records.values().flat_map(BTreeMap::values);
        lines.filter_map(|held| serde_json::from_slice(&held.line).ok()).collect()
    }

    /// How the tasks of `own`, the newest service, ended, if they have and records of other nodes are to go up.
    fn ended_before_others(&self, own: NodeRank) -> Option<RunOutcome> {
        let is_here = |services: &BTreeMap<u64, Held>| services.values().any(|held| held.way == Way::Here);
        self.records.iter().find(|(rank, services)| **rank != own && is_here(services))?;
        let held = self.records.get(&own)?.values().next_back().filter(|held| held.ended)?;
        serde_json::from_slice::<Record>(&held.line).ok().map(|record| record.outcome)
    }

    /// What the node above does not have yet, as it travels; as much as goes at once.
    fn next_batch(&mut self) -> Vec<u8> {
        let mut batch = Vec::new();
        for held in self.held().filter(|held| held.way == Way::Here) {
            if !batch.is_empty() && batch.len() + held.line.len() > BATCH_BYTES_MAX {
                break;
            }
            batch.extend_from_slice(&held.line);
            batch.push(b'\n');
            held.way = Way::Leaving;
        }
        batch
    }

    /// Notes who took the batch. Whoever is new above gets everything.
    fn sent_to(&mut self, above: Option<NodeRank>) {
        let is_new = above.is_some() && self.above.is_some_and(|before| before != above);
        for held in self.held() {
            held.way = match held.way {
                Way::Leaving => Way::Delivered,
                Way::Delivered if is_new => Way::Here,
                way => way,
            };
        }
        self.above = Some(above);
    }
}

/// Whether `record` was made after the one that is held: more tasks have left by then.
fn is_newer(record: &Record, held: &Held) -> bool {
    serde_json::from_slice::<Record>(&held.line)
        .is_ok_and(|held| record.outcome.wall_seconds > held.outcome.wall_seconds)
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Writes what is known now. One at a time, so that the last that is written knows most.
    fn write(&self) -> anyhow::Result<()> {
        let Some(directory) = &self.settings.report else { return Ok(()) };
        let _alone = self.writing.lock().unwrap_or_else(|e| e.into_inner());
        let records = {
            let mut table = self.lock();
            table.fresh = false;
            table.all()
        };
        let report = report::merge(&Run::of(&self.settings), records);
        let missing = report["missing_nodes"].as_array().map_or(0, Vec::len);
        // One that only stands in may know less than the root has written.
        if self.own != self.root
            && report::missing_in(directory, &self.settings.job).is_some_and(|theirs| theirs < missing)
        {
            return Ok(());
        }
        report::write(directory, &report)
    }
}

/// The thread that sends records up.
struct Courier {
    inner: Arc<Inner>,
    tree: Tree,
    runtime: Handle,
    cache: Cache,
    ledger: OwnedFd,
}

impl Courier {
    fn work(self) {
        let interval = RECORD_INTERVAL * self.inner.n_nodes.div_ceil(NODES_AT_THAT_RATE);
        let mut due = Instant::now() + interval / FIRST_PART;
        loop {
            if due <= Instant::now() {
                self.put_own();
                due = Instant::now() + interval;
            }
            self.pass_on();
            self.rewrite();
            let table = self.inner.lock();
            let nothing_new = |table: &mut Table| table.held().all(|held| held.is_delivered());
            let left = due.saturating_duration_since(Instant::now());
            drop(self.inner.changed.wait_timeout_while(table, left, nothing_new));
        }
    }

    /// The node's own record as of now.
    fn put_own(&self) {
        let Ok(ledger) = Ledger::load(&self.ledger) else { return };
        if ledger.present == 0 {
            return; // the one after the last task has been made, or is about to be
        }
        self.put(&self.own(ledger.outcome()));
    }

    fn own(&self, outcome: RunOutcome) -> Record {
        let Inner { settings, recorder, .. } = &*self.inner;
        Record::make(settings, recorder, self.cache.bytes(), outcome).reading_apart(settings, &self.tree)
    }

    fn put(&self, record: &Record) {
        if let Ok(line) = serde_json::to_vec(record) {
            self.inner.lock().put(record, line, self.inner.recorder);
        }
    }

    fn pass_on(&self) {
        loop {
            self.renew_own();
            let batch = self.inner.lock().next_batch();
            if batch.is_empty() {
                return;
            }
            let above = self.runtime.block_on(self.tree.send_up(Question::Record(batch)));
            self.inner.lock().sent_to(above);
            self.inner.changed.notify_all();
        }
    }

    /// Whose tasks have left goes on serving those beneath: the node's own record goes anew with each of theirs, so that
    /// whoever reads both finds what one asked and the other answered.
    fn renew_own(&self) {
        let ended = self.inner.lock().ended_before_others(self.inner.own);
        if let Some(outcome) = ended {
            self.put(&self.own(outcome).ended());
        }
    }

    /// Writes the report again if something has come after it was written.
    fn rewrite(&self) {
        if !self.inner.lock().is_outdated() {
            return;
        }
        if let Err(error) = self.inner.write() {
            // The wrapper that would say so has heard of the first report already.
            tracing::warn!(%error, "the report cannot be written again");
        }
        std::thread::sleep(REWRITE_PAUSE);
    }
}
