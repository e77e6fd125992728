//! Asks other nodes, over a few kept-alive connections to each.
//!
//! HTTP/1.1 answers one question per connection at a time, so there are as many connections as questions under way,
//! up to a limit, and a storage call that takes long holds up no other question. The heartbeat has one of its own.
//!
//! Invariant: an answer is used only if it is complete, understood and matches its checksum.
//! Cancel safety: a dropped question closes its connection, since what is left of the answer is still to come.
//!
//! Not here: whom to ask, and when a silent peer is given up (`tree`).

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};
use tokio::task::JoinSet;

use super::answer::refusal_of;
use super::channel::{self, Heard};
use super::codec::{self, Hello, Malformed};
use super::frames::Frames;
use super::head::{Asked as Request, Head, WIRE, wire_version};
use super::identity::Identity;
use super::limits::{
    ADDRESS_HEAD_START, BLOCKS_PER_QUESTION_MAX, BLOCKS_UNTAKEN_MAX, CLIENT_BUFFER_BYTES_MAX,
    CONNECT_TIME_MAX, CONNECTIONS_PER_PEER_MAX, HEADERS_MAX, IDLE_CONNECTIONS_PER_PEER, IDLE_TIME_MAX,
    LISTING_BYTES_MAX, PROOF_TIME_MAX, RECORD_BYTES_MAX, SMALL_BYTES_MAX,
};
use super::question::{
    AbortOnDrop, AskError, Asked, BlockRange, BlockStream, Carrier, ConnectError, Peer, Question, Refusal,
    Reply,
};
use super::runtime::WireRuntime;
use crate::cluster::NodeRank;
use crate::file::{Block, SmallFile};
use crate::profile::recorder::{Counter, Recorder};

/// Where a node may listen, in the order in which to try; an error if nobody knows. It is called on a thread of the wire.
pub type Addresses = Box<dyn Fn(NodeRank) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

type Sender = SendRequest<Full<Bytes>>;

/// Connects to the nodes of a job over the network.
pub struct HttpCarrier(Arc<Caller>);

/// The node that asks.
struct Caller {
    runtime: Handle,
    identity: Identity,
    rank: NodeRank,
    addresses: Addresses,
    recorder: Recorder,
}

/// One node that can be asked.
struct HttpPeer {
    shared: Arc<Connections>,
    _heartbeat: AbortOnDrop,
}

struct Connections {
    caller: Arc<Caller>,
    to: NodeRank,
    address: SocketAddr,
    heard: Arc<Heard>,
    is_lost: AtomicBool,
    /// One for each question that may be under way.
    slots: Arc<Semaphore>,
    /// The one last used goes first, so that the others can be closed when they are not needed any more.
    idle: Mutex<Vec<(Instant, Sender)>>,
}

impl HttpCarrier {
    /// Asks as node `rank`, on the threads of `runtime`.
    pub fn new(
        runtime: &WireRuntime,
        identity: Identity,
        rank: NodeRank,
        addresses: Addresses,
        recorder: Recorder,
    ) -> Self {
        HttpCarrier(Arc::new(Caller { runtime: runtime.handle(), identity, rank, addresses, recorder }))
    }
}

impl Carrier for HttpCarrier {
    fn connect(&self, to: NodeRank) -> Asked<Result<Arc<dyn Peer>, ConnectError>> {
        let caller = self.0.clone();
        let gone = ConnectError::Unreachable { rank: to, cause: "this node is ending".to_owned() };
        on_runtime(&self.0.runtime, Err(gone), async move { caller.connect(to).await })
    }
}

/// Runs `work` on the runtime for somebody who waits anywhere and may cease to; `otherwise` if it never ends.
fn on_runtime<T: Send + 'static>(
    runtime: &Handle,
    otherwise: T,
    work: impl Future<Output = T> + Send + 'static,
) -> Asked<T> {
    let (answer, answered) = oneshot::channel();
    let task = runtime.spawn(async move { drop(answer.send(work.await)) });
    let until_dropped = AbortOnDrop(task.abort_handle());
    Box::pin(async move {
        let answer = answered.await.unwrap_or(otherwise);
        drop(until_dropped);
        answer
    })
}

/// Why one address did not lead to the node.
enum Missed {
    Io(io::Error),
    OtherVersion(u32),
}

impl From<io::Error> for Missed {
    fn from(error: io::Error) -> Self {
        Missed::Io(error)
    }
}

