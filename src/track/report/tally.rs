//! What is added up while the imports of all runs go by, those of one run after each other.

use std::collections::{BTreeMap, HashMap};

use super::Per;
use super::runs::{Met, NumberSet, Runs, node_hours, weight, whose};
use crate::track::store::{ImportRow, LIBRARY, ModuleRow, RunRow};

/// What is known of one package.
#[derive(Debug, Clone, Default)]
pub(super) struct Sums {
    /// The last run that was counted, and the last in which it was asked for.
    last_run: Option<u32>,
    last_asked: Option<u32>,
    pub(super) runs: f64,
    pub(super) users: u32,
    pub(super) node_hours: f64,
    pub(super) asked: f64,
    pub(super) own_seconds: f64,
    pub(super) total_seconds: f64,
    pub(super) processes: f64,
    pub(super) last_seen: f64,
}

/// Name, program and version of a package; the version is empty where versions are not told apart.
pub(super) type Key<'modules> = [&'modules str; 3];

/// Sums of packages, each once for all or once for each user or project.
pub(super) struct Tally<'modules> {
    /// The key of each module; none for what is not asked about.
    of_module: Vec<Option<u32>>,
    keys: Vec<Key<'modules>>,
    per: Option<Per>,
    /// Places in `sums`, where figures stand apart.
    places: HashMap<(Option<u32>, u32), usize>,
    whose: Vec<(Option<u32>, u32)>,
    sums: Vec<Sums>,
    met: Met,
}

/// A package's figures.
pub(super) struct Row<'tally> {
    pub(super) who: Option<u32>,
    pub(super) key: Key<'tally>,
    pub(super) sums: &'tally Sums,
}

impl<'modules> Tally<'modules> {
    pub(super) fn by_name(modules: &'modules [ModuleRow], per: Option<Per>) -> Self {
        Tally::new(modules, per, |module| package(module, ""))
    }

    pub(super) fn by_version(modules: &'modules [ModuleRow], per: Option<Per>) -> Self {
        Tally::new(modules, per, |module| package(module, &module.version))
    }

    /// Shared objects: their paths, and the packages that brought them.
    pub(super) fn by_library(modules: &'modules [ModuleRow], per: Option<Per>) -> Self {
        Tally::new(modules, per, |module| {
            (module.program == LIBRARY).then_some([&module.path, &module.name, ""])
        })
    }

    fn new(
        modules: &'modules [ModuleRow],
        per: Option<Per>,
        key: impl Fn(&'modules ModuleRow) -> Option<Key<'modules>>,
    ) -> Self {
        let (of_module, keys) = keyed(modules, key);
        let sums = if per.is_none() { vec![Sums::default(); keys.len()] } else { Vec::new() };
        Tally { of_module, keys, per, places: HashMap::new(), whose: Vec::new(), sums, met: Met::default() }
    }

    pub(super) fn add(&mut self, run: &RunRow, import: &ImportRow) {
        let Some(&Some(key)) = self.of_module.get(import.module as usize) else { return };
        let place = match self.per {
            None => key as usize,
            Some(per) => self.place(whose(run, per), key),
        };
        let sum = &mut self.sums[place];
        let weight = weight(run);
        if sum.last_run != Some(run.id) {
            sum.last_run = Some(run.id);
            sum.runs += weight;
            sum.node_hours += node_hours(run);
            sum.last_seen = sum.last_seen.max(run.started);
            sum.users += u32::from(self.met.is_new(place as u32, run.user));
        }
        if import.asked && sum.last_asked != Some(run.id) {
            sum.last_asked = Some(run.id);
            sum.asked += weight;
        }
        sum.own_seconds += weight * import.own_us as f64 / 1e6;
        sum.total_seconds += weight * import.total_us as f64 / 1e6;
        sum.processes += weight * f64::from(import.processes);
    }

    fn place(&mut self, who: Option<u32>, key: u32) -> usize {
        *self.places.entry((who, key)).or_insert_with(|| {
            self.whose.push((who, key));
            self.sums.push(Sums::default());
            self.sums.len() - 1
        })
    }

    /// What was met.
    pub(super) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let all = self.sums.iter().enumerate().filter(|(_, sums)| sums.runs > 0.0);
        all.map(|(place, sums)| {
            let (who, key) = self.whose.get(place).copied().unwrap_or((None, place as u32));
            Row { who, key: self.keys[key as usize], sums }
        })
    }

    pub(super) fn per(&self) -> Option<Per> {
        self.per
    }
}

/// Runs that imported something from a user's own `~/.local`.
pub(super) struct Locals {
    is_local: Vec<bool>,
    pub(super) runs: Vec<u32>,
}

impl Locals {
    pub(super) fn new(modules: &[ModuleRow]) -> Self {
        let is_local = modules.iter().map(|module| module.path.contains("/.local/")).collect();
        Locals { is_local, runs: Vec::new() }
    }

    pub(super) fn add(&mut self, run: &RunRow, import: &ImportRow) {
        if self.is_local.get(import.module as usize) == Some(&true) && self.runs.last() != Some(&run.id) {
            self.runs.push(run.id);
        }
    }
}

/// Figures of users or of projects.
pub(super) struct People {
    of_module: Vec<Option<u32>>,
    pub(super) per: Per,
    pub(super) all: BTreeMap<Option<u32>, Person>,
}

#[derive(Debug, Default)]
pub(super) struct Person {
    pub(super) runs: f64,
    pub(super) node_hours: f64,
    pub(super) seconds: f64,
    pub(super) packages: NumberSet,
}

impl People {
    /// A run counts for its user though it imported nothing.
    pub(super) fn new(modules: &[ModuleRow], runs: &Runs, per: Per) -> Self {
        let (of_module, _) = keyed(modules, |module| package(module, ""));
        let mut all = BTreeMap::<_, Person>::new();
        for run in runs.all() {
            let person = all.entry(whose(run, per)).or_default();
            person.runs += weight(run);
            person.node_hours += node_hours(run);
        }
        People { of_module, per, all }
    }

    pub(super) fn add(&mut self, run: &RunRow, import: &ImportRow) {
        let person = self.all.entry(whose(run, self.per)).or_default();
        person.seconds += weight(run) * import.own_us as f64 / 1e6;
        person.packages.extend(self.of_module.get(import.module as usize).copied().flatten().map(u64::from));
    }
}

/// The key of a package, told apart by `version`; none for a shared object.
fn package<'modules>(module: &'modules ModuleRow, version: &'modules str) -> Option<Key<'modules>> {
    (module.program != LIBRARY).then_some([&module.name, &module.program, version])
}

/// A dense number for each distinct key of the modules, and the keys.
fn keyed<'modules>(
    modules: &'modules [ModuleRow],
    key: impl Fn(&'modules ModuleRow) -> Option<Key<'modules>>,
) -> (Vec<Option<u32>>, Vec<Key<'modules>>) {
    let (mut numbers, mut keys) = (HashMap::new(), Vec::new());
    let of_module = modules.iter().map(|module| {
        let key = key(module)?;
        Some(*numbers.entry(key).or_insert_with(|| {
            keys.push(key);
            keys.len() as u32 - 1
        }))
    });
    (of_module.collect(), keys)
}
