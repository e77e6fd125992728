//! How a node's service is, as of now: what `spinney status --json` tells of it.
//!
//! The field names are a contract (docs/STATUS.md).
//!
//! Not here: asking for it (`services`), what a job did once it has ended (`report`).

use serde_json::{Value, json};

use super::asked::Asked;
use super::gathering::Gathering;
use super::record::Record;
use super::{memory, report};
use crate::holder::ledger::Ledger;
use crate::profile::recorder::Counter;
use crate::tree::TreeState;

/// The status of the node that is `asked`.
pub(super) fn of(asked: &Asked) -> Value {
    let Asked { settings, recorder, cache, .. } = asked;
    let ledger = Ledger::load(&asked.ledger).unwrap_or_default();
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
    row["tree"] = match (&asked.tree, &settings.cluster) {
        (Some(tree), Some(cluster)) => place(&tree.state(), cluster.n_nodes()),
        _ => Value::Null,
    };
    let records = asked.gathering.as_ref().map(Gathering::records).unwrap_or_default();
    row["beneath"] = records.iter().filter(|other| other.rank != record.rank).map(report::row).collect();
    row
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
