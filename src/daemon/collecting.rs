//! Recordings of nodes on several machines, on their way up the first tree to where the report goes.
//!
//! A node hands its recording to the node above, which says that it has it only once it has been handed on: so whoever is
//! told so may go, and no death on the way loses anything. Whoever is at the top keeps the newest of each node and tag
//! beside the report and puts them together.
//!
//! Invariant: what is put together names the nodes of which it has nothing.
//! Invariant: no node but the one at the top writes to the report's directory.
//!
//! Not here: making a recording (`recording`), putting together (`together`), the records of `run.json` (`gathering`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, mpsc};
use std::thread::Builder;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::recording::Tag;
use super::report::replace;
use super::together::{Part, put_together};
use crate::cluster::{Cluster, NodeRank};
use crate::holder::estate::Settings;
use crate::profile::recorder::{Counter, Recorder};
use crate::profile::recording::WHOLE;
use crate::tree::Tree;
use crate::wire::{Question, RECORD_BYTES_MAX};

/// How long a node tries to hand something up: 20 s, as long as a snapshot may take.
const HANDED_WITHIN: Duration = Duration::from_secs(20);

/// The same after a node's last task: 2 s, so that its record and the report have the rest of the 5 s that the holder
/// waits.
const LAST_HANDED_WITHIN: Duration = Duration::from_secs(2);

/// How long putting together may take beyond that: 300 ms, what is left of those 5 s if the report was waited for.
const SETTLED_WITHIN: Duration = Duration::from_millis(300);

/// Between two times that late parts are put together: 500 ms.
const PAUSE: Duration = Duration::from_millis(500);

/// Parts that were kept so long before this service was founded are of an earlier job that was killed: 60 s, more than
/// nodes of one job start apart and their clocks differ.
const EARLIER: Duration = Duration::from_secs(60);

/// Bytes of a recording that is unpacked: 512 MiB, several times what a node's tables hold.
const UNPACKED_BYTES_MAX: usize = 512 << 20;

/// What goes up: this as a line of JSON, then what is said of it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    /// Forget what was kept with this tag: a new round begins.
    Begin(Tag),
    /// A node's recording, packed, follows.
    Part { node: u32, tag: Tag },
    /// All that could be had of this tag is there: put it together.
    Settle(Tag),
}

/// The way of recordings, seen from one node. Cloning shares it.
#[derive(Clone)]
pub(super) struct Collecting(Arc<Inner>);

struct Inner {
    directory: PathBuf,
    /// Where parts are kept by whoever is at the top.
    parts: PathBuf,
    own: NodeRank,
    /// The root of the tree that recordings go up; another node may stand in for it.
    root: NodeRank,
    n_nodes: u32,
    recorder: Recorder,
    founded: OnceLock<SystemTime>,
    way: OnceLock<(Tree, Handle)>,
    kept: Mutex<Kept>,
}

/// What is at the top and not put together yet.
#[derive(Default)]
struct Kept {
    /// Nodes by tag, since that was put together.
    fresh: BTreeMap<Tag, BTreeSet<u32>>,
    /// Nodes that have said their last.
    ended: BTreeSet<u32>,
    /// The last tasks of this node have left, and what was there has been put together.
    settled: bool,
    put_together: Option<Instant>,
    /// What this process has kept.
    parts: BTreeSet<(Tag, u32)>,
}

impl Collecting {
    /// For one of several nodes; `None` where nothing is recorded.
    pub(super) fn new(
        settings: &Settings,
        cluster: &Cluster,
        root: NodeRank,
        recorder: Recorder,
    ) -> Option<Self> {
        recorder.events()?;
        let directory = settings.recordings.clone()?;
        let job: String =
            settings.job.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(100).collect();
        Some(Collecting(Arc::new(Inner {
            parts: directory.join(format!(".recordings-{job}")),
            directory,
            own: cluster.own,
            root,
            n_nodes: cluster.n_nodes(),
            recorder,
            founded: OnceLock::new(),
            way: OnceLock::new(),
            kept: Mutex::default(),
        })))
    }

    /// Tells it the way up, and when this node's service was founded.
    pub(super) fn start(&self, tree: Tree, runtime: Handle, founded_unix_us: u64) {
        let _ = self.0.founded.set(UNIX_EPOCH + Duration::from_micros(founded_unix_us));
        let _ = self.0.way.set((tree, runtime));
    }

    /// Hands up a recording of this node. Once that is done it lies where the report goes.
    ///
    /// # Errors
    /// Nobody above took it in time, or this node is at the top and cannot write.
    pub(super) fn hand(&self, tag: Tag, recording: &[u8]) -> Result<()> {
        let mut parcel = Word::Part { node: self.0.own.get(), tag }.line();
        parcel.extend(lz4_flex::compress_prepend_size(recording));
        if parcel.len() > RECORD_BYTES_MAX {
            self.0.recorder.count(Counter::LimitsHit);
            bail!("the recording of node {} is too large to travel", self.0.own);
        }
        let within = if tag == Tag::PreDestroy { LAST_HANDED_WITHIN } else { HANDED_WITHIN };
        self.0.pass_on(parcel, within)
    }

