//! Spinney: dynamically linked programs start on many nodes as fast as on one warm workstation.
//!
//! The modules in reading order, which is the way of a request:
//!
//! | module | knows |
//! |---|---|
//! | [`cli`] | flags, help, exit codes, printing |
//! | [`launch`] | a whole cluster on this machine: starts the wrappers of all nodes, speaks for them |
//! | [`services`] | services that run already: finding them, asking them |
//! | [`enter`] | the wrapper around COMMAND: find or found the node's service, go inside, run, wait |
//! | [`holder`] | keeping descriptors alive, restarting the daemon, letting tasks join |
//! | [`daemon`] | one node's service: how the layers below are put together |
//! | [`fuse`] | the kernel's protocol |
//! | [`view`] | names, node ids, attributes, errno |
//! | [`cache`] | what this node already knows |
//! | [`tree`] | who asks whom, who replaces a dead parent |
//! | [`wire`] | questions and answers between nodes |
//! | [`storage`] | reading the shared file system |
//! | [`cluster`] | who the nodes of a job are and where they are found |
//! | [`environment`] | what software an environment consists of |
//! | [`doctor`] | what works on this machine, and what to ask for |
//! | [`track`] | which packages jobs import: hook, records, filter, store, reports |
//! | [`profile`] | counting, recordings of runs, what they say |
//! | [`page`] | how a report looks as HTML |
//! | [`text`] | numbers, names and tables for people |
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
pub mod launch;
pub mod page;
pub mod profile;
pub mod services;
pub mod storage;
pub mod text;
pub mod track;
pub mod tree;
pub mod view;
pub mod wire;
