//! What a site asks of its records, answered in one pass over the store.
//!
//! Every count is weighted by one over the probability with which its run was kept, so sampled and whole records can
//! be compared.
//!
//! Not here: how a table is written (`table`), how records are remembered (`store`).

use std::collections::{HashMap, HashSet};

use super::store::{ImportRow, ModuleRow, RunRow, Store, StoreError};
use super::table::{Cell, Table};

const DAY_SECONDS: f64 = 86_400.0;

/// The questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Question {
    /// Packages by runs, users and node-hours
    Packages,
    /// Versions of each package
    Versions,
    /// Whose Python: conda, venv, system, ~/.local, other
    Interpreters,
    /// What imports cost, over all runs
    Slowest,
    /// Asked for by the users' own code against pulled in by others
    Asked,
    /// Packages not seen for a while
    Unseen,
    /// Users
    Users,
    /// Projects
    Projects,
}

/// What is to be reported.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The question.
    pub question: Question,
    /// Only runs that began at this time or later, in seconds since 1970.
    pub since: Option<f64>,
    /// Only runs of this user.
    pub user: Option<String>,
    /// Only runs of this project.
    pub project: Option<String>,
    /// Users and projects as numbers that mean nothing elsewhere.
    pub anonymous: bool,
    /// For [`Question::Unseen`]: for how many days.
    pub days: f64,
    /// Rows at most.
    pub rows_max: usize,
    /// What time it is.
    pub now: f64,
}

/// Answers a question.
///
/// # Errors
/// The store refused.
/// # Cost
/// One pass over all imports of the runs in question.
pub fn report(store: &dyn Store, wanted: &Wanted) -> Result<Table, StoreError> {
    let runs = Runs::read(store, wanted)?;
    let modules = store.modules()?;
    let mut table = match wanted.question {
        Question::Interpreters => interpreters(store, &runs, &modules)?,
        Question::Versions => versions(store, &runs, &modules)?,
        Question::Users => people(store, &runs, &modules, |run| Some(run.user))?,
        Question::Projects => people(store, &runs, &modules, |run| run.project)?,
        _ => packages(store, &runs, &modules, wanted)?,
    };
    table.rows.truncate(wanted.rows_max);
    Ok(table)
}

/// The runs in question.
struct Runs {
    /// By their numbers.
    rows: Vec<Option<RunRow>>,
    first: u32,
    words: Vec<String>,
    users: usize,
}

impl Runs {
    fn read(store: &dyn Store, wanted: &Wanted) -> Result<Self, StoreError> {
        let mut words = store.words()?;
        let number =
            |name: &Option<String>| name.as_ref().map(|name| words.iter().position(|word| word == name));
        let (user, project) = (number(&wanted.user), number(&wanted.project));
        // What nobody is called is nobody's number.
        let fits = |asked: Option<Option<usize>>, word: Option<u32>| {
            asked.is_none_or(|asked| asked.is_some() && asked == word.map(|word| word as usize))
        };
        let mut runs = Runs { rows: Vec::new(), first: u32::MAX, words: Vec::new(), users: 0 };
        let mut users = HashSet::new();
        for run in store.runs()? {
            let is_wanted = wanted.since.is_none_or(|since| run.started >= since)
                && fits(user, Some(run.user))
                && fits(project, run.project);
            if is_wanted {
                runs.rows.resize(run.id as usize, None);
                runs.rows.push(Some(run));
                runs.first = runs.first.min(run.id);
                users.insert(run.user);
            }
        }
        if wanted.anonymous {
            words = (0..words.len()).map(|number| format!("#{number}")).collect();
        }
        Ok(Runs { words, users: users.len(), ..runs })
    }

    fn get(&self, id: u32) -> Option<&RunRow> {
        self.rows.get(id as usize)?.as_ref()
    }

    fn each<'runs>(
        &'runs self,
        store: &dyn Store,
        mut each: impl FnMut(&'runs RunRow, ImportRow),
    ) -> Result<(), StoreError> {
        store.imports(self.first, &mut |import| {
            if let Some(run) = self.get(import.run) {
                each(run, import);
            }
        })
    }
}

/// For how many runs one stands.
fn weight(run: &RunRow) -> f64 {
    if run.probability > 0.0 && run.probability <= 1.0 { 1.0 / run.probability } else { 1.0 }
}

fn node_hours(run: &RunRow) -> f64 {
    weight(run) * run.seconds * f64::from(run.nodes) / 3600.0
}

/// What is known of one package.
#[derive(Debug, Clone, Default)]
struct Sums {
    /// The last run that was counted: rows come run by run.
    last_run: Option<u32>,
    runs: f64,
    users: u32,
    node_hours: f64,
    asked: f64,
    own_seconds: f64,
    total_seconds: f64,
    processes: f64,
    last_seen: f64,
}

