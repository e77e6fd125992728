//! Who the nodes of a job are.
//!
//! Not here: who asks whom (`tree`).

mod rank;

pub use rank::NodeRank;
