//! `run.json`: what a run did on each node, for people and programs.
//!
//! The field names are a contract (docs/REPORT.md); counters appear under the groups of their names. Whoever has the
//! records of the nodes merges them: the daemon of a node that is alone, the one at the top of the tree
//! (`daemon::gathering`), or the launcher.
//!
//! Invariant: the file is whole or absent, also when the disk is full.
//!
//! Not here: making records (`daemon::record`), counting (`profile`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::record::Record;
use crate::cluster::NodeRank;
use crate::holder::estate::{Settings, WayIn};
use crate::profile::recorder::Counter;

/// Version of the layout. It changes when a field changes its meaning or goes; new fields may come any time.
const SCHEMA: u32 = 1;

/// What a report says of the run as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Name of the job.
    pub job: String,
    /// The command as it may be shown.
    pub command: Vec<String>,
    /// Its exit code, if it is known better than from the records.
    pub exit_code: Option<i32>,
    /// What was shown, where anything was.
    pub views: Vec<PathBuf>,
    /// How many nodes there are: those without a record are named as missing.
    pub n_nodes: u32,
}

impl Run {
    /// What the `settings` of one of its nodes say.
    pub fn of(settings: &Settings) -> Self {
        Run {
            job: settings.job.clone(),
            command: shown(&settings.command, settings.record_args),
            exit_code: None,
            views: settings.views.clone(),
            n_nodes: settings.cluster.as_ref().map_or(1, |cluster| cluster.n_nodes()),
        }
    }
}

/// The words of a command that a report shows: all of them only if `record_args`.
pub fn shown(command: &[String], record_args: bool) -> Vec<String> {
    let words = if record_args { command.len() } else { command.len().min(1) };
    command[..words].to_vec()
}

/// Puts the `records` of a run together. Of one service the last record counts; several services of one node, one
/// after the other, are added up.
pub fn merge(run: &Run, records: impl IntoIterator<Item = Record>) -> Value {
    let mut nodes: BTreeMap<NodeRank, BTreeMap<u64, Record>> = BTreeMap::new();
    for record in records.into_iter().filter(|record| record.rank.get() < run.n_nodes) {
        nodes.entry(record.rank).or_default().insert(record.outcome.founded_unix_us, record);
    }
    let all = || nodes.values().flat_map(BTreeMap::values);
    let failures = all().filter_map(|record| Some((record.outcome.first_failed?, record.outcome.exit_code)));
    let exit_code = failures.min_by_key(|(task, _)| *task).map_or(0, |(_, code)| code);
    let seconds = all().map(|record| record.outcome.wall_seconds).fold(0.0, f64::max);
    let missing: Vec<u32> =
        (0..run.n_nodes).filter(|rank| !nodes.contains_key(&NodeRank::new(*rank))).collect();
    let was_shown = all().any(|record| record.way_in != WayIn::Direct);
    let views: Vec<String> = run.views.iter().filter(|_| was_shown).map(|view| text_of(view)).collect();
    json!({
        "schema": SCHEMA,
        "spinney": env!("CARGO_PKG_VERSION"),
        "job": run.job,
        "command": run.command,
        "exit_code": run.exit_code.unwrap_or(exit_code),
        "views": views,
        "wall_seconds": seconds,
        "missing_nodes": missing,
        "nodes": nodes.values().filter_map(node).collect::<Vec<Value>>(),
        "totals": groups(&sums(all())),
    })
}

/// Writes `report` as `run.json` into `directory`, which is made if need be.
///
/// # Errors
/// The directory cannot be made or the file cannot be written; an older `run.json` is then unchanged.
pub fn write(directory: &Path, report: &Value) -> anyhow::Result<()> {
    let mut text = serde_json::to_vec_pretty(report)?;
    text.push(b'\n');
    replace(directory, "run.json", &text).with_context(|| format!("cannot write `{}`", directory.display()))
}

