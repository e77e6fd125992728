//! The store in one SQLite file.
//!
//! Names, paths and versions are kept once and numbered; an import is six small numbers in a table ordered by run.
//! A process is known by run, host, pid and start, so a file that is ingested twice changes nothing.
//!
//! Invariant: one transaction for each call of `add`; a call that fails leaves what was there.

use std::collections::HashMap;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use rusqlite_migration::{M, Migrations};

use super::record::{Import, Process, Run};
use super::store::{Added, Batch, ImportRow, InterpreterRow, ModuleRow, RunRow, Store, StoreError};

/// How long another writer is waited for: 60 s, since a large ingest takes half of that.
const BUSY_MAX: std::time::Duration = std::time::Duration::from_secs(60);

/// All steps from nothing to the schema of this version. Steps are only ever added.
const STEPS: &[M<'_>] = &[M::up(include_str!("schema.sql"))];

/// The file.
#[derive(Debug)]
pub struct Sqlite {
    connection: Connection,
}

impl Sqlite {
    /// Opens `file`, makes it (mode 0600) if it is not there, and brings its schema up to date.
    ///
    /// # Errors
    /// It cannot be opened, is no such file, or was written by a newer version.
    pub fn open(file: &Path) -> Result<Self, StoreError> {
        // Before SQLite does, which would let everybody read it.
        let _ = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
        Sqlite::prepare(Connection::open(file)?)
    }

    /// A store that is gone when it is dropped.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn in_memory() -> Result<Self, StoreError> {
        Sqlite::prepare(Connection::open_in_memory()?)
    }

    fn prepare(mut connection: Connection) -> Result<Self, StoreError> {
        connection.busy_timeout(BUSY_MAX)?;
        connection.pragma_update(None, "cache_size", -65_536)?; // 64 MiB: the inner pages of a site's store
        Migrations::from_slice(STEPS).to_latest(&mut connection)?;
        Ok(Sqlite { connection })
    }

    fn all<T>(
        &self,
        query: &str,
        row: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        Ok(self.connection.prepare(query)?.query_map([], row)?.collect::<Result<_, _>>()?)
    }
}

impl Store for Sqlite {
    fn add(&mut self, batches: &mut dyn Iterator<Item = Batch>) -> Result<Added, StoreError> {
        let transaction = self.connection.transaction()?;
        let mut adding =
            Adding { transaction: &transaction, modules: HashMap::new(), added: Added::default() };
        for batch in batches {
            adding.add(&batch)?;
        }
        let added = adding.added;
        transaction.commit()?;
        Ok(added)
    }

    fn runs(&self) -> Result<Vec<RunRow>, StoreError> {
        let query = "SELECT id, user, project, started, seconds, nodes, probability FROM run ORDER BY id";
        self.all(query, |row| {
            Ok(RunRow {
                id: row.get(0)?,
                user: row.get(1)?,
                project: row.get(2)?,
                started: row.get(3)?,
                seconds: row.get(4)?,
                nodes: row.get(5)?,
                probability: row.get(6)?,
            })
        })
    }

    fn words(&self) -> Result<Vec<String>, StoreError> {
        numbered(self.all("SELECT id, text FROM word ORDER BY id", |row| Ok((row.get(0)?, row.get(1)?)))?)
    }

    fn modules(&self) -> Result<Vec<ModuleRow>, StoreError> {
        let query = "SELECT id, program, name, version, path FROM module ORDER BY id";
        numbered(self.all(query, |row| {
            let (program, name) = (row.get(1)?, row.get(2)?);
            Ok((row.get(0)?, ModuleRow { program, name, version: row.get(3)?, path: row.get(4)? }))
        })?)
    }

    fn imports(&self, first: u32, each: &mut dyn FnMut(ImportRow)) -> Result<(), StoreError> {
        let query =
            "SELECT run, module, processes, own_us, total_us, asked FROM import WHERE run >= ?1 ORDER BY run";
        let mut statement = self.connection.prepare(query)?;
        let mut rows = statement.query([first])?;
        while let Some(row) = rows.next()? {
            each(ImportRow {
                run: row.get(0)?,
                module: row.get(1)?,
                processes: row.get(2)?,
                own_us: row.get::<_, i64>(3)?.unsigned_abs(),
                total_us: row.get::<_, i64>(4)?.unsigned_abs(),
                asked: row.get(5)?,
            });
        }
        Ok(())
    }

    fn interpreters(&self, each: &mut dyn FnMut(InterpreterRow)) -> Result<(), StoreError> {
        let query = "SELECT DISTINCT run, kind, version FROM process JOIN interpreter ON interpreter.id = interpreter";
        let mut statement = self.connection.prepare(query)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            each(InterpreterRow { run: row.get(0)?, kind: row.get(1)?, version: row.get(2)? });
        }
        Ok(())
    }
}

/// One call of `add`.
struct Adding<'store> {
    transaction: &'store Transaction<'store>,
    /// Numbers of modules already met, by program, name, version and path.
    modules: HashMap<[String; 4], i64>,
    added: Added,
}

