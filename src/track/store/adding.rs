//! Adding what files of records say to a store, in one transaction.
//!
//! A process is known by run, host, pid and start, so what is told twice is counted once. Lines that name no process
//! (XALT's) count once for each run and package. Numbers are given here, not by the database: there is one writer.
//!
//! Invariant: no text is longer than its limit, and none has a zero byte, which PostgreSQL cannot keep.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

use super::database::{Database, Value};
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

struct Adding<'database> {
    database: &'database mut dyn Database,
    /// The last number that was given, by [`Numbered`].
    last: [i64; 4],
    words: HashMap<String, i64>,
    /// Modules and interpreters, by their digests.
    known: HashMap<String, i64>,
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
        let mut last = [0; 4];
        for (last, query) in last.iter_mut().zip(queries) {
            *last = first(database, query, &[])?.unwrap_or(0);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(f64::MAX, |since| since.as_secs_f64());
        let (words, known) = (HashMap::new(), HashMap::new());
        Ok(Adding { database, last, words, known, open: None, now, added: Added::default() })
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

    /// Writes what the open run imported.
    fn flush(&mut self) -> Result<(), StoreError> {
        if let Some(run) = self.open.take().filter(|run| run.is_changed) {
            let packages = packages::to_text(&run.packages);
            self.database.execute(
                "INSERT INTO imported (run, packages) VALUES ($1, $2) ON CONFLICT (run) DO UPDATE SET packages = \
                 excluded.packages",
                &[Value::Integer(run.id), Value::Text(&packages)],
            )?;
        }
        Ok(())
    }

    fn open(&mut self, run: &Run, seconds: f64) -> Result<(), StoreError> {
        let uuid = fit(&run.uuid, NAME_BYTES_MAX).into_owned();
        let started = run.started.min(self.now);
        if self.open.as_ref().is_none_or(|open| open.uuid != uuid) {
            self.flush()?;
            let (id, packages) = match self.known_run(&uuid)? {
                Some((id, is_told)) => {
                    // XALT's packages may come before their run, and say no command.
                    if !is_told && !run.command.is_empty() {
                        self.describe_run(id, &uuid, run, started, seconds)?;
                    }
                    (id, self.packages(id)?)
                }
                None => {
                    let id = self.next(Numbered::Run);
                    self.describe_run(id, &uuid, run, started, seconds)?;
                    self.added.runs += 1;
                    self.added.ahead += u64::from(started < run.started);
                    // All is told of it: one way to a server and back less for each run.
                    self.open = Some(OpenRun { uuid, id, packages: Packages::new(), is_changed: false });
                    return Ok(());
                }
            };
            self.open = Some(OpenRun { uuid, id, packages, is_changed: false });
        }
        let id = self.open.as_ref().map_or(0, |open| open.id);
        // Tasks of one run end one after the other; the run lasted as long as the longest.
        self.database.execute(
            "UPDATE run SET seconds = $2, started = $3 WHERE id = $1 AND (seconds < $2 OR started > $3)",
            &[Value::Integer(id), Value::Real(seconds), Value::Real(started)],
        )?;
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

    /// Its number, and whether more is known of it than its packages.
    fn known_run(&mut self, uuid: &str) -> Result<Option<(i64, bool)>, StoreError> {
        let mut known = None;
        let query = "SELECT id, command FROM run WHERE uuid = $1";
        self.database.query(query, &[Value::Text(uuid)], &mut |row| {
            known = Some((row.number(0)?.into(), !row.text(1)?.is_empty()));
            Ok(())
        })?;
        Ok(known)
    }

    /// Writes what is told of a run at its start.
    fn describe_run(
        &mut self,
        id: i64,
        uuid: &str,
        run: &Run,
        started: f64,
        seconds: f64,
    ) -> Result<(), StoreError> {
        let user = self.word(&run.user)?;
        let project = run.project.as_deref().map(|project| self.word(project)).transpose()?;
        let [system, job] =
            [&run.system, &run.job].map(|text| text.as_deref().map(|it| fit(it, NAME_BYTES_MAX)));
        let command = fit(&run.command, PATH_BYTES_MAX);
        self.database.execute(
            "INSERT INTO run (id, uuid, user_word, project_word, system, job, command, nodes, tasks, started, seconds, \
             probability) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $12, $11) ON CONFLICT (id) DO UPDATE SET \
             user_word = excluded.user_word, project_word = excluded.project_word, system = excluded.system, \
             job = excluded.job, command = excluded.command, nodes = excluded.nodes, tasks = excluded.tasks, \
             started = excluded.started, probability = excluded.probability",
            &[
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
                Value::Real(seconds),
            ],
        )?;
        Ok(())
    }

    /// Whether it was not known.
    fn process(&mut self, host: i64, process: &Process) -> Result<bool, StoreError> {
        let run = self.open.as_ref().map_or(0, |open| open.id);
        let executable = process.executable.as_deref().unwrap_or_default();
        let interpreter = [&process.implementation, &process.python, kind(process), executable];
        let interpreter = self.described(
            Numbered::Interpreter,
            interpreter,
            "SELECT id FROM interpreter WHERE digest = $1",
            "INSERT INTO interpreter (id, digest, implementation, version, kind, executable) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        )?;
        let added = self.database.execute(
            "INSERT INTO process (run, host_word, pid, started_us, interpreter) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT DO NOTHING",
            &[
                Value::Integer(run),
                Value::Integer(host),
                Value::Integer(process.pid.into()),
                Value::Integer((process.started * 1e6) as i64),
                Value::Integer(interpreter),
            ],
        )?;
        self.added.processes += added;
        Ok(added > 0)
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
        let number = self.described(
            Numbered::Module,
            texts,
            "SELECT id FROM module WHERE digest = $1",
            "INSERT INTO module (id, digest, program, name, version, path) VALUES ($1, $2, $3, $4, $5, $6)",
        )?;
        u32::try_from(number).map_err(|_| StoreError::Damaged)
    }

    /// The number of a row that is known by all that it says.
    fn described(
        &mut self,
        table: Numbered,
        texts: [&str; 4],
        find: &'static str,
        insert: &'static str,
    ) -> Result<i64, StoreError> {
        let texts = [
            fit(texts[0], NAME_BYTES_MAX),
            fit(texts[1], NAME_BYTES_MAX),
            fit(texts[2], NAME_BYTES_MAX),
            fit(texts[3], PATH_BYTES_MAX),
        ];
        let key = texts.join("\0");
        if let Some(&known) = self.known.get(&key) {
            return Ok(known);
        }
        let name = name_of(&key);
        let number = match first(self.database, find, &[Value::Text(&name)])? {
            Some(known) => known,
            None => {
                let id = self.next(table);
                let texts = texts.each_ref().map(|text| Value::Text(text));
                let values = [[Value::Integer(id), Value::Text(&name)].as_slice(), &texts].concat();
                self.database.execute(insert, &values)?;
                id
            }
        };
        if self.known.len() >= REMEMBERED_MAX {
            self.known.clear();
        }
        self.known.insert(key, number);
        Ok(number)
    }

    fn word(&mut self, text: &str) -> Result<i64, StoreError> {
        let text = fit(text, NAME_BYTES_MAX);
        if let Some(&known) = self.words.get(&*text) {
            return Ok(known);
        }
        let number = match first(self.database, "SELECT id FROM word WHERE text = $1", &[Value::Text(&text)])?
        {
            Some(known) => known,
            None => {
                let id = self.next(Numbered::Word);
                let values = [Value::Integer(id), Value::Text(&text)];
                self.database.execute("INSERT INTO word (id, text) VALUES ($1, $2)", &values)?;
                id
            }
        };
        if self.words.len() >= REMEMBERED_MAX {
            self.words.clear();
        }
        self.words.insert(text.into_owned(), number);
        Ok(number)
    }

    fn next(&mut self, table: Numbered) -> i64 {
        let last = &mut self.last[table as usize];
        *last += 1;
        *last
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
