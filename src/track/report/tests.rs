//! The answers against ones that are made in the plainest way, from what was ingested: over random runs, in one part
//! and in several.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::ValueEnum;

use super::runs::Runs;
use super::{DAY_SECONDS, Per, Question, Wanted, answered};
use crate::track::record::{End, Import, Library, Process, Run};
use crate::track::store::{Batch, Place, Purpose, Store};
use crate::track::table::Cell;

/// When the random runs end and the report is asked for.
const NOW: f64 = 1_700_000_000.0;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    fn run(&mut self, number: u64) -> Batch {
        let started = NOW - self.below(300 * 86_400) as f64;
        let run = Run {
            uuid: format!("run{number}"),
            user: format!("user{}", self.below(7)),
            project: (self.below(5) > 0).then(|| format!("project{}", self.below(3))),
            system: None,
            job: None,
            host: format!("host{}", self.below(4)),
            command: "python3".to_owned(),
            nodes: 1 + self.below(9) as u32,
            tasks: 1,
            started,
            probability: [1.0, 0.5, 0.125][self.below(3) as usize],
        };
        let processes =
            (0..1 + self.below(3)).map(|pid| (self.process(pid, started), self.imports())).collect();
        let library = |number| Library {
            path: format!("/usr/lib/lib{number}.so"),
            package: (number % 2 == 0).then(|| format!("libs{number}")),
            processes: 1 + number as u32,
        };
        let libraries = BTreeSet::from_iter((0..self.below(3)).map(|_| self.below(9)));
        Batch {
            run,
            end: Some(End { seconds: self.below(7_200) as f64 }),
            processes,
            libraries: libraries.into_iter().map(library).collect(),
        }
    }

    fn process(&mut self, pid: u64, started: f64) -> Process {
        Process {
            pid: 1 + pid as u32,
            started,
            python: format!("3.{}.1", 8 + self.below(3)),
            implementation: "cpython".to_owned(),
            executable: None,
            prefix: "/usr".to_owned(),
            base_prefix: "/usr".to_owned(),
            conda: self.below(2) == 0,
        }
    }

    fn imports(&mut self) -> Vec<Import> {
        let numbers = BTreeSet::from_iter((0..self.below(12)).map(|_| self.below(30)));
        let import = |package: u64| Import {
            number: package as u32,
            name: format!("package{package}"),
            path: Some(format!("{}/package{package}", ["/e", "/h/.local/lib"][self.below(2) as usize])),
            version: Some(self.below(3).to_string()).filter(|it| it != "0"),
            // Eighths of a second, so that sums are the same in whatever order they are made.
            own_us: 125_000 * self.below(80),
            total_us: 250_000 * self.below(80),
            flags: ["p", "pa"][self.below(2) as usize].to_owned(),
            by: None,
        };
        numbers.into_iter().map(import).collect()
    }
}

/// Figures of a row: runs, their users, those where it was asked for, and the rest.
#[derive(Default)]
struct Plain {
    runs: BTreeMap<usize, bool>,
    own_seconds: f64,
    total_seconds: f64,
    processes: f64,
    packages: BTreeSet<(String, String)>,
}

struct Scene<'scene> {
    batches: Vec<&'scene Batch>,
    wanted: &'scene Wanted,
}

