//! This node's recording: made of what was recorded so far, and written where the report goes.
//!
//! The newest one stands in the report's directory, whatever it was written for; the newest of each tag beneath
//! `snapshots`. Nodes on one machine write a file each, which their launcher puts together; those of several machines hand
//! theirs up (`collecting`).
//!
//! Invariant: a file is whole or absent, and replaces an older one at once.
//!
//! Not here: the layout (`profile::recording`), recording (`profile::recorder`), files of several nodes (`together`).

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::Builder;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::collecting::Collecting;
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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
    /// All of them.
    pub(super) const ALL: &'static [Tag] = &[Tag::PreDestroy, Tag::Runtime, Tag::OnDemand, Tag::PreReset];

    /// As in a recording, and the name of its directory.
    pub(super) fn name(self) -> &'static str {
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
    /// `None`: no other node, or all are on this machine.
    collecting: Option<Collecting>,
    /// Whether the last task has left, and so the last recording is written. Held while a file is made and written: none
    /// replaces a later one.
    has_ended: Mutex<bool>,
}

impl Recordings {
    /// `None` where nothing is recorded.
    pub(super) fn of(
        settings: &Settings,
        recorder: Recorder,
        collecting: Option<Collecting>,
    ) -> Option<Self> {
        let (events, directory) = (recorder.events()?, settings.recordings.clone()?);
        let settings = settings.clone();
        Some(Recordings(Arc::new(Inner {
            settings,
            recorder,
            events,
            directory,
            collecting,
            has_ended: Mutex::default(),
        })))
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

    /// Writes what has been recorded so far, or has it written where the report goes. After the last task has left, none is
    /// written now and then: it would come when all have been put together.
    ///
    /// # Errors
    /// The directory or a file cannot be written, or nobody above takes it; older files are then unchanged.
    pub(super) fn write(&self, tag: Tag) -> anyhow::Result<()> {
        let mut has_ended = self.0.has_ended.lock().unwrap_or_else(|e| e.into_inner());
        if *has_ended && tag == Tag::Runtime {
            return Ok(());
        }
        *has_ended |= tag == Tag::PreDestroy;
        let (made, bytes) = (unix_us(), self.0.make(tag));
        if let Some(collecting) = &self.0.collecting {
            // What is handed up says when it was made, and may take longer than the last can wait.
            drop(has_ended);
            return collecting.hand(tag, made, &bytes);
        }
        let name = self.0.file_name();
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
            n_nodes,
            missing_nodes: (0..n_nodes).filter(|node| *node != self.rank()).collect(),
            ..Header::now(settings.profiling.mode, tag.name(), unix_us()).showing(&settings.views)
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
                nanoseconds: latencies.nanoseconds,
                bytes: latencies.bytes,
                absences: latencies.absences,
                errors: latencies.errors,
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

pub(super) fn part_name(node: NodeRank) -> String {
    format!("{PART}{:06}.jsonl", node.get())
}

fn unix_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}
