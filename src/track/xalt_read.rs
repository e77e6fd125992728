//! What XALT has written: its files and its lines of syslog, as batches for the store.
//!
//! A run's record and those of its packages come apart, in any order; those of one run that are read together become one
//! batch. Packages whose run is not among them count with what the name of their file says.
//!
//! Invariant: reading the same records again gives the same batches, so nothing counts twice.
//! Invariant: a record whose checksum is wrong is counted and passed by.
//!
//! Not here: the forms (`xalt`, `xalt_lines`), which files there are (`ingest`).

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;

use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_64;

use super::clock::of_xalt_date;
use super::ingest::{Ingested, take_apart};
use super::record::{End, Import, LINE_BYTES_MAX, Library, Process, Run};
use super::store::Batch;
use super::xalt::Package;
use super::xalt_lines::{Heard, OWN_KIND, Partials, Whole};

/// For what nobody told.
const UNTOLD: &str = "unknown";

/// All that was read so far, by run.
#[derive(Debug, Default)]
pub struct Reading {
    runs: BTreeMap<String, Batch>,
    /// Batches that came in our own form.
    own: Vec<Batch>,
    partials: Partials,
    /// Packages of runs, by their hash.
    seen: HashSet<u64>,
    /// Records that could not be read.
    pub bad: u64,
}

/// What the name of a file says: `pkg.<syshost>.<date>.<user>.<run uuid>.<12 hex>.json`.
#[derive(Debug, Default, Clone)]
struct Named {
    syshost: Option<String>,
    user: Option<String>,
    started: Option<f64>,
}

/// The part of XALT's record of a run that is stored here.
#[derive(Deserialize)]
#[expect(non_snake_case, reason = "names of XALT's")]
struct RunRecord {
    userT: UserT,
    userDT: UserDT,
    #[serde(default)]
    libA: Vec<Vec<serde_json::Value>>,
}

#[derive(Deserialize)]
struct UserT {
    run_uuid: String,
    user: String,
    #[serde(default)]
    account: Option<String>,
    #[serde(default)]
    syshost: Option<String>,
    #[serde(default)]
    job_id: Option<String>,
    #[serde(default)]
    exec_path: Option<String>,
}

#[derive(Deserialize)]
struct UserDT {
    start_time: f64,
    #[serde(default)]
    run_time: f64,
    #[serde(default)]
    end_time: f64,
    #[serde(default = "one")]
    probability: f64,
    #[serde(default = "one")]
    num_nodes: f64,
    #[serde(default = "one")]
    num_cores: f64,
}

fn one() -> f64 {
    1.0
}

/// All batches in `files`, XALT's own and logs; what was met on the way is added to `done`.
pub fn read(files: &[PathBuf], done: &mut Ingested) -> Vec<Batch> {
    let mut reading = Reading::default();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let bad = reading.bad;
        let read = match file.extension().is_some_and(|it| it == "json") {
            // Others, such as records of links, say nothing of packages.
            true => fs::read_to_string(file).map(|content| {
                if reading.file(&name, &content) && reading.bad == bad {
                    done.whole.push(file.clone());
                }
            }),
            false => fs::File::open(file).and_then(|file| reading.log(&mut BufReader::new(file))),
        };
        done.passed_by(reading.bad - bad, file);
        match read {
            Ok(()) => done.files += 1,
            Err(error) => done.troubles.push(format!("{}: {error}", file.display())),
        }
    }
    let (batches, left) = reading.finish();
    if left > 0 {
        done.troubles.push(format!("of {left} records in logs not all lines are there"));
    }
    batches
}

impl Reading {
    /// Takes a file of XALT's by its name and content; `false` if its name is none of XALT's.
    pub fn file(&mut self, name: &str, content: &str) -> bool {
        let parts: Vec<&str> = name.split('.').collect();
        let named = |syshost: &str, date: &str, user: &str| Named {
            syshost: Some(syshost.to_owned()),
            user: Some(user.to_owned()),
            started: of_xalt_date(date),
        };
        let is_read = match parts[..] {
            ["pkg", syshost, date, user, _, _, "json"] => self.package(content, &named(syshost, date, user)),
            ["run", _, _, _, _, _, "json"] => self.run(content),
            _ => return false,
        };
        self.bad += u64::from(!is_read);
        true
    }

