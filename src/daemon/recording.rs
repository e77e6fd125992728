//! This node's recording: made of what was recorded so far, and written where the report goes.
//!
//! The newest one stands in the report's directory, whatever it was written for; the newest of each tag beneath
//! `snapshots`. Nodes on one machine write a file each, which their launcher puts together.
//!
//! Invariant: a file is whole or absent, and replaces an older one at once.
//!
//! Not here: the layout (`profile::recording`), recording (`profile::recorder`).

use std::path::{Path, PathBuf};
use std::thread::Builder;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{io, sync::Arc};

use serde::{Deserialize, Serialize};

use super::record::host_name;
use super::report::{self, replace};
use crate::cluster::{Cluster, NodeRank};
use crate::holder::estate::Settings;
use crate::profile::recorder::buckets::longest_in;
use crate::profile::recorder::events::Events;
use crate::profile::recorder::{Counter, Recorder};
use crate::profile::recording::{
    Header, LatencyLine, NodeLine, OtherLine, PART, PathLine, TaskLine, TimeLine, WHOLE, Writing, path_fields,
};

/// Why a recording is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Tag {
    /// The last task has left.
    PreDestroy,
    /// `--snapshot-every`.
    Runtime,
    /// `spinney profile snapshot`.
    OnDemand,
    /// The node is about to forget.
    PreReset,
}

impl Tag {
    fn name(self) -> &'static str {
        match self {
            Tag::PreDestroy => "pre-destroy",
            Tag::Runtime => "runtime-snapshot",
            Tag::OnDemand => "on-demand",
            Tag::PreReset => "pre-reset",
        }
    }
}

/// What recordings of this node are made of. Cloning shares it.
#[derive(Clone)]
pub(super) struct Recordings(Arc<Inner>);

struct Inner {
    settings: Settings,
    recorder: Recorder,
    events: &'static Events,
    directory: PathBuf,
}

impl Recordings {
    /// `None` where nothing is recorded.
    pub(super) fn of(settings: &Settings, recorder: Recorder) -> Option<Self> {
        let (events, directory) = (recorder.events()?, settings.recordings.clone()?);
        Some(Recordings(Arc::new(Inner { settings: settings.clone(), recorder, events, directory })))
    }

    /// Writes one now and then, if that is wanted.
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn begin_snapshots(&self) -> io::Result<()> {
        let Some(interval) = self.0.settings.profiling.snapshot_every else { return Ok(()) };
        let recordings = self.clone();
        let interval = interval.max(Duration::from_millis(10));
        let work = move || loop {
            std::thread::sleep(interval);
            if let Err(error) = recordings.write(Tag::Runtime) {
                tracing::warn!(%error, "a snapshot cannot be written");
            }
        };
        Builder::new().name("snapshots".into()).stack_size(512 * 1024).spawn(work)?;
        Ok(())
    }

    /// Writes what has been recorded so far.
    ///
    /// # Errors
    /// The directory or a file cannot be written; older files are then unchanged.
    pub(super) fn write(&self, tag: Tag) -> anyhow::Result<()> {
        let (bytes, name) = (self.0.make(tag), self.0.file_name());
        if tag != Tag::PreDestroy {
            replace(&self.0.directory.join("snapshots").join(tag.name()), &name, &bytes)?;
        }
        replace(&self.0.directory, &name, &bytes)
    }
}

impl Inner {
    fn rank(&self) -> u32 {
        self.settings.cluster.as_ref().map_or(0, |cluster| cluster.own.get())
    }

    fn file_name(&self) -> String {
        match &self.settings.cluster {
            Some(cluster) if cluster.n_nodes() > 1 => part_name(cluster.own),
            _ => WHOLE.to_owned(),
        }
    }

    fn make(&self, tag: Tag) -> Vec<u8> {
        let mut writing = Writing::begin(&self.header(tag));
        writing.add(&OtherLine::Node(NodeLine {
            node: self.rank(),
            host: host_name(),
            process: std::process::id(),
            began_unix_us: self.events.began_unix_us(),
            lost: self.events.lost(),
            counters: Counter::ALL
                .iter()
                .map(|counter| (counter.name().to_owned(), self.recorder.get(*counter)))
                .collect(),
        }));
        self.add_figures(&mut writing);
        self.add_paths(&mut writing);
        writing.end()
    }

