//! What happened, counted where it happened.
//!
//! Only the recorder lives here so far: a leaf that every folder may name. It takes no lock and makes no
//! system call, so counting never changes what is counted.
//!
//! Not here: writing the report of a run (`daemon::report`).

pub mod recorder;
