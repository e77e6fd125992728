//! Adding what files of records say to a store, in one transaction.
//!
//! A process is known by run, host, pid and start, so what is told twice is counted once. Lines that name no process
//! (XALT's) count once for each run and package. Numbers are given here, not by the database: there is one writer. A
//! server is asked as little as can be: what many rows are needed of is read at once, what is new is added in bulk.
//!
//! Invariant: no text is longer than its limit, and none has a zero byte, which PostgreSQL cannot keep.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::time::{SystemTime, UNIX_EPOCH};

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

use super::database::{Column, Database, Table, Value};
use super::packages::{self, Package, Packages};
use super::{Added, Batch, LIBRARY, StoreError};
use crate::track::record::{Import, Library, Process, Run};

/// Bytes of a path that are kept at most: the longest that Linux has.
const PATH_BYTES_MAX: usize = 4096;

/// Bytes of a name or version that are kept at most: the longest name of a file on Linux, four times.
const NAME_BYTES_MAX: usize = 1020;

/// Bytes of the secret that pseudonyms are made with.
const SECRET_BYTES: usize = 32;

/// Texts and modules whose numbers are remembered at most: some 100 bytes each. All are forgotten then.
const REMEMBERED_MAX: usize = 1_000_000;

/// How many rows of a table are looked for one at a time before all of them are read: a small ingest into a site's store
/// takes a few dozen, and reading a table of 60,000 as long as some hundred ways to a server and back.
const LOOKUPS_MAX: u32 = 300;

const RUN: Table = Table {
    insert: "INSERT INTO run (id, uuid, user_word, project_word, system, job, command, nodes, tasks, started, \
             probability, seconds) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    copy: "COPY run (id, uuid, user_word, project_word, system, job, command, nodes, tasks, started, \
           probability, seconds) FROM STDIN BINARY",
    columns: &[
        Column::Integer,
        Column::Text,
        Column::Integer,
        Column::Integer,
        Column::Text,
        Column::Text,
        Column::Text,
        Column::Long,
        Column::Long,
        Column::Real,
        Column::Real,
        Column::Real,
    ],
};

const MODULE: Table = Table {
    insert: "INSERT INTO module (id, digest, program, name, version, path) VALUES ($1, $2, $3, $4, $5, $6)",
    copy: "COPY module (id, digest, program, name, version, path) FROM STDIN BINARY",
    columns: &DESCRIBED,
};

const INTERPRETER: Table = Table {
    insert: "INSERT INTO interpreter (id, digest, implementation, version, kind, executable) \
             VALUES ($1, $2, $3, $4, $5, $6)",
    copy: "COPY interpreter (id, digest, implementation, version, kind, executable) FROM STDIN BINARY",
    columns: &DESCRIBED,
};

const DESCRIBED: [Column; 6] =
    [Column::Integer, Column::Text, Column::Text, Column::Text, Column::Text, Column::Text];

const WORD: Table = Table {
    insert: "INSERT INTO word (id, text) VALUES ($1, $2)",
    copy: "COPY word (id, text) FROM STDIN BINARY",
    columns: &[Column::Integer, Column::Text],
};

const PROCESS: Table = Table {
    insert: "INSERT INTO process (run, host_word, pid, started_us, interpreter) VALUES ($1, $2, $3, $4, $5)",
    copy: "COPY process (run, host_word, pid, started_us, interpreter) FROM STDIN BINARY",
    columns: &[Column::Integer, Column::Integer, Column::Long, Column::Long, Column::Integer],
};

const IMPORTED: Table = Table {
    insert: "INSERT INTO imported (run, packages) VALUES ($1, $2)",
    copy: "COPY imported (run, packages) FROM STDIN BINARY",
    columns: &[Column::Integer, Column::Text],
};

/// Adds all of `batches`.
pub(super) fn add(
    database: &mut dyn Database,
    batches: &mut dyn Iterator<Item = Batch>,
) -> Result<Added, StoreError> {
    database.begin()?;
    let all = Adding::begin(database).and_then(|mut adding| {
        for batch in batches {
            adding.add(&batch)?;
        }
        adding.flush()?;
        Ok(adding.added)
    });
    match all {
        Ok(added) => database.commit().map(|()| added),
        Err(error) => {
            database.roll_back();
            Err(error)
        }
    }
}

