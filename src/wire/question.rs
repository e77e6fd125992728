//! The nouns between nodes: what one asks another, what it may answer, and why there may be no answer.
//!
//! Invariant: of all errors only [`AskError::Fetch`] is storage's own word, and only that may reach a task.
//! Everything else means: ask somebody else.
//!
//! Not here: how a question travels (`client`, `server`), whom to ask (`tree`).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;

use crate::cluster::NodeRank;
use crate::file::{
    Block, BlockIndex, Entry, FetchError, FilePath, FileSystemUsage, Listing, SmallFile, Urgency, Version,
    ViewId,
};

/// What one node asks another.
#[derive(Debug, Clone)]
pub enum Question {
    /// What is known of one name.
    Entry {
        /// The name.
        path: FilePath,
        /// Whether a task waits.
        urgency: Urgency,
    },
    /// What is known of one name by whoever knows another version than one that is gone.
    EntryAfter {
        /// The name.
        path: FilePath,
        /// The version that turned out to be gone.
        stale: Version,
    },
    /// All names of a directory.
    Listing {
        /// The directory.
        path: FilePath,
        /// Whether a task waits.
        urgency: Urgency,
    },
    /// One block of a file, as storage has it under `version`.
    Block {
        /// The file.
        path: FilePath,
        /// The version the block must be of.
        version: Version,
        /// Which block.
        index: BlockIndex,
        /// Whether a task waits.
        urgency: Urgency,
    },
    /// The figures of `statfs`.
    Usage(ViewId),
    /// What a node's report says so far, on its way up. The wire does not look into it.
    Record(Vec<u8>),
    /// What was recorded, on its way up: answered when it has been handed on. The wire does not look into it.
    Recording(Vec<u8>),
    /// Something is to be done by this very node; answered when it is. The wire does not look into it.
    Order(Vec<u8>),
}

/// What a node answers.
#[derive(Debug, Clone)]
pub enum Reply {
    /// To [`Question::Entry`] and [`Question::EntryAfter`].
    Entry(Arc<Entry>),
    /// To [`Question::Listing`].
    Listing {
        /// The directory asked for.
        listing: Arc<Listing>,
        /// Directories beneath it whose listings came along. All are settled and complete.
        riding: Vec<(FilePath, Arc<Listing>)>,
    },
    /// To [`Question::Block`].
    Block(Arc<Block>),
    /// To [`Question::Block`], with files beside the one asked for that are likely to be asked for next.
    BlockAndFiles {
        /// The block asked for.
        block: Arc<Block>,
        /// Files of the same directory, whole.
        riding: Vec<SmallFile>,
    },
    /// To [`Question::Usage`].
    Usage(FileSystemUsage),
    /// To [`Question::Record`], [`Question::Recording`] and [`Question::Order`]: it was taken, or done.
    Done,
}

/// Consecutive blocks of one file.
#[derive(Debug, Clone)]
pub struct BlockRange {
    /// The file.
    pub path: FilePath,
    /// The version the blocks must be of.
    pub version: Version,
    /// The first block.
    pub first: BlockIndex,
    /// How many; more than [`BLOCKS_PER_QUESTION_MAX`](super::limits::BLOCKS_PER_QUESTION_MAX) are refused.
    pub count: u32,
    /// Whether a task waits.
    pub urgency: Urgency,
}

/// Why a question got no answer from this peer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AskError {
    /// What storage said, passed on unchanged.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The connection ended or could not be made.
    #[error("the connection was lost")]
    Lost,
    /// A checksum that does not match, or bytes that cannot be understood.
    #[error("the answer cannot be used")]
    Corrupt,
    /// The peer does not answer this question, or it cannot be sent.
    #[error("refused: {0}")]
    Refused(Refusal),
}

/// Why a peer, or this node on its behalf, does not deal with a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not understood: another wire version, or not a question at all.
    #[error("not understood")]
    NotUnderstood,
    /// It concerns no view of the job.
    #[error("outside the views")]
    OutsideTheViews,
    /// It, or its answer, is larger than a limit.
    #[error("too large")]
    TooLarge,
    /// Too many questions or connections at once.
    #[error("too busy")]
    Busy,
    /// It was meant for another node.
    #[error("meant for another node")]
    Misdirected,
}

/// Why there is no connection to a node.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectError {
    /// Its machine is there, and nobody listens (yet, or any more).
    #[error("node {rank} is not there")]
    NobodyThere {
        /// The node.
        rank: NodeRank,
    },
    /// There is no answer: the machine is gone, or the network is cut. The cause is the last one seen.
    #[error("node {rank} cannot be reached: {cause}")]
    Unreachable {
        /// The node.
        rank: NodeRank,
        /// What the last attempt met.
        cause: String,
    },
    /// Nobody knows an address of it (yet).
    #[error("node {rank} has no address: {cause}")]
    Unknown {
        /// The node.
        rank: NodeRank,
        /// What the name service said.
        cause: String,
    },
    /// Somebody listens but does not prove that it knows the key for this job and these views.
    #[error("node {rank} has another key, job, list of views or `--freshness`")]
    NotOurs {
        /// The node.
        rank: NodeRank,
    },
    /// A node of the job that speaks another version.
    #[error(
        "node {rank} speaks wire version {theirs}, this one {}; use one version of Spinney",
        super::wire_version()
    )]
    OtherVersion {
        /// The node.
        rank: NodeRank,
        /// Its version.
        theirs: u32,
    },
}

/// A future of this module. It may be polled anywhere, also outside of every runtime.
pub type Asked<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Asks one peer. HTTP in the product, memory in tests.
pub trait Peer: Send + Sync {
    /// Asks `question`. There is no deadline: whoever waits watches [`Peer::last_heard`] and drops the future
    /// to give up.
    fn ask(&self, question: Question) -> Asked<Result<Reply, AskError>>;

    /// Asks for several consecutive blocks in one question; they arrive one by one, in order.
    ///
    /// Each is handed out as soon as it is here, so it can be passed on while later ones are under way.
    fn ask_blocks(&self, range: BlockRange) -> BlockStream;

    /// When anything was last heard of the peer; any byte counts, heartbeats included.
    fn last_heard(&self) -> Instant;

    /// Whether the heartbeat has ended: the peer has gone, and [`Carrier::connect`] is the way back to it.
    fn is_lost(&self) -> bool;
}

/// Makes connections to peers.
pub trait Carrier: Send + Sync {
    /// A peer that has proven to be that node of this job.
    fn connect(&self, to: NodeRank) -> Asked<Result<Arc<dyn Peer>, ConnectError>>;
}

/// Blocks as they arrive. Dropping it ends the question.
pub struct BlockStream {
    receiver: mpsc::Receiver<Result<Arc<Block>, AskError>>,
    _asking: Option<AbortOnDrop>,
}

impl BlockStream {
    pub(super) fn new(
        receiver: mpsc::Receiver<Result<Arc<Block>, AskError>>,
        asking: Option<tokio::task::AbortHandle>,
    ) -> Self {
        BlockStream { receiver, _asking: asking.map(AbortOnDrop) }
    }

    /// The next block; `None` after the last one or after an error.
    ///
    /// Cancel-safe: a block is not lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Result<Arc<Block>, AskError>> {
        self.receiver.recv().await
    }
}

/// Ends a task of the runtime when nobody waits for it any more.
pub(super) struct AbortOnDrop(pub(super) tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
