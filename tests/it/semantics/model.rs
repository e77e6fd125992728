//! The view without FUSE: random questions over a source in memory that changes meanwhile, against what must be true.
//!
//! The kernel's part is played here: it looks names up, keeps their numbers, gives them back in any order. Now and
//! then the view dies and another takes over its numbers.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use spinney::file::{
    Answer, AsOf, Attributes, Block, BlockIndex, Changes, Entry, Fetch, FetchError, FilePath,
    FileSystemUsage, Freshness, Listing, ListingEntry, Origin, Source, Timestamp, Urgency, Version, ViewId,
    ready,
};
use spinney::profile::recorder::Recorder;
use spinney::view::{
    DirectoryRow, DirectorySink, Layout, Looked, NodeId, NodeTable, Owners, Reply, Shown, View,
};

use super::random::Dice;
use super::tree::pattern;

/// Directories of the model; they stay.
const DIRECTORIES: [&str; 3] = ["a", "a/b", "c"];
/// Names that files may have in each of them.
const NAMES: usize = 6;

/// Files by path, each with the number of its version.
#[derive(Default)]
struct Model {
    files: Mutex<BTreeMap<Vec<u8>, u64>>,
}

fn attributes(mode: u32, version: u64) -> Attributes {
    let time = Timestamp { seconds: i64::try_from(version).unwrap(), nanoseconds: 7 };
    Attributes {
        inode: 100 + version % 3, // used again and again, as file systems do
        mode,
        links: 1,
        uid: 0,
        gid: 0,
        device: 0,
        block_size: 4096,
        size: if mode & libc::S_IFMT == libc::S_IFREG { 100_000 + version * 777 } else { 0 },
        blocks: 1,
        accessed: time,
        modified: time,
        changed: time,
    }
}

fn file(version: u64) -> Attributes {
    attributes(libc::S_IFREG | 0o644, version)
}

fn content(version: Version) -> Vec<u8> {
    pattern(usize::try_from(version.size).unwrap(), version.size)
}

impl Model {
    fn entry_at(&self, path: &[u8]) -> Option<Entry> {
        let is_directory = path.is_empty() || DIRECTORIES.iter().any(|d| d.as_bytes() == path);
        let files = self.files.lock().unwrap();
        let attributes =
            if is_directory { attributes(libc::S_IFDIR | 0o755, 1) } else { file(*files.get(path)?) };
        // Some versions are too young to be trusted.
        Some(Entry {
            attributes,
            target: None,
            settled: attributes.modified.seconds % 4 != 3,
            as_of: AsOf::now(),
        })
    }

    fn names_in(&self, directory: &[u8]) -> Vec<Vec<u8>> {
        let files = self.files.lock().unwrap();
        let all = files.keys().cloned().chain(DIRECTORIES.iter().map(|d| d.as_bytes().to_vec()));
        let parts = all.map(|path| match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (path[..slash].to_vec(), path[slash + 1..].to_vec()),
            None => (Vec::new(), path),
        });
        let mut names: Vec<_> =
            parts.filter(|(parent, _)| parent == directory).map(|(_, name)| name).collect();
        names.sort();
        names
    }
}

fn told<T: Send + 'static>(value: Option<T>, otherwise: FetchError) -> Fetch<T> {
    ready(value.map(|value| Answer { value, origin: Origin::Storage }).ok_or(otherwise))
}

impl Source for Model {
    fn entry(&self, path: &FilePath, _: Urgency) -> Fetch<Arc<Entry>> {
        told(
            self.entry_at(path.relative()).map(Arc::new),
            FetchError::Absent { proven: true, as_of: AsOf::now(), origin: Origin::Storage },
        )
    }

    fn listing(&self, path: &FilePath, _: Urgency) -> Fetch<Arc<Listing>> {
        let row =
            |name: Vec<u8>| ListingEntry { name: name.into(), inode: 1, kind: libc::DT_UNKNOWN, entry: None };
        let rows = self.names_in(path.relative()).into_iter().map(row).collect();
        told(Some(Arc::new(Listing::new(rows, true))), FetchError::Stale)
    }

