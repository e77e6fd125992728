//! What would make the start cheaper, as far as the recording shows it.
//!
//! Not here: the other sections (`sections`).

use std::collections::BTreeMap;

use super::Cell;
use super::sections::Section;
use crate::profile::recorder::event::{Operation, Outcome};
use crate::profile::totals::Totals;

/// Directories that are named: 10.
const DIRECTORIES_SHOWN: usize = 10;

/// Absences in one directory that are worth a word: 20.
const ABSENCES_MIN: u64 = 20;

/// The section.
pub(super) fn section(totals: &Totals) -> Section {
    let about = "Each row is a cost that the environment can be freed of.";
    let mut section = Section::table("trim", "What to trim", about, &["what", "calls", "waited", "remedy"]);
    if totals.paths.is_empty() {
        section.about = "Paths were not recorded: `--profile full` shows what could be trimmed.".to_owned();
        return section;
    }
    add_absences(totals, &mut section);
    add_bytecode(totals, &mut section);
    add_hwcaps(totals, &mut section);
    if section.rows.is_empty() {
        section.about = "Nothing stands out.".to_owned();
    }
    section
}

/// Directories that were searched in vain.
fn add_absences(totals: &Totals, section: &mut Section) {
    let mut vain: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (path, of_path) in &totals.paths {
        let sum = of_path.sum(|(_, outcome, _)| outcome == Outcome::Absent);
        let directory = path.rsplit_once('/').map_or("/", |(directory, _)| directory);
        let (calls, nanoseconds) = vain.entry(directory).or_default();
        *calls += sum.calls;
        *nanoseconds += sum.nanoseconds;
    }
    let mut vain: Vec<_> = vain.into_iter().filter(|(_, (calls, _))| *calls >= ABSENCES_MIN).collect();
    vain.sort_by_key(|(_, (calls, _))| std::cmp::Reverse(*calls));
    for (directory, (calls, nanoseconds)) in vain.into_iter().take(DIRECTORIES_SHOWN) {
        section.rows.push(row(
            format!("names looked for in vain in {directory}"),
            (calls, nanoseconds),
            "put it later on the search path (PYTHONPATH, LD_LIBRARY_PATH, RPATH), or take it off",
        ));
    }
}

/// Source that was read although bytecode would have done: Python reads it only to compile it.
fn add_bytecode(totals: &Totals, section: &mut Section) {
    let mut source = (0, 0);
    for (_, of_path) in totals.paths.iter().filter(|(path, _)| path.ends_with(".py")) {
        let read = of_path.sum(|(operation, ..)| operation == Operation::Read);
        source = (source.0 + read.calls, source.1 + read.nanoseconds);
    }
    if source.0 >= ABSENCES_MIN {
        let remedy = "compile it once: python3 -m compileall -q DIRECTORY";
        section.rows.push(row("source of Python modules read".to_owned(), source, remedy));
    }
}

fn add_hwcaps(totals: &Totals, section: &mut Section) {
    let mut probes = (0, 0);
    for (_, of_path) in totals.paths.iter().filter(|(path, _)| path.contains("glibc-hwcaps")) {
        let sum = of_path.sum(|(_, outcome, _)| outcome == Outcome::Absent);
        probes = (probes.0 + sum.calls, probes.1 + sum.nanoseconds);
    }
    if probes.0 >= ABSENCES_MIN {
        let remedy = "the loader looks there for each directory of LD_LIBRARY_PATH and RPATH: have fewer";
        section.rows.push(row("glibc-hwcaps directories looked for in vain".to_owned(), probes, remedy));
    }
}

fn row(what: String, (calls, nanoseconds): (u64, u64), remedy: &str) -> Vec<Cell> {
    vec![Cell::Text(what), Cell::Count(calls), Cell::Time(nanoseconds), Cell::Text(remedy.to_owned())]
}