    /// Takes the lines of a log; those that are none of XALT's are passed by.
    ///
    /// # Errors
    /// What reading answered.
    pub fn log(&mut self, reader: &mut impl BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        while super::ingest::next(reader, &mut line)? {
            if line.len() > LINE_BYTES_MAX {
                continue;
            }
            match self.partials.hear(&String::from_utf8_lossy(&line)) {
                Heard::Other | Heard::Block => {}
                Heard::Damaged => self.bad += 1,
                Heard::Whole(whole) => self.whole(&whole),
            }
        }
        Ok(())
    }

    /// The batches, and how many records of logs were not whole.
    pub fn finish(self) -> (Vec<Batch>, usize) {
        let left = self.partials.left();
        (self.own.into_iter().chain(self.runs.into_values()).collect(), left)
    }

    fn whole(&mut self, Whole { kind, syshost, value }: &Whole) {
        let is_read = match kind.as_str() {
            "pkg" => self.package(value, &Named { syshost: Some(syshost.clone()), ..Named::default() }),
            "run" => self.run(value),
            OWN_KIND => self.own(value),
            _ => true, // such as `link`, which says nothing of packages
        };
        self.bad += u64::from(!is_read);
    }

    /// Our own lines, as one JSON list.
    fn own(&mut self, value: &str) -> bool {
        let Ok(lines) = serde_json::from_str::<Vec<serde_json::Value>>(value) else { return false };
        let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        let batch = take_apart(&mut text.as_bytes()).ok().and_then(|(batch, _)| batch);
        batch.map(|batch| self.own.push(batch)).is_some()
    }

    fn package(&mut self, text: &str, named: &Named) -> bool {
        let Ok(package) = Package::parse(text) else { return false };
        if package.xalt_run_uuid.is_empty() {
            return false;
        }
        // XALT tells no process: each package stands for itself, and is known again by what it is.
        let hash = xxh3_64(format!("{package:?}").as_bytes());
        if !self.seen.insert(hash) {
            return true;
        }
        let batch = self.batch(&package.xalt_run_uuid);
        batch.run.system = batch.run.system.take().or_else(|| named.syshost.clone());
        if let (true, Some(user)) = (batch.run.user == UNTOLD, &named.user) {
            batch.run.user.clone_from(user);
        }
        if let (true, Some(started)) = (batch.run.started <= 0.0, named.started) {
            batch.run.started = started;
        }
        let (mut process, import) = package.lines();
        process.pid = hash as u32;
        process.started = (hash >> 32) as f64 / 1e6;
        batch.processes.push((process, vec![import]));
        true
    }

    fn run(&mut self, text: &str) -> bool {
        let Ok(RunRecord { userT: user, userDT: numbers, libA: libraries }) = serde_json::from_str(text)
        else {
            return false;
        };
        let told = |text: Option<String>| text.filter(|text| !text.is_empty() && text != UNTOLD);
        let count = |number: f64| number.clamp(1.0, f64::from(u32::MAX)) as u32;
        let is_probability = numbers.probability > 0.0 && numbers.probability <= 1.0;
        let exec_path = told(user.exec_path).unwrap_or_default();
        let run = Run {
            uuid: user.run_uuid.clone(),
            user: user.user,
            project: told(user.account),
            job: told(user.job_id),
            // Packages do not say it, and what is known must not depend on what came first.
            host: UNTOLD.to_owned(),
            system: told(user.syshost),
            command: exec_path.rsplit('/').next().unwrap_or_default().to_owned(),
            nodes: count(numbers.num_nodes),
            tasks: count(numbers.num_cores),
            started: numbers.start_time,
            probability: if is_probability { numbers.probability } else { 1.0 },
        };
        let path = |entry: Vec<serde_json::Value>| entry.first()?.as_str().map(str::to_owned);
        let library = |path| Library { path, package: None, processes: 1 };
        let batch = self.batch(&user.run_uuid);
        batch.libraries = libraries.into_iter().filter_map(path).map(library).collect();
        // XALT writes one record when a run begins and another when it has ended.
        if numbers.end_time > 0.0 {
            batch.end = Some(End { seconds: numbers.run_time });
        }
        batch.run = run;
        true
    }

