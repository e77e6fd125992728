//! Which packages the jobs of a site import: from the interpreter's own hook to a report.
//!
//! In reading order, which is the way of a record: [`hook`] (inside Python), [`flight`] (in shared memory while the
//! run lasts) and [`observer`] (shared objects), [`seen`] (what was noted), [`gather`] with [`filter`] (what is kept),
//! [`message`], [`send`] (to where a site collects), [`ingest`], [`store`], [`report`] and [`table`]. The lines that travel are
//! [`record`]; a site's rules come from [`filter_file`] or [`config_py`]. [`xalt`], [`xalt_form`], [`xalt_lines`] and
//! [`xalt_read`] have XALT's own records, [`sample`] says which runs are kept when not all are, [`trust`] who may answer.
//!
//! Invariant: nothing here makes a job fail, wait or print; tracking that cannot be is silent.
//! Invariant: no values of the environment but those that name the job (`cluster::launchers`), and no arguments, are ever recorded.
//!
//! Not here: the data path, which this folder never names.

pub mod clock;
pub mod config_py;
pub mod export;
pub mod filter;
pub mod filter_file;
pub mod flight;
pub mod gather;
pub mod hook;
pub mod ingest;
pub mod libraries;
pub mod lint;
pub mod message;
pub mod observer;
pub mod record;
pub mod report;
pub mod run;
pub mod sample;
pub mod seen;
pub mod send;
pub mod store;
pub mod table;
#[cfg(test)]
mod tests;
pub mod trust;
pub mod xalt;
pub mod xalt_form;
pub mod xalt_lines;
pub mod xalt_read;