/// The tables whose rows are numbered.
#[derive(Debug, Clone, Copy)]
enum Numbered {
    Word,
    Run,
    Module,
    Interpreter,
}

impl Numbered {
    /// Asks for a row by its key: its number, and a text that is empty if more may be told of it later.
    fn one(self) -> &'static str {
        match self {
            Numbered::Word => "SELECT id, 'told' FROM word WHERE text = $1",
            Numbered::Run => "SELECT id, command FROM run WHERE uuid = $1",
            Numbered::Module => "SELECT id, 'told' FROM module WHERE digest = $1",
            Numbered::Interpreter => "SELECT id, 'told' FROM interpreter WHERE digest = $1",
        }
    }

    /// Asks for all rows: the same, and the key.
    fn all(self) -> &'static str {
        match self {
            Numbered::Word => "SELECT id, 'told', text FROM word",
            Numbered::Run => "SELECT id, command, uuid FROM run",
            Numbered::Module => "SELECT id, 'told', digest FROM module",
            Numbered::Interpreter => "SELECT id, 'told', digest FROM interpreter",
        }
    }
}

/// What is known of a numbered table.
#[derive(Debug, Default)]
struct Rows {
    /// The last number that was given.
    last: i64,
    /// Rows by their key.
    by_key: HashMap<String, Known>,
    /// Whether all rows are among them.
    is_whole: bool,
    /// How many were looked for one at a time.
    lookups: u32,
}

/// A row that is there, or waits to be.
#[derive(Debug, Clone, Copy)]
struct Known {
    id: i64,
    /// Whether all is said of it. Of a run not, as long as only XALT's packages have told of it.
    is_told: bool,
}

struct Adding<'database> {
    database: &'database mut dyn Database,
    /// By [`Numbered`].
    rows: [Rows; 4],
    /// Modules and interpreters by all that they say, which spares their digests.
    described: HashMap<String, i64>,
    /// The run that is being added to: files of one run come after each other.
    open: Option<OpenRun>,
    /// No run began later, whatever its clock said.
    now: f64,
    added: Added,
}

struct OpenRun {
    uuid: String,
    id: i64,
    packages: Packages,
    is_changed: bool,
    /// If it is new: what is told of it and of its processes, which nobody else can have added.
    new: Option<NewRun>,
}

struct NewRun {
    run: Run,
    started: f64,
    seconds: f64,
    processes: HashSet<(i64, u32, i64)>,
}

impl<'database> Adding<'database> {
    fn begin(database: &'database mut dyn Database) -> Result<Self, StoreError> {
        let mut secret = [0; SECRET_BYTES];
        SystemRandom::new().fill(&mut secret).map_err(|_| StoreError::NoRandomness)?;
        let insert = "INSERT INTO setting (name, value) VALUES ('secret', $1) ON CONFLICT DO NOTHING";
        database.execute(insert, &[Value::Text(&hex(&secret))])?;
        let queries = [
            "SELECT coalesce(max(id), 0) FROM word",
            "SELECT coalesce(max(id), 0) FROM run",
            "SELECT coalesce(max(id), 0) FROM module",
            "SELECT coalesce(max(id), 0) FROM interpreter",
        ];
        let mut rows: [Rows; 4] = Default::default();
        for (rows, query) in rows.iter_mut().zip(queries) {
            rows.last = first(database, query, &[])?.unwrap_or(0);
            rows.is_whole = rows.last == 0;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(f64::MAX, |since| since.as_secs_f64());
        let described = HashMap::new();
        Ok(Adding { database, rows, described, open: None, now, added: Added::default() })
    }

    fn add(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let seconds = batch.end.map_or(0.0, |end| end.seconds.max(0.0));
        self.open(&batch.run, seconds)?;
        let host = self.word(&batch.run.host)?;
        for (process, imports) in &batch.processes {
            let is_new = self.process(host, process)?;
            let is_told = process.pid != 0;
            if is_new || !is_told {
                for import in imports {
                    self.import(&process.implementation, import, is_told)?;
                }
            }
        }
        batch.libraries.iter().try_for_each(|library| self.library(library))
    }

    /// Writes what is known of the open run.
    fn flush(&mut self) -> Result<(), StoreError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        if let Some(NewRun { run, started, seconds, .. }) = &open.new {
            self.describe_run(open.id, &open.uuid, run, *started, Some(*seconds))?;
        }
        if !open.is_changed {
            return Ok(());
        }
        let packages = packages::to_text(&open.packages);
        let values = [Value::Integer(open.id), Value::Text(&packages)];
        if open.new.is_some() {
            return self.database.insert(&IMPORTED, &values);
        }
        let add_or_replace = "INSERT INTO imported (run, packages) VALUES ($1, $2) ON CONFLICT (run) DO UPDATE SET \
                              packages = excluded.packages";
        self.database.execute(add_or_replace, &values).map(drop)
    }