    fn batch(&mut self, uuid: &str) -> &mut Batch {
        let run = || Run {
            uuid: uuid.to_owned(),
            user: UNTOLD.to_owned(),
            project: None,
            system: None,
            job: None,
            host: UNTOLD.to_owned(),
            command: String::new(),
            nodes: 1,
            tasks: 1,
            started: 0.0,
            probability: 1.0,
        };
        self.runs.entry(uuid.to_owned()).or_insert_with(|| Batch {
            run: run(),
            end: None,
            processes: Vec::<(Process, Vec<Import>)>::new(),
            libraries: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::xalt_form::{pieces, tests::batch};
    use crate::track::xalt_lines::lines_of;

    fn summary(batches: &[Batch]) -> Vec<String> {
        let shown = |batch: &Batch| {
            let names = batch.processes.iter().flat_map(|(process, imports)| {
                imports
                    .iter()
                    .map(|import| format!("{}:{}:{}", process.implementation, import.name, process.python))
            });
            let mut names: Vec<String> = names.collect();
            names.sort();
            format!(
                "{} {:?} {:?} {names:?} {}",
                batch.run.user,
                batch.run.system,
                batch.end,
                batch.libraries.len()
            )
        };
        batches.iter().map(shown).collect()
    }

    const WHOLE: &str = "o'b.c Some(\"frontier\") Some(End { seconds: 2.5 }) \
        [\"R:Rcpp:\", \"cpython:a\\\"b\\n:3.11.7\", \"cpython:numpy:3.11.7\"] 1";

    #[test]
    fn files_and_lines_of_one_run_become_one_batch_in_any_order() {
        let mut pieces = pieces(&batch());
        for _ in 0..2 {
            let mut files = Reading::default();
            for piece in pieces.iter().chain(&pieces) {
                assert!(files.file(&piece.file, &piece.text));
            }
            let mut log = Reading::default();
            let lines = pieces.iter().flat_map(|piece| lines_of(piece, "frontier"));
            let text: String = lines.map(|line| format!("Nov 1 h XALT_LOGGING_frontier: {line}\n")).collect();
            log.log(&mut format!("{text}another line\n{text}").as_bytes()).unwrap();
            for reading in [files, log] {
                assert_eq!(reading.bad, 0);
                let (batches, left) = reading.finish();
                assert_eq!((summary(&batches), left), (vec![WHOLE.to_owned()], 0));
            }
            pieces.reverse();
        }
    }

    #[test]
    fn a_package_without_its_run_has_what_its_file_is_called() {
        let mut reading = Reading::default();
        let piece = &pieces(&batch())[1];
        assert!(reading.file(&piece.file, &piece.text));
        let (batches, _) = reading.finish();
        let run = &batches[0].run;
        assert_eq!((run.user.as_str(), run.system.as_deref()), ("o_b_c", Some("frontier")));
        assert!((run.started - 1_541_520_853.799_2).abs() < 1e-3);
    }

    #[test]
    fn what_is_damaged_is_counted_and_passed_by() {
        let mut reading = Reading::default();
        let piece = &pieces(&batch())[1];
        assert!(reading.file(&piece.file, &piece.text.replace("numpy", "numpi")));
        assert!(reading.file("run.a.b.c.d.e.json", "{}"));
        assert!(!reading.file("link.a.b.c.d.json", "{}"));
        assert!(!reading.file("x.jsonl", "{}"));
        let line = lines_of(piece, "f").remove(0);
        let cut = format!("XALT_LOGGING_f: {}\n", &line[..line.len() - 3]);
        reading.log(&mut cut.as_bytes()).unwrap();
        assert_eq!((reading.bad, reading.finish().0.len()), (3, 0));
    }
}
