//! A carrier without a network, for tests of what lies above: nodes in one process, with the faults that a test wants.
//!
//! Answers come out of the same rules as on the wire: views are checked, listings ride along.
//!
//! Not here: bytes. What the network carrier does with them is tested with sockets.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use super::answer::{riding, within};
use super::limits::BLOCKS_PER_QUESTION_MAX;
use super::question::{
    AskError, Asked, BlockRange, BlockStream, Carrier, ConnectError, Peer, Question, Refusal, Reply,
};
use crate::cluster::NodeRank;
use crate::file::{BlockIndex, Source, task};

/// Nodes in memory. Cloning shares them.
#[derive(Clone, Default)]
pub struct MemoryCarrier(Arc<Mutex<HashMap<NodeRank, Arc<Node>>>>);

struct Node {
    source: Arc<dyn Source>,
    views: usize,
    records: Mutex<Vec<Vec<u8>>>,
    asked: AtomicU64,
    health: Mutex<Health>,
}

struct Health {
    state: State,
    /// Questions that a silent node has taken.
    waiting: Vec<oneshot::Sender<()>>,
    silent_since: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Well,
    Silent,
    Corrupt,
    Gone,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl MemoryCarrier {
    /// Has `rank` answer out of `source`, which knows `views` views; also brings it back after a fault.
    pub fn serve(&self, rank: NodeRank, views: usize, source: Arc<dyn Source>) {
        let health = Health { state: State::Well, waiting: Vec::new(), silent_since: Instant::now() };
        let (records, asked) = (Mutex::default(), AtomicU64::new(0));
        lock(&self.0)
            .insert(rank, Arc::new(Node { source, views, records, asked, health: Mutex::new(health) }));
    }

    /// The node is gone: its connections end, nobody listens.
    pub fn kill(&self, rank: NodeRank) {
        if let Some(node) = lock(&self.0).remove(&rank) {
            node.become_(State::Gone);
        }
    }

    /// The node takes questions and says nothing any more, not even heartbeats.
    pub fn silence(&self, rank: NodeRank) {
        if let Some(node) = lock(&self.0).get(&rank) {
            node.become_(State::Silent);
        }
    }

    /// The node's answers cannot be used any more.
    pub fn corrupt(&self, rank: NodeRank) {
        if let Some(node) = lock(&self.0).get(&rank) {
            node.become_(State::Corrupt);
        }
    }

    /// How many questions the node has got.
    pub fn asked(&self, rank: NodeRank) -> u64 {
        lock(&self.0).get(&rank).map_or(0, |node| node.asked.load(Ordering::Relaxed))
    }

    /// The records that the node has got.
    pub fn records(&self, rank: NodeRank) -> Vec<Vec<u8>> {
        lock(&self.0).get(&rank).map_or_else(Vec::new, |node| lock(&node.records).clone())
    }
}

impl Carrier for MemoryCarrier {
    fn connect(&self, to: NodeRank) -> Asked<Result<Arc<dyn Peer>, ConnectError>> {
        let node = lock(&self.0).get(&to).filter(|node| node.state() != State::Silent).cloned();
        let unreachable = || ConnectError::Unreachable { rank: to, cause: "not there".to_owned() };
        let peer = node.map(|node| Arc::new(MemoryPeer(node)) as Arc<dyn Peer>).ok_or_else(unreachable);
        Box::pin(std::future::ready(peer))
    }
}

impl Node {
    fn state(&self) -> State {
        lock(&self.health).state
    }

    fn become_(&self, state: State) {
        let mut health = lock(&self.health);
        health.state = state;
        health.silent_since = Instant::now();
        if state != State::Silent {
            health.waiting.clear();
        }
    }

    /// Waits while the node is silent.
    async fn take(&self) -> Result<(), AskError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let silence = {
            let mut health = lock(&self.health);
            match health.state {
                State::Well => return Ok(()),
                State::Corrupt => return Err(AskError::Corrupt),
                State::Gone => return Err(AskError::Lost),
                State::Silent => {
                    let (sender, silence) = oneshot::channel();
                    health.waiting.push(sender);
                    silence
                }
            }
        };
        drop(silence.await);
        Err(AskError::Lost)
    }

    async fn answer(&self, question: Question) -> Result<Reply, AskError> {
        self.take().await?;
        let inside = |path| within(self.views, path).map_err(AskError::Refused);
        let source = &self.source;
        Ok(match question {
            Question::Entry { path, urgency } => {
                inside(&path)?;
                Reply::Entry(source.entry(&path, urgency).await?.value)
            }
            Question::EntryAfter { path, stale } => {
                inside(&path)?;
                Reply::Entry(source.entry_after(&path, stale).await?.value)
            }
            Question::Listing { path, urgency } => {
                inside(&path)?;
                let listing = source.listing(&path, urgency).await?.value;
                Reply::Listing { riding: riding(&**source, &path, &listing), listing }
            }
            Question::Block { path, version, index, urgency } => {
                inside(&path)?;
                Reply::Block(source.block(&path, version, index, urgency).await?.value)
            }
            Question::Usage(view) => {
                inside(&crate::file::FilePath::root(view))?;
                Reply::Usage(source.usage(view).await?.value)
            }
            Question::Order(_) | Question::Recording(_) => Reply::Done,
            Question::Record(record) => {
                lock(&self.records).push(record);
                Reply::Done
            }
        })
    }
}

struct MemoryPeer(Arc<Node>);

impl Peer for MemoryPeer {
    fn ask(&self, question: Question) -> Asked<Result<Reply, AskError>> {
        let node = self.0.clone();
        Box::pin(async move { node.answer(question).await })
    }

    fn ask_blocks(&self, range: BlockRange) -> BlockStream {
        let (sender, receiver) = mpsc::channel(1);
        let node = self.0.clone();
        task::spawn(async move {
            if range.count > BLOCKS_PER_QUESTION_MAX {
                return drop(sender.send(Err(AskError::Refused(Refusal::TooLarge))).await);
            }
            for offset in 0..range.count {
                let index = BlockIndex(range.first.0.saturating_add(u64::from(offset)));
                let BlockRange { path, version, urgency, .. } = range.clone();
                let answer = match node.answer(Question::Block { path, version, index, urgency }).await {
                    Ok(Reply::Block(block)) => Ok(block),
                    Ok(_) => Err(AskError::Corrupt),
                    Err(error) => Err(error),
                };
                let is_last = answer.is_err();
                if sender.send(answer).await.is_err() || is_last {
                    return;
                }
            }
        });
        BlockStream::new(receiver, None)
    }

    fn last_heard(&self) -> Instant {
        let health = lock(&self.0.health);
        if health.state == State::Silent { health.silent_since } else { Instant::now() }
    }

    fn is_lost(&self) -> bool {
        self.0.state() == State::Gone
    }
}
