//! Who the nodes of the job are.
//!
//! Not here: how they talk (`wire`).

mod rank;

pub use rank::NodeRank;
