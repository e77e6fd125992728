//! From sums to tables, the most important row first.
//!
//! Where each user has figures of their own there are hundreds of thousands of rows, of which few are printed: those
//! are found before the others are put in order, and they alone get cells.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::pairs::Pairs;
use super::runs::{Runs, node_hours, weight, whose};
use super::tally::{Locals, People, Person, Row, Sums, Tally};
use super::{DAY_SECONDS, Per, Question, Wanted};
use crate::track::store::{RunRow, Store, StoreError};
use crate::track::table::{Cell, Table};

/// The cells of a package's row after its name, given what time it is.
type CellsOf = fn(&Sums, f64) -> Vec<Cell>;

pub(super) fn packages(runs: &Runs, tally: &Tally<'_>, question: Question, wanted: &Wanted) -> Table {
    let mut rows: Vec<Row<'_>> = tally.rows().collect();
    if question == Question::Unseen {
        rows.retain(|row| wanted.now - row.sums.last_seen >= wanted.days * DAY_SECONDS);
    }
    let rank = |sums: &Sums| match question {
        Question::Slowest => sums.own_seconds,
        Question::Unseen => wanted.now - sums.last_seen,
        _ => sums.runs,
    };
    let (columns, cells): (&[_], CellsOf) = match question {
        Question::Slowest => {
            (&["own_seconds", "total_seconds", "own_seconds_each", "processes"], |sums, _| {
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
    let called = Called::new(runs, tally);
    let rows = best(rows, wanted.rows_max, |a, b| {
        rank(b.sums).total_cmp(&rank(a.sums)).then(a.key.cmp(&b.key)).then_with(|| called.compare(a, b))
    });
    let row = |row: Row<'_>| {
        let names = row.key[..2].iter().map(|name| Cell::text(*name));
        called.cell(&row).into_iter().chain(names).chain(cells(row.sums, wanted.now)).collect()
    };
    let columns = [column(tally.per()), &["package", "program"], columns].concat();
    Table { columns, rows: rows.into_iter().map(row).collect() }
}

pub(super) fn versions(runs: &Runs, tally: &Tally<'_>, wanted: &Wanted) -> Table {
    let mut in_all: HashMap<&[&str], f64> = HashMap::new();
    let rows: Vec<Row<'_>> = tally.rows().collect();
    for row in &rows {
        *in_all.entry(&row.key[..2]).or_default() += row.sums.runs;
    }
    // By the number of the key: rows are compared far more often than there are keys.
    let mut ranks = vec![0.0; rows.iter().map(|row| row.number as usize + 1).max().unwrap_or(0)];
    for row in &rows {
        ranks[row.number as usize] = in_all[&row.key[..2]];
    }
    drop(in_all);
    let called = Called::new(runs, tally);
    let rows = best(rows, wanted.rows_max, |a, b| {
        let package = ranks[b.number as usize].total_cmp(&ranks[a.number as usize]);
        package
            .then_with(|| a.key[..2].cmp(&b.key[..2]))
            .then(b.sums.runs.total_cmp(&a.sums.runs))
            .then_with(|| a.key.cmp(&b.key).then_with(|| called.compare(a, b)))
    });
    let row = |row: Row<'_>| {
        let [name, program, version] = row.key;
        let names = [name, program, if version.is_empty() { "-" } else { version }].map(Cell::text);
        let counts = [row.sums.runs, f64::from(row.sums.users)].map(Cell::Count);
        called.cell(&row).into_iter().chain(names).chain(counts).collect()
    };
    let columns = [column(tally.per()), &["package", "program", "version", "runs", "users"]].concat();
    Table { columns, rows: rows.into_iter().map(row).collect() }
}

pub(super) fn libraries(runs: &Runs, tally: &Tally<'_>, wanted: &Wanted) -> Table {
    let called = Called::new(runs, tally);
    let rows = best(tally.rows().collect(), wanted.rows_max, |a, b| {
        b.sums.runs.total_cmp(&a.sums.runs).then(a.key.cmp(&b.key)).then_with(|| called.compare(a, b))
    });
    let row = |row: Row<'_>| {
        let [path, package, _] = row.key;
        let names = [path, if package.is_empty() { "-" } else { package }].map(Cell::text);
        let figures = [
            Cell::Count(row.sums.runs),
            Cell::Count(row.sums.users.into()),
            Cell::Quantity(row.sums.node_hours),
        ];
        called.cell(&row).into_iter().chain(names).chain(figures).collect()
    };
    let columns = [column(tally.per()), &["library", "package", "runs", "users", "node_hours"]].concat();
    Table { columns, rows: rows.into_iter().map(row).collect() }
}

/// Runs of one kind of Python.
#[derive(Default)]
struct Used {
    runs: f64,
    node_hours: f64,
    users: u32,
}

pub(super) fn interpreters(
    store: &mut Store,
    runs: &Runs,
    locals: Option<&Locals>,
    wanted: &Wanted,
) -> Result<Table, StoreError> {
    let per = wanted.per;
    let mut kinds = vec![("~/.local".to_owned(), "-".to_owned())];
    let of_interpreter: Vec<usize> = store
        .interpreters()?
        .into_iter()
        .map(|it| {
            let kind = (it.kind, it.version);
            kinds.iter().position(|known| *known == kind).unwrap_or_else(|| {
                kinds.push(kind);
                kinds.len() - 1
            })
        })
        .collect();
    let (mut all, mut runs_met, mut users_met) =
        (HashMap::<(Option<u32>, usize), Used>::new(), Pairs::default(), HashMap::new());
    let mut count = |kind: usize, run: &RunRow| {
        if runs_met.is_new(kind as u32, run.id) {
            let who = per.and_then(|per| whose(run, per));
            let used = all.entry((who, kind)).or_default();
            used.runs += weight(run);
            used.node_hours += node_hours(run);
            used.users += u32::from(users_met.insert((who, kind, run.user), ()).is_none());
        }
    };
    store.processes(&mut |run, interpreter| {
        if let (Some(run), Some(&kind)) = (runs.get(run), of_interpreter.get(interpreter as usize)) {
            count(kind, run);
        }
    })?;
    locals.iter().flat_map(|it| &it.runs).filter_map(|&run| runs.get(run)).for_each(|run| count(0, run));
    let called = |who| per.map(|per| runs.name(who, per));
    let rows = all.into_iter().map(|((who, kind), used)| (called(who), &kinds[kind], used)).collect();
    let rows = best(rows, wanted.rows_max, |a: &(_, _, Used), b| {
        b.2.runs.total_cmp(&a.2.runs).then(a.1.cmp(b.1)).then_with(|| a.0.cmp(&b.0))
    });
    let row = |(who, (kind, version), used): (Option<String>, &(String, String), Used)| {
        let names = [kind, version].map(Cell::text);
        let figures =
            [Cell::Count(used.runs), Cell::Count(used.users.into()), Cell::Quantity(used.node_hours)];
        who.map(Cell::Text).into_iter().chain(names).chain(figures).collect()
    };
    let columns = [column(per), &["python", "version", "runs", "users", "node_hours"]].concat();
    Ok(Table { columns, rows: rows.into_iter().map(row).collect() })
}

pub(super) fn people(runs: &Runs, people: &People<'_>, wanted: &Wanted) -> Table {
    let rows = people.rows().map(|(who, person)| (runs.name(who, people.per), person)).collect();
    let rows = best(rows, wanted.rows_max, |(who, a): &(String, &Person), (other, b)| {
        b.runs.total_cmp(&a.runs).then_with(|| who.cmp(other))
    });
    let row = |(name, person): (String, &Person)| {
        vec![
            Cell::Text(name),
            Cell::Count(person.runs),
            Cell::Count(person.packages.into()),
            Cell::Quantity(person.node_hours),
            Cell::Quantity(person.seconds),
        ]
    };
    let columns = [column(Some(people.per)), &["runs", "packages", "node_hours", "import_seconds"]].concat();
    Table { columns, rows: rows.into_iter().map(row).collect() }
}

/// The first `rows_max` rows in an order that tells all of them apart.
pub(super) fn best<T>(mut rows: Vec<T>, rows_max: usize, order: impl Fn(&T, &T) -> Ordering) -> Vec<T> {
    if rows_max < rows.len() {
        rows.select_nth_unstable_by(rows_max, &order);
        rows.truncate(rows_max);
    }
    rows.sort_by(order);
    rows
}

/// What those are called whose figures stand apart.
struct Called {
    per: Option<Per>,
    names: HashMap<Option<u32>, String>,
}

impl Called {
    fn new(runs: &Runs, tally: &Tally<'_>) -> Self {
        let (per, mut names) = (tally.per(), HashMap::new());
        if let Some(per) = per {
            for row in tally.rows() {
                names.entry(row.who).or_insert_with(|| runs.name(row.who, per));
            }
        }
        Called { per, names }
    }

    fn compare(&self, a: &Row<'_>, b: &Row<'_>) -> Ordering {
        self.names.get(&a.who).cmp(&self.names.get(&b.who))
    }

    fn cell(&self, row: &Row<'_>) -> Option<Cell> {
        self.per.map(|_| Cell::text(self.names.get(&row.who).map_or("-", String::as_str)))
    }
}

/// The column for them.
fn column(per: Option<Per>) -> &'static [&'static str] {
    match per {
        None => &[],
        Some(Per::User) => &["user"],
        Some(Per::Project) => &["project"],
    }
}
