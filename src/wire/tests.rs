//! Nodes on the loopback device that ask each other, and strangers that try to.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use super::*;
use crate::cluster::NodeRank;
use crate::file::{
    Answer, AsOf, Attributes, BLOCK_BYTES, Block, BlockIndex, Entry, Fetch, FetchError, FilePath,
    FileSystemUsage, Listing, ListingEntry, Origin, Source, Timestamp, Urgency, Version, ViewId, ready, task,
};
use crate::profile::recorder::{Counter, Recorder};

mod asking;
mod hostile;

/// Size of the file that is there: three blocks and a bit.
const FILE_BYTES: u64 = 3 * BLOCK_BYTES + 5;

/// Storage of a few names: `lib` with `a`, `link` and the subdirectory `deep`, and the errors a test wants.
#[derive(Default)]
struct Shelf {
    errors: Mutex<HashMap<Vec<u8>, FetchError>>,
    asked: AtomicUsize,
    /// Answers nothing while set.
    hangs: AtomicBool,
    /// Block that storage has an error for.
    bad_block: Mutex<Option<u64>>,
}

fn attributes(mode: u32, size: u64) -> Attributes {
    let time = Timestamp { seconds: -7, nanoseconds: 9 };
    Attributes {
        inode: 77,
        mode,
        links: 2,
        uid: 1000,
        gid: 100,
        device: 5,
        block_size: 4096,
        size,
        blocks: 8,
        accessed: time,
        modified: time,
        changed: time,
    }
}

fn version() -> Version {
    attributes(libc::S_IFREG, FILE_BYTES).version()
}

fn content(index: BlockIndex, size: u64) -> Vec<u8> {
    index.range(size).map(|at| (at % 251) as u8 ^ (at / 4099) as u8).collect()
}

fn at(path: &str) -> FilePath {
    FilePath::from_relative(ViewId::new(0), path.as_bytes())
}

fn lib() -> Arc<Listing> {
    let row = |name: &str, kind, entry| ListingEntry { name: name.as_bytes().into(), inode: 77, kind, entry };
    let told = Arc::new(entry_of(b"lib/a"));
    let rows = vec![
        row("a", libc::DT_REG, Some(told)),
        row("link", libc::DT_LNK, None),
        row("deep", libc::DT_DIR, None),
    ];
    Arc::new(Listing::new(rows, true))
}

fn entry_of(path: &[u8]) -> Entry {
    match path {
        b"lib/link" => {
            let attributes = attributes(libc::S_IFLNK, 4);
            Entry { attributes, target: Some(b"to\xff\n".to_vec().into()), settled: true, as_of: AsOf::now() }
        }
        _ => Entry {
            attributes: attributes(libc::S_IFREG, FILE_BYTES),
            target: None,
            settled: true,
            as_of: AsOf::now(),
        },
    }
}

impl Shelf {
    fn give<T: Send + 'static>(&self, path: &FilePath, value: impl FnOnce() -> T) -> Fetch<T> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.hangs.load(Ordering::Relaxed) {
            return Box::pin(std::future::pending());
        }
        if let Some(error) = self.errors.lock().unwrap().get(path.relative()) {
            return ready(Err(error.clone()));
        }
        ready(Ok(Answer { value: value(), origin: Origin::Storage }))
    }
}

impl Source for Shelf {
    fn entry(&self, path: &FilePath, _: Urgency) -> Fetch<Arc<Entry>> {
        self.give(path, || Arc::new(entry_of(path.relative())))
    }

    fn listing(&self, path: &FilePath, _: Urgency) -> Fetch<Arc<Listing>> {
        self.give(path, lib)
    }

    fn block(&self, path: &FilePath, version: Version, index: BlockIndex, _: Urgency) -> Fetch<Arc<Block>> {
        if *self.bad_block.lock().unwrap() == Some(index.0) {
            return ready(Err(FetchError::Storage { errno: libc::EIO }));
        }
        self.give(path, || Arc::new(Block::new(content(index, version.size))))
    }

    fn usage(&self, view: ViewId) -> Fetch<FileSystemUsage> {
        let usage = FileSystemUsage {
            block_bytes: 4096,
            blocks: 9,
            blocks_free: 8,
            blocks_available: 7,
            files: 6,
            files_free: 5,
            name_bytes_max: 255,
        };
        self.give(&FilePath::root(view), || usage)
    }

    fn known_listing(&self, path: &FilePath) -> Option<Arc<Listing>> {
        (path.relative() == b"lib/deep").then(lib)
    }

    fn release(&self, _: &FilePath, _: Version) {}
}

/// A node that answers, and one that asks it.
struct Scene {
    shelf: Arc<Shelf>,
    server: Option<Server>,
    address: SocketAddr,
    records: mpsc::Receiver<(NodeRank, Vec<u8>)>,
    runtime: WireRuntime,
    recorder: Recorder,
}

fn key() -> SharedKey {
    SharedKey::from_bytes(b"a key that is long enough").unwrap()
}

fn identity(fabric: Fabric) -> Identity {
    Identity::derive(&key(), "job 7", [Path::new("/sw")], None, fabric)
}

impl Scene {
    fn new(fabric: Fabric) -> Self {
        let runtime = WireRuntime::start().unwrap();
        let shelf = Arc::<Shelf>::default();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, records) = mpsc::channel();
        let recorder = Recorder::private();
        let serving = Serving {
            identity: identity(fabric),
            rank: NodeRank::new(0),
            views: 1,
            source: shelf.clone(),
            orders: Arc::new(|_| false),
            recordings: Arc::new(|recording| recording == b"whole"),
            records: Box::new(move |from, record| drop(sender.send((from, record)))),
            recorder,
        };
        let server = Some(Server::start(&runtime, vec![listener], serving).unwrap());
        Scene { shelf, server, address, records, runtime, recorder }
    }

    fn carrier(&self, identity: Identity) -> HttpCarrier {
        let address = self.address;
        HttpCarrier::new(
            &self.runtime,
            identity,
            NodeRank::new(3),
            Box::new(move |_| Ok(vec![address])),
            self.recorder,
        )
    }

    fn connect_as(&self, identity: Identity) -> Result<Arc<dyn Peer>, ConnectError> {
        wait(self.carrier(identity).connect(NodeRank::new(0)))
    }

    fn peer(&self, fabric: Fabric) -> Arc<dyn Peer> {
        self.connect_as(identity(fabric)).unwrap()
    }
}

/// Runs `future` outside of every runtime, as the daemon does.
fn wait<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    task::spawn(async move { drop(sender.send(future.await)) });
    receiver.recv_timeout(Duration::from_secs(60)).expect("an answer within a minute")
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what} does not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}
