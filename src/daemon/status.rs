//! How a node's service is, as of now: what `spinney status --json` tells of it.
//!
//! The field names are a contract (docs/STATUS.md).
//!
//! Not here: asking for it (`services`), what a job did once it has ended (`report`).

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;

use serde_json::{Value, json};

use super::asked::Asked;
use super::gathering::Gathering;
use super::record::Record;
use super::{memory, report};
use crate::cache::Cache;
use crate::holder::estate::{Estate, Settings};
use crate::holder::ledger::Ledger;
use crate::profile::recorder::buckets::{longest_in, longest_in_doubling};
use crate::profile::recorder::events::{Events, Latencies};
use crate::profile::recorder::{Counter, Recorder, RowRead};
use crate::tree::TreeState;

/// Recorded paths that are told: the 20 that tasks waited for longest.
const PATHS_TOLD: usize = 20;

/// Where the figures of a node come from.
pub(super) struct Figures {
    settings: Settings,
    recorder: Recorder,
    cache: Cache,
    ledger: OwnedFd,
}

impl Figures {
    /// Those of the node that `estate` is of.
    ///
    /// # Errors
    /// No descriptor to be had.
    pub(super) fn of(estate: &Estate, recorder: Recorder, cache: &Cache) -> io::Result<Self> {
        let (settings, ledger) = (estate.settings.clone(), estate.ledger.try_clone()?);
        Ok(Figures { settings, recorder, cache: cache.clone(), ledger })
    }

    /// As they are now.
    pub(super) fn row(&self) -> Value {
        figures(&self.settings, &self.recorder, &self.cache, &self.ledger)
    }
}

fn figures(settings: &Settings, recorder: &Recorder, cache: &Cache, ledger: &OwnedFd) -> Value {
    let ledger = Ledger::load(ledger).unwrap_or_default();
    let record = Record::make(settings, recorder, cache.bytes(), ledger.outcome());
    let mut row = report::row(&record);
    row["job"] = json!(settings.job);
    row["views"] = settings.views.iter().map(|view| view.to_string_lossy()).collect();
    row["kept"] = json!(settings.kept);
    row["seconds"] = json!(record.outcome.wall_seconds);
    row["founded_unix_us"] = json!(ledger.founded_unix_us);
    row["tasks"]["present"] = json!(ledger.present);
    row["tasks"]["ended"] = json!(ledger.tasks_ended);
    row["memory"]["rss_bytes"] = json!(memory::resident_bytes());
    row["memory"]["budget_bytes"] = json!(cache.budget_bytes());
    row["restarts"] =
        json!(recorder.get(Counter::FaultsDaemonRestarts) + recorder.get(Counter::FaultsHolderRestarts));
    if let Some(events) = recorder.events() {
        row["latencies"] = events.latencies().iter().map(latencies).collect();
    }
    row
}

/// The status of the node that is `asked`.
pub(super) fn of(asked: &Asked) -> Value {
    let Asked { settings, recorder, cache, .. } = asked;
    let mut row = figures(settings, recorder, cache, &asked.ledger);
    row["recorded"] = recorder.events().map_or(Value::Null, |events| recorded(settings, events));
    row["tree"] = match (&asked.tree, &settings.cluster) {
        (Some(tree), Some(cluster)) => place(&tree.state(), cluster.n_nodes()),
        _ => Value::Null,
    };
    let records = asked.gathering.as_ref().map(Gathering::records).unwrap_or_default();
    let own = settings.cluster.as_ref().map_or(0, |cluster| cluster.own.get());
    row["beneath"] = records.iter().filter(|other| other.rank.get() != own).map(reported).collect();
    row
}

/// How long answers of one kind took, by doublings: few enough for a message.
fn latencies(of: &Latencies) -> Value {
    let mut doublings: BTreeMap<u64, u64> = BTreeMap::new();
    for (bucket, count) in &of.buckets {
        *doublings.entry(longest_in_doubling(longest_in(*bucket))).or_default() += count;
    }
    json!({
        "operation": of.operation.name(),
        "source": of.by.name(),
        "buckets": doublings.into_iter().collect::<Vec<_>>(),
        "nanoseconds": of.nanoseconds,
    })
}

/// What another node has reported, and how old its service was then.
fn reported(record: &Record) -> Value {
    let mut row = report::row(record);
    row["seconds"] = json!(record.outcome.wall_seconds);
    row
}

/// What is recorded, and the paths that tasks waited for longest.
fn recorded(settings: &Settings, events: &Events) -> Value {
    let path = |row: &RowRead| {
        let view = settings.views.get(usize::from(row.view));
        let view = view.map(|view| report::text_of(view)).unwrap_or_default();
        let relative = String::from_utf8_lossy(&row.relative);
        if relative.is_empty() { view } else { format!("{view}/{relative}") }
    };
    let told = |row: &RowRead| {
        json!({
            "path": path(row),
            "operation": row.operation.name(),
            "outcome": row.outcome.name(),
            "source": row.by.name(),
            "calls": row.calls,
            "nanoseconds": row.nanoseconds,
        })
    };
    json!({
        "mode": events.mode().name(),
        "lost": events.lost(),
        "slowest": events.slowest(PATHS_TOLD).iter().map(told).collect::<Vec<Value>>(),
    })
}

fn place(state: &TreeState, n_nodes: u32) -> Value {
    let shard = |shard: &crate::tree::ShardState| json!({ "root": shard.root, "parent": shard.parent, "asks": shard.asks, "is_top": shard.is_top });
    json!({
        "n_nodes": n_nodes,
        "shards": state.shards.iter().map(shard).collect::<Vec<Value>>(),
        "connected": state.connected,
        "given_up": state.given_up,
        "views_apart": state.views_apart.iter().map(|view| view.position()).collect::<Vec<_>>(),
    })
}