/// Writes the report of a run of which this node has the one record there is, if `settings` ask for a report and this
/// node is the one that writes it.
///
/// # Errors
/// As [`write`].
pub(super) fn write_own(settings: &Settings, record: Record) -> anyhow::Result<()> {
    match &settings.report {
        Some(directory) if record.rank == NodeRank::new(0) => {
            let report = merge(&Run::of(settings), [record]);
            // A node of several that is on its own knows less than those that have found each other.
            let missing = report["missing_nodes"].as_array().map_or(0, Vec::len);
            if missing > 0 && missing_in(directory, &settings.job).is_some_and(|theirs| theirs < missing) {
                return Ok(());
            }
            write(directory, &report)
        }
        _ => Ok(()),
    }
}

/// How many nodes are missing in the report of `job` that is in `directory`, if one is.
pub(super) fn missing_in(directory: &Path, job: &str) -> Option<usize> {
    let report: Value = serde_json::from_slice(&fs::read(directory.join("run.json")).ok()?).ok()?;
    (report["job"] == job).then(|| report["missing_nodes"].as_array().map(Vec::len))?
}

/// One record as a row of `nodes`.
pub(super) fn row(record: &Record) -> Value {
    node(&BTreeMap::from([(0, record.clone())])).expect("it has a record")
}

/// One row of `nodes`.
fn node(services: &BTreeMap<u64, Record>) -> Option<Value> {
    let first = services.values().next()?;
    let mut node = Map::from_iter([
        ("rank".into(), json!(first.rank)),
        ("host".into(), json!(first.host)),
        ("ready_seconds".into(), json!(first.outcome.ready_seconds)),
        ("way_in".into(), json!(first.way_in)),
        (
            "views_apart".into(),
            json!(services.values().flat_map(|record| &record.views_apart).collect::<BTreeSet<_>>()),
        ),
    ]);
    node.extend(groups(&sums(services.values())));
    Some(node.into())
}

fn sums<'a>(records: impl Iterator<Item = &'a Record>) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for (name, value) in records.flat_map(|record| &record.counters) {
        let sum: &mut u64 = sums.entry(name.clone()).or_default();
        *sum = sum.saturating_add(*value);
    }
    sums
}

/// The counters as groups of fields: `fuse.lookup` becomes `fuse.by_kind.lookup`, the rest `group.name`. All that this
/// program has are there, also if no record has them.
fn groups(counters: &BTreeMap<String, u64>) -> Map<String, Value> {
    let mut groups: Map<String, Value> = Map::new();
    let mut requests_total = 0_u64;
    for counter in Counter::ALL {
        let (group, name) =
            counter.name().split_once('.').expect("a test checks that every counter has a group");
        let value = counters.get(counter.name()).copied().unwrap_or(0);
        let fields = groups.entry(group).or_insert_with(|| json!({}));
        let fields = if group == "fuse" {
            // Nobody waits for FORGET, so it is no part of what a run costs.
            requests_total += if *counter == Counter::FuseForget { 0 } else { value };
            &mut fields["by_kind"]
        } else {
            fields
        };
        fields[name] = json!(value);
    }
    groups["fuse"]["requests_total"] = json!(requests_total);
    groups
}

/// A path in JSON: as it is, or with what is not UTF-8 replaced.
pub(super) fn text_of(path: &Path) -> String {
    String::from_utf8_lossy(path.as_os_str().as_bytes()).into_owned()
}

pub(super) fn replace(directory: &Path, name: &str, content: &[u8]) -> anyhow::Result<()> {
    replace_with(directory, name, |file| file.write_all(content))
}

