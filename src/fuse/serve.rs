//! The loop: read a request, ask the view, send its answer.
//!
//! A worker makes one blocking call on storage itself if another worker is left to read on; it never waits
//! for anything else. What cannot be answered at once goes on without it and is answered by whoever brings
//! the answer.
//!
//! Not here: what the answer is (`view`), what stands in the bytes (`request`, `replies`).

use std::future::Future;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use zerocopy::IntoBytes;

use super::abi::{OPEN_CACHE_DIR, OPEN_KEEP_CACHE, OpenOut};
use super::channel::{Channel, Received};
use super::kept::{KeptRequests, Slot, empty};
use super::pending::Pending;
use super::replies::{Rows, Sendable};
use super::request::{Question, parse};
use super::session::{self, Masked};
use crate::file::{FetchError, Freshness, task};
use crate::profile::recorder::{Counter, Recorder};
use crate::view::{NodeId, Reply, View};

/// Lets a worker block, or not, while it runs `body`: given by whoever knows what may block.
pub type Blocking = fn(bool, &mut dyn FnMut());

/// One connection being served.
pub(super) struct Connection {
    pub(super) channel: Channel,
    pub(super) kept: KeptRequests,
    pub(super) pending: Pending,
    pub(super) view: View,
    pub(super) masked: Masked,
    pub(super) freshness: Freshness,
    pub(super) blocking: Blocking,
    pub(super) recorder: Recorder,
    /// Workers that wait for a request.
    pub(super) readers: AtomicUsize,
    /// Held by the one worker that may be putting content into the page cache.
    pub(super) giving: Mutex<()>,
}

/// Where the request being answered stands in shared memory.
enum Standing<'a> {
    /// In the worker's area; it has to move if it must wait.
    Area(&'a [u8]),
    /// In a slot already.
    Slot(Slot),
}

impl Connection {
    /// Reads and answers until the kernel ends the connection.
    pub(super) fn work(self: &Arc<Self>, worker: usize) {
        loop {
            // SAFETY: each worker has a number of its own.
            let area = unsafe { self.kept.area(worker) };
            self.readers.fetch_add(1, Ordering::AcqRel);
            let received = self.channel.receive(area);
            let others = self.readers.fetch_sub(1, Ordering::AcqRel) - 1;
            match received {
                Received::Ended => return,
                Received::Nothing => {}
                Received::Request(length) => {
                    let mut answer = || self.answer_in_area(&mut area[..length]);
                    (self.blocking)(others > 0, &mut answer);
                }
            }
        }
    }

    fn answer_in_area(self: &Arc<Self>, bytes: &mut [u8]) {
        if let Some((_, Question::Forget(forgets))) = parse(bytes) {
            // Noted as handled before it is: to forget too little is harmless, twice is not.
            empty(bytes);
            self.recorder.count(Counter::FuseForget);
            forgets.into_iter().for_each(|(node, lookups)| self.view.forget(node, lookups));
            return;
        }
        self.dispatch(Standing::Area(bytes));
    }

    /// Answers what a dead daemon owed.
    pub(super) fn answer_owed(self: &Arc<Self>, slot: Slot) {
        match parse(slot.request()) {
            // Whether the dead daemon had applied it is unknown; to forget too little is harmless.
            Some((_, Question::Forget(_))) | None => drop(slot),
            Some(_) => self.dispatch(Standing::Slot(slot)),
        }
    }

    fn dispatch(self: &Arc<Self>, standing: Standing<'_>) {
        let bytes = match &standing {
            Standing::Area(bytes) => bytes,
            Standing::Slot(slot) => slot.request(),
        };
        let Some((asker, question)) = parse(bytes) else { return };
        self.count(&question);
        let (unique, view) = (asker.unique, &self.view.asked_by(asker.pid));
        if question.is_for_the_view() {
            // Before the question is asked: this very thread may then block, and the task must still be let go.
            self.pending.begin(asker);
        }
        match question {
            Question::Lookup { parent, name } => self.serve(unique, view.lookup(parent, name), standing),
            Question::Attributes { node } => self.serve(unique, view.attributes(node), standing),
            Question::Target { node } => self.serve(unique, view.target(node), standing),
            Question::Read { node, offset, length } => {
                self.serve(unique, view.read(node, offset, length), standing);
            }
            Question::List { node, position, bytes, plus } => {
                self.serve(unique, view.list(node, position, Rows::new(bytes, plus)), standing);
            }
            Question::Usage { node } => self.serve(unique, view.usage(node), standing),
            other => self.answer_alone(unique, view, other),
        }
    }

