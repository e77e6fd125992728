//! What a site asks of its records, answered in one pass over the store, however many questions there are.
//!
//! Every figure is weighted by one over the probability with which its run was kept, so sampled and whole records can
//! be compared. Numbers of users and packages cannot be weighted: they are what was seen.
//!
//! In reading order: `runs`, which are asked about and what they are called; `tally`, what is added up; `answers`, the
//! tables; `shown`, the page.
//!
//! Not here: how a table is written (`table`), how records are remembered (`store`).

mod answers;
mod runs;
mod shown;
mod tally;

use self::answers::{interpreters, libraries, packages, people, versions};
use self::runs::Runs;
use self::tally::{Locals, People, Tally};
use super::store::{Store, StoreError};
use super::table::Table;

/// Seconds of a day.
pub const DAY_SECONDS: f64 = 86_400.0;

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
    /// Shared objects that processes had mapped
    Libraries,
    /// Users
    Users,
    /// Projects
    Projects,
}

/// Whose figures stand apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Per {
    /// Those of each user
    User,
    /// Those of each project
    Project,
}

/// What is to be reported.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The questions.
    pub questions: Vec<Question>,
    /// Each row once for each user or project.
    pub per: Option<Per>,
    /// Only runs that began at this time or later, in seconds since 1970.
    pub since: Option<f64>,
    /// Only runs of this user.
    pub user: Option<String>,
    /// Only runs of this project.
    pub project: Option<String>,
    /// Users and projects by pseudonyms.
    pub anonymous: bool,
    /// For [`Question::Unseen`]: for how many days.
    pub days: f64,
    /// Rows of each table at most.
    pub rows_max: usize,
    /// What time it is.
    pub now: f64,
}

/// The answers.
#[derive(Debug)]
pub struct Report {
    /// Runs that were asked about, as they were kept and as they stand for.
    pub runs: (usize, f64),
    /// Questions with their tables, in the order in which they were asked.
    pub answers: Vec<(Question, Table)>,
    /// Whose runs alone, by the name that may be told.
    pub only: Vec<String>,
    /// Runs of the store that began later than now, by this machine's clock.
    pub ahead: u64,
}

/// Answers all questions.
///
/// # Errors
/// The store refused.
/// # Cost
/// One pass over the imports of the runs in question.
pub fn report(store: &mut Store, wanted: &Wanted) -> Result<Report, StoreError> {
    let runs = Runs::read(store, wanted)?;
    let modules = store.modules()?;
    let asks = |questions: &[Question]| wanted.questions.iter().any(|asked| questions.contains(asked));
    let by_name = [Question::Packages, Question::Slowest, Question::Asked, Question::Unseen];
    let mut names = asks(&by_name).then(|| Tally::by_name(&modules, wanted.per));
    let mut of_versions = asks(&[Question::Versions]).then(|| Tally::by_version(&modules, wanted.per));
    let mut mapped = asks(&[Question::Libraries]).then(|| Tally::by_library(&modules, wanted.per));
    let mut locals = asks(&[Question::Interpreters]).then(|| Locals::new(&modules));
    let mut users = asks(&[Question::Users]).then(|| People::new(&modules, &runs, Per::User));
    let mut projects = asks(&[Question::Projects]).then(|| People::new(&modules, &runs, Per::Project));
    store.imports(runs.first(), &mut |import| {
        let Some(run) = runs.get(import.run) else { return };
        [&mut names, &mut of_versions, &mut mapped]
            .into_iter()
            .flatten()
            .for_each(|tally| tally.add(run, &import));
        locals.iter_mut().for_each(|locals| locals.add(run, &import));
        [&mut users, &mut projects].into_iter().flatten().for_each(|people| people.add(run, &import));
    })?;
    let mut answers = Vec::new();
    for &question in &wanted.questions {
        let table = match question {
            Question::Interpreters => Some(interpreters(store, &runs, locals.take(), wanted.per)?),
            Question::Versions => of_versions.as_ref().map(|tally| versions(&runs, tally)),
            Question::Libraries => mapped.as_ref().map(|tally| libraries(&runs, tally)),
            Question::Users => users.as_ref().map(|people_| people(&runs, people_, "user")),
            Question::Projects => projects.as_ref().map(|people_| people(&runs, people_, "project")),
            _ => names.as_ref().map(|tally| packages(&runs, tally, question, wanted)),
        };
        answers.extend(table.map(|mut table| {
            table.rows.truncate(wanted.rows_max);
            (question, table)
        }));
    }
    Ok(Report { runs: runs.numbers(), answers, ahead: runs.ahead, only: runs.only })
}