    fn block(&self, path: &FilePath, version: Version, index: BlockIndex, _: Urgency) -> Fetch<Arc<Block>> {
        let is_current =
            self.entry_at(path.relative()).is_some_and(|entry| entry.attributes.version() == version);
        let range = index.range(version.size);
        let bytes = || {
            content(version)[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]
                .to_vec()
        };
        told(is_current.then(|| Arc::new(Block::new(bytes()))), FetchError::Stale)
    }

    fn usage(&self, _: ViewId) -> Fetch<FileSystemUsage> {
        told(None, FetchError::Stale)
    }

    fn known(&self, path: &FilePath) -> Option<Arc<Entry>> {
        self.entry_at(path.relative()).filter(|entry| entry.settled).map(Arc::new)
    }

    fn release(&self, _: &FilePath, _: Version) {}
}

/// The answer, which a source in memory always gives at once.
fn now<T>(mut reply: Reply<T>) -> Result<T, FetchError> {
    match reply.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("a source in memory was waited for"),
    }
}

/// Rows as a reader with little room takes them.
#[derive(Default)]
struct Page {
    rows: Vec<(Vec<u8>, u64)>,
    shown: Vec<Shown>,
    room: usize,
}

impl DirectorySink for Page {
    fn has_room(&self, _: usize) -> bool {
        self.rows.len() < self.room
    }
    fn wants_attributes(&self) -> bool {
        true
    }
    fn add(&mut self, row: &DirectoryRow<'_>, shown: Option<&Shown>) {
        self.rows.push((row.name.to_vec(), row.position));
        self.shown.extend(shown);
    }
}

/// What the kernel holds: numbers with the version each stands for (none: a directory), and how often it looked them up.
struct Kernel {
    memory: File,
    model: Arc<Model>,
    view: View,
    held: HashMap<NodeId, (Vec<u8>, Option<Version>, u64)>,
    dice: Dice,
}

impl Kernel {
    fn new(seed: u64) -> Self {
        let memory = tempfile::tempfile().unwrap();
        let model = Arc::new(Model::default());
        let view = view_of(&memory, &model);
        Kernel { memory, model, view, held: HashMap::new(), dice: Dice::new(seed) }
    }

    /// A directory whose number the kernel holds, or the root, and its path.
    fn directory(&mut self) -> (NodeId, Vec<u8>) {
        let mut all = vec![(NodeId::ROOT, Vec::new())];
        all.extend(
            self.held.iter().filter(|(_, held)| held.1.is_none()).map(|(node, held)| (*node, held.0.clone())),
        );
        all.sort_by(|a, b| a.1.cmp(&b.1));
        self.dice.one(&all).clone()
    }

    fn any(&mut self) -> Option<NodeId> {
        let mut all: Vec<_> = self.held.keys().copied().collect();
        all.sort_by_key(|node| node.get());
        if all.is_empty() { None } else { Some(*self.dice.one(&all)) }
    }

    fn change(&mut self) {
        let directory = *self.dice.one(&["a", "a/b", "c"]);
        let path = format!("{directory}/{}", self.dice.below(NAMES)).into_bytes();
        let version = self.dice.below(50) as u64;
        let mut files = self.model.files.lock().unwrap();
        if version < 10 {
            files.remove(&path)
        } else {
            files.insert(path, version)
        };
    }

    fn look_up(&mut self) {
        let (parent, directory) = self.directory();
        let names = ["0", "1", "2", "3", "4", "5", "a", "b", "c", "absent"];
        let name = self.dice.one(&names).as_bytes();
        let path = if directory.is_empty() { name.to_vec() } else { [&directory, &b"/"[..], name].concat() };
        let truth = self.model.entry_at(&path);
        match (now(self.view.lookup(parent, name)).unwrap(), truth) {
            (Looked::Found(shown), Some(entry)) => {
                assert_eq!(shown.attributes, entry.attributes);
                self.hold(&shown, path);
            }
            (Looked::Absent(_), None) => {}
            (looked, truth) => panic!("{path:?}: {looked:?}, but {truth:?}"),
        }
    }

