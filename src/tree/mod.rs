//! Who asks whom, so that storage sees each thing once.
//!
//! [`Shape`] computes the overlay trees from the number of nodes alone; all nodes agree without a word. [`Upstream`]
//! decides for one node whom to ask now, and goes round peers that are dead, silent or wrong.
//!
//! Pure: no socket, no clock, no thread. `tests/sim` runs thousands of them in virtual time from a seed.
//!
//! Not here: carrying questions, what is known already (`cache`), asking storage (`storage`).

mod asking;
mod coming;
mod hash;
mod links;
mod peers;
mod shape;
mod upstream;

pub use asking::{Joining, ShardState, Tree, TreeState};
pub use links::Complain;
pub use shape::{FAN_OUT, FAN_OUT_MAX, NODES_MAX, SHARDS, SHARDS_MAX, STRIPE_BLOCKS, Shape, Shard};
pub use upstream::{
    Action, CORRUPT_AVOIDED, Event, GRACE_LOST, GRACE_UNHEARD, PEER_SILENCE_MAX, PROBATION, Route, SETTLING,
    Upstream,
};
