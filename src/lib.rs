//! Spinney: dynamically linked programs start on many nodes as fast as on one warm workstation.
//!
//! The modules in reading order, which is the way of a request:
//!
//! | module | knows |
//! |---|---|
//! | [`cli`] | flags, help, exit codes, printing |
//! | [`enter`] | the wrapper around COMMAND: find or found the node's service, go inside, run, wait |
//! | [`holder`] | keeping descriptors alive, restarting the daemon, letting tasks join |
//! | [`daemon`] | one node's service: how the layers below are put together |
//! | [`fuse`] | the kernel's protocol |
//! | [`view`] | names, node ids, attributes, errno |
//! | [`cache`] | what this node already knows |
//! | [`tree`] | who asks whom, who replaces a dead parent |
//! | [`cluster`] | who the nodes are |
//! | [`storage`] | reading the shared file system |
//! | [`environment`] | what software an environment consists of |
//! | [`doctor`] | what works on this machine, and what to ask for |
//! | [`profile`] | counting |
//! | [`file`] | shared nouns: path, attributes, version, listing, block, source |

pub mod cache;
pub mod cli;
pub mod cluster;
pub mod daemon;
pub mod doctor;
pub mod enter;
pub mod environment;
pub mod file;
pub mod fuse;
pub mod holder;
pub mod profile;
pub mod storage;
pub mod tree;
pub mod view;
