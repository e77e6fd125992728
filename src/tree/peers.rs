//! What one node knows of the nodes it may ask: whether they are connected, when they were last heard, when to try
//! again. Shared by the shards: a node that is a parent in two of them is one peer.
//!
//! Not here: which of them is asked (`upstream`).

use std::time::Duration;

use super::hash::Sequence;
use super::upstream::{Action, CORRUPT_AVOIDED, PEER_SILENCE_MAX, PROBATION};
use crate::cluster::NodeRank;

/// Between tries of the same peer at most, once trying often has not helped: 5 s. It is also how long a mended peer
/// stays unused.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The part of the time a peer has been missing that passes between two tries: an eighth. So a peer that comes back is
/// found after an eighth more than it was away, and 10 s of trying are some thirty tries, not two hundred from each
/// node of a job.
const PAUSE_PART: u32 = 8;

/// How often [`CORRUPT_AVOIDED`] is doubled at most: to four hours, longer than most jobs.
const DOUBLINGS_MAX: u32 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Down,
    Connecting { deadline: Duration },
    Up { since: Duration, heard: Duration },
}

#[derive(Debug)]
struct Peer {
    rank: NodeRank,
    link: Link,
    /// Since when it has been of no use; `None` while it is.
    missing_since: Option<Duration>,
    /// How often it sent wrong bytes.
    corruptions: u32,
    /// Its machine was there when last tried, and would not have this node.
    refuses: bool,
    /// It was silent while connected: being connected again is not enough to be trusted.
    suspect: bool,
    /// Not before this.
    next_try: Duration,
    /// Some shard asks it or would rather ask it. Set anew with every decision, as is `pause`.
    wanted: bool,
    /// Between two tries at first.
    pause: Duration,
}

/// Sorted by rank. Holds ancestors and stand-ins only, so it is bounded by depth and limits, not by the job.
#[derive(Debug)]
pub struct Peers {
    peers: Vec<Peer>,
    random: Sequence,
}

impl Peers {
    pub fn new(seed: u64) -> Self {
        Peers { peers: Vec::new(), random: Sequence::new(seed) }
    }

    /// Whether it answers and may be trusted to go on doing so.
    pub fn usable(&self, rank: NodeRank) -> bool {
        self.get(rank).is_some_and(|peer| matches!(peer.link, Link::Up { .. }) && !peer.suspect)
    }

    /// Whether it is connected at all.
    pub fn connected(&self, rank: NodeRank) -> bool {
        self.get(rank).is_some_and(|peer| matches!(peer.link, Link::Up { .. }))
    }

    /// Begins a decision: whom nobody wants any more will be dropped at its end.
    pub fn forget_wants(&mut self) {
        for peer in &mut self.peers {
            (peer.wanted, peer.pause) = (false, PAUSE_MAX);
        }
    }

    /// Some shard asks this peer, or would if it could. If it is new it is tried at `first`, later after `pause`.
    pub fn want(&mut self, rank: NodeRank, first: Duration, pause: Duration) {
        let at = match self.peers.binary_search_by_key(&rank, |peer| peer.rank) {
            Ok(at) => at,
            Err(at) => {
                let peer = Peer {
                    rank,
                    link: Link::Down,
                    missing_since: None,
                    corruptions: 0,
                    refuses: false,
                    suspect: false,
                    next_try: first,
                    wanted: false,
                    pause: PAUSE_MAX,
                };
                self.peers.insert(at, peer);
                at
            }
        };
        self.peers[at].wanted = true;
        self.peers[at].pause = self.peers[at].pause.min(pause);
    }

    /// A connection stands. Returns whether it had been asked for.
    pub fn connected_now(&mut self, rank: NodeRank, now: Duration) -> bool {
        let Some(peer) = self.get_mut(rank).filter(|peer| matches!(peer.link, Link::Connecting { .. }))
        else {
            return false;
        };
        peer.link = Link::Up { since: now, heard: now };
        peer.refuses = false;
        if !peer.suspect {
            peer.missing_since = None;
        }
        true
    }

    /// Bytes came from this peer. Returns whether it may be trusted from now on and was not before.
    pub fn heard(&mut self, rank: NodeRank, at: Duration) -> bool {
        let Some(peer) = self.get_mut(rank) else { return false };
        let Link::Up { since, heard } = &mut peer.link else { return false };
        *heard = at.max(*heard);
        let trusted = peer.suspect && *heard >= *since + PROBATION;
        if trusted {
            (peer.suspect, peer.missing_since) = (false, None);
        }
        trusted
    }

