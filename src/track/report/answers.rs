//! From sums to tables, the most important row first.

use std::collections::HashMap;

use super::runs::{Met, Runs, node_hours, weight, whose};
use super::tally::{Locals, People, Row, Sums, Tally};
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
    let mut rows: Vec<_> = rows.into_iter().map(|row| (called(runs, row.who, tally.per()), row)).collect();
    rows.sort_by(|(who, a), (other, b)| {
        rank(b.sums).total_cmp(&rank(a.sums)).then(a.key.cmp(&b.key)).then(who.cmp(other))
    });
    let row = |(who, row): (Option<String>, Row<'_>)| {
        let names = row.key[..2].iter().map(|name| Cell::text(*name));
        who.map(Cell::Text).into_iter().chain(names).chain(cells(row.sums, wanted.now)).collect()
    };
    let columns = [column(tally.per()), &["package", "program"], columns].concat();
    Table { columns, rows: rows.into_iter().map(row).collect() }
}

pub(super) fn versions(runs: &Runs, tally: &Tally<'_>) -> Table {
    let mut in_all: HashMap<[&str; 2], f64> = HashMap::new();
    for Row { key: [name, program, _], sums, .. } in tally.rows() {
        *in_all.entry([name, program]).or_default() += sums.runs;
    }
    let rank = |[name, program, _]: [&str; 3]| in_all.get(&[name, program]).copied().unwrap_or(0.0);
    let mut rows: Vec<_> = tally.rows().map(|row| (called(runs, row.who, tally.per()), row)).collect();
    rows.sort_by(|(who, a), (other, b)| {
        let package = rank(b.key).total_cmp(&rank(a.key)).then(a.key[..2].cmp(&b.key[..2]));
        package.then(b.sums.runs.total_cmp(&a.sums.runs)).then(a.key.cmp(&b.key)).then(who.cmp(other))
    });
    let row = |(who, row): (Option<String>, Row<'_>)| {
        let [name, program, version] = row.key;
        let names = [name, program, if version.is_empty() { "-" } else { version }].map(Cell::text);
        let counts = [row.sums.runs, f64::from(row.sums.users)].map(Cell::Count);
        who.map(Cell::Text).into_iter().chain(names).chain(counts).collect()
    };
    let columns = [column(tally.per()), &["package", "program", "version", "runs", "users"]].concat();
    Table { columns, rows: rows.into_iter().map(row).collect() }
}

pub(super) fn libraries(runs: &Runs, tally: &Tally<'_>) -> Table {
    let mut rows: Vec<_> = tally.rows().map(|row| (called(runs, row.who, tally.per()), row)).collect();
    rows.sort_by(|(who, a), (other, b)| {
        b.sums.runs.total_cmp(&a.sums.runs).then(a.key.cmp(&b.key)).then(who.cmp(other))
    });
    let row = |(who, row): (Option<String>, Row<'_>)| {
        let [path, package, _] = row.key;
        let names = [path, if package.is_empty() { "-" } else { package }].map(Cell::text);
        let figures = [
            Cell::Count(row.sums.runs),
            Cell::Count(row.sums.users.into()),
            Cell::Quantity(row.sums.node_hours),
        ];
        who.map(Cell::Text).into_iter().chain(names).chain(figures).collect()
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
    locals: Option<Locals>,
    per: Option<Per>,
) -> Result<Table, StoreError> {
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
        (HashMap::<(Option<u32>, usize), Used>::new(), Met::default(), HashMap::new());
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
    let mut rows: Vec<_> =
        all.into_iter().map(|((who, kind), used)| (called(runs, who, per), &kinds[kind], used)).collect();
    rows.sort_by(|a, b| b.2.runs.total_cmp(&a.2.runs).then(a.1.cmp(b.1)).then(a.0.cmp(&b.0)));
    let row = |(who, (kind, version), used): (Option<String>, &(String, String), Used)| {
        let names = [kind, version].map(Cell::text);
        let figures =
            [Cell::Count(used.runs), Cell::Count(used.users.into()), Cell::Quantity(used.node_hours)];
        who.map(Cell::Text).into_iter().chain(names).chain(figures).collect()
    };
    let columns = [column(per), &["python", "version", "runs", "users", "node_hours"]].concat();
    Ok(Table { columns, rows: rows.into_iter().map(row).collect() })
}

pub(super) fn people(runs: &Runs, people: &People, who: &'static str) -> Table {
    let mut rows: Vec<_> =
        people.all.iter().map(|(who, person)| (runs.name(*who, people.per), person)).collect();
    rows.sort_by(|(who, a), (other, b)| b.runs.total_cmp(&a.runs).then(who.cmp(other)));
    let row = |(name, person): (String, &super::tally::Person)| {
        vec![
            Cell::Text(name),
            Cell::Count(person.runs),
            Cell::Count(person.packages.len() as f64),
            Cell::Quantity(person.node_hours),
            Cell::Quantity(person.seconds),
        ]
    };
    let columns = vec![who, "runs", "packages", "node_hours", "import_seconds"];
    Table { columns, rows: rows.into_iter().map(row).collect() }
}

/// What somebody is called, where figures stand apart.
fn called(runs: &Runs, who: Option<u32>, per: Option<Per>) -> Option<String> {
    per.map(|per| runs.name(who, per))
}

/// The column for it.
fn column(per: Option<Per>) -> &'static [&'static str] {
    match per {
        None => &[],
        Some(Per::User) => &["user"],
        Some(Per::Project) => &["project"],
    }
}
