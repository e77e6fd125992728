//! The sections of a report.
//!
//! Not here: how they look (`report`, `html`), what others say of the paths (`tell`).

use std::collections::{BTreeMap, BTreeSet};

use super::charts::Chart;
use super::{Cell, Report, course};
use crate::profile::recorder::buckets::longest_in_doubling;
use crate::profile::recorder::event::{AnsweredBy, Operation, Outcome};
use crate::profile::recording::UNFINISHED;
use crate::profile::totals::{Sum, Totals, What, add, added_up, quantile};
use crate::text::{counted, plain, some_of};

/// Rows of a table of paths: 30.
const PATHS_SHOWN: usize = 30;

/// Steps of the course of a run in a table for people, and in a picture.
const COURSE_SHOWN: usize = 24;
const COURSE_DRAWN: usize = 240;

/// Rows of a table of nodes, tasks or programs: 50, those with the most waiting.
const ROWS_SHOWN: usize = 50;

/// One table with what is to be said about it.
#[derive(Debug)]
pub struct Section {
    /// In file names and JSON.
    pub name: &'static str,
    /// The heading.
    pub title: &'static str,
    /// What it shows.
    pub about: String,
    /// Names of the columns.
    pub columns: Vec<&'static str>,
    /// The rows; none: the text says it all.
    pub rows: Vec<Vec<Cell>>,
    /// The same in fewer rows, for people, where there are too many.
    pub brief: Vec<Vec<Cell>>,
    /// The same as pictures.
    pub charts: Vec<Chart>,
}

impl Section {
    /// Without rows as yet.
    pub fn table(name: &'static str, title: &'static str, about: &str, columns: &[&'static str]) -> Self {
        let (about, columns) = (about.to_owned(), columns.to_vec());
        Section { name, title, about, columns, rows: Vec::new(), brief: Vec::new(), charts: Vec::new() }
    }
}

impl Section {
    /// The rows for people.
    pub(super) fn shown_rows(&self) -> &[Vec<Cell>] {
        if self.brief.is_empty() { &self.rows } else { &self.brief }
    }
}

/// What `totals` say about runs.
pub fn report(totals: &Totals) -> Report {
    let mut sections =
        vec![summary(totals), operations(totals), sources(totals), latencies(totals), course(totals)];
    if !totals.paths.is_empty() {
        sections.extend(paths(totals));
    }
    sections.extend([nodes(totals), commands(totals), tasks(totals)]);
    if totals.paths.is_empty() {
        let about = "Paths were not recorded: `--profile full` shows what could be trimmed.";
        sections.push(Section::table("trim", "What to trim", about, &[]));
    }
    sections.retain(|section| !section.rows.is_empty() || !section.about.is_empty());
    Report { title: title(totals), remarks: remarks(totals), sections }
}

fn title(totals: &Totals) -> String {
    let command = totals.headers.first().map(|header| header.command.join(" ")).unwrap_or_default();
    match totals.runs() {
        0 | 1 => format!("What `{}` touched", plain(command)),
        n => format!("What `{}` touched, {n} runs together", plain(command)),
    }
}

fn remarks(totals: &Totals) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(header) = totals.headers.first() {
        let views: Vec<String> = header.all_views().map(plain).collect();
        let jobs: BTreeSet<String> = totals.headers.iter().map(|header| plain(&header.job)).collect();
        let jobs: Vec<String> = jobs.into_iter().collect();
        let word = if jobs.len() == 1 { "Job" } else { "Jobs" };
        remarks.push(format!("{word} {}; views: {}", some_of(&jobs), views.join(", ")));
        remarks.push(format!(
            "Recorded with `--profile {}`, written for `{}`",
            plain(header.mode_flag()),
            plain(&header.tag)
        ));
    }
    let missing = totals.missing_nodes();
    match missing.len() {
        0 => remarks.push(format!("Nodes: {}, none is missing", totals.nodes.len())),
        n => {
            let missing: Vec<u32> = missing.into_iter().map(|(_, node)| node).collect();
            let are = if n == 1 { "node is" } else { "nodes are" };
            remarks.push(format!("**{n} {are} missing**: {}", some_of(&missing)));
        }
    }
    remarks.extend(unread(totals));
    if totals.headers.iter().any(|header| header.is_waiting) {
        remarks.push(format!("**Not all is here**: {UNFINISHED}"));
    }
    let unfinished: Vec<u32> =
        totals.headers.iter().flat_map(|header| &header.unfinished_nodes).copied().collect();
    if !unfinished.is_empty() {
        let nodes = counted(unfinished.len() as u64, "node");
        remarks
            .push(format!("**Of {nodes} only a snapshot is here, not the end**: {}", some_of(&unfinished)));
    }
    if totals.headers.iter().all(|header| header.observed) {
        remarks.push(
            "The kernel's memory was off: every access of the tasks was seen, and the run was slower"
                .to_owned(),
        );
    } else {
        remarks.push(
            "The kernel answered what it knew by itself: counts are a lower bound (`--profile full` sees every access)"
                .to_owned(),
        );
    }
    let lost = added_up(totals.nodes.values().map(|node| node.lost));
    if lost > 0 {
        remarks.push(format!("**{lost} answers are not told by path**: the table of paths was full"));
    }
    remarks
}

