//! Two runs, side by side: what one asked and the other did not, and what took longer.
//!
//! Not here: one run by itself (`report`).

use std::collections::BTreeSet;

use super::recorder::event::{AnsweredBy, Operation, Outcome};
use super::recording::UNFINISHED;
use super::report::sections::{self, Section};
use super::report::{Cell, Report};
use super::totals::{Sum, Totals};
use crate::text::{counted, plain};

/// Paths that are told: 30 of each kind.
const PATHS_SHOWN: usize = 30;

/// In what `after` differs from `before`.
pub fn report(before: &Totals, after: &Totals) -> Report {
    let about = "Negative: the second run asked less, or waited less.";
    let mut operations = table("operations", "Operations", about, "operation");
    for operation in Operation::ALL {
        let of = |totals: &Totals| totals.sum(|(of, ..)| of == *operation);
        let (one, other) = (of(before), of(after));
        if one.calls > 0 || other.calls > 0 {
            operations.rows.push(row(text(operation.name()), one, other));
        }
    }
    let all = |totals: &Totals| totals.sum(|_| true);
    operations.rows.push(row(text("all"), all(before), all(after)));
    let mut remarks = [("Before", before), ("After", after)].map(|(name, run)| whence(name, run)).to_vec();
    remarks.extend([before, after].into_iter().filter_map(sections::unread));
    if [before, after].iter().any(|run| run.headers.iter().any(|header| header.is_waiting)) {
        remarks.push(format!("**Not all is here**: {UNFINISHED}"));
    }
    if !before.is_complete() || !after.is_complete() {
        remarks.push(
            "At least one of the runs was not recorded with every access: counts are lower bounds".to_owned(),
        );
    }
    Report {
        title: "Two runs compared".to_owned(),
        remarks,
        sections: vec![summary(before, after), operations, sources(before, after), paths(before, after)],
    }
}

/// What is different in short.
fn summary(before: &Totals, after: &Totals) -> Section {
    let about = "Runs on other numbers of nodes are best compared node by node: what is added up grows with the nodes.";
    let mut section = Section::table("summary", "In short", about, &["what", "before", "after", "change"]);
    let mut tell = |what: &str, of: &dyn Fn(&Totals) -> u64, cell: fn(u64) -> Cell| {
        let (one, other) = (of(before), of(after));
        let change = match cell(0) {
            Cell::Time(_) => Cell::TimeChange(change(one, other)),
            _ => Cell::Change(change(one, other)),
        };
        section.rows.push(vec![text(what), cell(one), cell(other), change]);
    };
    tell("nodes", &|run| run.nodes.len() as u64, Cell::Count);
    tell("answers to tasks", &|run| run.sum(|_| true).calls, Cell::Count);
    tell("time that tasks waited for them, added up", &|run| run.sum(|_| true).nanoseconds, Cell::Time);
    tell(
        "answers that there is no such name",
        &|run| run.sum(|what| what.1 == Outcome::Absent).calls,
        Cell::Count,
    );
    tell("bytes of content", &|run| run.sum(|_| true).bytes, Cell::Count);
    tell("different paths", &|run| run.paths.len() as u64, Cell::Count);
    let only = |run: &Totals, other: &Totals| {
        run.paths.keys().filter(|path| !other.paths.contains_key(*path)).count() as u64
    };
    tell(
        "paths that the other run did not ask for",
        &|run| only(run, if std::ptr::eq(run, before) { after } else { before }),
        Cell::Count,
    );
    section
}

/// Who answered.
fn sources(before: &Totals, after: &Totals) -> Section {
    let about = "Who knew: this node, the node above, the root of a tree, or storage.";
    let mut section = table("sources", "Answers by source", about, "source");
    for by in AnsweredBy::ALL {
        let of = |totals: &Totals| totals.sum(|(.., of)| of == *by);
        let (one, other) = (of(before), of(after));
        if one.calls > 0 || other.calls > 0 {
            section.rows.push(row(text(by.name()), one, other));
        }
    }
    section
}

fn text(words: &str) -> Cell {
    Cell::Text(words.to_owned())
}

/// Which run this is.
fn whence(name: &str, run: &Totals) -> String {
    let header = run.headers.first();
    let (job, mode) = header.map_or(("", String::new()), |header| (header.job.as_str(), header.mode_flag()));
    let nodes = counted(run.nodes.len() as u64, "node");
    format!("{name}: job {}, {nodes}, recorded with `--profile {mode}`", plain(job))
}

