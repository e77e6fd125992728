//! From a request to its answer, out of a `Source`.
//!
//! The status says who speaks: 200 and 206 are answers, 424 is storage's own word and the body tells it, all others
//! are refusals by this node. So no fault of a node can be taken for an errno of storage.
//!
//! Not here: connections and their limits (`server`), bytes of bodies (`codec`, `frames`).

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{CONTENT_RANGE, HeaderValue};
use hyper::{Request, Response, StatusCode};
use tokio::sync::OwnedSemaphorePermit;

use super::codec::{self, Hello};
use super::frames;
use super::head::{Asked, Head, WIRE, wire_version};
use super::limits::{BLOCKS_AHEAD_MAX, HEARTBEAT_INTERVAL, RECORD_BYTES_MAX, RIDING_BYTES_MAX};
use super::question::{BlockRange, Question, Refusal};
use super::server::{Child, Orders, Shared};
use crate::cluster::NodeRank;
use crate::file::{
    BLOCK_BYTES, Block, BlockIndex, FetchError, FileKind, FilePath, Listing, SmallFile, Source,
};
use crate::profile::recorder::Counter;

pub(super) type Answer = Response<UnsyncBoxBody<Bytes, std::convert::Infallible>>;

/// Answers one request.
pub(super) async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Answer {
    shared.serving.recorder.count(Counter::WireRequestsIn);
    match try_answer(&shared, request).await {
        Ok(answer) => answer,
        Err(refusal) => {
            if matches!(refusal, Refusal::Busy | Refusal::TooLarge) {
                shared.limit_hit();
            }
            tracing::debug!(%refusal, "refused a question");
            refused(refusal)
        }
    }
}

async fn try_answer(shared: &Arc<Shared>, request: Request<Incoming>) -> Result<Answer, Refusal> {
    let asked = Asked::of(&request)?;
    if asked.to.is_some_and(|to| to != shared.serving.rank) {
        return Err(Refusal::Misdirected);
    }
    let serving = &shared.serving;
    match asked.head {
        Head::Hello => {
            let job = serving.identity.job().to_owned();
            let hello = Hello { wire: wire_version(), job, rank: serving.rank.get() };
            Ok(whole(StatusCode::OK, codec::encode_hello(&hello)))
        }
        Head::Heartbeat => {
            shared.child(asked.from); // known from now on, unless there are too many
            Ok(Response::new(Heartbeat::new().boxed_unsync()))
        }
        head => {
            let child = shared.child(asked.from).ok_or(Refusal::Busy)?;
            let permit = child.questions.clone().try_acquire_owned().map_err(|_| Refusal::Busy)?;
            match head {
                Head::Question(question) => {
                    let result = answer_question(&*serving.source, serving.views, question).await?;
                    Ok(result.map_or_else(said_by_storage, |body| whole(StatusCode::OK, body)))
                }
                Head::Blocks(range) => answer_blocks(shared, &child, range, permit).await,
                Head::Order => {
                    let orders = shared.serving.orders.clone();
                    do_it(orders, request.into_body(), Refusal::NotUnderstood).await
                }
                // Asked again in a moment, here or elsewhere.
                Head::Recording => {
                    let recordings = shared.serving.recordings.clone();
                    do_it(recordings, request.into_body(), Refusal::Busy).await
                }
                _ => take_record(shared, asked.from, request.into_body()).await,
            }
        }
    }
}

/// The body of the answer to a question with one answer, or storage's word.
async fn answer_question(
    source: &dyn Source,
    views: usize,
    question: Question,
) -> Result<Result<Vec<u8>, FetchError>, Refusal> {
    Ok(match question {
        Question::Entry { path, urgency } => {
            within(views, &path)?;
            let entry = source.entry(&path, urgency).await;
            entry.map(|answer| codec::encode_entry(&answer.value))
        }
        Question::EntryAfter { path, stale } => {
            within(views, &path)?;
            let entry = source.entry_after(&path, stale).await;
            entry.map(|answer| codec::encode_entry(&answer.value))
        }
        Question::Listing { path, urgency } => {
            within(views, &path)?;
            match source.listing(&path, urgency).await {
                Ok(answer) => {
                    let riding = riding(source, &path, &answer.value);
                    let listing = source.told(&path, answer.value);
                    Ok(codec::encode_listing(&path, &listing, &riding).ok_or(Refusal::TooLarge)?)
                }
                Err(error) => Err(error),
            }
        }
        Question::Usage(view) => {
            within(views, &FilePath::root(view))?;
            source.usage(view).await.map(|answer| codec::encode_usage(&answer.value))
        }
        Question::Block { .. } | Question::Record(_) | Question::Recording(_) | Question::Order(_) => {
            return Err(Refusal::NotUnderstood);
        }
    })
}

pub(super) fn within(views: usize, path: &FilePath) -> Result<(), Refusal> {
    if path.view().position() < views { Ok(()) } else { Err(Refusal::OutsideTheViews) }
}

