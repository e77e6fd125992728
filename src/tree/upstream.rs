//! Whom one node asks: its parent in the shard, or who is there in its place.
//!
//! Events go in, decisions come out. Time is what the caller says, counted from any moment; only this node's own
//! monotonic clock is used, so nodes need not agree on the time.
//!
//! In each shard a node asks the nearest ancestor that answers. If there is none, it goes through *stages*, each of
//! which lets it ask more nodes: few stand-ins near the root, then more of them, then neighbours by rank. The lowest
//! stand-in that reaches none below itself asks storage.
//!
//! Invariant: whoever is asked has a lower place in the shard than the asker. So no circle of nodes waits for itself,
//! whatever each of them believes of the others.
//!
//! Invariant: only silence moves a node from a peer. There is no deadline for an answer.
//!
//! Not here: connections, heartbeats, asking again what was in flight (the caller, on [`Action`]).

use std::time::Duration;

use super::peers::Peers;
use super::shape::{Shape, Shard};
use crate::cluster::NodeRank;

/// How long a connected peer, or one that is being connected, may be silent: 3 s.
///
/// Whoever waits for slow storage sends a heartbeat each second, so silence means that the process or the link is
/// gone. Three beats, because one late timer must not move a subtree.
pub const PEER_SILENCE_MAX: Duration = Duration::from_secs(3);

/// How long ancestors are waited for that were never heard, while one of them gives no answer at all: 10 s. It counts from when
/// the node's service was founded: a daemon that takes the place of a dead one knows nobody, but the others have started long ago.
pub const GRACE_UNHEARD: Duration = Duration::from_secs(10);

/// How long ancestors are waited for once one has been heard and all are gone, or if the machine of each says that nobody is
/// there: 1 s. A daemon that died is back in less, and launchers start nodes less apart. Where they do not, few nodes ask storage
/// until the others are there (docs/decisions/0015-list-of-nodes.md).
pub const GRACE_LOST: Duration = Duration::from_secs(1);

/// How long a stage goes on looking for somebody to ask: 2 s. A refused connection takes milliseconds.
pub const SETTLING: Duration = Duration::from_secs(2);

/// How long a peer that had fallen silent has to be heard again before it is preferred to a working one: 2 s, which is
/// two heartbeats. One that accepts connections and says nothing must not cost a pause each time it is tried.
pub const PROBATION: Duration = Duration::from_secs(2);

/// How long a peer that sent wrong bytes is avoided the first time: 60 s, doubled each time. A flipped bit is not for
/// ever, bad memory is.
pub const CORRUPT_AVOIDED: Duration = Duration::from_secs(60);

/// Between two tries of a parent: 50 ms, as a connection to a port where nobody listens costs next to nothing.
const PAUSE: Duration = Duration::from_millis(50);

/// Between two tries of an ancestor further up, at most. See [`pause`].
const PAUSE_ANCESTOR_MAX: Duration = Duration::from_secs(2);

/// Nearest ancestors that are tried, beside the root: 16, which are all there are in trees of 100,000 nodes with two
/// children or more. A chain has as many as it has nodes.
const ANCESTORS_MAX: usize = 16;

/// Nodes of a job that may ask storage in the first stage, beside the roots: 32, shared out among the shards.
const STAND_INS: u32 = 32;

/// Stand-ins of each shard in the second stage: only if the root and all of the first are gone or cut off.
const STAND_INS_WIDE: u32 = 64;

/// Ranks that look for each other in the last stage: 64. A rack that is cut off has one asker, not one for each node.
const NEIGHBOURS: u32 = 64;

/// The last stage, in which everybody who reaches nobody may ask storage.
const STAGE_LAST: u8 = 3;

/// Whom to ask now for what is in one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// This node.
    Ask(NodeRank),
    /// Storage, by this node itself: it is the root, or it stands in for it.
    Storage,
    /// Nobody yet. [`Action::Moved`] will tell; at `until` at the latest a tick is due.
    Wait {
        /// By this node's clock.
        until: Duration,
    },
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The connection that [`Action::Connect`] asked for stands, authenticated. Not for one that was given up since.
    Connected(NodeRank),
    /// It could not be made, and nobody says why.
    ConnectFailed(NodeRank),
    /// It could not be made, and the other machine says so: nobody listens there, yet or any more, or somebody who will not have
    /// this node, since it has another key or version.
    Refused(NodeRank),
    /// Bytes came from this peer, heartbeats included. `now` is when they came; it may lie in the past.
    Heard(NodeRank),
    /// The connection has ended.
    Lost(NodeRank),
    /// The peer sent bytes that do not have their checksum, or cannot be decoded.
    Corrupt(NodeRank),
    /// Time has passed. Due at [`Upstream::due`]; earlier and later do no harm.
    Tick,
}

/// What the caller is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Connect to this peer, and say how it went. It is given up by [`Action::Drop`].
    Connect(NodeRank),
    /// Close the connection or stop connecting. What this peer was asked is to be asked along the route.
    Drop(NodeRank),
    /// The shard has another route: what waits for one may be asked.
    Moved(Shard),
}

