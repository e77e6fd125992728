//! The program from outside, as a user sees it: one test binary, so that the package is linked once.

mod actor;
mod browser;
mod cli;
mod cluster;
mod collected;
mod collector;
mod env_check;
mod env_classify;
mod env_coverage;
mod env_scene;
mod env_slim;
mod freshness;
mod gathering;
mod hosts;
mod imports;
mod install;
mod kept;
mod metrics;
mod mountless;
mod named_hosts;
#[path = "../network/mod.rs"]
mod network;
mod node_faults;
mod nodes;
mod observer;
mod page;
mod postgres;
mod processes;
mod profile;
mod refresh;
mod scene;
mod semantics;
mod sharing;
mod signals;
mod slurm;
#[path = "../stand_in/client.rs"]
mod stand_in;
mod status;
mod terminal;
mod top;
mod track_hook;
mod track_nodes;
mod track_python;
mod track_r;
mod track_send;
mod track_store;
