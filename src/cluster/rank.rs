//! The number of a node.
//!
//! Not here: what is known of the node (`cluster`), its places in the trees (`tree`).

use std::fmt;

use serde::{Deserialize, Serialize};

/// Position of a node in the job: 0 is the first of the node list.
///
/// Dense in `0..n_nodes`. Not an MPI rank: one node runs one daemon and many tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeRank(u32);

impl NodeRank {
    /// The node at this position.
    pub fn new(rank: u32) -> Self {
        NodeRank(rank)
    }

    /// The position.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for NodeRank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