    /// Answers what need not wait for the view.
    fn answer_alone(&self, unique: u64, view: &View, question: Question<'_>) {
        let channel = &self.channel;
        let _delivered = match question {
            Question::Init { kernel, flags2 } => {
                session::agree(channel, &self.kept, unique, &kernel, flags2, self.masked);
                true
            }
            Question::Open { node } if channel.sees_everything() => {
                view.opened(node);
                // Pages are not kept from one opening to the next. Direct I/O would show more reads, but shared maps
                // fail under it, and so would programs.
                channel.answer(unique, &[IoSlice::new(OpenOut::default().as_bytes())])
            }
            Question::OpenDirectory if channel.sees_everything() => {
                channel.answer(unique, &[IoSlice::new(OpenOut::default().as_bytes())])
            }
            Question::OpenDirectory if !session::may_omit_opendir(&self.kept) => {
                let flags = if self.freshness.is_limited() { 0 } else { OPEN_KEEP_CACHE | OPEN_CACHE_DIR };
                let out = OpenOut { flags, ..OpenOut::default() };
                channel.answer(unique, &[IoSlice::new(out.as_bytes())])
            }
            // Not known yet: another worker may be about to note it. The kernel asks again.
            Question::Interrupt { unique: target } => {
                self.pending.interrupt(target) || channel.refuse(unique, libc::EAGAIN)
            }
            Question::Control { node, terminal } => {
                if terminal && !channel.sees_everything() {
                    self.give_content(view, node);
                }
                channel.refuse(unique, libc::ENOTTY)
            }
            Question::Close if !session::may_omit_opendir(&self.kept) => channel.answer(unique, &[]),
            Question::Destroy => channel.answer(unique, &[]),
            // ENOSYS to open and opendir: there is nothing to open; the kernel does not ask again. To the
            // rest: not supported, and the kernel knows what to do instead.
            _ => channel.refuse(unique, libc::ENOSYS),
        };
    }

    /// Puts a small file that was just opened into the kernel's page cache, which saves the READ to come.
    ///
    /// The kernel waits for pages that are being read, and so for whoever answers those READs. Hence one
    /// worker at a time, only while another reads on, and only what can be had at once; else the fetch has
    /// begun at least.
    fn give_content(&self, view: &View, node: NodeId) {
        let Ok(_alone) = self.giving.try_lock() else { return };
        if self.readers.load(Ordering::Acquire) == 0 {
            return;
        }
        let Some(mut content) = view.about_to_be_read(node) else { return };
        let mut nobody = Context::from_waker(Waker::noop());
        if let Poll::Ready(Ok(content)) = Pin::new(&mut content).poll(&mut nobody) {
            self.channel.give(node, &content);
        }
    }

    fn count(&self, question: &Question<'_>) {
        self.recorder.count(match question {
            Question::Lookup { .. } => Counter::FuseLookup,
            Question::Forget(_) => Counter::FuseForget,
            Question::Attributes { .. } => Counter::FuseGetattr,
            Question::Target { .. } => Counter::FuseReadlink,
            Question::Read { .. } => Counter::FuseRead,
            Question::List { .. } => Counter::FuseReaddir,
            Question::Usage { .. } => Counter::FuseStatfs,
            Question::Open { .. } => Counter::FuseOpen,
            Question::OpenDirectory => Counter::FuseOpendir,
            Question::Close => Counter::FuseRelease,
            Question::Interrupt { .. } => Counter::FuseInterrupt,
            Question::Control { .. } => Counter::FuseIoctl,
            Question::Init { .. } | Question::Destroy | Question::Unknown => Counter::FuseOther,
        });
    }

    /// Sends `reply` when it is ready: now, or from whichever thread makes it so. The asker is pending already.
    fn serve<T: Sendable>(self: &Arc<Self>, unique: u64, mut reply: Reply<T>, standing: Standing<'_>) {
        let mut nobody = Context::from_waker(Waker::noop());
        if let Poll::Ready(outcome) = Pin::new(&mut reply).poll(&mut nobody) {
            self.send(unique, outcome);
            return;
        }
        let slot = match standing {
            Standing::Area(bytes) => self.kept.keep(bytes),
            Standing::Slot(slot) => slot,
        };
        let connection = self.clone();
        task::spawn(async move {
            let outcome = reply.await;
            connection.send(unique, outcome);
            drop(slot);
        });
    }

    fn send<T: Sendable>(&self, unique: u64, outcome: Result<T, FetchError>) {
        if !self.pending.end(unique) {
            if let Ok(answer) = outcome {
                answer.take_back(&self.view);
            }
            return;
        }
        match outcome {
            Ok(answer) => {
                if !answer.send(&self.channel, unique) {
                    answer.take_back(&self.view);
                }
            }
            Err(error) => {
                self.channel.refuse(unique, error.errno());
            }
        }
    }
}