/// Paths that differ most, in calls.
fn paths(before: &Totals, after: &Totals) -> Section {
    let about = format!("The {PATHS_SHOWN} whose calls differ most.");
    let mut section = table("paths", "Paths", &about, "path");
    let names: BTreeSet<&str> = before.paths.keys().chain(after.paths.keys()).map(|path| &**path).collect();
    let of = |totals: &Totals, path: &str| {
        totals.paths.get(path).map(|of_path| of_path.sum(|_| true)).unwrap_or_default()
    };
    let mut all: Vec<(&str, Sum, Sum)> =
        names.into_iter().map(|path| (path, of(before, path), of(after, path))).collect();
    all.retain(|(_, one, other)| one.calls != other.calls);
    all.sort_by_key(|(_, one, other)| std::cmp::Reverse(one.calls.abs_diff(other.calls)));
    section.rows = all
        .into_iter()
        .take(PATHS_SHOWN)
        .map(|(path, one, other)| row(Cell::Path(path.to_owned()), one, other))
        .collect();
    section
}

/// A table of [`row`]s; `first` is the name of the first column.
fn table(name: &'static str, title: &'static str, about: &str, first: &'static str) -> Section {
    let columns = [
        first,
        "calls before",
        "calls after",
        "change",
        "waited before",
        "waited after",
        "change of waiting",
    ];
    Section::table(name, title, about, &columns)
}

/// How much more the second is, as far as that goes.
fn change(before: u64, after: u64) -> i64 {
    let more = i64::try_from(after.abs_diff(before)).unwrap_or(i64::MAX);
    if after < before { -more } else { more }
}

fn row(name: Cell, before: Sum, after: Sum) -> Vec<Cell> {
    vec![
        name,
        Cell::Count(before.calls),
        Cell::Count(after.calls),
        Cell::Change(change(before.calls, after.calls)),
        Cell::Time(before.nanoseconds),
        Cell::Time(after.nanoseconds),
        Cell::TimeChange(change(before.nanoseconds, after.nanoseconds)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::recorder::event::Mode;
    use crate::profile::recording::{Header, PathLine, Writing};

    #[test]
    fn a_change_stops_at_the_largest_number() {
        let cases = [(3, 5, 2), (5, 3, -2), (0, u64::MAX, i64::MAX), (u64::MAX, 0, -i64::MAX)];
        for (before, after, want) in cases {
            assert_eq!(change(before, after), want);
        }
    }

    fn totals(calls: &[(&str, u64)]) -> Totals {
        let directory = tempfile::tempdir().unwrap();
        let mut writing = Writing::begin(&Header::now(Mode::Top(1), "pre-destroy", 1));
        for (path, calls) in calls {
            writing.add(&PathLine {
                node: 0,
                path: (*path).into(),
                path_bytes: None,
                operation: Operation::Lookup,
                outcome: Outcome::Found,
                source: AnsweredBy::Cache,
                calls: *calls,
                bytes: 0,
                nanoseconds: 10,
                error: 0,
            });
        }
        std::fs::write(directory.path().join("recording.jsonl"), writing.end()).unwrap();
        Totals::read(&[directory.path()]).unwrap()
    }

    #[test]
    fn what_is_new_gone_or_equal_is_told_apart() {
        let report = report(&totals(&[("/same", 3), ("/gone", 5)]), &totals(&[("/same", 3), ("/new", 9)]));
        let rows: Vec<_> =
            report.sections[3].rows.iter().map(|row| (row[0].plain(), row[3].clone())).collect();
        assert_eq!(rows, [("/new".to_owned(), Cell::Change(9)), ("/gone".to_owned(), Cell::Change(-5))]);
        assert_eq!(report.sections[1].rows[1][3], Cell::Change(4));
        assert_eq!(
            report.sections[2].rows[0][..4],
            [text("cache"), Cell::Count(8), Cell::Count(12), Cell::Change(4)]
        );
        let told = |at: usize| report.sections[0].rows[at][1..].to_vec();
        assert_eq!(told(1), [Cell::Count(8), Cell::Count(12), Cell::Change(4)]);
        assert_eq!(told(5), [Cell::Count(2), Cell::Count(2), Cell::Change(0)]);
        assert_eq!(told(6), [Cell::Count(1), Cell::Count(1), Cell::Change(0)], "one has gone, one is new");
        assert_eq!(report.remarks[0], "Before: job , 1 node, recorded with `--profile top=1`");
        assert_eq!(report.remarks.len(), 3, "not every access was seen");
    }
}
