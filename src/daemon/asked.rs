//! What the daemon does when its holder asks: reports, tells how it is, forgets.
//!
//! Not here: the line to the holder (`control`), what stands in the report (`report`).

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::MemfdFlags;
use serde_json::{Value, json};

use super::collecting::Collecting;
use super::gathering::{GATHERED_WITHIN, Gathering};
use super::line::Line;
use super::neighbours::Neighbours;
use super::orders::{Insistence, Order, Others};
use super::record::Record;
use super::recording::{Recordings, Tag};
use super::refresh::Refresher;
use super::{bytecode, report, status};
use crate::cache::Cache;
use crate::cluster::NodeRank;
use crate::holder::estate::Settings;
use crate::holder::messages::{FromDaemon, RunOutcome, Wish};
use crate::profile::recorder::Recorder;
use crate::tree::Tree;

/// How often a node that waits to be connected looks: every 2 ms, for as long as nodes start.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// How long a node may take to hear that it is to end: 5 s. One that cannot be reached is named.
const DOWN_MAX: Duration = Duration::from_secs(5);

/// How long a node may take to write a snapshot: 20 s. One that cannot be reached, or whose storage hangs, is named.
const SNAPSHOT_MAX: Duration = Duration::from_secs(20);

/// What the answers are made of.
pub(super) struct Asked {
    pub(super) settings: Settings,
    /// What holders remember.
    pub(super) ledger: OwnedFd,
    pub(super) recorder: Recorder,
    pub(super) cache: Cache,
    /// `None`: the node is alone.
    pub(super) tree: Option<Tree>,
    pub(super) refresher: Refresher,
    /// `None`: the node is alone.
    pub(super) others: Option<Others>,
    /// The same.
    pub(super) neighbours: Option<Arc<Neighbours>>,
    pub(super) line: Line,
    /// `None`: nothing is recorded.
    pub(super) recordings: Option<Recordings>,
    /// `None`: no other node, or all are on this machine.
    pub(super) gathering: Option<Gathering>,
    /// The same, and where nothing is recorded.
    pub(super) collecting: Option<Collecting>,
}

impl Asked {
    /// The last task has left: the report is written, or this node's part of it is on its way.
    pub(super) fn report(&self, outcome: RunOutcome) -> FromDaemon {
        let (settings, until) = (&self.settings, Instant::now() + GATHERED_WITHIN);
        self.tree.iter().for_each(Tree::complain_now);
        let recorded =
            self.recordings.as_ref().map_or(Ok(()), |recordings| recordings.write(Tag::PreDestroy));
        let unrecorded = recorded.err().map(|error| format!("{error:#}"));
        let record = || self.record(outcome.clone());
        let uncompiled = bytecode::many_uncompiled(&self.cache, &settings.views);
        if settings.hand_up_record {
            return FromDaemon::Reported { error: unrecorded, record: record().to_json(), uncompiled };
        }
        let written = match &self.gathering {
            Some(gathering) => gathering.finish(record, until, || {
                self.neighbours.as_ref().is_some_and(|neighbours| neighbours.may_hear_of_others())
            }),
            None => report::write_own(settings, record()),
        };
        let settled = self.collecting.as_ref().map_or(Ok(()), |collecting| collecting.settle_last(until));
        let error = written.and(settled).err().map(|error| format!("{error:#}")).or(unrecorded);
        FromDaemon::Reported { error, record: None, uncompiled }
    }

    /// Returns when no other node needs this one, nor a task that is still to come.
    pub(super) fn linger(&self) {
        self.neighbours.iter().for_each(|neighbours| neighbours.linger());
    }

    /// What this node has counted so far, after its last task.
    fn record(&self, outcome: RunOutcome) -> Record {
        let record = Record::make(&self.settings, &self.recorder, self.cache.bytes(), outcome).ended();
        match &self.tree {
            Some(tree) => record.reading_apart(&self.settings, tree),
            None => record,
        }
    }

    /// Does what is wished and answers with JSON in a memfd.
    ///
    /// # Errors
    /// No memory.
    pub(super) fn answer(&self, wish: Wish) -> io::Result<OwnedFd> {
        let answer = match wish {
            Wish::Status => status::of(self),
            Wish::Snapshot => self.snapshot(Tag::OnDemand),
            Wish::Refresh { paths } => {
                if self.recordings.is_some() {
                    // What it says of caches is about the time before. Whoever is missing there refreshes all the same.
                    let _ = self.snapshot(Tag::PreReset);
                }
                self.refresher.refresh(&self.settings.views, self.others.as_ref(), &paths)
            }
            Wish::Ready { within_ms } => self.ready(Duration::from_millis(within_ms)),
            Wish::Down { everywhere } => self.down(everywhere),
        };
        let memory = rustix::fs::memfd_create("spinney-answer", MemfdFlags::CLOEXEC)?;
        let mut file = File::from(memory);
        serde_json::to_writer(&mut file, &answer)?;
        Ok(file.into())
    }

    /// Waits until every node is connected, this one included.
    fn ready(&self, within: Duration) -> Value {
        let until = Instant::now() + within;
        let missed = self.others.iter();
        let missed =
            missed.flat_map(|others| others.tell(&Order::AreYouReady, within, Insistence::UntilDone));
        let mut missed: Vec<NodeRank> = missed.collect();
        let is_connected = || self.tree.as_ref().is_none_or(|tree| tree.state().is_connected());
        while !is_connected() && Instant::now() < until {
            std::thread::sleep(LOOK_INTERVAL);
        }
        if let (false, Some(others)) = (is_connected(), &self.others) {
            missed.push(others.own);
        }
        json!({ "missed_nodes": missed, "n_nodes": self.n_nodes() })
    }

    /// Has all nodes write what they have recorded.
    fn snapshot(&self, tag: Tag) -> Value {
        let begun = self.collecting.as_ref().map_or(Ok(()), |collecting| collecting.begin(tag));
        let others = self.others.iter();
        let missed =
            others.flat_map(|others| others.tell(&Order::Snapshot(tag), SNAPSHOT_MAX, Insistence::Once));
        let missed: Vec<NodeRank> = missed.collect();
        let own = self.recordings.as_ref().map(|recordings| recordings.write(tag));
        let settled = self.collecting.as_ref().map_or(Ok(()), |collecting| collecting.settle(tag));
        let error = begun.and(own.unwrap_or(Ok(()))).and(settled).err().map(|error| format!("{error:#}"));
        let directory = self.settings.recordings.as_ref().filter(|_| self.recordings.is_some());
        let writer = self.collecting.as_ref().and_then(Collecting::writer);
        let host = self.settings.cluster.as_ref().zip(writer);
        json!({
            "missed_nodes": missed,
            "n_nodes": self.n_nodes(),
            "directory": directory.map(|directory| report::text_of(directory)),
            "host": host.map(|(cluster, writer)| &cluster.nodes[writer.get() as usize].host),
            "error": error,
        })
    }

    fn down(&self, everywhere: bool) -> Value {
        let others = self.others.iter().filter(|_| everywhere);
        let missed = others.flat_map(|others| others.tell(&Order::GoDown, DOWN_MAX, Insistence::Once));
        let missed: Vec<NodeRank> = missed.collect();
        self.line.go_down();
        json!({ "missed_nodes": missed, "n_nodes": self.n_nodes() })
    }

    fn n_nodes(&self) -> u32 {
        self.others.as_ref().map_or(1, |others| others.n_nodes)
    }
}