impl Caller {
    /// Tries the addresses one after another without waiting for each: somebody else may listen at one and say nothing.
    async fn connect(self: Arc<Self>, to: NodeRank) -> Result<Arc<dyn Peer>, ConnectError> {
        let mut cause = "it has no address".to_owned();
        let (mut worst, mut refused) = (None, 0);
        let known = (self.addresses)(to);
        let known = known.map_err(|error| ConnectError::Unknown { rank: to, cause: error.to_string() })?;
        let n_addresses = known.len();
        let mut addresses = known.into_iter();
        // What is still under way ends with it.
        let mut attempts = JoinSet::new();
        loop {
            if let Some(address) = addresses.next() {
                let caller = self.clone();
                attempts.spawn(async move { (address, caller.connect_at(to, address).await) });
            } else if attempts.is_empty() {
                let nobody_there =
                    (refused > 0 && refused == n_addresses).then_some(ConnectError::NobodyThere { rank: to });
                return Err(worst.or(nobody_there).unwrap_or(ConnectError::Unreachable { rank: to, cause }));
            }
            let patience = if addresses.len() == 0 { Duration::MAX } else { ADDRESS_HEAD_START };
            match tokio::time::timeout(patience, attempts.join_next()).await {
                Ok(Some(Ok((_, Ok(peer))))) => return Ok(peer),
                Ok(Some(Ok((_, Err(Missed::OtherVersion(theirs)))))) => {
                    worst = Some(ConnectError::OtherVersion { rank: to, theirs });
                }
                Ok(Some(Ok((_, Err(Missed::Io(error))))))
                    if error.kind() == io::ErrorKind::PermissionDenied =>
                {
                    worst.get_or_insert(ConnectError::NotOurs { rank: to });
                }
                Ok(Some(Ok((address, Err(Missed::Io(error)))))) => {
                    refused += usize::from(error.kind() == io::ErrorKind::ConnectionRefused);
                    cause = format!("{address}: {error}");
                }
                Ok(Some(Err(_)) | None) | Err(_) => {}
            }
        }
    }

    async fn connect_at(self: Arc<Self>, to: NodeRank, address: SocketAddr) -> Result<Arc<dyn Peer>, Missed> {
        let heard = Heard::now();
        let mut sender = self.open(address, heard.clone()).await?;
        within(PROOF_TIME_MAX, self.greet(to, &mut sender)).await?;
        let head = Request { from: self.rank, to: Some(to), head: Head::Heartbeat };
        let beats =
            within(PROOF_TIME_MAX, async { Ok(send(&mut sender, &head, Bytes::new()).await?) }).await?;
        if beats.status() != StatusCode::OK {
            return Err(io::Error::other("it sends no heartbeat").into());
        }
        let shared = Arc::new(Connections {
            caller: self.clone(),
            to,
            address,
            heard,
            is_lost: AtomicBool::new(false),
            slots: Arc::new(Semaphore::new(CONNECTIONS_PER_PEER_MAX)),
            idle: Mutex::default(),
        });
        let listening = self.runtime.spawn(shared.clone().listen(beats.into_body(), sender));
        Ok(Arc::new(HttpPeer { shared, _heartbeat: AbortOnDrop(listening.abort_handle()) }))
    }

    /// A proven connection to `address`.
    async fn open(&self, address: SocketAddr, heard: Arc<Heard>) -> io::Result<Sender> {
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        let stream =
            tokio::time::timeout(CONNECT_TIME_MAX, TcpStream::connect(address)).await.map_err(late)??;
        let proof = channel::connect(stream, &self.identity, heard, self.recorder);
        let channel = tokio::time::timeout(PROOF_TIME_MAX, proof).await.map_err(late)??;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(CLIENT_BUFFER_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .handshake(TokioIo::new(channel))
            .await
            .map_err(io::Error::other)?;
        self.runtime.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%address, %error, "a connection ended");
            }
        });
        Ok(sender)
    }

    /// Makes sure that it is `to` who answers: on one machine another node of the job may have the port.
    async fn greet(&self, to: NodeRank, sender: &mut Sender) -> Result<(), Missed> {
        let head = Request { from: self.rank, to: None, head: Head::Hello };
        let answer = send(sender, &head, Bytes::new()).await.map_err(|error| {
            // In TLS 1.3 the end that asks is done first; the other one's verdict comes instead of an answer.
            match is_refused_proof(&error) {
                true => io::Error::from(io::ErrorKind::PermissionDenied),
                false => error,
            }
        })?;
        if answer.status() != StatusCode::OK {
            let theirs = answer.headers().get(WIRE).and_then(|value| value.to_str().ok()?.parse().ok());
            return Err(Missed::OtherVersion(theirs.unwrap_or(0)));
        }
        let body =
            Limited::new(answer.into_body(), SMALL_BYTES_MAX).collect().await.map_err(io::Error::other)?;
        let hello = codec::decode_hello(&body.to_bytes()).map_err(io::Error::other)?;
        let expected = Hello { wire: wire_version(), job: self.identity.job().to_owned(), rank: to.get() };
        if hello.wire != expected.wire {
            return Err(Missed::OtherVersion(hello.wire));
        }
        if hello != expected {
            return Err(
                io::Error::other(format!("node {} of job `{}` is there", hello.rank, hello.job)).into()
            );
        }
        Ok(())
    }
}

