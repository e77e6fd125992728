//! One pass over all that the runs in question imported: by several threads, each over its part of the runs.
//!
//! Into how many parts depends on the store alone, not on the machine, so that a sum is the same wherever it is made:
//! sums of fractions depend on their order in the last digits.

use std::ops::Range;
use std::thread;

use super::runs::{Counted, Runs};
use super::tally::{Keys, Locals, People, Tally};
use super::{Per, Question, Wanted};
use crate::track::store::{ImportRow, ModuleRow, Store, StoreError};

/// Runs that are worth a connection and a thread more: some 20 ms of work.
const PART_RUNS_MIN: usize = 5_000;

/// Parts at most. Each keeps sums of its own, and few machines where people ask for reports have idle processors.
const PARTS_MAX: usize = 4;

/// What modules count as, for all questions.
pub(super) struct AllKeys<'modules> {
    modules: &'modules [ModuleRow],
    names: Keys<'modules>,
    versions: Keys<'modules>,
    libraries: Keys<'modules>,
    places: Keys<'modules>,
}

impl<'modules> AllKeys<'modules> {
    pub(super) fn new(modules: &'modules [ModuleRow], wanted: &'modules Wanted) -> Self {
        AllKeys {
            modules,
            names: Keys::by_name(modules),
            versions: Keys::by_version(modules),
            libraries: Keys::by_library(modules),
            places: Keys::by_place(modules, &wanted.installations),
        }
    }
}

/// What is added up for the questions that are asked.
pub(super) struct Pass<'keys> {
    pub(super) names: Option<Tally<'keys>>,
    pub(super) versions: Option<Tally<'keys>>,
    pub(super) libraries: Option<Tally<'keys>>,
    pub(super) places: Option<Tally<'keys>>,
    pub(super) locals: Option<Locals>,
    pub(super) users: Option<People<'keys>>,
    pub(super) projects: Option<People<'keys>>,
}

impl<'keys> Pass<'keys> {
    fn new(keys: &'keys AllKeys<'keys>, wanted: &Wanted) -> Self {
        let asks = |questions: &[Question]| wanted.questions.iter().any(|asked| questions.contains(asked));
        let by_name = [Question::Packages, Question::Slowest, Question::Asked, Question::Unseen];
        Pass {
            names: asks(&by_name).then(|| Tally::new(&keys.names, wanted.per)),
            versions: asks(&[Question::Versions]).then(|| Tally::new(&keys.versions, wanted.per)),
            libraries: asks(&[Question::Libraries]).then(|| Tally::new(&keys.libraries, wanted.per)),
            places: asks(&[Question::Installed]).then(|| Tally::new(&keys.places, None)),
            locals: asks(&[Question::Interpreters]).then(|| Locals::new(keys.modules)),
            users: asks(&[Question::Users]).then(|| People::new(&keys.names, Per::User)),
            projects: asks(&[Question::Projects]).then(|| People::new(&keys.names, Per::Project)),
        }
    }

    fn add(&mut self, run: &Counted<'_>, imports: &[ImportRow]) {
        let Pass { names, versions, libraries, places, locals, users, projects } = self;
        [names, versions, libraries, places].into_iter().flatten().for_each(|tally| tally.add(run, imports));
        locals.iter_mut().for_each(|locals| locals.add(run, imports));
        [users, projects].into_iter().flatten().for_each(|people| people.add(run, imports));
    }

    fn merge(&mut self, other: &Self) {
        let tallies = [
            (&mut self.names, &other.names),
            (&mut self.versions, &other.versions),
            (&mut self.libraries, &other.libraries),
            (&mut self.places, &other.places),
        ];
        both(tallies).for_each(|(mine, theirs)| mine.merge(theirs));
        both([(&mut self.locals, &other.locals)]).for_each(|(mine, theirs)| mine.merge(theirs));
        let people = [(&mut self.users, &other.users), (&mut self.projects, &other.projects)];
        both(people).for_each(|(mine, theirs)| mine.merge(theirs));
    }
}

/// Those that both have.
fn both<'one, T: 'one>(
    pairs: impl IntoIterator<Item = (&'one mut Option<T>, &'one Option<T>)>,
) -> impl Iterator<Item = (&'one mut T, &'one T)> {
    pairs.into_iter().filter_map(|(mine, theirs)| mine.as_mut().zip(theirs.as_ref()))
}

/// Into how many parts the runs are divided.
pub(super) fn parts_of(runs: &Runs) -> usize {
    (runs.numbers().0 / PART_RUNS_MIN).clamp(1, PARTS_MAX)
}

/// Adds up what the runs imported, in `parts`.
///
/// # Errors
/// The store refused, one of the parts at least.
pub(super) fn pass<'keys>(
    store: &mut Store,
    runs: &Runs,
    keys: &'keys AllKeys<'keys>,
    wanted: &Wanted,
    parts: usize,
) -> Result<Pass<'keys>, StoreError> {
    let ranges = runs.ranges(parts);
    let (first, others) = ranges.split_first().expect("there is one range at least");
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for range in others {
            let mut store = store.again()?;
            threads.push(scope.spawn(move || part(&mut store, runs, range.clone(), keys, wanted)));
        }
        let mut all = part(store, runs, first.clone(), keys, wanted)?;
        for thread in threads {
            all.merge(&thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        [&mut all.users, &mut all.projects].into_iter().flatten().for_each(|people| people.count(runs));
        Ok(all)
    })
}

fn part<'keys>(
    store: &mut Store,
    runs: &Runs,
    range: Range<u32>,
    keys: &'keys AllKeys<'keys>,
    wanted: &Wanted,
) -> Result<Pass<'keys>, StoreError> {
    let mut pass = Pass::new(keys, wanted);
    store.imports(range, &|run| runs.get(run).is_some(), &mut |run, imports| {
        if let Some(run) = runs.get(run) {
            pass.add(&Counted::new(run), imports);
        }
    })?;
    Ok(pass)
}
