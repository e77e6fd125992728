//! What is added up while the runs go by, each with all that it imported.
//!
//! Several threads add up a part of the runs each; then what they have is merged, which costs as much as there are
//! rows, not as many as there are runs.

use std::collections::HashMap;

use super::Per;
use super::installed::{Installation, origin};
use super::pairs::Pairs;
use super::runs::{Counted, NumberMap, Runs, node_hours, weight, whose};
use crate::track::store::{ImportRow, LIBRARY, ModuleRow};

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

impl Sums {
    /// Adds those of other runs; but for users, who may be the same.
    fn merge(&mut self, other: &Sums) {
        self.runs += other.runs;
        self.node_hours += other.node_hours;
        self.asked += other.asked;
        self.own_seconds += other.own_seconds;
        self.total_seconds += other.total_seconds;
        self.processes += other.processes;
        self.last_seen = self.last_seen.max(other.last_seen);
    }
}

/// Name, program and version of a package; the version is empty where versions are not told apart.
pub(super) type Key<'modules> = [&'modules str; 3];

/// What modules count as: a dense number for each distinct key, and the keys.
pub(super) struct Keys<'modules> {
    /// The key of each module; none for what is not asked about.
    of_module: Vec<Option<u32>>,
    keys: Vec<Key<'modules>>,
}

impl<'modules> Keys<'modules> {
    pub(super) fn by_name(modules: &'modules [ModuleRow]) -> Self {
        Keys::new(modules, |module| package(module, ""))
    }

    pub(super) fn by_version(modules: &'modules [ModuleRow]) -> Self {
        Keys::new(modules, |module| package(module, &module.version))
    }

    /// Packages and where they came from, of all places where they are installed.
    pub(super) fn by_place(modules: &'modules [ModuleRow], all: &'modules [Installation]) -> Self {
        Keys::new(modules, |module| package(module, origin(all, module)))
    }

    /// Shared objects: their paths, and the packages that brought them.
    pub(super) fn by_library(modules: &'modules [ModuleRow]) -> Self {
        Keys::new(modules, |module| (module.program == LIBRARY).then_some([&module.path, &module.name, ""]))
    }

    fn new(
        modules: &'modules [ModuleRow],
        key: impl Fn(&'modules ModuleRow) -> Option<Key<'modules>>,
    ) -> Self {
        let (mut numbers, mut keys) = (HashMap::new(), Vec::new());
        let of_module = modules.iter().map(|module| {
            let key = key(module)?;
            Some(*numbers.entry(key).or_insert_with(|| {
                keys.push(key);
                keys.len() as u32 - 1
            }))
        });
        Keys { of_module: of_module.collect(), keys }
    }

    fn of(&self, import: &ImportRow) -> Option<u32> {
        self.of_module.get(import.module as usize).copied().flatten()
    }
}

/// Sums of packages, each once for all or once for each user or project.
pub(super) struct Tally<'keys> {
    keys: &'keys Keys<'keys>,
    per: Option<Per>,
    /// Where figures stand apart: for each of those who have some, the places of their keys in `sums`. Those of one
    /// run's packages are looked for at one time, so they are kept close together.
    places: Vec<NumberMap>,
    /// And whose figures those at a place are.
    whose: Vec<(Option<u32>, u32)>,
    sums: Vec<Sums>,
    /// Users and the places where they were counted.
    seen: Pairs,
}

/// A package's figures.
pub(super) struct Row<'tally> {
    pub(super) who: Option<u32>,
    /// The number of the key.
    pub(super) number: u32,
    pub(super) key: Key<'tally>,
    pub(super) sums: &'tally Sums,
}

impl<'keys> Tally<'keys> {
    pub(super) fn new(keys: &'keys Keys<'keys>, per: Option<Per>) -> Self {
        let sums = if per.is_none() { vec![Sums::default(); keys.keys.len()] } else { Vec::new() };
        Tally { keys, per, places: Vec::new(), whose: Vec::new(), sums, seen: Pairs::default() }
    }

    pub(super) fn add(&mut self, run: &Counted<'_>, imports: &[ImportRow]) {
        let keys = self.keys;
        let who = self.per.and_then(|per| whose(run.row, per));
        for import in imports {
            let Some(key) = keys.of(import) else { continue };
            let place = self.place(who, key);
            let sum = &mut self.sums[place as usize];
            if sum.last_run != Some(run.row.id) {
                sum.last_run = Some(run.row.id);
                sum.runs += run.weight;
                sum.node_hours += run.node_hours;
                sum.last_seen = sum.last_seen.max(run.row.started);
                // Where each user has figures of their own there is no other to tell apart.
                let is_new = match self.per {
                    Some(Per::User) => sum.users == 0,
                    _ => self.seen.is_new(run.row.user, place),
                };
                sum.users += u32::from(is_new);
            }
            if import.asked && sum.last_asked != Some(run.row.id) {
                sum.last_asked = Some(run.row.id);
                sum.asked += run.weight;
            }
            sum.own_seconds += run.weight * import.own_us as f64 / 1e6;
            sum.total_seconds += run.weight * import.total_us as f64 / 1e6;
            sum.processes += run.weight * f64::from(import.processes);
        }
    }