async fn within<T>(time: Duration, work: impl Future<Output = Result<T, Missed>>) -> Result<T, Missed> {
    tokio::time::timeout(time, work).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

fn is_refused_proof(error: &io::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(rustls::Error::AlertReceived(_)) = error.downcast_ref() {
            return true;
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}

async fn send(sender: &mut Sender, head: &Request, body: Bytes) -> io::Result<Response<Incoming>> {
    let request = head.request(Full::new(body)).map_err(io::Error::other)?;
    sender.ready().await.map_err(io::Error::other)?;
    sender.send_request(request).await.map_err(io::Error::other)
}

impl Peer for HttpPeer {
    fn ask(&self, question: Question) -> Asked<Result<Reply, AskError>> {
        let shared = self.shared.clone();
        let work = async move { shared.ask(question).await };
        on_runtime(&self.shared.caller.runtime, Err(AskError::Lost), work)
    }

    fn ask_blocks(&self, range: BlockRange) -> BlockStream {
        let (blocks, receiver) = mpsc::channel(BLOCKS_UNTAKEN_MAX);
        let shared = self.shared.clone();
        let task = self.shared.caller.runtime.spawn(async move {
            if let Err(error) = shared.fetch_blocks(range, &blocks).await {
                drop(blocks.send(Err(error)).await);
            }
        });
        BlockStream::new(receiver, Some(task.abort_handle()))
    }

    fn last_heard(&self) -> Instant {
        self.shared.heard.last()
    }

    fn is_lost(&self) -> bool {
        self.shared.is_lost.load(Ordering::Acquire)
    }
}

impl Connections {
    /// Reads the heartbeat until it ends, and closes connections that nobody needs.
    async fn listen(self: Arc<Self>, mut beats: Incoming, sender: Sender) {
        while let Some(Ok(_)) = beats.frame().await {
            let mut idle = self.idle();
            while idle.len() > IDLE_CONNECTIONS_PER_PEER && idle[0].0.elapsed() > IDLE_TIME_MAX {
                idle.remove(0);
            }
        }
        drop(sender);
        self.is_lost.store(true, Ordering::Release);
        self.idle().clear();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(Instant, Sender)>> {
        self.idle.lock().unwrap_or_else(|e| e.into_inner())
    }

    async fn ask(&self, question: Question) -> Result<Reply, AskError> {
        let (limit, path) = match &question {
            Question::Block { path, version, index, urgency } => {
                let (path, version, first, urgency) = (path.clone(), *version, *index, *urgency);
                return self.ask_block(BlockRange { path, version, first, count: 1, urgency }).await;
            }
            Question::Listing { path, .. } => (LISTING_BYTES_MAX, Some(path.clone())),
            _ => (SMALL_BYTES_MAX, None),
        };
        let (head, body) = match question {
            Question::Record(body) | Question::Recording(body) | Question::Order(body)
                if body.len() > RECORD_BYTES_MAX =>
            {
                return Err(self.too_large());
            }
            Question::Record(record) => (Head::Record, Bytes::from(record)),
            Question::Recording(recording) => (Head::Recording, Bytes::from(recording)),
            Question::Order(what) => (Head::Order, Bytes::from(what)),
            question => (Head::Question(question), Bytes::new()),
        };
        let slot = self.slot().await;
        let asked = Instant::now();
        let (answer, sender) = self.send(&head, body).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), limit).collect().await;
        let body = body.map_err(|error| match error.downcast_ref::<http_body_util::LengthLimitError>() {
            Some(_) => AskError::Corrupt,
            None => AskError::Lost,
        })?;
        self.keep(sender);
        drop(slot);
        understand(head, path, status, &body.to_bytes(), asked)
    }

    async fn ask_block(&self, range: BlockRange) -> Result<Reply, AskError> {
        let (blocks, mut receiver) = mpsc::channel(1);
        let riding = self.fetch_blocks(range, &blocks).await?;
        match receiver.try_recv() {
            Ok(block) => block.map(|block| Reply::BlockAndFiles { block, riding }),
            Err(_) => Err(AskError::Corrupt),
        }
    }

    /// Asks for blocks and passes each on as it arrives; gives the small files that came along.
    async fn fetch_blocks(
        &self,
        range: BlockRange,
        blocks: &mpsc::Sender<Result<Arc<Block>, AskError>>,
    ) -> Result<Vec<SmallFile>, AskError> {
        if !(1..=BLOCKS_PER_QUESTION_MAX).contains(&range.count) {
            return Err(self.too_large());
        }
        let mut frames = Frames::expecting(range.version, range.first, range.count);
        if let Some((directory, _)) = range.path.split() {
            frames = frames.with_files_of(directory);
        }
        let _slot = self.slot().await;
        let (answer, sender) = self.send(&Head::Blocks(range), Bytes::new()).await?;
        if answer.status() != StatusCode::PARTIAL_CONTENT {
            return Err(AskError::Refused(refusal_of(answer.status())));
        }
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            let bytes = frame.map_err(|_| AskError::Lost)?.into_data().map_err(|_| AskError::Corrupt)?;
            let mut rest = &bytes[..];
            while let Some(block) = frames.next(&mut rest)? {
                if blocks.send(Ok(block)).await.is_err() {
                    return Ok(Vec::new());
                }
            }
        }
        let outcome = frames.outcome();
        if !matches!(outcome, Err(AskError::Corrupt)) {
            self.keep(sender);
        }
        outcome?;
        Ok(frames.into_riding())
    }

    /// A place among the questions under way.
    async fn slot(&self) -> SemaphorePermit<'_> {
        if let Ok(slot) = self.slots.try_acquire() {
            return slot;
        }
        self.caller.recorder.count(Counter::LimitsHit);
        self.slots.acquire().await.expect("it is never closed")
    }

    fn too_large(&self) -> AskError {
        self.caller.recorder.count(Counter::LimitsHit);
        AskError::Refused(Refusal::TooLarge)
    }

    /// Sends a request over a kept connection, or over a new one. A kept one may have been closed by the other
    /// end meanwhile; asking again changes nothing, so it is done.
    async fn send(&self, head: &Head, body: Bytes) -> Result<(Response<Incoming>, Sender), AskError> {
        let request = Request { from: self.caller.rank, to: Some(self.to), head: head.clone() };
        // So that what cannot be sent at all is told apart from a lost connection.
        request.request(()).map_err(AskError::Refused)?;
        self.caller.recorder.count(Counter::WireRequestsOut);
        loop {
            let kept = self.idle().pop();
            let Some((_, mut sender)) = kept else { break };
            if let Ok(answer) = send(&mut sender, &request, body.clone()).await {
                return Ok((answer, sender));
            }
        }
        let opened = self.caller.open(self.address, self.heard.clone()).await;
        let lost = |error: io::Error| {
            tracing::debug!(to = %self.to, %error, "a question was lost");
            AskError::Lost
        };
        let mut sender = opened.map_err(lost)?;
        let answer = send(&mut sender, &request, body).await.map_err(lost)?;
        Ok((answer, sender))
    }

    fn keep(&self, sender: Sender) {
        if !self.is_lost.load(Ordering::Acquire) {
            self.idle().push((Instant::now(), sender));
        }
    }
}

/// What the answer to `head` says.
fn understand(
    head: Head,
    path: Option<crate::file::FilePath>,
    status: StatusCode,
    body: &[u8],
    asked: Instant,
) -> Result<Reply, AskError> {
    let corrupt = |_: Malformed| AskError::Corrupt;
    match status {
        StatusCode::OK => {}
        StatusCode::FAILED_DEPENDENCY => {
            return Err(codec::decode_error(body, asked).map_err(corrupt)?.into());
        }
        status => return Err(AskError::Refused(refusal_of(status))),
    }
    Ok(match (head, path) {
        (Head::Question(Question::Entry { .. } | Question::EntryAfter { .. }), _) => {
            Reply::Entry(Arc::new(codec::decode_entry(body, asked).map_err(corrupt)?))
        }
        (Head::Question(Question::Listing { .. }), Some(path)) => {
            let (listing, riding) = codec::decode_listing(&path, body, asked).map_err(corrupt)?;
            Reply::Listing { listing, riding }
        }
        (Head::Question(Question::Usage(_)), _) => Reply::Usage(codec::decode_usage(body).map_err(corrupt)?),
        (Head::Record | Head::Recording | Head::Order, _) => Reply::Done,
        _ => return Err(AskError::Corrupt),
    })
}