/// The cells of a package's row after its name, given what time it is.
type CellsOf = fn(&Sums, f64) -> Vec<Cell>;

/// A dense number for each distinct key of the modules, and the keys.
fn keyed<'modules, K: std::hash::Hash + Eq + Copy>(
    modules: &'modules [ModuleRow],
    key: impl Fn(&'modules ModuleRow) -> K,
) -> (Vec<u32>, Vec<K>) {
    let (mut numbers, mut keys) = (HashMap::new(), Vec::new());
    let of_module = modules.iter().map(|module| {
        *numbers.entry(key(module)).or_insert_with(|| {
            keys.push(key(module));
            keys.len() as u32 - 1
        })
    });
    (of_module.collect(), keys)
}

fn sum(store: &dyn Store, runs: &Runs, of_module: &[u32], keys: usize) -> Result<Vec<Sums>, StoreError> {
    let mut sums = vec![Sums::default(); keys];
    let mut met: HashSet<(u32, u32)> = HashSet::with_capacity(runs.users * 8);
    runs.each(store, |run, import| {
        let Some(&key) = of_module.get(import.module as usize) else { return };
        let sum = &mut sums[key as usize];
        let weight = weight(run);
        if sum.last_run != Some(run.id) {
            sum.last_run = Some(run.id);
            sum.runs += weight;
            sum.node_hours += node_hours(run);
            sum.last_seen = sum.last_seen.max(run.started);
            sum.users += u32::from(met.insert((key, run.user)));
            sum.asked += if import.asked { weight } else { 0.0 };
        }
        sum.own_seconds += weight * import.own_us as f64 / 1e6;
        sum.total_seconds += weight * import.total_us as f64 / 1e6;
        sum.processes += weight * f64::from(import.processes);
    })?;
    Ok(sums)
}

fn packages(
    store: &dyn Store,
    runs: &Runs,
    modules: &[ModuleRow],
    wanted: &Wanted,
) -> Result<Table, StoreError> {
    let (of_module, names) = keyed(modules, |module| (module.program.as_str(), module.name.as_str()));
    let sums = sum(store, runs, &of_module, names.len())?;
    let mut rows: Vec<((&str, &str), Sums)> =
        names.into_iter().zip(sums).filter(|(_, it)| it.runs > 0.0).collect();
    if wanted.question == Question::Unseen {
        rows.retain(|(_, sums)| wanted.now - sums.last_seen >= wanted.days * DAY_SECONDS);
    }
    let rank = |sums: &Sums| match wanted.question {
        Question::Slowest => sums.own_seconds,
        Question::Unseen => wanted.now - sums.last_seen,
        _ => sums.runs,
    };
    rows.sort_by(|(name, a), (other, b)| rank(b).total_cmp(&rank(a)).then(name.cmp(other)));
    let (columns, cells): (&[_], CellsOf) = match wanted.question {
        Question::Slowest => {
            (&["own_seconds", "total_seconds", "own_seconds_per_process", "processes"], |sums, _| {
                let each = sums.own_seconds / sums.processes.max(1.0);
                let seconds = [sums.own_seconds, sums.total_seconds, each].map(Cell::Quantity);
                seconds.into_iter().chain([Cell::Count(sums.processes)]).collect()
            })
        }
        Question::Asked => (&["runs", "asked_for", "pulled_in"], |sums, _| {
            [sums.runs, sums.asked, sums.runs - sums.asked].map(Cell::Count).to_vec()
        }),
        Question::Unseen => (&["runs", "days_since"], |sums, now| {
            vec![Cell::Count(sums.runs), Cell::Count(((now - sums.last_seen) / DAY_SECONDS).floor())]
        }),
        _ => (&["runs", "users", "node_hours"], |sums, _| {
            vec![Cell::Count(sums.runs), Cell::Count(f64::from(sums.users)), Cell::Quantity(sums.node_hours)]
        }),
    };
    let row = |((program, name), sums): ((&str, &str), Sums)| {
        let mut row = vec![Cell::text(name), Cell::text(program)];
        row.extend(cells(&sums, wanted.now));
        row
    };
    let columns = [&["package", "program"], columns].concat();
    Ok(Table { columns, rows: rows.into_iter().map(row).collect() })
}

