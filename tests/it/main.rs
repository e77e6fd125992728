//! The program from outside, as a user sees it: one test binary, so that the package is linked once.

mod actor;
mod cli;
mod cluster;
mod gathering;
mod hosts;
mod kept;
mod named_hosts;
mod node_faults;
mod nodes;
mod processes;
mod refresh;
mod scene;
mod semantics;
mod sharing;
mod signals;
#[path = "../stand_in/client.rs"]
mod stand_in;
mod status;
mod terminal;
mod track_python;
mod track_r;
