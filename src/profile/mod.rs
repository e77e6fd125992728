//! What happened, counted where it happened, and what it was about.
//!
//! [`recorder`] counts: a leaf that every folder may name. It takes no lock and makes no system call, so counting never
//! changes what is counted. [`recording`] is the format of what a job touched, path by path.
//!
//! Not here: writing the report of a run (`daemon::report`).

pub mod recorder;
pub mod recording;