    /// A try failed or the connection has ended. Returns whether it had been connected.
    pub fn down(&mut self, rank: NodeRank, now: Duration) -> bool {
        let Ok(at) = self.peers.binary_search_by_key(&rank, |peer| peer.rank) else { return false };
        let was = self.peers[at].link;
        if was != Link::Down {
            self.fail(at, now);
        }
        self.peers[at].refuses = false;
        matches!(was, Link::Up { .. })
    }

    /// A try was refused. Returns whether that is new.
    pub fn refused(&mut self, rank: NodeRank, now: Duration) -> bool {
        let refused_before = self.get(rank).is_none_or(|peer| peer.refuses);
        self.down(rank, now);
        let Some(peer) = self.get_mut(rank) else { return false };
        peer.refuses = true;
        !refused_before
    }

    /// Whether each of these refused this node when last tried. Of none, that is so.
    pub fn all_refuse(&self, ranks: &[NodeRank]) -> bool {
        ranks.iter().all(|rank| self.get(*rank).is_some_and(|peer| peer.refuses))
    }

    /// It sent wrong bytes: not tried for a while, each time longer.
    pub fn corrupt(&mut self, rank: NodeRank, now: Duration) {
        let Some(peer) = self.get_mut(rank) else { return };
        peer.link = Link::Down;
        peer.next_try = now + CORRUPT_AVOIDED * 2u32.pow(peer.corruptions.min(DOUBLINGS_MAX));
        peer.corruptions += 1;
    }

    /// Gives up who has been silent for too long, connected or not. Returns whether there was any.
    pub fn expire(&mut self, now: Duration, actions: &mut Vec<Action>) -> bool {
        let before = actions.len();
        for at in 0..self.peers.len() {
            let peer = &mut self.peers[at];
            let over = match peer.link {
                Link::Down => false,
                Link::Connecting { deadline } => now >= deadline,
                Link::Up { heard, .. } => now >= heard + PEER_SILENCE_MAX,
            };
            if over {
                peer.suspect |= matches!(peer.link, Link::Up { .. });
                actions.push(Action::Drop(peer.rank));
                self.fail(at, now);
            }
        }
        actions.len() > before
    }

    /// Ends a decision: drops whom nobody wants, tries whom it is time to try. Returns when to look again.
    pub fn act(&mut self, now: Duration, actions: &mut Vec<Action>) -> Duration {
        let mut due = Duration::MAX;
        for peer in &mut self.peers {
            if !peer.wanted {
                if peer.link != Link::Down {
                    peer.link = Link::Down;
                    actions.push(Action::Drop(peer.rank));
                }
                continue;
            }
            if peer.link == Link::Down && now >= peer.next_try {
                peer.link = Link::Connecting { deadline: now + PEER_SILENCE_MAX };
                actions.push(Action::Connect(peer.rank));
            }
            due = due.min(match peer.link {
                Link::Down => peer.next_try,
                Link::Connecting { deadline } => deadline,
                Link::Up { heard, .. } => heard + PEER_SILENCE_MAX,
            });
        }
        due
    }

    /// A pause of about this length, from half to one and a half: nodes that began together must not go on together.
    pub fn jitter(&mut self, pause: Duration) -> Duration {
        let micros = pause.as_micros() as u64;
        Duration::from_micros(micros / 2 + self.random.below(micros + 1))
    }

    fn fail(&mut self, at: usize, now: Duration) {
        let since = *self.peers[at].missing_since.get_or_insert(now);
        let pause = self.peers[at].pause.max(now.saturating_sub(since) / PAUSE_PART).min(PAUSE_MAX);
        let pause = self.jitter(pause);
        let peer = &mut self.peers[at];
        peer.link = Link::Down;
        peer.next_try = now + pause;
    }

    fn get(&self, rank: NodeRank) -> Option<&Peer> {
        self.peers.binary_search_by_key(&rank, |peer| peer.rank).ok().map(|at| &self.peers[at])
    }

    fn get_mut(&mut self, rank: NodeRank) -> Option<&mut Peer> {
        self.peers.binary_search_by_key(&rank, |peer| peer.rank).ok().map(|at| &mut self.peers[at])
    }
}