/// Which recordings could not be read in full.
pub(in crate::profile) fn unread(totals: &Totals) -> Option<String> {
    let mut files: Vec<String> = totals.unread().map(|trouble| plain(&trouble.file)).collect();
    files.dedup();
    let recordings = counted(files.len() as u64, "recording");
    (!files.is_empty()).then(|| format!("**{recordings} could not be read in full**: {}", some_of(&files)))
}

fn summary(totals: &Totals) -> Section {
    let mut section = Section::table("summary", "In short", "", &["what", "how much"]);
    let answers = answers_by(totals);
    let all = added_up(answers.values().map(|sum| sum.calls));
    let waited = added_up(totals.times.values().map(|(_, waited)| *waited));
    let absent = totals.sum(|(_, outcome, _)| outcome == Outcome::Absent);
    let mut tell = |what: &str, cell| section.rows.push(vec![Cell::Text(what.to_owned()), cell]);
    tell("answers to tasks", Cell::Count(all));
    tell("time that tasks waited for them, added up", Cell::Time(waited));
    tell(
        "answers out of the node's own memory",
        Cell::Share(share(answers.get(&AnsweredBy::Cache).map_or(0, |sum| sum.calls), all)),
    );
    tell(
        "answers that a node asked storage for",
        Cell::Count(answers.get(&AnsweredBy::Storage).map_or(0, |sum| sum.calls)),
    );
    if !totals.paths.is_empty() {
        tell("different paths", Cell::Count(totals.paths.len() as u64));
    }
    tell("answers that there is no such name", Cell::Share(share(absent.calls, totals.sum(|_| true).calls)));
    tell("bytes of content", Cell::Bytes(totals.sum(|_| true).bytes));
    tell("nodes", Cell::Count(totals.nodes.len() as u64));
    section
}

/// Answers by who gave them: complete in every mode, since they come from the latencies.
fn answers_by(totals: &Totals) -> BTreeMap<AnsweredBy, Sum> {
    let mut all: BTreeMap<AnsweredBy, Sum> = BTreeMap::new();
    for ((_, by), buckets) in &totals.latencies {
        add(&mut all.entry(*by).or_default().calls, added_up(buckets.values().copied()));
    }
    all
}

fn operations(totals: &Totals) -> Section {
    let about = "How often tasks asked, and how long they waited for the answers. Durations are at most 12.5 % too high.";
    let columns = ["operation", "calls", "share", "median", "90 %", "99 %", "longest", "waited"];
    let mut section = Section::table("operations", "Operations", about, &columns);
    let all = added_up(totals.latencies.values().flat_map(BTreeMap::values).copied());
    for operation in Operation::ALL {
        let durations = totals.durations(|of, _| of == *operation);
        let calls = added_up(durations.values().copied());
        if calls == 0 {
            continue;
        }
        let mut row =
            vec![Cell::Text(operation.name().to_owned()), Cell::Count(calls), Cell::Share(share(calls, all))];
        row.extend([0.5, 0.9, 0.99, 1.0].map(|part| Cell::Time(quantile(&durations, part).unwrap_or(0))));
        row.push(Cell::Time(totals.waited(|of, _| of == *operation)));
        section.rows.push(row);
    }
    section.rows.sort_by_key(|row| std::cmp::Reverse(number(&row[7])));
    section.charts.extend(Chart::bars(&section.rows, 0, 1, "calls"));
    section.charts.extend(Chart::bars(&section.rows, 0, 7, "waited, added up"));
    section
}

fn sources(totals: &Totals) -> Section {
    let about = "Who knew: this node (`cache`), the node above (`parent`), the `root` of a tree, or `storage`, asked by this node. \
                 Errors other than an absence are storage's own.";
    let columns = ["source", "answers", "share", "median", "99 %", "waited"];
    let mut section = Section::table("sources", "Answers by source", about, &columns);
    let all = added_up(totals.latencies.values().flat_map(BTreeMap::values).copied());
    for by in AnsweredBy::ALL {
        let durations = totals.durations(|_, of| of == *by);
        let calls = added_up(durations.values().copied());
        if calls > 0 {
            section.rows.push(vec![
                Cell::Text(by.name().to_owned()),
                Cell::Count(calls),
                Cell::Share(share(calls, all)),
                Cell::Time(quantile(&durations, 0.5).unwrap_or(0)),
                Cell::Time(quantile(&durations, 0.99).unwrap_or(0)),
                Cell::Time(totals.waited(|_, of| of == *by)),
            ]);
        }
    }
    section.charts.extend(Chart::bars(&section.rows, 0, 1, "answers"));
    section.charts.extend(Chart::bars(&section.rows, 0, 5, "waited, added up"));
    section
}

