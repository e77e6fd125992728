//! The connections of this node to those it may ask: does what [`Upstream`] decides, and tells it what happened.
//!
//! Whoever has a question waits here for a route ([`Links::way`]), and learns here that a peer has been given up, so
//! that the question can go elsewhere.
//!
//! Invariant: nobody is woken under the lock, since whoever waits is polled by the thread that wakes it and takes the
//! lock itself (`file::task`). So every change goes through [`Links::change`].
//!
//! Not here: what is decided (`upstream`), what is asked (`asking`), bytes (`wire`).

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::shape::Shard;
use super::upstream::{Action, Event, PEER_SILENCE_MAX, Route, Upstream};
use crate::cluster::NodeRank;
use crate::profile::recorder::{Counter, Recorder};
use crate::wire::{Carrier, ConnectError, Peer};

/// How often connections are looked at: every 200 ms, a fifth of a heartbeat. Whoever asks in vain says so at once.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// How long a node may be without an address, or another's port be held by a stranger, before the user is told: 3 s. Name
/// services fail for a moment when many nodes ask at once, and another job may leave a port to its rightful node.
const COMPLAIN_AFTER: Duration = Duration::from_secs(3);

/// Tells somebody why a node cannot be asked.
pub type Complain = Arc<dyn Fn(&ConnectError) + Send + Sync>;

/// Whom to ask now.
pub(super) enum Way {
    /// This peer.
    Peer(Asking),
    /// Storage, by this node itself.
    Storage,
}

/// A peer that is being asked.
pub(super) struct Asking {
    pub(super) rank: NodeRank,
    pub(super) peer: Arc<dyn Peer>,
    /// Ends when the peer is given up.
    link: watch::Receiver<()>,
}

impl Asking {
    /// Waits until the peer is given up.
    pub(super) async fn given_up(&mut self) {
        while self.link.changed().await.is_ok() {}
    }
}

pub(super) struct Links {
    runtime: Handle,
    carrier: Arc<dyn Carrier>,
    complain: Complain,
    recorder: Recorder,
    started: Instant,
    state: Mutex<State>,
    /// Changes whenever a route may have changed.
    moved: watch::Sender<()>,
    /// The machine has another due time.
    woken: Notify,
}

struct State {
    upstream: Upstream,
    up: HashMap<NodeRank, Link>,
    connecting: HashMap<NodeRank, AbortHandle>,
    /// Peers that were up once and are not now.
    lost: BTreeSet<NodeRank>,
    /// What keeps this node from another, and since when, until it is connected.
    troubles: HashMap<NodeRank, Trouble>,
    /// To be told once the lock is free.
    untold: Vec<ConnectError>,
    /// Links that are to be dropped once the lock is free.
    given_up: Vec<Link>,
}

struct Trouble {
    since: Instant,
    error: ConnectError,
    is_told: bool,
}

struct Link {
    peer: Arc<dyn Peer>,
    /// What the machine was last told of it.
    heard: Instant,
    /// Dropped with the link, which those who ask notice.
    given_up: watch::Sender<()>,
}

impl Links {
    /// Begins to connect as `upstream`, whose time starts now, decides.
    pub(super) fn start(
        upstream: Upstream,
        carrier: Arc<dyn Carrier>,
        runtime: Handle,
        complain: Complain,
        recorder: Recorder,
    ) -> Arc<Self> {
        let state = State {
            upstream,
            up: HashMap::new(),
            connecting: HashMap::new(),
            lost: BTreeSet::new(),
            troubles: HashMap::new(),
            untold: Vec::new(),
            given_up: Vec::new(),
        };
        let links = Arc::new(Links {
            runtime,
            carrier,
            complain,
            recorder,
            started: Instant::now(),
            state: Mutex::new(state),
            moved: watch::Sender::new(()),
            woken: Notify::new(),
        });
        links.change(|_, _| ());
        links.runtime.spawn(watch_over(Arc::downgrade(&links)));
        links
    }

    /// Whom to ask for what is in `shard`, as soon as there is somebody.
    pub(super) async fn way(&self, shard: Shard) -> Way {
        let mut moved = self.moved.subscribe();
        loop {
            if let Some(way) = self.way_now(shard) {
                return way;
            }
            // The sender lives as long as `self`.
            let _ = moved.changed().await;
        }
    }