    /// Takes what a node beneath hands up; true once it has been handed on. May take a while.
    pub(super) fn take(&self, parcel: Vec<u8>) -> bool {
        let passed = self.0.pass_on(parcel, HANDED_WITHIN);
        passed.inspect_err(|error| tracing::warn!("a recording is not handed on: {error:#}")).is_ok()
    }

    /// A new round of snapshots with this tag begins.
    ///
    /// # Errors
    /// As [`Self::hand`].
    pub(super) fn begin(&self, tag: Tag) -> Result<()> {
        self.0.pass_on(Word::Begin(tag).line(), HANDED_WITHIN)
    }

    /// All nodes have been told to hand up theirs: whoever is at the top puts together what is there.
    ///
    /// # Errors
    /// As [`Self::hand`].
    pub(super) fn settle(&self, tag: Tag) -> Result<()> {
        self.0.pass_on(Word::Settle(tag).line(), HANDED_WITHIN)
    }

    /// The report is written: what has come of the recordings is put together, if this node is at the top. Returns when
    /// that is done, at the latest at `until`; then it goes on, and the service does not end before.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn settle_last(&self, until: Instant) -> Result<()> {
        let (sender, done) = mpsc::channel();
        let inner = self.0.clone();
        let work = move || {
            let mut kept = inner.lock();
            kept.settled = true;
            let is_at_the_top = !kept.parts.is_empty();
            let settled = if is_at_the_top { inner.put_together(&mut kept, Tag::PreDestroy) } else { Ok(()) };
            // Nobody may be waiting any more.
            drop(sender.send(settled));
        };
        Builder::new().name("recordings".into()).stack_size(512 * 1024).spawn(work)?;
        match done.recv_timeout(until.saturating_duration_since(Instant::now()).max(SETTLED_WITHIN)) {
            Ok(settled) => settled,
            Err(_) => {
                tracing::warn!("putting the recordings together takes longer");
                Ok(())
            }
        }
    }

    /// The service ends: what has come late is put together, and no part stays.
    pub(super) fn end(&self) {
        let mut kept = self.0.lock();
        if kept.parts.is_empty() {
            return;
        }
        let done = if kept.fresh.values().all(BTreeSet::is_empty) {
            Ok(())
        } else {
            self.0.put_together(&mut kept, Tag::PreDestroy)
        };
        match done {
            Ok(()) => self.0.remove(&kept.parts),
            Err(error) => tracing::warn!("recordings cannot be put together: {error:#}"),
        }
    }
}

impl Word {
    fn line(self) -> Vec<u8> {
        let mut line = serde_json::to_vec(&self).expect("memory takes it");
        line.push(b'\n');
        line
    }

    /// The word, and where what follows it begins.
    fn of(parcel: &[u8]) -> Option<(Word, usize)> {
        let end = parcel.iter().take(256).position(|byte| *byte == b'\n')?;
        Some((serde_json::from_slice(&parcel[..end]).ok()?, end + 1))
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn pass_on(&self, parcel: Vec<u8>, within: Duration) -> Result<()> {
        let (tree, runtime) = self.way.get().context("this node has no way up yet")?;
        let (word, begins) = Word::of(&parcel).context("it makes no sense")?;
        let going = tree.send_up(Question::Recording(parcel.clone()));
        let above = runtime.block_on(async { tokio::time::timeout(within, going).await });
        match above {
            Ok(Some(_)) => Ok(()),
            Ok(None) => self.keep(word, &parcel[begins..]),
            Err(_) => bail!("no node above has taken it"),
        }
    }

    /// Does what a word says, at the top.
    fn keep(&self, word: Word, packed: &[u8]) -> Result<()> {
        let mut kept = self.lock();
        match word {
            Word::Begin(tag) => {
                kept.fresh.remove(&tag);
                match fs::remove_dir_all(self.parts.join(tag.name())) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
                    _ => Ok(()),
                }
            }
            Word::Settle(tag) => self.put_together(&mut kept, tag),
            Word::Part { node, tag } => {
                if node >= self.n_nodes {
                    bail!("there is no node {node}");
                }
                replace(&self.parts.join(tag.name()), &part_file(node), packed)?;
                kept.parts.insert((tag, node));
                if tag == Tag::PreDestroy {
                    kept.ended.insert(node);
                }
                kept.fresh.entry(tag).or_default().insert(node);
                if !kept.is_due(tag, self.n_nodes) {
                    return Ok(());
                }
                // The part is safe: that the whole cannot be written is said by whoever asks for it.
                let done = self.put_together(&mut kept, tag);
                done.inspect_err(|error| tracing::warn!("recordings cannot be put together: {error:#}"))
                    .or(Ok(()))
            }
        }
    }