/// Listings of subdirectories that are known here, so that somebody below has asked for them before: whoever asks
/// for this one goes on to them. Nearer ones first, as many as fit.
pub(super) fn riding(
    source: &dyn Source,
    path: &FilePath,
    listing: &Arc<Listing>,
) -> Vec<(FilePath, Arc<Listing>)> {
    let mut found = Vec::new();
    let mut bytes = 0;
    let mut looked_at = VecDeque::from([(path.clone(), listing.clone())]);
    while let Some((above, listing)) = looked_at.pop_front() {
        for row in listing.iter().filter(|row| is_directory(row)) {
            let below = above.join(&row.name);
            let Some(listing) = source.known_listing(&below).filter(|listing| listing.settled) else {
                continue;
            };
            // Memory is more than what travels: numbers are short on the wire.
            bytes += below.relative().len() + listing.memory_bytes();
            if bytes > RIDING_BYTES_MAX {
                return found;
            }
            found.push((below.clone(), source.told(&below, listing.clone())));
            looked_at.push_back((below, listing));
        }
    }
    found
}

fn is_directory(row: &crate::file::ListingEntry) -> bool {
    row.kind == FileKind::Directory.directory_entry_type()
        || row.entry.as_ref().is_some_and(|entry| entry.attributes.is_directory())
}

async fn answer_blocks(
    shared: &Arc<Shared>,
    child: &Arc<Child>,
    range: BlockRange,
    question: OwnedSemaphorePermit,
) -> Result<Answer, Refusal> {
    within(shared.serving.views, &range.path)?;
    let last = range.first.0.saturating_add(u64::from(range.count - 1));
    let shown = HeaderValue::try_from(format!("blocks {}-{last}/*", range.first.0));
    let mut blocks = Blocks::new(shared.clone(), child.clone(), range, question);
    // The first block goes out in one piece with the head.
    poll_fn(|context| blocks.poll_first(context)).await;
    let mut answer = Response::new(blocks.boxed_unsync());
    *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
    answer.headers_mut().insert(CONTENT_RANGE, shown.expect("digits and punctuation"));
    Ok(answer)
}

async fn take_record(shared: &Shared, from: NodeRank, body: Incoming) -> Result<Answer, Refusal> {
    let body = Limited::new(body, RECORD_BYTES_MAX).collect().await.map_err(|_| Refusal::TooLarge)?;
    (shared.serving.records)(from, body.to_bytes().to_vec());
    Ok(whole(StatusCode::OK, Vec::new()))
}

/// Does what takes a while, on a thread that may block.
async fn do_it(orders: Orders, body: Incoming, otherwise: Refusal) -> Result<Answer, Refusal> {
    let body = Limited::new(body, RECORD_BYTES_MAX).collect().await.map_err(|_| Refusal::TooLarge)?;
    let what = body.to_bytes().to_vec();
    match tokio::task::spawn_blocking(move || orders(what)).await {
        Ok(true) => Ok(whole(StatusCode::OK, Vec::new())),
        _ => Err(otherwise),
    }
}

fn whole(status: StatusCode, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)).boxed_unsync());
    *answer.status_mut() = status;
    answer
}

fn said_by_storage(error: FetchError) -> Answer {
    whole(StatusCode::FAILED_DEPENDENCY, codec::encode_error(&error))
}

fn refused(refusal: Refusal) -> Answer {
    let mut answer = whole(status_of(refusal), format!("{refusal}\n").into_bytes());
    answer.headers_mut().insert(WIRE, HeaderValue::from(wire_version()));
    answer
}

pub(super) fn status_of(refusal: Refusal) -> StatusCode {
    match refusal {
        Refusal::NotUnderstood => StatusCode::NOT_FOUND,
        Refusal::OutsideTheViews => StatusCode::FORBIDDEN,
        Refusal::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::Busy => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::Misdirected => StatusCode::MISDIRECTED_REQUEST,
    }
}

pub(super) fn refusal_of(status: StatusCode) -> Refusal {
    match status {
        StatusCode::FORBIDDEN => Refusal::OutsideTheViews,
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::TooLarge,
        StatusCode::SERVICE_UNAVAILABLE => Refusal::Busy,
        StatusCode::MISDIRECTED_REQUEST => Refusal::Misdirected,
        _ => Refusal::NotUnderstood,
    }
}

/// A byte a second, for as long as somebody reads.
struct Heartbeat(tokio::time::Interval);

impl Heartbeat {
    fn new() -> Self {
        let mut interval = tokio::time::interval(HEARTBEAT_INTERVAL);
        // A node that was stopped need not make up for its beats.
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Heartbeat(interval)
    }
}

impl Body for Heartbeat {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        ready!(self.0.poll_tick(context));
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b".")))))
    }
}