impl Scene<'_> {
    fn weight(&self, run: usize) -> f64 {
        1.0 / self.batches[run].run.probability
    }

    fn node_hours(&self, run: usize) -> f64 {
        let batch = self.batches[run];
        let seconds = batch.end.as_ref().map_or(0.0, |end| end.seconds);
        self.weight(run) * seconds * f64::from(batch.run.nodes) / 3600.0
    }

    fn whose(&self, run: usize, per: Per) -> String {
        let run = &self.batches[run].run;
        match per {
            Per::User => run.user.clone(),
            Per::Project => run.project.clone().unwrap_or_else(|| "-".to_owned()),
        }
    }

    /// Rows by whose they are and what they are of.
    fn rows(&self, question: Question) -> BTreeMap<Vec<String>, Plain> {
        let mut rows: BTreeMap<Vec<String>, Plain> = BTreeMap::new();
        for (number, batch) in self.batches.iter().enumerate() {
            let who = self.wanted.per.map(|per| self.whose(number, per));
            let add = |rows: &mut BTreeMap<Vec<String>, Plain>, names: Vec<String>| {
                let row = rows.entry(who.clone().into_iter().chain(names).collect()).or_default();
                row.runs.entry(number).or_default();
            };
            // Whoever ran something has a row, though it imported nothing.
            let own = match question {
                Question::Users => Some(Per::User),
                Question::Projects => Some(Per::Project),
                _ => None,
            };
            if let Some(own) = own {
                let row = rows.entry(vec![self.whose(number, own)]).or_default();
                row.runs.entry(number).or_default();
            }
            if question == Question::Libraries {
                for library in &batch.libraries {
                    let package = library.package.clone().unwrap_or_else(|| "-".to_owned());
                    add(&mut rows, vec![library.path.clone(), package]);
                }
            }
            for (process, imports) in &batch.processes {
                if question == Question::Interpreters {
                    let kind = if process.conda { "conda" } else { "system" };
                    add(&mut rows, vec![kind.to_owned(), process.python.clone()]);
                    let path = |import: &Import| import.path.clone().unwrap_or_default();
                    if imports.iter().any(|import| path(import).contains("/.local/")) {
                        add(&mut rows, vec!["~/.local".to_owned(), "-".to_owned()]);
                    }
                }
                self.add_imports(question, number, imports, &mut rows);
            }
        }
        rows
    }

    fn add_imports(
        &self,
        question: Question,
        number: usize,
        imports: &[Import],
        rows: &mut BTreeMap<Vec<String>, Plain>,
    ) {
        for import in imports {
            let mut names = vec![import.name.clone(), "python".to_owned()];
            let mut who = self.wanted.per.map(|per| self.whose(number, per));
            match question {
                Question::Versions => names.push(import.version.clone().unwrap_or_else(|| "-".to_owned())),
                Question::Users => (names, who) = (vec![self.whose(number, Per::User)], None),
                Question::Projects => (names, who) = (vec![self.whose(number, Per::Project)], None),
                Question::Libraries | Question::Interpreters => continue,
                _ => {}
            }
            let row = rows.entry(who.into_iter().chain(names).collect()).or_default();
            *row.runs.entry(number).or_default() |= import.has('a');
            row.own_seconds += self.weight(number) * import.own_us as f64 / 1e6;
            row.total_seconds += self.weight(number) * import.total_us as f64 / 1e6;
            row.processes += self.weight(number);
            row.packages.insert((import.name.clone(), "python".to_owned()));
        }
    }

    /// The figures of a row in the order of the table's columns.
    fn figures(&self, question: Question, row: &Plain) -> Vec<f64> {
        let all = || row.runs.keys().copied();
        let runs: f64 = all().map(|run| self.weight(run)).sum();
        let users = all().map(|run| self.whose(run, Per::User)).collect::<BTreeSet<_>>().len() as f64;
        let node_hours: f64 = all().map(|run| self.node_hours(run)).sum();
        let asked: f64 = row.runs.iter().filter(|(_, asked)| **asked).map(|(run, _)| self.weight(*run)).sum();
        let last = all().map(|run| self.batches[run].run.started).fold(0.0, f64::max);
        match question {
            Question::Packages | Question::Libraries | Question::Interpreters => {
                vec![runs, users, node_hours]
            }
            Question::Versions => vec![runs, users],
            Question::Slowest => {
                vec![row.own_seconds, row.total_seconds, row.own_seconds / row.processes, row.processes]
            }
            Question::Asked => vec![runs, asked, runs - asked],
            Question::Installed => unreachable!("its rows are packages that are installed"),
            Question::Unseen => vec![runs, ((NOW - last) / DAY_SECONDS).floor()],
            Question::Users | Question::Projects => {
                vec![runs, row.packages.len() as f64, node_hours, row.own_seconds]
            }
        }
    }
}