    /// Writes the snapshot of this tag, and the newest of all nodes.
    fn put_together(&self, kept: &mut Kept, tag: Tag) -> Result<()> {
        if tag != Tag::PreDestroy {
            let directory = self.directory.join("snapshots").join(tag.name());
            put_together(&directory, &self.kept_with(tag), self.n_nodes, None)?;
        }
        let mut newest: BTreeMap<u32, (SystemTime, Part)> = BTreeMap::new();
        for part in Tag::ALL.iter().flat_map(|tag| self.kept_with(*tag)) {
            let Ok(written) = fs::metadata(&part.path).and_then(|about| about.modified()) else { continue };
            if newest.get(&part.node).is_none_or(|(known, _)| *known <= written) {
                newest.insert(part.node, (written, part));
            }
        }
        let parts: Vec<Part> = newest.into_values().map(|(_, part)| part).collect();
        put_together(&self.directory, &parts, self.n_nodes, Some(&self.directory.join(WHOLE)))?;
        kept.fresh.remove(&tag);
        kept.put_together = Some(Instant::now());
        Ok(())
    }

    /// Takes parts away: the root all of them, whoever stands in for it only what it has kept.
    fn remove(&self, kept: &BTreeSet<(Tag, u32)>) {
        // What cannot be taken away is in nobody's way.
        if self.own == self.root {
            let _ = fs::remove_dir_all(&self.parts);
            return;
        }
        for (tag, node) in kept {
            let directory = self.parts.join(tag.name());
            let _ = fs::remove_file(directory.join(part_file(*node)));
            let _ = fs::remove_dir(directory);
        }
        let _ = fs::remove_dir(&self.parts);
    }

    /// The parts with this tag, those of an earlier job left out.
    fn kept_with(&self, tag: Tag) -> Vec<Part> {
        let earliest = self.founded.get().and_then(|founded| founded.checked_sub(EARLIER));
        let entries = fs::read_dir(self.parts.join(tag.name())).into_iter().flatten().flatten();
        let mut parts: Vec<Part> = entries
            .filter_map(|entry| {
                let written = entry.metadata().ok()?.modified().ok()?;
                let node = entry.file_name().to_str()?.parse().ok()?;
                let is_ours = earliest.is_none_or(|earliest| written >= earliest);
                is_ours.then(|| Part { node, path: entry.path(), unpack })
            })
            .collect();
        parts.sort_by_key(|part| part.node);
        parts
    }
}

impl Kept {
    /// Whether parts are to be put together though nobody asks for it: every node has handed up one, or some have waited
    /// for a while. The last ones wait until this node's own tasks have ended.
    fn is_due(&self, tag: Tag, n_nodes: u32) -> bool {
        if tag == Tag::PreDestroy && !self.settled || matches!(tag, Tag::OnDemand | Tag::PreReset) {
            return false;
        }
        let is_there = |node: u32| self.ended.contains(&node) || self.fresh[&tag].contains(&node);
        (0..n_nodes).all(is_there) || self.put_together.is_some_and(|last| last.elapsed() > PAUSE)
    }
}

fn part_file(node: u32) -> String {
    format!("{node:06}")
}

/// The bytes of a packed recording.
fn unpack(packed: Vec<u8>) -> Option<Vec<u8>> {
    let (length, _) = lz4_flex::block::uncompressed_size(&packed).ok()?;
    if length > UNPACKED_BYTES_MAX {
        return None;
    }
    lz4_flex::decompress_size_prepended(&packed).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_by_nobody_is_not_unpacked() {
        let packed = lz4_flex::compress_prepend_size(b"a recording");
        assert_eq!(unpack(packed.clone()).as_deref(), Some(&b"a recording"[..]));
        let large = [&u32::MAX.to_le_bytes()[..], &packed[4..]].concat();
        for broken in [&packed[..packed.len() - 2], b"", b"abc", &large] {
            assert_eq!(unpack(broken.to_vec()), None, "{broken:?}");
        }
    }

    #[test]
    fn a_word_is_read_with_what_follows_it() {
        let line = Word::Part { node: 3, tag: Tag::Runtime }.line();
        let parcel = [&line[..], b"\xff\n"].concat();
        let (word, begins) = Word::of(&parcel).unwrap();
        assert!(matches!(word, Word::Part { node: 3, tag: Tag::Runtime }));
        assert_eq!(&parcel[begins..], b"\xff\n");
        for broken in [&b""[..], b"{}\n", b"no line", &[b'x'; 400]] {
            assert!(Word::of(broken).is_none());
        }
    }
}