/// A block until it was written to the connection.
struct InHand {
    block: Arc<Block>,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for InHand {
    fn as_ref(&self) -> &[u8] {
        &self.block
    }
}

/// The content of a file that rides along.
struct Riding(Arc<Block>);

impl AsRef<[u8]> for Riding {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A block that was asked for.
enum Slot {
    Waiting(Pin<Box<dyn Future<Output = Result<InHand, FetchError>> + Send>>),
    Ready(Result<InHand, FetchError>),
}

/// Blocks on their way out, in order; a few are fetched side by side.
struct Blocks {
    shared: Arc<Shared>,
    child: Arc<Child>,
    range: BlockRange,
    /// Small files that go out after the blocks, in pieces; `None` until the last block has.
    riding: Option<VecDeque<Bytes>>,
    /// How many have been asked for.
    begun: u32,
    /// The front one goes out next.
    fetching: VecDeque<Slot>,
    /// What is left of the frame that goes out.
    rest: Option<Bytes>,
    _question: OwnedSemaphorePermit,
}

impl Blocks {
    fn new(
        shared: Arc<Shared>,
        child: Arc<Child>,
        range: BlockRange,
        question: OwnedSemaphorePermit,
    ) -> Self {
        let fetching = VecDeque::with_capacity(BLOCKS_AHEAD_MAX);
        Blocks { shared, child, range, riding: None, begun: 0, fetching, rest: None, _question: question }
    }

    fn fetch_next(&mut self) {
        let index = BlockIndex(self.range.first.0.saturating_add(u64::from(self.begun)));
        self.begun += 1;
        let bytes = index.range(self.range.version.size);
        let bytes = u32::try_from(bytes.end - bytes.start).expect("a block is small");
        let (shared, room, range) = (self.shared.clone(), self.child.blocks.clone(), self.range.clone());
        self.fetching.push_back(Slot::Waiting(Box::pin(async move {
            let permit = match room.clone().try_acquire_many_owned(bytes) {
                Ok(permit) => permit,
                Err(_) => {
                    shared.limit_hit();
                    room.acquire_many_owned(bytes).await.expect("it is never closed")
                }
            };
            let source = &shared.serving.source;
            let answer = source.block(&range.path, range.version, index, range.urgency).await?;
            Ok(InHand { block: answer.value, _permit: permit })
        })));
    }

    /// Polls all that are under way, front first: room is given in the order in which it was asked for, so no
    /// later block of this answer can hold what the front one waits for.
    fn poll_fetching(&mut self, context: &mut Context<'_>) {
        while self.begun < self.range.count && self.fetching.len() < BLOCKS_AHEAD_MAX {
            self.fetch_next();
        }
        for slot in &mut self.fetching {
            if let Slot::Waiting(fetching) = slot
                && let Poll::Ready(result) = fetching.as_mut().poll(context)
            {
                *slot = Slot::Ready(result);
            }
        }
    }

    /// What goes out after the last block.
    fn next_riding(&mut self) -> Option<Bytes> {
        let (source, range) = (&self.shared.serving.source, &self.range);
        let pieces = self.riding.get_or_insert_with(|| {
            let is_small = range.version.size <= BLOCK_BYTES;
            let files = match is_small {
                true => self.child.riding(&**source, &range.path, range.version),
                false => Vec::new(),
            };
            let in_pieces = |file: SmallFile| {
                let name = file.path.split().map_or(&b""[..], |(_, name)| name);
                let head = Bytes::from(frames::head_of_file(name, &file));
                [head, Bytes::from_owner(Riding(file.block))]
            };
            files.into_iter().flat_map(in_pieces).filter(|piece| !piece.is_empty()).collect()
        });
        pieces.pop_front()
    }

    /// Ready when the front block is.
    fn poll_first(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.poll_fetching(context);
        match self.fetching.front() {
            Some(Slot::Waiting(_)) => Poll::Pending,
            _ => Poll::Ready(()),
        }
    }
}

impl Body for Blocks {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(rest) = self.rest.take() {
            return Poll::Ready(Some(Ok(Frame::data(rest))));
        }
        ready!(self.poll_first(context));
        let bytes = match self.fetching.pop_front() {
            None => return Poll::Ready(self.next_riding().map(|bytes| Ok(Frame::data(bytes)))),
            Some(Slot::Ready(Ok(in_hand))) => {
                let head = Bytes::copy_from_slice(&frames::head_of_block(&in_hand.block));
                if !in_hand.block.is_empty() {
                    self.rest = Some(Bytes::from_owner(in_hand));
                }
                head
            }
            Some(Slot::Ready(Err(error))) => {
                // Nothing follows what storage said.
                self.fetching.clear();
                self.begun = self.range.count;
                self.riding = Some(VecDeque::new());
                Bytes::from(frames::error_frame(&error))
            }
            Some(Slot::Waiting(_)) => unreachable!("the front one is ready"),
        };
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}
