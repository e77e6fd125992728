//! What a site asks of its records, answered in one pass over the store, however many questions there are.
//!
//! Every figure is weighted by one over the probability with which its run was kept, so sampled and whole records can
//! be compared. Numbers of users and packages cannot be weighted: they are what was seen.
//!
//! In reading order: `runs`, which are asked about and what they are called; `pass`, by whom what is added up; `tally`,
//! what that is, with `seen`; `answers` and `installed`, the tables; `shown`, the page.
//!
//! Not here: how a table is written (`table`), how records are remembered (`store`).

mod answers;
pub mod installed;
mod pairs;
mod pass;
mod runs;
mod shown;
mod tally;
#[cfg(test)]
mod tests;

use self::answers::{interpreters, libraries, packages, people, versions};
use self::installed::{Installation, installed};
use self::pass::{AllKeys, parts_of, pass};
use self::runs::Runs;
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
    /// Packages that are installed and not imported for a while; needs `--installed-in`
    Installed,
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
    /// For [`Question::Unseen`] and [`Question::Installed`]: for how many days.
    pub days: f64,
    /// For [`Question::Installed`]: what is installed where.
    pub installations: Vec<Installation>,
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
    let parts = parts_of(&runs);
    answered(store, wanted, runs, parts)
}

/// Answers all questions about `runs`, which are added up in `parts`.
fn answered(store: &mut Store, wanted: &Wanted, runs: Runs, parts: usize) -> Result<Report, StoreError> {
    let modules = store.modules()?;
    let keys = AllKeys::new(&modules, wanted);
    let sums = pass(store, &runs, &keys, wanted, parts)?;
    let mut answers = Vec::new();
    for &question in &wanted.questions {
        let table = match question {
            Question::Interpreters => Some(interpreters(store, &runs, sums.locals.as_ref(), wanted)?),
            Question::Versions => sums.versions.as_ref().map(|tally| versions(&runs, tally, wanted)),
            Question::Installed => sums.places.as_ref().map(|tally| installed(tally, wanted)),
            Question::Libraries => sums.libraries.as_ref().map(|tally| libraries(&runs, tally, wanted)),
            Question::Users => sums.users.as_ref().map(|users| people(&runs, users, wanted)),
            Question::Projects => sums.projects.as_ref().map(|projects| people(&runs, projects, wanted)),
            _ => sums.names.as_ref().map(|tally| packages(&runs, tally, question, wanted)),
        };
        answers.extend(table.map(|table| (question, table)));
    }
    Ok(Report { runs: runs.numbers(), answers, ahead: runs.ahead, only: runs.only })
}