    fn header(&self, tag: Tag) -> Header {
        let settings = &self.settings;
        let n_nodes = settings.cluster.as_ref().map_or(1, Cluster::n_nodes);
        Header {
            observed: settings.profiling.observe,
            job: settings.job.clone(),
            command: report::shown(&settings.command, settings.record_args),
            views: settings.views.iter().map(|view| report::text_of(view)).collect(),
            n_nodes,
            missing_nodes: (0..n_nodes).filter(|node| *node != self.rank()).collect(),
            ..Header::now(settings.profiling.mode, tag.name(), unix_us())
        }
    }

    fn add_figures(&self, writing: &mut Writing) {
        let node = self.rank();
        for latencies in self.events.latencies() {
            let buckets = latencies.buckets.iter().map(|(bucket, count)| (longest_in(*bucket), *count));
            writing.add(&OtherLine::Latency(LatencyLine {
                node,
                operation: latencies.operation,
                source: latencies.by,
                buckets: buckets.collect(),
            }));
        }
        for moment in self.events.moments() {
            writing.add(&OtherLine::Time(TimeLine {
                node,
                from_us: moment.from_us,
                until_us: moment.until_us,
                answers: moment.answers,
                nanoseconds: moment.nanoseconds,
            }));
        }
        for task in self.events.tasks() {
            writing.add(&OtherLine::Task(TaskLine {
                node,
                process: task.process,
                task: task.task,
                command: task.command,
                calls: task.calls,
                nanoseconds: task.nanoseconds,
            }));
        }
    }

    fn add_paths(&self, writing: &mut Writing) {
        for row in self.events.paths() {
            let Some(view) = self.settings.views.get(usize::from(row.view)) else { continue };
            let mut bytes = std::os::unix::ffi::OsStrExt::as_bytes(view.as_os_str()).to_vec();
            if !row.relative.is_empty() {
                bytes.push(b'/');
                bytes.extend_from_slice(&row.relative);
            }
            let (path, path_bytes) = path_fields(&bytes);
            writing.add(&PathLine {
                node: self.rank(),
                path,
                path_bytes,
                operation: row.operation,
                outcome: row.outcome,
                source: row.by,
                calls: row.calls,
                bytes: row.bytes,
                nanoseconds: row.nanoseconds,
                error: row.error,
            });
        }
    }
}

fn part_name(node: NodeRank) -> String {
    format!("{PART}{:06}.jsonl", node.get())
}

/// Puts the files of the nodes of one machine together into one, and takes them away.
///
/// # Errors
/// A file cannot be read or written; those of the nodes then stay.
pub fn gather(directory: &Path, n_nodes: u32) -> anyhow::Result<()> {
    let mut parts = Vec::new();
    for node in 0..n_nodes {
        let path = directory.join(part_name(NodeRank::new(node)));
        match std::fs::read(&path) {
            Ok(bytes) => parts.push((node, bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    if let Some(whole) = together(parts.iter().map(|(node, bytes)| (*node, bytes.as_slice())), n_nodes) {
        replace(directory, WHOLE, &whole)?;
    }
    for entry in std::fs::read_dir(directory)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PART) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// One recording of those of single nodes; `None` if there is none.
fn together<'a>(parts: impl Iterator<Item = (u32, &'a [u8])>, n_nodes: u32) -> Option<Vec<u8>> {
    let mut newest: Option<Header> = None;
    let (mut all, mut nodes) = (Vec::new(), Vec::new());
    for (node, bytes) in parts {
        let mut lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let header: Header = serde_json::from_slice(lines.next()?).ok()?;
        if newest.as_ref().is_none_or(|newest| newest.unix_us < header.unix_us) {
            newest = Some(header);
        }
        all.extend(lines.filter(|line| !line.starts_with(b"{\"kind\":\"end\"")));
        nodes.push(node);
    }
    let missing_nodes = (0..n_nodes).filter(|node| !nodes.contains(node)).collect();
    let mut writing = Writing::begin(&Header { missing_nodes, ..newest? });
    all.into_iter().for_each(|line| writing.add_raw(line));
    Some(writing.end())
}

fn unix_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}