/// The way of one node to storage, in all shards.
#[derive(Debug)]
pub struct Upstream {
    shape: Shape,
    own: NodeRank,
    peers: Peers,
    shards: Vec<Way>,
    actions: Vec<Action>,
    due: Duration,
    /// When a shard is due for another stage, whatever the peers do.
    stages_due: Duration,
}

/// The way in one shard.
#[derive(Debug)]
struct Way {
    shard: Shard,
    place: u32,
    /// Parent first, root last, at most [`ANCESTORS_MAX`] and the root.
    ancestors: Box<[NodeRank]>,
    /// An ancestor has been connected at some time.
    heard: bool,
    /// How long they are waited for if none has been.
    grace_unheard: Duration,
    /// Since when no ancestor is usable.
    orphan_since: Option<Duration>,
    /// 0: ancestors only.
    stage: u8,
    stage_since: Duration,
    route: Option<Target>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Peer(NodeRank),
    Storage,
}

impl Upstream {
    /// The machine of node `own`, which starts `now`, `age` after the node's service was founded. `seed` decides the jitter.
    pub fn new(shape: Shape, own: NodeRank, seed: u64, now: Duration, age: Duration) -> Self {
        let grace_unheard = GRACE_UNHEARD.saturating_sub(age).max(GRACE_LOST);
        let way = |shard| Way {
            shard,
            place: shape.place(shard, own),
            ancestors: ancestors(&shape, shard, own),
            heard: false,
            grace_unheard,
            orphan_since: None,
            stage: 0,
            stage_since: now,
            route: None,
        };
        let shards = shape.shards().map(way).collect();
        let peers = Peers::new(seed ^ u64::from(own.get()));
        let (due, stages_due) = (now, now);
        let mut upstream = Upstream { shape, own, peers, shards, actions: Vec::new(), due, stages_due };
        upstream.decide(now);
        upstream.due = upstream.peers.act(now, &mut upstream.actions).min(upstream.stages_due);
        upstream
    }

    /// Tells what happened at `now`.
    pub fn on(&mut self, event: Event, now: Duration) {
        // A try in vain and most ticks change no route, and there are many of them.
        let changed = match event {
            Event::Connected(rank) => self.connected(rank, now),
            Event::ConnectFailed(rank) | Event::Lost(rank) => self.peers.down(rank, now),
            Event::Refused(rank) => self.peers.refused(rank, now),
            Event::Heard(rank) => {
                if !self.peers.heard(rank, now) {
                    return;
                }
                true
            }
            Event::Corrupt(rank) => {
                self.peers.corrupt(rank, now);
                self.actions.push(Action::Drop(rank));
                true
            }
            Event::Tick => false,
        };
        let expired = self.peers.expire(now, &mut self.actions);
        if changed || expired || now >= self.stages_due {
            self.decide(now);
        }
        self.due = self.peers.act(now, &mut self.actions).min(self.stages_due);
    }

    /// What to do since this was last asked, in order.
    pub fn actions(&mut self) -> impl Iterator<Item = Action> + use<> {
        std::mem::take(&mut self.actions).into_iter()
    }

    /// Whom to ask for what is in `shard`.
    pub fn route(&self, shard: Shard) -> Route {
        match self.shards[usize::from(shard.get())].route {
            Some(Target::Peer(rank)) => Route::Ask(rank),
            Some(Target::Storage) => Route::Storage,
            None => Route::Wait { until: self.due },
        }
    }

    /// When [`Event::Tick`] is due.
    pub fn due(&self) -> Duration {
        self.due
    }

    fn connected(&mut self, rank: NodeRank, now: Duration) -> bool {
        if !self.peers.connected_now(rank, now) {
            self.actions.push(Action::Drop(rank));
            return false;
        }
        for way in self.shards.iter_mut().filter(|way| way.ancestors.contains(&rank)) {
            way.heard = true;
        }
        true
    }

    /// Finds the route of each shard anew, and whom it would rather ask.
    fn decide(&mut self, now: Duration) {
        self.peers.forget_wants();
        let mut due = Duration::MAX;
        for way in &mut self.shards {
            let before = way.route;
            way.route = way.decide(&self.shape, self.own, &mut self.peers, now, &mut due);
            if way.route.is_some() && way.route != before {
                self.actions.push(Action::Moved(way.shard));
            }
        }
        self.stages_due = due;
    }
}

