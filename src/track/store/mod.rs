//! What is remembered of runs: in a SQLite file, or for a site in PostgreSQL, with the same tables and statements.
//!
//! In reading order: [`place`], where a store is; `schema`, its tables; `adding`, the way in; `packages`, how the
//! imports of a run lie there; `database` with `sqlite` and `postgres`, what a store needs of either.
//!
//! Invariant: one transaction for each call of [`Store::add`]; a call that fails leaves what was there.
//!
//! Not here: what is made of it (`report`), where records come from (`ingest`).

mod adding;
mod database;
mod packages;
pub mod place;
mod postgres;
mod schema;
mod sqlite;

use std::ops::Range;
use std::time::Duration;

use self::database::{Database, Value};
pub use self::place::Place;
use self::postgres::Postgres;
use self::sqlite::Sqlite;
use super::record::{End, Import, Library, Process, Run};

/// What stands as the program of a shared object.
pub const LIBRARY: &str = "library";

/// What a store is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It must be there.
    Read,
    /// It is made if it is not there.
    Write,
}

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
    /// Of these, runs that say they began later than now.
    pub ahead: u64,
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
    /// `python` or `R`; `library` for a shared object.
    pub program: String,
    /// Name; of a shared object that of the package which brought it, or nothing.
    pub name: String,
    /// Version; empty if it has none.
    pub version: String,
    /// Path; empty if it has none.
    pub path: String,
}

/// What one run imported of one module, over all its processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportRow {
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

/// An interpreter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InterpreterRow {
    /// `conda`, `venv`, `system` or `other`.
    pub kind: String,
    /// `3.11.7`.
    pub version: String,
}