fn latencies(totals: &Totals) -> Section {
    let about = "How many answers took how long, all operations together.";
    let mut section =
        Section::table("latencies", "Latencies", about, &["up to", "cache", "parent", "root", "storage"]);
    let all: Vec<BTreeMap<u64, u64>> =
        AnsweredBy::ALL.iter().map(|by| totals.durations(|_, of| of == *by)).collect();
    let mut doublings: BTreeMap<u64, [u64; 4]> = BTreeMap::new();
    for (by, durations) in all.iter().enumerate() {
        for (longest, count) in durations {
            // Up to, and not with it: a round number.
            let end = longest_in_doubling(*longest).saturating_add(1);
            add(&mut doublings.entry(end).or_default()[by], *count);
        }
    }
    for (longest, counts) in &doublings {
        let mut row = vec![Cell::Time(*longest)];
        row.extend(counts.map(Cell::Count));
        section.rows.push(row);
    }
    section.charts = Chart::by_source(&section.rows);
    section
}

fn course(totals: &Totals) -> Section {
    let about = "Answers since recording began on each node, all nodes together. `waiting` is how many tasks waited for an \
                 answer on average. The CSV has 10 ms at a time for the first 10 s, then 1 s, then 60 s.";
    let columns = ["from", "until", "cache", "parent", "root", "storage", "waiting"];
    let mut section = Section::table("course", "Course of the start", about, &columns);
    let row = |from: u64, until: u64, answers: &[u64], waited: u64| {
        let mut row = vec![Cell::Time(from * 1000), Cell::Time(until * 1000)];
        row.extend(answers.iter().map(|count| Cell::Count(*count)));
        let tasks = waited as f64 / ((until - from) * 1000) as f64;
        row.push(Cell::Average(tasks));
        row
    };
    for ((from, until), (answers, waited)) in &totals.times {
        section.rows.push(row(*from, *until, answers, *waited));
    }
    if section.rows.len() > COURSE_SHOWN {
        let steps = course::steps(totals, COURSE_SHOWN);
        let brief = steps.iter().map(|step| row(step.from_us, step.until_us, &step.answers, step.waited_ns));
        section.brief = brief.collect();
    }
    section.charts = Chart::course(&course::steps(totals, COURSE_DRAWN));
    section
}

/// Hottest paths by what was asked of them.
fn paths(totals: &Totals) -> Vec<Section> {
    let found =
        |of: Operation| move |(operation, outcome, _): What| operation == of && outcome == Outcome::Found;
    let metadata = |(operation, outcome, _): What| {
        use Operation::{Attributes, Lookup, Open, Readlink};
        outcome == Outcome::Found && matches!(operation, Lookup | Attributes | Readlink | Open)
    };
    vec![
        hottest(totals, ["hot-metadata", "Paths by names and attributes"], metadata, |sum| sum.calls),
        hottest(totals, ["hot-data", "Paths by content"], found(Operation::Read), |sum| sum.bytes),
        hottest(totals, ["hot-listings", "Directories by listing"], found(Operation::List), |sum| sum.calls),
        hottest(
            totals,
            ["hot-absences", "Names that are not there"],
            |(_, outcome, _)| outcome == Outcome::Absent,
            |sum| sum.calls,
        ),
        hottest(totals, ["hot-waiting", "Paths by waiting"], |_| true, |sum| sum.nanoseconds),
    ]
}