/// Replaces a file by what `write` writes, whole or not at all.
pub(super) fn replace_with(
    directory: &Path,
    name: &str,
    write: impl FnOnce(&mut fs::File) -> io::Result<()>,
) -> anyhow::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    // A name that nobody else has, on another node neither: two may write at once.
    let prefix = format!(".{name}.");
    let mut unfinished = tempfile::Builder::new().prefix(&prefix).tempfile_in(directory)?;
    write(unfinished.as_file_mut())?;
    unfinished.as_file().sync_all()?;
    unfinished.persist(directory.join(name))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::holder::messages::RunOutcome;

    fn record(rank: u32, founded_unix_us: u64, lookups: u64, failed: Option<(u64, i32)>) -> Record {
        let outcome = RunOutcome {
            exit_code: failed.map_or(0, |(_, code)| code),
            first_failed: failed.map(|(task, _)| task),
            founded_unix_us,
            wall_seconds: f64::from(rank),
            ..RunOutcome::default()
        };
        Record {
            rank: NodeRank::new(rank),
            host: format!("h{rank}"),
            way_in: WayIn::UserNamespace,
            outcome,
            views_apart: Vec::new(),
            counters: BTreeMap::from([("fuse.lookup".to_owned(), lookups)]),
            ended: true,
        }
    }

    fn run(n_nodes: u32) -> Run {
        Run { job: "j".into(), command: vec!["c".into()], exit_code: None, views: vec!["/v".into()], n_nodes }
    }

    #[test]
    fn every_node_is_there_once_or_named_as_missing() {
        let records = [
            record(3, 1, 10, Some((7, 4))),
            record(0, 1, 1, None),
            record(0, 1, 2, Some((9, 5))), // newer: replaces the one before
            record(0, 2, 5, None),         // another service of the same node: added
            record(9, 1, 99, None),        // no such node
        ];
        let report = merge(&run(4), records);
        assert_eq!(report["missing_nodes"], json!([1, 2]));
        let nodes = report["nodes"].as_array().unwrap();
        assert_eq!(nodes.iter().map(|node| node["rank"].clone()).collect::<Vec<_>>(), [json!(0), json!(3)]);
        assert_eq!(nodes[0]["fuse"]["requests_total"], 7);
        assert_eq!(report["totals"]["fuse"]["by_kind"]["lookup"], 17);
        assert_eq!(report["exit_code"], 4, "that of the first task that failed, not of the first node");
        assert_eq!(report["wall_seconds"], 3.0);
        assert_eq!(report["views"], json!(["/v"]));
        let known = Run { exit_code: Some(137), ..run(4) };
        assert_eq!(merge(&known, [])["exit_code"], 137);
        assert_eq!(merge(&known, [])["views"], json!([]), "nobody was shown anything");
    }

    #[test]
    fn a_record_comes_through_as_it_was_sent() {
        let sent = record(2, u64::MAX, 5, Some((u64::MAX, 137)));
        let received: Record = serde_json::from_value(sent.to_json().unwrap()).unwrap();
        assert_eq!(received, sent);
    }

    #[test]
    fn the_groups_hold_what_the_contract_names() {
        let counted = [("fuse.lookup", 5), ("fuse.forget", 7), ("storage.bytes_read", 9)]
            .map(|(name, n)| (name.to_owned(), n));
        let groups = groups(&BTreeMap::from(counted));
        assert_eq!(groups["fuse"]["requests_total"], 5, "FORGET is listed but not summed");
        assert_eq!(groups["fuse"]["by_kind"]["forget"], 7);
        assert_eq!(groups["storage"]["bytes_read"], 9);
        for (group, field) in [
            ("answers", "cache"),
            ("answers", "parent"),
            ("answers", "storage"),
            ("answers", "errors"),
            ("storage", "metadata_calls"),
            ("storage", "read_calls"),
            ("wire", "bytes_in"),
            ("wire", "requests_out"),
            ("faults", "parents_lost"),
            ("faults", "checksum_mismatches"),
            ("faults", "daemon_restarts"),
            ("memory", "peak_rss_bytes"),
            ("memory", "cached_bytes"),
        ] {
            assert!(groups[group][field].is_u64(), "{group}.{field}");
        }
    }

    #[test]
    fn a_report_replaces_the_old_one_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        replace(directory.path(), "run.json", b"old").unwrap();
        let full = |file: &mut fs::File| file.write_all(b"ne").and(Err(io::ErrorKind::StorageFull.into()));
        assert!(replace_with(directory.path(), "run.json", full).is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing unfinished is left");
        assert_eq!(fs::read(directory.path().join("run.json")).unwrap(), b"old");
    }
}
