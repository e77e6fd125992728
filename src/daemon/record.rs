//! One node's part of a report: what its service counted and how its tasks ended.
//!
//! A node makes a new record now and then; the newest of a service replaces those before it.
//!
//! Not here: putting records together (`daemon::report`), counting (`profile`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{memory, report};
use crate::cluster::NodeRank;
use crate::holder::estate::{Settings, WayIn};
use crate::holder::messages::RunOutcome;
use crate::profile::recorder::{Counter, Recorder};
use crate::tree::Tree;

/// The figures of one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The node that the service was of.
    pub rank: NodeRank,
    /// Its name.
    pub host: String,
    /// How tasks got in.
    pub way_in: WayIn,
    /// How they ended.
    pub outcome: RunOutcome,
    /// Views that the node read from storage itself, though there are other nodes.
    #[serde(default)]
    pub views_apart: Vec<String>,
    /// Every counter by its name.
    pub counters: BTreeMap<String, u64>,
    /// Whether no task was there any more when it was made; others may still come.
    #[serde(default)]
    pub ended: bool,
}

impl Record {
    /// The record of this node as of now.
    pub fn make(settings: &Settings, recorder: &Recorder, cached_bytes: u64, outcome: RunOutcome) -> Self {
        recorder.set(Counter::MemoryCached, cached_bytes);
        recorder.raise(Counter::MemoryPeakRss, memory::peak_resident_bytes());
        let count = |counter: &Counter| (counter.name().to_owned(), recorder.get(*counter));
        Record {
            rank: settings.cluster.as_ref().map_or(NodeRank::new(0), |cluster| cluster.own),
            host: host_name(),
            way_in: settings.way_in,
            outcome,
            views_apart: Vec::new(),
            counters: Counter::ALL.iter().map(count).collect(),
            ended: false,
        }
    }

    /// The same of a node of `tree`, which may read some of the views of `settings` from storage itself.
    pub(super) fn reading_apart(self, settings: &Settings, tree: &Tree) -> Self {
        let apart = tree.views_apart().into_iter();
        let views_apart = apart.map(|view| report::text_of(&settings.views[view.position()])).collect();
        Record { views_apart, ..self }
    }

    /// The same, after the last task.
    pub fn ended(self) -> Self {
        Record { ended: true, ..self }
    }

    /// As it travels beside messages.
    pub fn to_json(&self) -> Option<serde_json::Value> {
        serde_json::to_value(self).ok()
    }
}

pub(super) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
