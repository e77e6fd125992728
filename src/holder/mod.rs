//! Keeps a node's view alive while daemons come and go.
//!
//! The holder is a small single-threaded process that owns the listening socket, the FUSE descriptors and
//! the shared memory, restarts the daemon, and lets tasks join. The daemon holds copies of all descriptors
//! and restarts the holder in turn.
//!
//! Not here: answering the kernel (`fuse`, run by `daemon`); entering a namespace (`enter`).

pub mod estate;