/// Why the store did not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else writes.
    #[error("it is locked by another process; try again later, or wait longer with `--wait`")]
    Locked,
    /// It has steps that are not known here.
    #[error("it was written by a newer version of Spinney")]
    Newer,
    /// Something else is there, or nothing.
    #[error("there is no store of Spinney's")]
    Foreign,
    /// Nothing was added.
    #[error("no space is left where it lies")]
    Full,
    /// The file is not there, or somebody else's.
    #[error("cannot be opened: {0}")]
    Unopened(#[source] std::io::Error),
    /// The server ended, or the network did. Nothing was added, or all if only the answer was lost.
    #[error("the connection to its server was lost; try again")]
    Lost,
    /// What it says cannot be.
    #[error("it is damaged")]
    Damaged,
    /// The kernel gave none for a new store.
    #[error("there is no randomness for its secret")]
    NoRandomness,
    /// SQLite.
    #[error("{}", in_one_line(.0))]
    Sqlite(#[source] rusqlite::Error),
    /// PostgreSQL, or the way to it.
    #[error("{}", in_one_line(.0))]
    Postgres(#[source] ::postgres::Error),
    /// Nobody can be recognized.
    #[error("nobody can be recognized: {0}")]
    Authorities(#[source] std::io::Error),
    /// Not who was asked for, or nobody whom an authority knows.
    #[error("the server's certificate is not trusted ({0}); `sslrootcert=FILE` names another authority")]
    Untrusted(rustls::CertificateError),
    /// Its tables cannot be made or brought up to date.
    #[error("its tables cannot be made: {}", in_one_line(.0))]
    Schema(#[source] refinery_core::Error),
}

/// An error with what caused it, without repetitions.
fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let told = cause.to_string();
        if !said.contains(&told) {
            said = format!("{said}: {told}");
        }
        next = cause.source();
    }
    said.replace(['\n', '\r'], " ")
}

/// Where records are remembered.
#[derive(Debug)]
pub struct Store {
    database: Box<dyn Database>,
    place: Place,
    wait: Duration,
}

impl Store {
    /// Opens the store at `place`. Whoever writes it, or a server that does not answer, is waited for so long.
    ///
    /// # Errors
    /// There is none, or it cannot be used.
    pub fn open(place: &Place, purpose: Purpose, wait: Duration) -> Result<Self, StoreError> {
        let database: Box<dyn Database> = match place {
            Place::File(file) => Box::new(Sqlite::open(file, purpose, wait)?),
            Place::Server(server) => Box::new(Postgres::open(server, purpose, wait)?),
        };
        Ok(Store { database, place: place.clone(), wait })
    }

    /// Opens the same store once more to read it, for another thread.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn again(&self) -> Result<Self, StoreError> {
        Store::open(&self.place, Purpose::Read, self.wait)
    }

    /// Adds files of records, all or nothing. What is known already is not added again. Files of one run are best
    /// told after each other.
    ///
    /// # Errors
    /// The database refused; nothing was added.
    pub fn add(&mut self, batches: &mut dyn Iterator<Item = Batch>) -> Result<Added, StoreError> {
        adding::add(self.database.as_mut(), batches)
    }

    /// All runs, by number.
    ///
    /// # Errors
    /// The database refused.
    pub fn runs(&mut self) -> Result<Vec<RunRow>, StoreError> {
        let query =
            "SELECT id, user_word, project_word, started, seconds, nodes, probability FROM run ORDER BY id";
        let mut runs = Vec::new();
        self.database.query(query, &[], &mut |row| {
            let nodes = row.optional(5)?.and_then(|nodes| u32::try_from(nodes).ok()).unwrap_or(1);
            runs.push(RunRow {
                id: row.number(0)?,
                user: row.number(1)?,
                project: row.optional(2)?.and_then(|project| u32::try_from(project).ok()),
                started: row.real(3)?,
                seconds: row.real(4)?,
                nodes,
                probability: row.real(6)?,
            });
            Ok(())
        })?;
        Ok(runs)
    }

    /// Users and projects by their numbers.
    ///
    /// # Errors
    /// The database refused.
    pub fn words(&mut self) -> Result<Vec<String>, StoreError> {
        let mut words = Vec::new();
        self.database.query("SELECT id, text FROM word ORDER BY id", &[], &mut |row| {
            put(&mut words, row.number(0)?, row.text(1)?.to_owned());
            Ok(())
        })?;
        Ok(words)
    }

    /// All modules by their numbers.
    ///
    /// # Errors
    /// The database refused.
    pub fn modules(&mut self) -> Result<Vec<ModuleRow>, StoreError> {
        let query = "SELECT id, program, name, version, path FROM module ORDER BY id";
        let mut modules = Vec::new();
        self.database.query(query, &[], &mut |row| {
            let text = |column| Ok::<_, StoreError>(row.text(column)?.to_owned());
            let module = ModuleRow { program: text(1)?, name: text(2)?, version: text(3)?, path: text(4)? };
            put(&mut modules, row.number(0)?, module);
            Ok(())
        })?;
        Ok(modules)
    }

    /// Calls `each` with what every run `of` those imported that `is_wanted`, in no order of runs.
    ///
    /// # Errors
    /// The database refused.
    pub fn imports(
        &mut self,
        of: Range<u32>,
        is_wanted: &dyn Fn(u32) -> bool,
        each: &mut dyn FnMut(u32, &[ImportRow]),
    ) -> Result<(), StoreError> {
        let query = "SELECT run, packages FROM imported WHERE run >= $1 AND run < $2";
        let ends = [of.start, of.end].map(|end| Value::Integer(end.into()));
        let mut imports = Vec::new();
        self.database.query(query, &ends, &mut |row| {
            let run = row.number(0)?;
            if is_wanted(run) {
                imports.clear();
                packages::read(row.text(1)?, |import, _| imports.push(import))?;
                each(run, &imports);
            }
            Ok(())
        })
    }

    /// The kinds of interpreters by their numbers.
    ///
    /// # Errors
    /// The database refused.
    pub fn interpreters(&mut self) -> Result<Vec<InterpreterRow>, StoreError> {
        let mut interpreters = Vec::new();
        let query = "SELECT id, kind, version FROM interpreter ORDER BY id";
        self.database.query(query, &[], &mut |row| {
            let (kind, version) = (row.text(1)?.to_owned(), row.text(2)?.to_owned());
            put(&mut interpreters, row.number(0)?, InterpreterRow { kind, version });
            Ok(())
        })?;
        Ok(interpreters)
    }

    /// Calls `each` with run and interpreter of every process.
    ///
    /// # Errors
    /// The database refused.
    pub fn processes(&mut self, each: &mut dyn FnMut(u32, u32)) -> Result<(), StoreError> {
        self.database.query("SELECT run, interpreter FROM process", &[], &mut |row| {
            each(row.number(0)?, row.number(1)?);
            Ok(())
        })
    }

    /// What pseudonyms are made with: random, made with the store.
    ///
    /// # Errors
    /// The database refused.
    pub fn secret(&mut self) -> Result<String, StoreError> {
        let mut secret = None;
        let query = "SELECT value FROM setting WHERE name = 'secret'";
        self.database.query(query, &[], &mut |row| {
            secret = Some(row.text(0)?.to_owned());
            Ok(())
        })?;
        secret.ok_or(StoreError::Damaged)
    }
}

/// Puts `item` at `number`; gaps are filled.
fn put<T: Default>(all: &mut Vec<T>, number: u32, item: T) {
    all.resize_with(number as usize, T::default);
    all.push(item);
}