    /// Whether this node itself asks storage for what is in `shard`.
    pub(super) fn asks_storage(&self, shard: Shard) -> bool {
        matches!(self.lock().upstream.route(shard), Route::Storage)
    }

    /// Whom to ask, if that can be told at once.
    pub(super) fn way_now(&self, shard: Shard) -> Option<Way> {
        let state = self.lock();
        match state.upstream.route(shard) {
            Route::Storage => Some(Way::Storage),
            Route::Ask(rank) => state.up.get(&rank).map(|link| {
                let given_up = link.given_up.subscribe();
                Way::Peer(Asking { rank, peer: link.peer.clone(), link: given_up })
            }),
            Route::Wait { .. } => None,
        }
    }

    /// Tells the machine what became of asking a peer.
    pub(super) fn tell(self: &Arc<Self>, event: Event, about: &Arc<dyn Peer>) {
        let (Event::Lost(rank) | Event::Corrupt(rank)) = event else { return };
        self.change(|state, now| {
            // Several questions may tell of one connection, and a late one after there is another.
            if state.up.get(&rank).is_none_or(|link| !Arc::ptr_eq(&link.peer, about)) {
                return;
            }
            match event {
                Event::Lost(_) => self.lose(state, rank, now),
                _ => state.upstream.on(event, now),
            }
        });
    }

    /// Waits a little, wherever the caller is polled.
    pub(super) async fn pause(&self, duration: Duration) {
        // Made in there as well: a timer cannot even be made outside of a runtime.
        let _ = self.runtime.spawn(async move { tokio::time::sleep(duration).await }).await;
    }

    /// Whom this node asks now for what is in `shard`, if it asks another.
    pub(super) fn asks(&self, shard: Shard) -> Option<NodeRank> {
        match self.lock().upstream.route(shard) {
            Route::Ask(rank) => Some(rank),
            _ => None,
        }
    }

    /// Tells of all that is in the way now, however short it has been.
    pub(super) fn complain_now(self: &Arc<Self>) {
        self.change(|state, _| state.complain(Duration::ZERO));
    }

