//! What one node tells the others to do, directly and not through the trees.
//!
//! Directly, since a dead node on the way would keep it from all beneath. Whoever was asked by a command tells all
//! others, some at a time; those that do not do it in time are named.
//!
//! Not here: what is done (`refresh`, `line`, `tree`), the bytes on the way (`wire`).

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::line::Line;
use super::recording::{Recordings, Tag};
use super::refresh::{self, Refresher};
use crate::cluster::NodeRank;
use crate::tree::Tree;
use crate::wire::{Carrier, Question};

/// Nodes that are told side by side: 64.
const TOLD_AT_ONCE: usize = 64;

/// Between two tries to get a node to do something that it does not do yet: 20 ms.
const PAUSE: Duration = Duration::from_millis(20);

/// As it travels.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// One step of forgetting.
    Refresh(refresh::Order),
    /// Write what is recorded so far.
    Snapshot(Tag),
    /// Say whether the node above is connected in each tree.
    AreYouReady,
    /// End with the last task.
    GoDown,
}

/// What this node carries orders out with.
#[derive(Clone)]
pub(super) struct Obeying {
    pub(super) refresher: Refresher,
    pub(super) tree: Tree,
    pub(super) line: Line,
    /// `None`: nothing is recorded.
    pub(super) recordings: Option<Recordings>,
}

impl Obeying {
    /// Does what another node says; false if it is not understood, or not so.
    pub(super) fn obey(&self, order: &[u8]) -> bool {
        match serde_json::from_slice(order) {
            Ok(Order::Refresh(order)) => self.refresher.obey(&order),
            Ok(Order::AreYouReady) => self.tree.state().is_connected(),
            Ok(Order::Snapshot(tag)) => {
                self.recordings.as_ref().is_none_or(|recordings| recordings.write(tag).is_ok())
            }
            Ok(Order::GoDown) => {
                self.line.go_down();
                true
            }
            Err(_) => false,
        }
    }
}

/// The other nodes.
pub(super) struct Others {
    pub(super) own: NodeRank,
    pub(super) n_nodes: u32,
    pub(super) carrier: Arc<dyn Carrier>,
}

/// When a node that does not do it is told again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Insistence {
    Once,
    UntilDone,
}

impl Others {
    /// Tells every other node, each for `within` at most; returns those that did not do it.
    pub(super) fn tell(&self, order: &Order, within: Duration, insistence: Insistence) -> Vec<NodeRank> {
        let ranks: Vec<NodeRank> =
            (0..self.n_nodes).map(NodeRank::new).filter(|rank| *rank != self.own).collect();
        let mut missed = Vec::new();
        let (Ok(order), Ok(runtime)) = (serde_json::to_vec(order), waiting()) else { return ranks };
        for some in ranks.chunks(TOLD_AT_ONCE) {
            let told = some.iter().map(|rank| self.tell_one(*rank, &order, within, insistence));
            let told: Vec<_> = told.map(|told| runtime.spawn(told)).collect();
            for (rank, told) in some.iter().zip(told) {
                if runtime.block_on(told).is_ok_and(|done| !done) {
                    missed.push(*rank);
                }
            }
        }
        missed
    }

    fn tell_one(
        &self,
        rank: NodeRank,
        order: &[u8],
        within: Duration,
        insistence: Insistence,
    ) -> impl Future<Output = bool> + Send + use<> {
        let (carrier, order) = (self.carrier.clone(), order.to_vec());
        let until = Instant::now() + within;
        async move {
            let until_done = async {
                loop {
                    let done = try_to_tell(&*carrier, rank, &order).await;
                    if done || insistence == Insistence::Once {
                        return done;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            };
            let left = until.saturating_duration_since(Instant::now());
            tokio::time::timeout(left, until_done).await.unwrap_or(false)
        }
    }
}

async fn try_to_tell(carrier: &dyn Carrier, rank: NodeRank, order: &[u8]) -> bool {
    match carrier.connect(rank).await {
        Ok(peer) => peer.ask(Question::Order(order.to_vec())).await.is_ok(),
        Err(_) => false,
    }
}

/// What waits for answers on this thread.
pub(super) fn waiting() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_time().build()
}
