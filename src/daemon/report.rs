//! `run.json`: what a run did on each node, for people and programs.
//!
//! The field names are a contract (docs/REPORT.md); counters appear under the groups of their names.
//!
//! Invariant: the file is whole or absent, also when the disk is full.
//!
//! Not here: counting (`profile`).

use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::memory;
use crate::holder::estate::Settings;
use crate::holder::messages::RunOutcome;
use crate::profile::recorder::{Counter, Recorder};

/// Version of the layout. It changes when a field changes its meaning or goes; new fields may come any time.
const SCHEMA: u32 = 1;

/// Writes `run.json` into the directory that the settings name, if they do.
///
/// # Errors
/// The directory cannot be made or the file cannot be written; an older `run.json` is then unchanged.
pub(super) fn write(
    settings: &Settings,
    recorder: &Recorder,
    cached_bytes: u64,
    outcome: &RunOutcome,
) -> anyhow::Result<()> {
    recorder.set(Counter::MemoryCached, cached_bytes);
    recorder.raise(Counter::MemoryPeakRss, memory::peak_resident_bytes());
    let Some(directory) = &settings.report else { return Ok(()) };
    let mut text = serde_json::to_vec_pretty(&report(settings, recorder, outcome))?;
    text.push(b'\n');
    replace(directory, "run.json", &text).with_context(|| format!("cannot write `{}`", directory.display()))
}

fn replace(directory: &Path, name: &str, content: &[u8]) -> anyhow::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let unfinished = directory.join(format!(".{name}.{}", std::process::id()));
    let written = (|| {
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&unfinished, directory.join(name))
    })();
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    Ok(written?)
}

fn report(settings: &Settings, recorder: &Recorder, outcome: &RunOutcome) -> Value {
    let shown = if settings.record_args { settings.command.len() } else { settings.command.len().min(1) };
    let groups = groups(recorder);
    let mut node = Map::from_iter([
        ("rank".into(), json!(0)),
        ("host".into(), json!(host_name())),
        ("ready_seconds".into(), json!(outcome.ready_seconds)),
        ("way_in".into(), json!(settings.way_in)),
    ]);
    node.extend(groups.clone());
    let views: Vec<_> = settings.views.iter().map(|view| text_of(view)).collect();
    json!({
        "schema": SCHEMA,
        "spinney": env!("CARGO_PKG_VERSION"),
        "job": settings.job,
        "command": &settings.command[..shown],
        "exit_code": outcome.exit_code,
        "views": views,
        "wall_seconds": outcome.wall_seconds,
        "missing_nodes": [],
        "nodes": [node],
        "totals": groups,
    })
}

/// A path in JSON: as it is, or with what is not UTF-8 replaced.
fn text_of(path: &Path) -> String {
    String::from_utf8_lossy(path.as_os_str().as_bytes()).into_owned()
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The counters as groups of fields: `fuse.lookup` becomes `fuse.by_kind.lookup`, the rest `group.name`.
fn groups(recorder: &Recorder) -> Map<String, Value> {
    let mut groups: Map<String, Value> = Map::new();
    let mut requests_total = 0;
    for counter in Counter::ALL {
        let (group, name) =
            counter.name().split_once('.').expect("a test checks that every counter has a group");
        let value = recorder.get(*counter);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_hold_what_the_contract_names() {
        let recorder = Recorder::private();
        recorder.add(Counter::FuseLookup, 5);
        recorder.add(Counter::FuseForget, 7);
        recorder.add(Counter::StorageBytes, 9);
        let groups = groups(&recorder);
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
        fs::create_dir(directory.path().join(format!(".run.json.{}", std::process::id()))).unwrap();
        assert!(replace(directory.path(), "run.json", b"new").is_err(), "cannot be written");
        assert_eq!(fs::read(directory.path().join("run.json")).unwrap(), b"old");
    }
}
