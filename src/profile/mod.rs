//! What happened, counted where it happened, and what it was about.
//!
//! `recorder` is a leaf that every folder may name; what it records of a run becomes a file (`recording`), and files are
//! added up (`totals`) and told (`report`). The last three are for people at a prompt, not for a run.
//!
//! Not here: writing the report of a run (`daemon::report`) or its recording (`daemon::recording`).

pub mod compare;
pub mod copper;
pub mod exposition;
pub mod recorder;
pub mod recording;
pub mod report;
pub mod tell;
pub mod totals;