    fn open(&mut self, run: &Run, seconds: f64) -> Result<(), StoreError> {
        let uuid = fit(&run.uuid, NAME_BYTES_MAX).into_owned();
        let started = run.started.min(self.now);
        if self.open.as_ref().is_none_or(|open| open.uuid != uuid) {
            self.flush()?;
            match self.find(Numbered::Run, &uuid)? {
                Some(known) => self.open_known(known, uuid, run, started)?,
                None => self.open_new(uuid, run, started)?,
            }
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        // Tasks of one run end one after the other; the run lasted as long as the longest.
        if let Some(new) = &mut open.new {
            (new.started, new.seconds) = (new.started.min(started), new.seconds.max(seconds));
            return Ok(());
        }
        let values = [Value::Integer(open.id), Value::Real(seconds), Value::Real(started)];
        let longer =
            "UPDATE run SET seconds = $2, started = $3 WHERE id = $1 AND (seconds < $2 OR started > $3)";
        self.database.execute(longer, &values).map(drop)
    }

    fn open_known(&mut self, known: Known, uuid: String, run: &Run, started: f64) -> Result<(), StoreError> {
        // What is asked about it may only just have been added.
        self.database.settle()?;
        // XALT's packages may come before their run, and say no command.
        if !known.is_told && !run.command.is_empty() {
            self.describe_run(known.id, &uuid, run, started, None)?;
            self.remember(Numbered::Run, uuid.clone(), Known { is_told: true, ..known })?;
        }
        let packages = self.packages(known.id)?;
        self.open = Some(OpenRun { uuid, id: known.id, packages, is_changed: false, new: None });
        Ok(())
    }

    fn open_new(&mut self, uuid: String, run: &Run, started: f64) -> Result<(), StoreError> {
        let id = self.next(Numbered::Run, &uuid, !run.command.is_empty())?;
        self.added.runs += 1;
        self.added.ahead += u64::from(started < run.started);
        let new = NewRun { run: run.clone(), started, seconds: 0.0, processes: HashSet::new() };
        self.open = Some(OpenRun { uuid, id, packages: Packages::new(), is_changed: false, new: Some(new) });
        Ok(())
    }

    fn packages(&mut self, run: i64) -> Result<Packages, StoreError> {
        let mut packages = Ok(Packages::new());
        self.database.query(
            "SELECT packages FROM imported WHERE run = $1",
            &[Value::Integer(run)],
            &mut |row| {
                packages = packages::of_text(row.text(0)?);
                Ok(())
            },
        )?;
        packages
    }

    /// Writes what is told of a run at its start: of a new one, which has lasted so many `seconds`, a row.
    fn describe_run(
        &mut self,
        id: i64,
        uuid: &str,
        run: &Run,
        started: f64,
        seconds: Option<f64>,
    ) -> Result<(), StoreError> {
        let user = self.word(&run.user)?;
        let project = run.project.as_deref().map(|project| self.word(project)).transpose()?;
        let [system, job] =
            [&run.system, &run.job].map(|text| text.as_deref().map(|it| fit(it, NAME_BYTES_MAX)));
        let command = fit(&run.command, PATH_BYTES_MAX);
        let mut values = vec![
            Value::Integer(id),
            Value::Text(uuid),
            Value::Integer(user),
            project.into(),
            system.as_deref().into(),
            job.as_deref().into(),
            Value::Text(&command),
            Value::Integer(run.nodes.into()),
            Value::Integer(run.tasks.into()),
            Value::Real(started),
            Value::Real(run.probability),
        ];
        if let Some(seconds) = seconds {
            values.push(Value::Real(seconds));
            return self.database.insert(&RUN, &values);
        }
        let tell = "UPDATE run SET uuid = $2, user_word = $3, project_word = $4, system = $5, job = $6, command = $7, \
                    nodes = $8, tasks = $9, started = $10, probability = $11 WHERE id = $1";
        self.database.execute(tell, &values).map(drop)
    }

    /// Whether it was not known.
    fn process(&mut self, host: i64, process: &Process) -> Result<bool, StoreError> {
        let executable = process.executable.as_deref().unwrap_or_default();
        let interpreter = [&process.implementation, &process.python, kind(process), executable];
        let interpreter = self.described(Numbered::Interpreter, interpreter, &INTERPRETER)?;
        let Some(open) = &mut self.open else { return Ok(false) };
        let started_us = (process.started * 1e6) as i64;
        let values = [open.id, host, process.pid.into(), started_us, interpreter].map(Value::Integer);
        let is_new = match &mut open.new {
            Some(new) => {
                let is_new = new.processes.insert((host, process.pid, started_us));
                if is_new {
                    self.database.insert(&PROCESS, &values)?;
                }
                is_new
            }
            None => {
                let add = "INSERT INTO process (run, host_word, pid, started_us, interpreter) \
                           VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
                self.database.execute(add, &values)? > 0
            }
        };
        self.added.processes += u64::from(is_new);
        Ok(is_new)
    }

    /// Adds an import to the open run; one that no process is told of only if the run does not have it.
    fn import(&mut self, implementation: &str, import: &Import, is_told: bool) -> Result<(), StoreError> {
        let program = if implementation == "R" { "R" } else { "python" };
        let [version, path] = [&import.version, &import.path].map(|it| it.as_deref().unwrap_or_default());
        let module = self.module([program, &import.name, version, path])?;
        let package = Package {
            processes: 1,
            own_us: clipped(import.own_us),
            total_us: clipped(import.total_us),
            asked: import.has('a'),
            place: import.number,
        };
        let Some(open) = &mut self.open else { return Ok(()) };
        match open.packages.get_mut(&module) {
            Some(_) if !is_told => return Ok(()),
            Some(known) => known.add(&package),
            None => drop(open.packages.insert(module, package)),
        }
        open.is_changed = true;
        self.added.imports += 1;
        Ok(())
    }

    /// Adds a shared object to the open run. Lines of them name no process, so of several tasks the one with the most
    /// processes counts: then the same file may come again.
    fn library(&mut self, library: &Library) -> Result<(), StoreError> {
        let package = library.package.as_deref().unwrap_or_default();
        let module = self.module([LIBRARY, package, "", &library.path])?;
        let Some(open) = &mut self.open else { return Ok(()) };
        let processes = library.processes;
        let new = Package { processes, own_us: 0, total_us: 0, asked: false, place: 0 };
        let known = open.packages.entry(module).or_insert(Package { processes: 0, ..new });
        if known.processes < processes {
            known.processes = processes;
            open.is_changed = true;
        }
        Ok(())
    }

    fn module(&mut self, texts: [&str; 4]) -> Result<u32, StoreError> {
        let number = self.described(Numbered::Module, texts, &MODULE)?;
        u32::try_from(number).map_err(|_| StoreError::Damaged)
    }

    /// The number of a row that is known by all that it says.
    fn described(
        &mut self,
        numbered: Numbered,
        texts: [&str; 4],
        table: &'static Table,
    ) -> Result<i64, StoreError> {
        let texts = [
            fit(texts[0], NAME_BYTES_MAX),
            fit(texts[1], NAME_BYTES_MAX),
            fit(texts[2], NAME_BYTES_MAX),
            fit(texts[3], PATH_BYTES_MAX),
        ];
        let text = texts.join("\0");
        if let Some(&known) = self.described.get(&text) {
            return Ok(known);
        }
        let key = name_of(&text);
        let id = match self.find(numbered, &key)? {
            Some(known) => known.id,
            None => {
                let id = self.next(numbered, &key, true)?;
                let texts = texts.each_ref().map(|text| Value::Text(text));
                let values = [[Value::Integer(id), Value::Text(&key)].as_slice(), &texts].concat();
                self.database.insert(table, &values)?;
                id
            }
        };
        if self.described.len() >= REMEMBERED_MAX {
            self.described.clear();
        }
        self.described.insert(text, id);
        Ok(id)
    }

    fn word(&mut self, text: &str) -> Result<i64, StoreError> {
        let text = fit(text, NAME_BYTES_MAX);
        if let Some(known) = self.find(Numbered::Word, &text)? {
            return Ok(known.id);
        }
        let id = self.next(Numbered::Word, &text, true)?;
        self.database.insert(&WORD, &[Value::Integer(id), Value::Text(&text)])?;
        Ok(id)
    }

    /// The row of `table` that is found by `key`.
    fn find(&mut self, table: Numbered, key: &str) -> Result<Option<Known>, StoreError> {
        let rows = &mut self.rows[table as usize];
        if let Some(&known) = rows.by_key.get(key) {
            return Ok(Some(known));
        }
        if rows.is_whole {
            return Ok(None);
        }
        rows.lookups += 1;
        if rows.lookups > LOOKUPS_MAX && rows.last < REMEMBERED_MAX as i64 {
            self.read_all(table)?;
            return Ok(self.rows[table as usize].by_key.get(key).copied());
        }
        let mut found = None;
        self.database.query(table.one(), &[Value::Text(key)], &mut |row| {
            found = Some(Known { id: row.number(0)?.into(), is_told: !row.text(1)?.is_empty() });
            Ok(())
        })?;
        if let Some(known) = found {
            self.remember(table, key.to_owned(), known)?;
        }
        Ok(found)
    }

    fn read_all(&mut self, table: Numbered) -> Result<(), StoreError> {
        let rows = &mut self.rows[table as usize];
        rows.is_whole = true;
        self.database.query(table.all(), &[], &mut |row| {
            let known = Known { id: row.number(0)?.into(), is_told: !row.text(1)?.is_empty() };
            rows.by_key.insert(row.text(2)?.to_owned(), known);
            Ok(())
        })
    }

    /// Gives a number to a new row of `table`, which is found by `key`.
    fn next(&mut self, table: Numbered, key: &str, is_told: bool) -> Result<i64, StoreError> {
        let rows = &mut self.rows[table as usize];
        rows.last += 1;
        let id = rows.last;
        self.remember(table, key.to_owned(), Known { id, is_told })?;
        Ok(id)
    }

    fn remember(&mut self, table: Numbered, key: String, known: Known) -> Result<(), StoreError> {
        let rows = &mut self.rows[table as usize];
        if rows.by_key.len() >= REMEMBERED_MAX {
            *rows = Rows { last: rows.last, ..Rows::default() };
            // From now on it is asked whether they are there.
            self.database.settle()?;
        }
        self.rows[table as usize].by_key.insert(key, known);
        Ok(())
    }
}

/// The first column of the first row.
fn first(
    database: &mut dyn Database,
    query: &'static str,
    values: &[Value<'_>],
) -> Result<Option<i64>, StoreError> {
    let mut found = None;
    database.query(query, values, &mut |row| {
        found = row.optional(0)?;
        Ok(())
    })?;
    Ok(found)
}

/// 128 bits that tell texts apart, also those that somebody makes up to be mistaken for another.
fn name_of(key: &str) -> String {
    hex(&digest(&SHA256, key.as_bytes()).as_ref()[..16])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `text` without zero bytes, and not longer than `bytes_max`.
fn fit(text: &str, bytes_max: usize) -> Cow<'_, str> {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = &text[..end];
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

/// Whose Python it is, or that it is none.
fn kind(process: &Process) -> &'static str {
    if process.implementation == "R" {
        "R"
    } else if process.conda {
        "conda"
    } else if process.prefix != process.base_prefix {
        "venv"
    } else if ["/usr", "/usr/local"].contains(&process.prefix.as_str()) {
        "system"
    } else {
        "other"
    }
}

/// A hostile line may have any number. A year is more than any import takes.
fn clipped(us: u64) -> u64 {
    const YEAR_US: u64 = 365 * 86_400 * 1_000_000;
    us.min(YEAR_US)
}