impl Adding<'_> {
    fn add(&mut self, batch: &Batch) -> rusqlite::Result<()> {
        let run = self.run(&batch.run, batch.end.map_or(0.0, |end| end.seconds))?;
        for (process, imports) in &batch.processes {
            if self.process(run, &batch.run.host, process)? {
                for import in imports {
                    self.import(run, &process.implementation, import)?;
                }
                self.added.imports += imports.len() as u64;
            }
        }
        Ok(())
    }

    fn run(&mut self, run: &Run, seconds: f64) -> rusqlite::Result<i64> {
        let user = self.word(&run.user)?;
        let project = run.project.as_deref().map(|project| self.word(project)).transpose()?;
        let Run { uuid, system, job, command, nodes, tasks, started, probability, .. } = run;
        let added = self.transaction.prepare_cached(
            "INSERT OR IGNORE INTO run (uuid, user, project, system, job, command, nodes, tasks, started, seconds, \
             probability) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?;
        let mut added = added;
        self.added.runs += added.execute(params![
            uuid,
            user,
            project,
            system,
            job,
            command,
            nodes,
            tasks,
            started,
            seconds,
            probability
        ])? as u64;
        // Tasks of one run end one after the other; the run lasted as long as the longest.
        self.transaction
            .prepare_cached(
                "UPDATE run SET seconds = max(seconds, ?2), started = min(started, ?3) WHERE uuid = ?1",
            )?
            .execute(params![uuid, seconds, started])?;
        self.number("SELECT id FROM run WHERE uuid = ?1", [uuid])
    }

    /// Whether it was not known.
    fn process(&mut self, run: i64, host: &str, process: &Process) -> rusqlite::Result<bool> {
        let interpreter = params![
            process.implementation,
            process.python,
            kind(process),
            process.executable.as_deref().unwrap_or_default()
        ];
        self.transaction
            .prepare_cached(
                "INSERT OR IGNORE INTO interpreter (implementation, version, kind, executable) \
                 VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(interpreter)?;
        let number = self.number(
            "SELECT id FROM interpreter WHERE implementation = ?1 AND version = ?2 AND kind = ?3 AND executable = ?4",
            interpreter,
        )?;
        let added = self
            .transaction
            .prepare_cached("INSERT OR IGNORE INTO process VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![run, host, process.pid, (process.started * 1e6) as i64, number])?;
        self.added.processes += added as u64;
        Ok(added > 0)
    }

    fn import(&mut self, run: i64, implementation: &str, import: &Import) -> rusqlite::Result<()> {
        let module = self.module(implementation, import)?;
        self.transaction
            .prepare_cached(
                "INSERT INTO import VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET \
                 processes = processes + 1, own_us = own_us + excluded.own_us, \
                 total_us = total_us + excluded.total_us, asked = max(asked, excluded.asked), \
                 number = min(number, excluded.number)",
            )?
            .execute(params![
                run,
                module,
                clipped(import.own_us),
                clipped(import.total_us),
                import.has('a'),
                import.number
            ])?;
        Ok(())
    }

    fn module(&mut self, implementation: &str, import: &Import) -> rusqlite::Result<i64> {
        let program = if implementation == "R" { "R" } else { "python" }.to_owned();
        let [version, path] = [&import.version, &import.path].map(|it| it.clone().unwrap_or_default());
        let key = [import.name.clone(), version, path, program];
        if let Some(&known) = self.modules.get(&key) {
            return Ok(known);
        }
        let [name, version, path, program] = &key;
        let values = params![name, version, path, program];
        self.transaction
            .prepare_cached(
                "INSERT OR IGNORE INTO module (name, version, path, program) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(values)?;
        let number = self.number(
            "SELECT id FROM module WHERE name = ?1 AND version = ?2 AND path = ?3 AND program = ?4",
            values,
        )?;
        self.modules.insert(key, number);
        Ok(number)
    }

    fn word(&self, text: &str) -> rusqlite::Result<i64> {
        let known = self
            .transaction
            .prepare_cached("SELECT id FROM word WHERE text = ?1")?
            .query_row([text], |row| row.get(0))
            .optional()?;
        if let Some(known) = known {
            return Ok(known);
        }
        self.transaction.prepare_cached("INSERT INTO word (text) VALUES (?1)")?.insert([text])
    }

    fn number(&self, query: &str, values: impl rusqlite::Params) -> rusqlite::Result<i64> {
        self.transaction.prepare_cached(query)?.query_row(values, |row| row.get(0))
    }
}

/// Whose Python it is.
fn kind(process: &Process) -> &'static str {
    if process.conda {
        "conda"
    } else if process.prefix != process.base_prefix {
        "venv"
    } else if ["/usr", "/usr/local"].contains(&process.prefix.as_str()) {
        "system"
    } else {
        "other"
    }
}

/// SQLite's numbers have a sign; a hostile line may have any number. A year is more than any import takes.
fn clipped(us: u64) -> i64 {
    const YEAR_US: u64 = 365 * 86_400 * 1_000_000;
    us.min(YEAR_US).cast_signed()
}

/// Rows by their number, with gaps filled.
fn numbered<T: Default>(rows: Vec<(u32, T)>) -> Result<Vec<T>, StoreError> {
    let mut all = Vec::new();
    for (number, row) in rows {
        all.resize_with(number as usize, T::default);
        all.push(row);
    }
    Ok(all)
}
