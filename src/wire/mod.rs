//! Questions and answers between nodes: HTTP/1.1 over connections that both ends have proven themselves on.
//!
//! A node asks its parent through a [`Peer`] and answers its children out of its cache ([`Server`]). The interface, its
//! limits and the threat model are described in docs/WIRE.md.
//!
//! Invariant: only storage's own word comes back as [`AskError::Fetch`]; whatever goes wrong between nodes is told
//! apart from it and never reaches a task.
//! Invariant: a peer without the key learns nothing, and what it sends is read by nothing but the handshake.
//!
//! Not here: whom to ask and when to give up (`tree`), what is known (`cache`), names of nodes (`cluster`).

mod answer;
mod channel;
mod client;
pub mod codec;
pub mod frames;
pub mod head;
mod identity;
mod keys;
pub mod limits;
mod memory;
mod question;
mod runtime;
mod sealed;
mod server;
#[cfg(test)]
mod tests;

pub use self::limits::RECORD_BYTES_MAX;
pub use client::{Addresses, HttpCarrier};
pub use head::wire_version;
pub use identity::{Fabric, Identity};
pub use keys::{KEY_VARIABLE, KeyError, KeyPlaces, KeySource, SharedKey};
pub use memory::MemoryCarrier;
pub use question::{
    AskError, Asked, BlockRange, BlockStream, Carrier, ConnectError, Peer, Question, Refusal, Reply,
};
pub use runtime::WireRuntime;
pub use server::{Records, Server, Serving};
