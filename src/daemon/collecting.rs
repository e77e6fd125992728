//! Recordings of nodes on several machines, on their way up the first tree to where the report goes.
//!
//! A node hands its recording to the node above, which says that it has it only once it has been handed on: so whoever is
//! told so may go, and no death on the way loses anything. Whoever is at the top keeps the newest of each node and tag
//! beside the report (`waiting`) and puts them together.
//!
//! Invariant: what is put together names the nodes of which it has nothing.
//! Invariant: no node but the one at the top writes to the report's directory.
//!
//! Not here: making a recording (`recording`), putting together (`together`), the records of `run.json` (`gathering`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, mpsc};
use std::thread::Builder;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::recording::Tag;
use super::together::{Part, put_together};
use super::waiting::PartFile;
use crate::cluster::{Cluster, NodeRank};
use crate::holder::estate::Settings;
use crate::profile::recorder::{Counter, Recorder};
use crate::profile::recording::WHOLE;
use crate::profile::recording::parts::{UNPACKED_BYTES_MAX, pack, place_of, unpack};
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

/// Bytes that a piece of a recording takes on its way: as much as a record may, without the word before it.
const PIECE_BYTES_MAX: usize = RECORD_BYTES_MAX - WORD_BYTES_MAX;

/// Bytes of a word: 256.
const WORD_BYTES_MAX: usize = 256;

/// Pieces of a recording: as many as one takes that cannot be packed at all.
const PIECES_MAX: u32 = (UNPACKED_BYTES_MAX / PIECE_BYTES_MAX + 2) as u32;

