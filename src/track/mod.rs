//! Which packages the jobs of a site import: from the interpreter's own hook to a report.
//!
//! In reading order, which is the way of a record: [`hook`] (inside Python), [`flight`] (in shared memory while the
//! run lasts), [`gather`] with [`filter`] (what is kept), [`ingest`], [`store`], [`report`] and
//! [`table`]. The lines that travel are [`record`]; a site's rules come from [`filter_file`] or [`config_py`].
//! [`xalt`] has XALT's own records, [`sample`] says which runs are kept when not all are.
//!
//! Invariant: nothing here makes a job fail, wait or print; tracking that cannot be is silent.
//! Invariant: no values of the environment but the few named in [`run`], and no arguments, are ever recorded.
//!
//! Not here: the data path, which this folder never names.

pub mod config_py;
pub mod filter;
pub mod filter_file;
pub mod flight;
pub mod gather;
pub mod hook;
pub mod ingest;
pub mod lint;
pub mod record;
pub mod report;
pub mod run;
pub mod sample;
pub mod store;
pub mod table;
#[cfg(test)]
mod tests;
pub mod xalt;