impl Way {
    /// Whom to ask now. Wants all whom it would rather ask, and lowers `due` to when it has to look again.
    fn decide(
        &mut self,
        shape: &Shape,
        own: NodeRank,
        peers: &mut Peers,
        now: Duration,
        due: &mut Duration,
    ) -> Option<Target> {
        if self.place == 0 {
            return Some(Target::Storage);
        }
        if let Some(ancestor) = self.nearest(shape, peers, now) {
            (self.orphan_since, self.stage) = (None, 0);
            return Some(Target::Peer(ancestor));
        }
        let since = *self.orphan_since.get_or_insert(now);
        if self.stage == 0 {
            // Who refuses need not be waited for.
            let is_sure = self.heard || peers.all_refuse(&self.ancestors);
            let until = since + if is_sure { GRACE_LOST } else { self.grace_unheard };
            if now < until {
                *due = until.min(*due);
                return None;
            }
            (self.stage, self.stage_since) = (1, now);
        }
        self.stand_in(shape, own, peers, now, due)
    }

    /// The nearest ancestor that answers; it and all nearer ones are wanted.
    fn nearest(&self, shape: &Shape, peers: &mut Peers, now: Duration) -> Option<NodeRank> {
        for (distance, ancestor) in self.ancestors.iter().enumerate() {
            let pause = pause(shape, distance as u32);
            let first = match (distance, self.heard) {
                (0, _) => now,
                (_, true) => now + PAUSE * (distance as u32 - 1),
                (_, false) => now + peers.jitter(pause),
            };
            peers.want(*ancestor, first, pause);
            if peers.usable(*ancestor) {
                return Some(*ancestor);
            }
        }
        // One under suspicion is better than none.
        self.ancestors.iter().copied().find(|ancestor| self.stage == 0 && peers.connected(*ancestor))
    }

    /// Somebody in place of the root: see the stages in the header.
    fn stand_in(
        &mut self,
        shape: &Shape,
        own: NodeRank,
        peers: &mut Peers,
        now: Duration,
        due: &mut Duration,
    ) -> Option<Target> {
        loop {
            let (candidates, is_one) = self.candidates(shape, own);
            if let Some(found) = candidates.iter().position(|candidate| peers.usable(*candidate)) {
                // Stand-ins look on for a lower one, so that one of them is left to ask storage. Others stay.
                let wanted = if is_one { &candidates[..=found] } else { &candidates[found..=found] };
                wanted.iter().for_each(|candidate| peers.want(*candidate, now, PAUSE));
                return Some(Target::Peer(candidates[found]));
            }
            if matches!(self.route, Some(Target::Peer(_))) {
                (self.route, self.stage_since) = (None, now);
            }
            // One after another, in the first half of the time there is.
            let apart = SETTLING / 2 / (candidates.len() as u32).max(1);
            for (number, candidate) in candidates.iter().enumerate() {
                peers.want(*candidate, now + apart * number as u32, PAUSE);
            }
            let until = self.stage_since + SETTLING;
            if now < until && !peers.all_refuse(&candidates) {
                *due = until.min(*due);
                return None;
            }
            if is_one {
                return Some(Target::Storage);
            }
            (self.stage, self.stage_since) = (self.stage + 1, now);
        }
    }

    /// Whom this stage lets the node ask, best first, and whether the node is one of those whom others ask.
    fn candidates(&self, shape: &Shape, own: NodeRank) -> (Vec<NodeRank>, bool) {
        let last = match self.stage {
            1 => STAND_INS / shape.shards().count() as u32,
            _ => STAND_INS_WIDE,
        };
        let mut candidates: Vec<NodeRank> =
            (1..=last.min(self.place - 1)).map(|place| shape.at(self.shard, place)).collect();
        if self.place <= last {
            return (candidates, true);
        }
        // Who is none of them begins anywhere, so that not all ask the same one.
        let start = self.place as usize % candidates.len().max(1);
        candidates.rotate_left(start);
        if self.stage < STAGE_LAST {
            return (candidates, false);
        }
        let first = own.get() / NEIGHBOURS * NEIGHBOURS;
        let ranks = first..(first + NEIGHBOURS).min(shape.n_nodes());
        let mut neighbours: Vec<u32> = ranks
            .map(|rank| shape.place(self.shard, NodeRank::new(rank)))
            .filter(|place| (STAND_INS_WIDE + 1..self.place).contains(place))
            .collect();
        neighbours.sort_unstable();
        candidates.extend(neighbours.into_iter().map(|place| shape.at(self.shard, place)));
        (candidates, true)
    }
}

fn ancestors(shape: &Shape, shard: Shard, own: NodeRank) -> Box<[NodeRank]> {
    let root = shape.root(shard);
    let near: Vec<NodeRank> = shape.ancestors(shard, own).take(ANCESTORS_MAX).collect();
    let far = near.last().is_some_and(|last| *last != root).then_some(root);
    near.into_iter().chain(far).collect()
}

/// Between two tries of the ancestor that is `distance` above the parent.
///
/// It has more descendants by a factor of the fan-out with each level, so each of them tries it more rarely by as much:
/// a root whose whole job waits for it is not run over. At least by two, so that a chain is not tried as a whole.
fn pause(shape: &Shape, distance: u32) -> Duration {
    let factor = u32::from(shape.fan_out()).max(2).saturating_pow(distance).min(1_000);
    (PAUSE * factor).min(PAUSE_ANCESTOR_MAX)
}

#[cfg(test)]
mod tests;