/// What goes up: this as a line of JSON, then what is said of it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    /// Forget what was kept with this tag: a new round begins.
    Begin(Tag),
    /// A piece of a node's recording, packed, follows. Most have one.
    Part { node: u32, tag: Tag, unix_us: u64, piece: u32, pieces: u32 },
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
    /// When that was done last, or the first part came.
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
        Some(Collecting(Arc::new(Inner {
            parts: directory.join(place_of(&settings.job)),
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

    /// Hands up a recording of this node, made at `unix_us`. Once that is done it lies where the report goes.
    ///
    /// # Errors
    /// Nobody above took it in time, or this node is at the top and cannot write.
    pub(super) fn hand(&self, tag: Tag, unix_us: u64, recording: &[u8]) -> Result<()> {
        if recording.len() > UNPACKED_BYTES_MAX {
            self.0.recorder.count(Counter::LimitsHit);
            bail!("the recording of node {} is too large to travel", self.0.own);
        }
        let until = Instant::now() + if tag == Tag::PreDestroy { LAST_HANDED_WITHIN } else { HANDED_WITHIN };
        let packed = pack(recording);
        parcels(self.0.own.get(), tag, unix_us, &packed)
            .try_for_each(|parcel| self.0.pass_on(parcel, until.saturating_duration_since(Instant::now())))
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

    /// The node that writes where the report goes, as far as this one knows; `None`: this one does.
    pub(super) fn writer(&self) -> Option<NodeRank> {
        let is_at_the_top = !self.0.lock().parts.is_empty();
        (!is_at_the_top && self.0.root != self.0.own).then_some(self.0.root)
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

/// A packed recording as it travels: none is larger than a record may be.
fn parcels(node: u32, tag: Tag, unix_us: u64, packed: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let all = packed.chunks(PIECE_BYTES_MAX);
    let pieces = all.len() as u32;
    (0..).zip(all).map(move |(piece, bytes)| {
        let mut parcel = Word::Part { node, tag, unix_us, piece, pieces }.line();
        parcel.extend_from_slice(bytes);
        parcel
    })
}

impl Word {
    fn line(self) -> Vec<u8> {
        let mut line = serde_json::to_vec(&self).expect("memory takes it");
        line.push(b'\n');
        line
    }

    /// The word, and where what follows it begins.
    fn of(parcel: &[u8]) -> Option<(Word, usize)> {
        let end = parcel.iter().take(WORD_BYTES_MAX).position(|byte| *byte == b'\n')?;
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
            Word::Part { node, tag, unix_us, piece, pieces } => {
                if node >= self.n_nodes || piece >= pieces || pieces > PIECES_MAX {
                    bail!("there is no piece {piece} of {pieces} of node {node}");
                }
                kept.parts.insert((tag, node));
                let part = self.part(tag, node);
                if pieces == 1 {
                    part.write(unix_us, packed)?;
                } else if !part.add(unix_us, piece, pieces, packed)? {
                    return Ok(());
                }
                if tag == Tag::PreDestroy {
                    kept.ended.insert(node);
                }
                kept.fresh.entry(tag).or_default().insert(node);
                kept.put_together.get_or_insert_with(Instant::now);
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

    fn part(&self, tag: Tag, node: u32) -> PartFile {
        PartFile { directory: self.parts.join(tag.name()), node }
    }

    /// Writes the snapshot of this tag, and the newest of all nodes.
    fn put_together(&self, kept: &mut Kept, tag: Tag) -> Result<()> {
        if tag != Tag::PreDestroy {
            let directory = self.directory.join("snapshots").join(tag.name());
            put_together(&directory, &self.kept_with(tag), self.n_nodes, None)?;
        }
        let mut newest: BTreeMap<u32, (SystemTime, Part)> = BTreeMap::new();
        for part in Tag::ALL.iter().flat_map(|tag| self.kept_with(*tag)) {
            let Ok(made) = fs::metadata(&part.path).and_then(|about| about.modified()) else { continue };
            let before = newest.remove(&part.node).filter(|(known, _)| *known > made);
            let (made, newer) = before.unwrap_or((made, part));
            newest.insert(newer.node, (made, newer));
        }
        let mut parts: Vec<Part> = newest.into_values().map(|(_, part)| part).collect();
        let ended: BTreeSet<u32> = self.kept_with(Tag::PreDestroy).iter().map(|part| part.node).collect();
        parts.iter_mut().for_each(|part| part.is_of_the_end = ended.contains(&part.node));
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
            let part = self.part(*tag, *node);
            part.remove();
            let _ = fs::remove_dir(part.directory);
        }
        let _ = fs::remove_dir(&self.parts);
    }

    /// The parts with this tag, those of an earlier job left out.
    fn kept_with(&self, tag: Tag) -> Vec<Part> {
        let earliest = self.founded.get().and_then(|founded| founded.checked_sub(EARLIER));
        let entries = fs::read_dir(self.parts.join(tag.name())).into_iter().flatten().flatten();
        let mut parts: Vec<Part> = entries
            .filter_map(|entry| {
                // When it came here, by the clock here; its other time is when it was made, by that of its node.
                let came = u64::try_from(entry.metadata().ok()?.ctime()).ok()?;
                let written = UNIX_EPOCH + Duration::from_secs(came);
                let node = entry.file_name().to_str()?.parse().ok()?;
                let is_ours = earliest.is_none_or(|earliest| written >= earliest);
                let is_of_the_end = tag == Tag::PreDestroy;
                is_ours.then(|| Part {
                    node,
                    path: entry.path(),
                    is_of_the_end,
                    unpack: |packed| unpack(&packed),
                })
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::profile::recorder::event::Mode;
    use crate::profile::recording::{Header, Writing};

    /// The node at the top of three.
    fn top(directory: &Path) -> Inner {
        Inner {
            directory: directory.to_owned(),
            parts: directory.join(place_of("j")),
            own: NodeRank::new(0),
            root: NodeRank::new(0),
            n_nodes: 3,
            recorder: Recorder::private(),
            founded: OnceLock::new(),
            way: OnceLock::new(),
            kept: Mutex::default(),
        }
    }

    #[test]
    fn whoever_is_not_at_the_top_knows_who_writes() {
        let directory = tempfile::tempdir().unwrap();
        let writer = |own: u32, has_kept_parts: bool| {
            let inner = Inner { own: NodeRank::new(own), ..top(directory.path()) };
            inner.lock().parts.extend(has_kept_parts.then_some((Tag::OnDemand, 2)));
            Collecting(Arc::new(inner)).writer()
        };
        assert_eq!((writer(0, false), writer(0, true)), (None, None), "the root itself");
        assert_eq!(writer(1, false), Some(NodeRank::new(0)));
        assert_eq!(writer(1, true), None, "it stands in for the root");
    }

    /// A recording of so many paths that cannot be packed.
    fn large(node: u32, n_paths: u64) -> Vec<u8> {
        let mut writing = Writing::begin(&Header::now(Mode::Full, Tag::OnDemand.name(), 5));
        writing.add_raw(
            format!("{{\"kind\":\"node\",\"node\":{node},\"host\":\"h\",\"began_unix_us\":0}}").as_bytes(),
        );
        let mut state = 1_u64;
        let mut word = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            format!("{:016x}", state ^ state >> 29)
        };
        for _ in 0..n_paths {
            let name: String = (0..15).map(|_| word()).collect();
            writing.add_raw(format!("{{\"node\":{node},\"path\":\"/{name}\"}}").as_bytes());
        }
        writing.end()
    }

    #[test]
    fn a_recording_that_is_larger_than_a_message_arrives_whole() {
        let directory = tempfile::tempdir().unwrap();
        let top = top(directory.path());
        // The clocks of the others are years behind, which makes their parts none of an earlier job.
        top.founded.set(SystemTime::now()).unwrap();
        let recordings = [large(1, 150_000), large(2, 10)];
        for (node, recording) in (1..).zip(&recordings) {
            let parcels: Vec<_> = parcels(node, Tag::OnDemand, 5, &pack(recording)).collect();
            assert_eq!(parcels.len() > 1, node == 1);
            for parcel in &parcels {
                assert!(parcel.len() <= RECORD_BYTES_MAX);
                let (word, begins) = Word::of(parcel).unwrap();
                top.keep(word, &parcel[begins..]).unwrap();
            }
        }
        top.keep(Word::Settle(Tag::OnDemand), b"").unwrap();
        let whole = fs::read(directory.path().join("snapshots/on-demand").join(WHOLE)).unwrap();
        let lines = |bytes: &[u8]| -> BTreeSet<Vec<u8>> {
            let lines = bytes.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{\"node\""));
            lines.map(<[u8]>::to_vec).collect()
        };
        let sent: BTreeSet<_> = recordings.iter().flat_map(|recording| lines(recording)).collect();
        assert!(sent.len() == 150_010 && lines(&whole) == sent);
        let waiting = || fs::read_dir(top.parts.join("on-demand")).unwrap().count();
        assert_eq!(waiting(), 2, "no piece is left");
    }

    #[test]
    fn no_word_of_others_makes_the_top_keep_what_cannot_be() {
        let directory = tempfile::tempdir().unwrap();
        let top = top(directory.path());
        for (node, piece, pieces) in [(3, 0, 1), (0, 1, 1), (0, 0, 0), (0, 0, u32::MAX)] {
            let word = Word::Part { node, tag: Tag::Runtime, unix_us: u64::MAX, piece, pieces };
            assert!(top.keep(word, b"x").is_err(), "{word:?}");
        }
        assert!(!top.parts.exists());
    }

    #[test]
    fn a_word_is_read_with_what_follows_it() {
        let line = Word::Part { node: 3, tag: Tag::Runtime, unix_us: 7, piece: 0, pieces: 1 }.line();
        let parcel = [&line[..], b"\xff\n"].concat();
        let (word, begins) = Word::of(&parcel).unwrap();
        assert!(matches!(word, Word::Part { node: 3, tag: Tag::Runtime, .. }));
        assert_eq!(&parcel[begins..], b"\xff\n");
        for broken in [&b""[..], b"{}\n", b"no line", &[b'x'; 400]] {
            assert!(Word::of(broken).is_none());
        }
    }
}