fn hottest(
    totals: &Totals,
    [name, title]: [&'static str; 2],
    wanted: impl Fn(What) -> bool + Copy,
    by: impl Fn(&Sum) -> u64,
) -> Section {
    let about = format!("The first {PATHS_SHOWN}, added up over all nodes.");
    let columns = ["path", "calls", "bytes", "waited", "from storage"];
    let mut section = Section::table(name, title, &about, &columns);
    let mut all: Vec<(&str, Sum, Sum)> = Vec::new();
    for (path, of_path) in &totals.paths {
        let sum = of_path.sum(wanted);
        if sum.calls > 0 {
            all.push((path, sum, of_path.sum(|what| wanted(what) && what.2 == AnsweredBy::Storage)));
        }
    }
    all.sort_by(|one, other| by(&other.1).cmp(&by(&one.1)).then_with(|| one.0.cmp(other.0)));
    for (path, sum, storage) in all.into_iter().take(PATHS_SHOWN) {
        section.rows.push(vec![
            Cell::Path(path.into()),
            Cell::Count(sum.calls),
            Cell::Bytes(sum.bytes),
            Cell::Time(sum.nanoseconds),
            Cell::Count(storage.calls),
        ]);
    }
    if section.rows.is_empty() {
        section.about.clear();
    }
    section
}

/// Every path with each kind of answer, over all nodes.
pub fn every_path(totals: &Totals) -> Section {
    let columns = ["path", "operation", "outcome", "source", "calls", "bytes", "nanoseconds", "nodes"];
    let mut section = Section::table("paths", "Paths", "", &columns);
    let mut paths: Vec<_> = totals.paths.iter().collect();
    paths.sort_by_key(|(path, _)| *path);
    for (path, of_path) in paths {
        for ((operation, outcome, source), sum, nodes) in of_path.parts() {
            let mut row = vec![Cell::Path(path.to_string())];
            let words = [operation.name(), outcome.name(), source.name()];
            row.extend(words.map(|word| Cell::Text(word.to_owned())));
            let Sum { calls, bytes, nanoseconds } = sum;
            row.extend([
                Cell::Count(calls),
                Cell::Bytes(bytes),
                Cell::Time(nanoseconds),
                Cell::Count(nodes.into()),
            ]);
            section.rows.push(row);
        }
    }
    section
}

fn nodes(totals: &Totals) -> Section {
    let about = spread(totals);
    let columns = ["run", "node", "host", "answers", "from storage", "bytes", "waited"];
    let mut section = Section::table("nodes", "Nodes", &about, &columns);
    section.charts = Chart::spread(totals);
    let mut all: Vec<_> = totals.nodes.iter().collect();
    all.sort_by_key(|(_, node)| std::cmp::Reverse(node.sum().nanoseconds));
    for ((run, rank), node) in all.into_iter().take(ROWS_SHOWN) {
        let sum = node.sum();
        section.rows.push(vec![
            Cell::Count(u64::from(*run)),
            Cell::Count(u64::from(*rank)),
            Cell::Text(node.host.clone()),
            Cell::Count(sum.calls),
            Cell::Count(node.by.get(&AnsweredBy::Storage).map_or(0, |sum| sum.calls)),
            Cell::Bytes(sum.bytes),
            Cell::Time(sum.nanoseconds),
        ]);
    }
    section
}

/// How unequal the nodes were.
fn spread(totals: &Totals) -> String {
    let mut answers: Vec<u64> = totals.nodes.values().map(|node| node.sum().calls).collect();
    answers.sort_unstable();
    let (Some(least), Some(most)) = (answers.first(), answers.last()) else { return String::new() };
    let median = answers[answers.len() / 2];
    let shown = |n: u64| Cell::Count(n).shown();
    format!(
        "Answers to a node's tasks: {} at least, {} in the middle, {} at most. The table has the {} nodes at most that waited longest.",
        shown(*least),
        shown(median),
        shown(*most),
        ROWS_SHOWN
    )
}

fn commands(totals: &Totals) -> Section {
    let about = "Who asked, by the name of the program. Without a name: the kernel, reading ahead, or processes beyond the first 1,023 of a node.";
    let mut section =
        Section::table("programs", "Programs", about, &["program", "processes", "answers", "waited"]);
    let mut all: Vec<_> = totals.commands.iter().collect();
    all.sort_by_key(|(_, (_, sum))| std::cmp::Reverse(sum.nanoseconds));
    for (command, (processes, sum)) in all.into_iter().take(ROWS_SHOWN) {
        let cells = [Cell::Count(*processes), Cell::Count(sum.calls), Cell::Time(sum.nanoseconds)];
        section.rows.push([Cell::Text(command.clone())].into_iter().chain(cells).collect());
    }
    section
}

fn tasks(totals: &Totals) -> Section {
    let mut section = Section::table("tasks", "Tasks", "", &["task", "answers", "waited"]);
    let mut all: Vec<_> = totals.tasks.iter().collect();
    all.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.nanoseconds));
    for (task, sum) in all.into_iter().take(ROWS_SHOWN) {
        section.rows.push(vec![Cell::Count(*task), Cell::Count(sum.calls), Cell::Time(sum.nanoseconds)]);
    }
    if !section.rows.is_empty() {
        section.about =
            format!("By the number that the launcher gave; the {ROWS_SHOWN} that waited longest.");
    }
    section
}

fn share(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}

fn number(cell: &Cell) -> u64 {
    match cell {
        Cell::Count(n) | Cell::Bytes(n) | Cell::Time(n) => *n,
        _ => 0,
    }
}