    fn hold(&mut self, shown: &Shown, path: Vec<u8>) {
        let version = (!shown.attributes.is_directory()).then(|| shown.attributes.version());
        let held = self.held.entry(shown.node).or_insert((path.clone(), version, 0));
        assert_eq!((&held.0, held.1), (&path, version), "one number for two files");
        held.2 += 1;
    }

    fn read(&mut self) {
        let Some(node) = self.any() else { return };
        let (path, version, _) = self.held[&node].clone();
        let Some(version) = version else { return };
        let (offset, length) = (self.dice.below(150_000) as u64, self.dice.below(200_000) as u32);
        let is_current =
            self.model.entry_at(&path).is_some_and(|entry| entry.attributes.version() == version);
        match now(self.view.read(node, offset, length)) {
            Ok(read) => {
                let all = content(version);
                let start = usize::try_from(offset).unwrap().min(all.len());
                let end = (start + length as usize).min(all.len());
                assert!(
                    read.pieces().collect::<Vec<_>>().concat() == all[start..end],
                    "{path:?}: other bytes"
                );
            }
            Err(FetchError::Stale) => assert!(!is_current, "{path:?} is still this version"),
            Err(error) => panic!("{path:?}: {error}"),
        }
        match now(self.view.attributes(node)) {
            Ok(described) => assert!(is_current && described.attributes.version() == version),
            Err(error) => assert!(!is_current, "{path:?}: {error}"),
        }
    }

    fn list(&mut self) {
        let (node, path) = self.directory();
        let (mut names, mut position) = (Vec::new(), 0);
        loop {
            let page = Page { room: 1 + self.dice.below(4), ..Page::default() };
            let page = now(self.view.list(node, position, page)).unwrap();
            let Some(last) = page.rows.last() else { break };
            position = last.1;
            for shown in &page.shown {
                // Which of the rows it belongs to does not matter here: the number is looked up once more.
                match self.held.get_mut(&shown.node) {
                    Some(held) => held.2 += 1,
                    None => self.view.forget(shown.node, 1),
                }
            }
            names.extend(page.rows.into_iter().map(|row| row.0).filter(|name| !name.starts_with(b".")));
        }
        names.sort();
        assert_eq!(names, self.model.names_in(&path));
    }

    fn forget(&mut self) {
        let Some(node) = self.any() else { return };
        let held = self.held.get_mut(&node).unwrap();
        let lookups = 1 + self.dice.below(usize::try_from(held.2).unwrap()) as u64;
        held.2 -= lookups;
        let (is_file, is_gone) = (held.1.is_some(), held.2 == 0);
        self.view.forget(node, lookups);
        if is_gone {
            self.held.remove(&node);
            if is_file {
                assert!(
                    matches!(now(self.view.attributes(node)), Err(FetchError::Stale)),
                    "a forgotten number lives"
                );
            }
        }
    }
}

fn view_of(memory: &File, model: &Arc<Model>) -> View {
    let nodes = NodeTable::open(memory, Some(ViewId::new(0))).unwrap();
    let layout = Layout::at_their_paths([Path::new("/")]);
    View::new(
        nodes,
        layout,
        Owners::AsTheyAre,
        model.clone(),
        Freshness::FOR_THE_JOB,
        Changes::default(),
        Recorder::private(),
    )
}

#[test]
fn a_view_over_a_changing_source_tells_one_version_or_none() {
    for seed in 1..9 {
        let mut kernel = Kernel::new(seed);
        for _ in 0..1500 {
            match kernel.dice.below(100) {
                0 => kernel.view = view_of(&kernel.memory, &kernel.model),
                1..15 => kernel.change(),
                15..50 => kernel.look_up(),
                50..70 => kernel.read(),
                70..78 => kernel.list(),
                _ => kernel.forget(),
            }
        }
    }
}
