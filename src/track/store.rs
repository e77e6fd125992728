//! What is remembered of runs, behind one small trait: adding a file of records, and reading it all in one pass.
//!
//! Reports are computed from that pass (`report`), so another database needs to know no more than this.
//!
//! Not here: SQL (`sqlite`).

use super::record::{End, Import, Library, Process, Run};

/// A file of records, taken apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Which run.
    pub run: Run,
    /// How the task ended; `None` if it was killed.
    pub end: Option<End>,
    /// Processes with what they imported.
    pub processes: Vec<(Process, Vec<Import>)>,
    /// Shared objects.
    pub libraries: Vec<Library>,
}

/// How much was new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Added {
    /// Runs that were not known.
    pub runs: u64,
    /// Processes that were not known.
    pub processes: u64,
    /// Imports in them.
    pub imports: u64,
}

/// A run as it is remembered. Words are numbers into [`Store::words`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RunRow {
    /// Its number.
    pub id: u32,
    /// Login name.
    pub user: u32,
    /// What it is charged to; `None` if nobody said.
    pub project: Option<u32>,
    /// Seconds since 1970.
    pub started: f64,
    /// How long it ran, as far as is known.
    pub seconds: f64,
    /// Nodes.
    pub nodes: u32,
    /// With which probability it was kept.
    pub probability: f64,
}

/// A package of one version in one place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModuleRow {
    /// `python` or `R`.
    pub program: String,
    /// Name.
    pub name: String,
    /// Version; empty if it has none.
    pub version: String,
    /// Path; empty if it has none.
    pub path: String,
}

/// What one run imported of one module, over all its processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportRow {
    /// Number of the run.
    pub run: u32,
    /// Number of the module.
    pub module: u32,
    /// Processes that imported it.
    pub processes: u32,
    /// Microseconds in its own code, summed.
    pub own_us: u64,
    /// Microseconds with all that it imported, summed.
    pub total_us: u64,
    /// Whether the user's own code asked for it anywhere.
    pub asked: bool,
}

/// An interpreter that a run used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterpreterRow {
    /// Number of the run.
    pub run: u32,
    /// `conda`, `venv`, `system` or `other`.
    pub kind: String,
    /// `3.11.7`.
    pub version: String,
}

/// Why the store did not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database.
    #[error("{0}")]
    Database(#[from] rusqlite::Error),
    /// Its schema is from a newer version, or cannot be brought up to this one.
    #[error("the schema cannot be used: {0}")]
    Schema(#[from] rusqlite_migration::Error),
}

/// Where records are remembered.
pub trait Store {
    /// Adds files of records, all or nothing. What is known already is not added again.
    ///
    /// # Errors
    /// The database refused; nothing was added.
    fn add(&mut self, batches: &mut dyn Iterator<Item = Batch>) -> Result<Added, StoreError>;

    /// All runs, by number.
    ///
    /// # Errors
    /// The database refused.
    fn runs(&self) -> Result<Vec<RunRow>, StoreError>;

    /// Users and projects by their numbers.
    ///
    /// # Errors
    /// The database refused.
    fn words(&self) -> Result<Vec<String>, StoreError>;

    /// All modules by their numbers.
    ///
    /// # Errors
    /// The database refused.
    fn modules(&self) -> Result<Vec<ModuleRow>, StoreError>;

    /// Calls `each` with every import of the runs from number `first` on, those of one run after each other.
    ///
    /// # Errors
    /// The database refused.
    fn imports(&self, first: u32, each: &mut dyn FnMut(ImportRow)) -> Result<(), StoreError>;

    /// Calls `each` with every kind of interpreter of every run.
    ///
    /// # Errors
    /// The database refused.
    fn interpreters(&self, each: &mut dyn FnMut(InterpreterRow)) -> Result<(), StoreError>;
}