#[test]
fn answers_over_random_runs_are_those_of_the_plainest_way_in_however_many_parts() {
    let directory = tempfile::tempdir().unwrap();
    for seed in 0..6 {
        let mut random = Random(seed);
        let batches: Vec<Batch> = (0..10 + seed * 25).map(|number| random.run(number)).collect();
        let place = Place::File(directory.path().join(format!("{seed}.db")));
        let mut store = Store::open(&place, Purpose::Write, Duration::from_secs(60)).unwrap();
        store.add(&mut batches.iter().cloned()).unwrap();
        let wanted = Wanted {
            questions: Question::value_variants()
                .iter()
                .copied()
                .filter(|it| *it != Question::Installed)
                .collect(),
            per: None,
            since: None,
            user: None,
            project: None,
            anonymous: false,
            days: 20.0,
            installations: Vec::new(),
            rows_max: usize::MAX,
            now: NOW,
        };
        let of_user = Wanted { user: Some("user3".to_owned()), ..wanted.clone() };
        let of_project = Wanted { project: Some("project1".to_owned()), ..wanted.clone() };
        let lately = Wanted { since: Some(NOW - 100.0 * DAY_SECONDS), ..wanted.clone() };
        for asked in [wanted, of_user, of_project, lately] {
            for per in [None, Some(Per::User), Some(Per::Project)] {
                agree(&mut store, &batches, &Wanted { per, ..asked.clone() }, seed);
            }
        }
    }
}

/// All tables, row by row, and the first rows of them alone.
fn agree(store: &mut Store, batches: &[Batch], wanted: &Wanted, seed: u64) {
    let is_wanted = |batch: &&Batch| {
        wanted.since.is_none_or(|since| batch.run.started >= since)
            && wanted.user.as_ref().is_none_or(|user| *user == batch.run.user)
            && wanted.project.as_ref().is_none_or(|project| Some(project) == batch.run.project.as_ref())
    };
    let scene = Scene { batches: batches.iter().filter(is_wanted).collect(), wanted };
    for parts in [1, 2, 7] {
        let runs = Runs::read(store, wanted).unwrap();
        let report = answered(store, wanted, runs, parts).unwrap();
        for (question, table) in &report.answers {
            let mut want = scene.rows(*question);
            if *question == Question::Unseen {
                want.retain(|_, row| {
                    let last = row.runs.keys().map(|run| scene.batches[*run].run.started);
                    NOW - last.fold(0.0, f64::max) >= wanted.days * DAY_SECONDS
                });
            }
            let told: BTreeMap<Vec<String>, Vec<f64>> = table.rows.iter().map(|row| parted(row)).collect();
            assert_eq!(told.len(), table.rows.len(), "{question:?}: a row stands twice");
            let names: Vec<_> = told.keys().collect();
            assert_eq!(names, Vec::from_iter(want.keys()), "{question:?} of seed {seed} in {parts} parts");
            for (names, figures) in told {
                let want = scene.figures(*question, &want[&names]);
                let is_near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-9 * a.abs().max(1.0);
                let is_equal = figures.len() == want.len() && figures.iter().zip(&want).all(is_near);
                assert!(
                    is_equal,
                    "{question:?} {names:?} of seed {seed} in {parts} parts: {figures:?}, {want:?}"
                );
            }
        }
        let few = Wanted { rows_max: 5, ..wanted.clone() };
        let runs = Runs::read(store, &few).unwrap();
        for ((_, all), (_, first)) in
            report.answers.iter().zip(&answered(store, &few, runs, parts).unwrap().answers)
        {
            assert_eq!(&all.rows[..all.rows.len().min(5)], &first.rows[..]);
        }
    }
}

/// The names of a row, and its figures.
fn parted(row: &[Cell]) -> (Vec<String>, Vec<f64>) {
    let (figures, names): (Vec<&Cell>, Vec<&Cell>) = row.iter().partition(|cell| cell.is_number());
    (names.into_iter().map(Cell::shown).collect(), figures.into_iter().map(Cell::number).collect())
}