fn versions(store: &dyn Store, runs: &Runs, modules: &[ModuleRow]) -> Result<Table, StoreError> {
    let (of_module, keys) =
        keyed(modules, |module| (module.name.as_str(), module.program.as_str(), module.version.as_str()));
    let sums = sum(store, runs, &of_module, keys.len())?;
    let mut in_all: HashMap<(&str, &str), f64> = HashMap::new();
    for ((name, program, _), sums) in keys.iter().zip(&sums) {
        *in_all.entry((name, program)).or_default() += sums.runs;
    }
    let mut rows: Vec<_> = keys.into_iter().zip(sums).filter(|(_, sums)| sums.runs > 0.0).collect();
    let rank = |(name, program, _): (&str, &str, &str)| in_all[&(name, program)];
    rows.sort_by(|(key, a), (other, b)| {
        let package = rank(*other).total_cmp(&rank(*key)).then((key.0, key.1).cmp(&(other.0, other.1)));
        package.then(b.runs.total_cmp(&a.runs)).then(key.2.cmp(other.2))
    });
    let row = |((name, program, version), sums): ((&str, &str, &str), Sums)| {
        let version = if version.is_empty() { "-" } else { version };
        let names = [name, program, version].map(Cell::text);
        names.into_iter().chain([Cell::Count(sums.runs), Cell::Count(f64::from(sums.users))]).collect()
    };
    let columns = vec!["package", "program", "version", "runs", "users"];
    Ok(Table { columns, rows: rows.into_iter().map(row).collect() })
}

fn interpreters(store: &dyn Store, runs: &Runs, modules: &[ModuleRow]) -> Result<Table, StoreError> {
    let mut sums: HashMap<(String, String), (f64, f64, HashSet<u32>)> = HashMap::new();
    let mut count = |kind: String, version: String, run: &RunRow| {
        let sum = sums.entry((kind, version)).or_default();
        sum.0 += weight(run);
        sum.1 += node_hours(run);
        sum.2.insert(run.user);
    };
    store.interpreters(&mut |interpreter| {
        if let Some(run) = runs.get(interpreter.run) {
            count(interpreter.kind, interpreter.version, run);
        }
    })?;
    let is_local: Vec<bool> = modules.iter().map(|module| module.path.contains("/.local/")).collect();
    let mut last = None;
    runs.each(store, |run, import| {
        if is_local.get(import.module as usize) == Some(&true) && last.replace(run.id) != Some(run.id) {
            count("~/.local".to_owned(), "-".to_owned(), run);
        }
    })?;
    let mut rows: Vec<_> = sums.into_iter().collect();
    rows.sort_by(|(kind, a), (other, b)| b.0.total_cmp(&a.0).then(kind.cmp(other)));
    let row = |((kind, version), (runs, hours, users)): ((String, String), (f64, f64, HashSet<u32>))| {
        let names = [Cell::Text(kind), Cell::Text(version)];
        names.into_iter().chain([Cell::Count(runs), Cell::Count(users.len() as f64), Cell::Quantity(hours)])
    };
    let columns = vec!["python", "version", "runs", "users", "node_hours"];
    Ok(Table { columns, rows: rows.into_iter().map(|it| row(it).collect()).collect() })
}

fn people(
    store: &dyn Store,
    runs: &Runs,
    modules: &[ModuleRow],
    who: impl Fn(&RunRow) -> Option<u32>,
) -> Result<Table, StoreError> {
    #[derive(Default)]
    struct Person {
        runs: f64,
        node_hours: f64,
        seconds: f64,
        packages: HashSet<u32>,
    }
    let (of_module, _) = keyed(modules, |module| (module.program.as_str(), module.name.as_str()));
    let mut people: HashMap<Option<u32>, Person> = HashMap::new();
    let mut last = None;
    runs.each(store, |run, import| {
        let person = people.entry(who(run)).or_default();
        if last.replace(run.id) != Some(run.id) {
            person.runs += weight(run);
            person.node_hours += node_hours(run);
        }
        person.seconds += weight(run) * import.own_us as f64 / 1e6;
        person.packages.extend(of_module.get(import.module as usize));
    })?;
    let mut rows: Vec<_> = people.into_iter().collect();
    rows.sort_by(|(who, a), (other, b)| b.runs.total_cmp(&a.runs).then(who.cmp(other)));
    let row = |(who, person): (Option<u32>, Person)| {
        let name = who.and_then(|who| runs.words.get(who as usize)).map_or("-", String::as_str);
        vec![
            Cell::text(name),
            Cell::Count(person.runs),
            Cell::Count(person.packages.len() as f64),
            Cell::Quantity(person.node_hours),
            Cell::Quantity(person.seconds),
        ]
    };
    let columns = vec!["who", "runs", "packages", "node_hours", "import_seconds"];
    Ok(Table { columns, rows: rows.into_iter().map(row).collect() })
}