    /// Peers that are connected now, and those that were and are given up.
    pub(super) fn peers(&self) -> (Vec<NodeRank>, Vec<NodeRank>) {
        let state = self.lock();
        let mut connected: Vec<NodeRank> = state.up.keys().copied().collect();
        connected.sort_unstable();
        (connected, state.lost.iter().copied().collect())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Changes the state, does what the machine then decides, and tells whoever waits.
    fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut State, Duration) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state, self.started.elapsed());
        self.act(&mut state);
        let given_up = std::mem::take(&mut state.given_up);
        let untold = std::mem::take(&mut state.untold);
        drop(state);
        untold.iter().for_each(|error| (self.complain)(error));
        drop(given_up);
        self.moved.send_replace(());
        self.woken.notify_one();
        result
    }

    fn lose(&self, state: &mut State, rank: NodeRank, now: Duration) {
        tracing::info!(%rank, "the connection to a node has ended");
        self.recorder.count(Counter::FaultsParentsLost);
        state.lost.insert(rank);
        state.given_up.extend(state.up.remove(&rank));
        state.upstream.on(Event::Lost(rank), now);
    }

    /// Does what the machine has decided.
    fn act(self: &Arc<Self>, state: &mut State) {
        loop {
            let actions: Vec<Action> = state.upstream.actions().collect();
            if actions.is_empty() {
                return;
            }
            for action in actions {
                match action {
                    Action::Connect(rank) => self.connect(state, rank),
                    Action::Drop(rank) => self.give_up(state, rank),
                    Action::Moved(shard) => {
                        tracing::debug!(shard = shard.get(), route = ?state.upstream.route(shard), "moved");
                    }
                }
            }
        }
    }

    fn give_up(&self, state: &mut State, rank: NodeRank) {
        if let Some(attempt) = state.connecting.remove(&rank) {
            attempt.abort();
        }
        if let Some(link) = state.up.remove(&rank) {
            // Otherwise it is not needed any more: a nearer one answers.
            if link.peer.last_heard().elapsed() >= PEER_SILENCE_MAX {
                tracing::info!(%rank, "a silent node is given up for now");
                self.recorder.count(Counter::FaultsParentsLost);
                state.lost.insert(rank);
            }
            state.given_up.push(link);
        }
    }

    fn connect(self: &Arc<Self>, state: &mut State, rank: NodeRank) {
        let asked = self.carrier.connect(rank);
        let links = Arc::downgrade(self);
        let attempt = self.runtime.spawn(async move {
            let outcome = asked.await;
            if let Some(links) = links.upgrade() {
                links.connected_or_not(rank, outcome);
            }
        });
        state.connecting.insert(rank, attempt.abort_handle());
    }

    fn connected_or_not(self: &Arc<Self>, rank: NodeRank, outcome: Result<Arc<dyn Peer>, ConnectError>) {
        self.change(|state, now| {
            if state.connecting.remove(&rank).is_none() {
                return; // given up meanwhile
            }
            match outcome {
                Ok(peer) => {
                    tracing::debug!(%rank, "connected");
                    let link = Link { peer, heard: Instant::now(), given_up: watch::Sender::new(()) };
                    state.lost.remove(&rank);
                    state.troubles.remove(&rank);
                    state.up.insert(rank, link);
                    state.upstream.on(Event::Connected(rank), now);
                }
                Err(error) => {
                    let is_refusal = matches!(
                        error,
                        ConnectError::NobodyThere { .. }
                            | ConnectError::NotOurs { .. }
                            | ConnectError::OtherVersion { .. }
                    );
                    state.note(rank, error);
                    state.complain(COMPLAIN_AFTER);
                    let event = if is_refusal { Event::Refused } else { Event::ConnectFailed };
                    state.upstream.on(event(rank), now);
                }
            }
        });
    }

    /// Tells the machine what was heard and lost meanwhile, and returns when to look again.
    fn look(self: &Arc<Self>) -> Duration {
        self.change(|state, now| {
            let mut lost = Vec::new();
            let mut heard = Vec::new();
            for (rank, link) in &mut state.up {
                let last = link.peer.last_heard();
                if link.peer.is_lost() {
                    lost.push(*rank);
                } else if last > link.heard {
                    link.heard = last;
                    heard.push((*rank, last.saturating_duration_since(self.started)));
                }
            }
            lost.into_iter().for_each(|rank| self.lose(state, rank, now));
            heard.into_iter().for_each(|(rank, at)| state.upstream.on(Event::Heard(rank), at));
            state.upstream.on(Event::Tick, now);
            let due = state.upstream.due().saturating_sub(now);
            if state.up.is_empty() { due } else { due.min(LOOK_INTERVAL) }
        })
    }
}

impl State {
    /// Remembers what is in the way to a node, if that is more than that nobody listens there.
    fn note(&mut self, rank: NodeRank, error: ConnectError) {
        tracing::debug!(%rank, %error, "not connected");
        if matches!(error, ConnectError::Unreachable { .. } | ConnectError::NobodyThere { .. }) {
            return;
        }
        let new = Trouble { since: Instant::now(), error: error.clone(), is_told: false };
        self.troubles.entry(rank).or_insert(new).error = error;
    }

    /// Says once of each node what has been in the way to it for so long.
    fn complain(&mut self, after: Duration) {
        for trouble in self.troubles.values_mut().filter(|trouble| !trouble.is_told) {
            // Who has proven to be of this job does not change its version.
            let is_final = matches!(trouble.error, ConnectError::OtherVersion { .. });
            if is_final || trouble.since.elapsed() >= after {
                trouble.is_told = true;
                self.untold.push(trouble.error.clone());
            }
        }
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.lock().connecting.values().for_each(AbortHandle::abort);
    }
}

async fn watch_over(links: Weak<Links>) {
    // Nothing due: a minute, so that a machine that forgot to say when is looked at all the same.
    const AT_MOST: Duration = Duration::from_secs(60);
    const AT_LEAST: Duration = Duration::from_millis(1);
    loop {
        let Some(strong) = links.upgrade() else { return };
        let pause = strong.look().clamp(AT_LEAST, AT_MOST);
        // `look` has itself woken whoever waits here.
        strong.woken.notified().await;
        let woken = tokio::time::timeout(pause, strong.woken.notified());
        drop(woken.await);
    }
}