    fn place(&mut self, who: Option<u32>, key: u32) -> u32 {
        if self.per.is_none() {
            return key;
        }
        let number = who.map_or(0, |who| who as usize + 1);
        if self.places.len() <= number {
            self.places.resize_with(number + 1, NumberMap::default);
        }
        *self.places[number].entry(key).or_insert_with(|| {
            self.whose.push((who, key));
            self.sums.push(Sums::default());
            self.sums.len() as u32 - 1
        })
    }

    /// Adds what another has of other runs.
    pub(super) fn merge(&mut self, other: &Self) {
        let mut places = Vec::with_capacity(other.sums.len());
        for (place, sums) in other.sums.iter().enumerate() {
            let (who, key) = other.of_place(place);
            let here = self.place(who, key);
            let sum = &mut self.sums[here as usize];
            sum.merge(sums);
            if self.per == Some(Per::User) {
                sum.users = sum.users.max(sums.users);
            }
            places.push(here);
        }
        other.seen.each(|user, place| {
            let here = places[place as usize];
            self.sums[here as usize].users += u32::from(self.seen.is_new(user, here));
        });
    }

    /// Whose figures of which key are at a place.
    fn of_place(&self, place: usize) -> (Option<u32>, u32) {
        self.whose.get(place).copied().unwrap_or((None, place as u32))
    }

    /// What was met.
    pub(super) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let all = self.sums.iter().enumerate().filter(|(_, sums)| sums.runs > 0.0);
        all.map(|(place, sums)| {
            let (who, number) = self.of_place(place);
            Row { who, number, key: self.keys.keys[number as usize], sums }
        })
    }

    pub(super) fn per(&self) -> Option<Per> {
        self.per
    }
}

/// Runs that imported something from a user's own `~/.local`.
pub(super) struct Locals {
    /// By the number of the module.
    is_local: Vec<bool>,
    pub(super) runs: Vec<u32>,
}

impl Locals {
    pub(super) fn new(modules: &[ModuleRow]) -> Self {
        let is_local = modules.iter().map(|module| module.path.contains("/.local/")).collect();
        Locals { is_local, runs: Vec::new() }
    }

    pub(super) fn add(&mut self, run: &Counted<'_>, imports: &[ImportRow]) {
        if imports.iter().any(|import| self.is_local.get(import.module as usize) == Some(&true)) {
            self.runs.push(run.row.id);
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.runs.extend(&other.runs);
    }
}

/// Figures of users or of projects.
pub(super) struct People<'keys> {
    keys: &'keys Keys<'keys>,
    pub(super) per: Per,
    /// Nobody first, then by the numbers of their names.
    all: Vec<Person>,
    seen: Pairs,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Person {
    is_met: bool,
    pub(super) runs: f64,
    pub(super) node_hours: f64,
    pub(super) seconds: f64,
    pub(super) packages: u32,
}

impl<'keys> People<'keys> {
    pub(super) fn new(keys: &'keys Keys<'keys>, per: Per) -> Self {
        People { keys, per, all: Vec::new(), seen: Pairs::default() }
    }

    /// Counts all runs: one counts for its user though it imported nothing.
    pub(super) fn count(&mut self, runs: &Runs) {
        for run in runs.all() {
            let person = person(&mut self.all, whose(run, self.per).map_or(0, |who| who + 1));
            person.is_met = true;
            person.runs += weight(run);
            person.node_hours += node_hours(run);
        }
    }

    pub(super) fn add(&mut self, run: &Counted<'_>, imports: &[ImportRow]) {
        let number = whose(run.row, self.per).map_or(0, |who| who + 1);
        let person = person(&mut self.all, number);
        for import in imports {
            person.seconds += run.weight * import.own_us as f64 / 1e6;
            let is_new = self.keys.of(import).is_some_and(|key| self.seen.is_new(number, key));
            person.packages += u32::from(is_new);
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (number, it) in other.all.iter().enumerate() {
            let person = person(&mut self.all, number as u32);
            person.seconds += it.seconds;
        }
        other.seen.each(|number, key| {
            person(&mut self.all, number).packages += u32::from(self.seen.is_new(number, key));
        });
    }

    /// Those who were met.
    pub(super) fn rows(&self) -> impl Iterator<Item = (Option<u32>, &Person)> {
        let met = self.all.iter().enumerate().filter(|(_, person)| person.is_met);
        met.map(|(number, person)| ((number as u32).checked_sub(1), person))
    }
}

fn person(all: &mut Vec<Person>, number: u32) -> &mut Person {
    let number = number as usize;
    if all.len() <= number {
        all.resize_with(number + 1, Person::default);
    }
    &mut all[number]
}

/// The key of a package, told apart by `version`; none for a shared object.
fn package<'modules>(module: &'modules ModuleRow, version: &'modules str) -> Option<Key<'modules>> {
    (module.program != LIBRARY).then_some([&module.name, &module.program, version])
}
