//! A recording in the layout of Copper's profile files, for scripts that read those.
//!
//! Copper counts other things: each request is a hit, a miss or a negative result of one of four tables. What stands for
//! what is told in the `README.md` that is written beside. Counts are those of the recording; nothing is made up.
//!
//! Not here: our own report (`report`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::recorder::event::{AnsweredBy, Operation, Outcome};
use super::totals::{OfPath, Sum, Totals, What};
use crate::text::csv::field;

/// Rows of each category in the table of paths: 100.
const TOP_PATHS: usize = 100;

/// What stands beside the files.
const README: &str = "\
These files have Copper's layout; the figures are Spinney's.

- `getattr` is `lookup` and `attributes` together. A hit was found, by whoever; a negative result is an absence or an error.
- `read` and `readdir`: a hit came from the node's own cache; a miss from another node or from storage; an error is negative.
- `open` is a hit. Whole files over a limit do not count as negative results.
- Absences are proven by listings, so the rows of the ENOENT TTL are 0 but for serves, which are absences told by a cache.
- Latency is from reading a request to its answer. Host names have `_` for `-`, which Copper's scripts cannot read.
";

/// The tables that Copper keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Category {
    Metadata,
    Data,
    Tree,
}

impl Category {
    const ALL: [Category; 3] = [Category::Metadata, Category::Data, Category::Tree];

    fn of(operation: Operation) -> Self {
        match operation {
            Operation::Read => Category::Data,
            Operation::List => Category::Tree,
            _ => Category::Metadata,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Category::Metadata => "metadata",
            Category::Data => "data",
            Category::Tree => "tree",
        }
    }

    /// Suffix of the file, and its first line, misspelt as Copper has it.
    fn table(self) -> (&'static str, &'static str) {
        match self {
            Category::Metadata => ("md_table_cache_event.output", "Metdata Cache Events {"),
            Category::Data => ("data_table_cache_event.output", "Data Cache Events {"),
            Category::Tree => ("tree_table_cache_event.output", "Tree Cache Events {"),
        }
    }
}

/// How Copper counts an answer.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    sum: Sum,
    hits: u64,
    misses: u64,
    negative: u64,
    /// Absences that a cache told.
    serves: u64,
}

impl Counts {
    fn add(&mut self, (operation, outcome, by): What, sum: Sum) {
        self.sum += sum;
        let from_cache = by == AnsweredBy::Cache;
        let counter = match outcome {
            Outcome::Absent | Outcome::Error => &mut self.negative,
            Outcome::Found if Category::of(operation) == Category::Metadata || from_cache => &mut self.hits,
            Outcome::Found => &mut self.misses,
        };
        *counter += sum.calls;
        if outcome == Outcome::Absent && from_cache {
            self.serves += sum.calls;
        }
    }

    fn of<'a>(parts: impl Iterator<Item = (What, Sum)> + 'a) -> Self {
        let mut counts = Counts::default();
        parts.for_each(|(what, sum)| counts.add(what, sum));
        counts
    }
}

/// Writes the recordings of `directory`, the final one and those beneath `snapshots`, to `out`.
///
/// # Errors
/// A recording cannot be used, a file cannot be written.
pub fn export(directory: &Path, out: &Path) -> Result<()> {
    write(&out.join("README.md"), README)?;
    fs::create_dir_all(out.join("logs"))?;
    export_tag(directory, out, "final")?;
    for entry in fs::read_dir(directory.join("snapshots")).into_iter().flatten().flatten() {
        let tag = plain(&entry.file_name().to_string_lossy());
        export_tag(&entry.path(), out, if tag == "on-demand" { "ioctl-snapshot" } else { &tag })?;
    }
    Ok(())
}

/// Only characters that Copper has in tags.
fn plain(tag: &str) -> String {
    tag.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

fn export_tag(directory: &Path, out: &Path, tag: &str) -> Result<()> {
    let all = Totals::read(&[directory])?;
    for (node, totals) in Totals::read_by_node(directory)? {
        export_node(&totals, out, tag, node)?;
    }
    if tag == "final" {
        export_cluster(&all, directory, out)?;
    }
    Ok(())
}

fn export_node(totals: &Totals, out: &Path, tag: &str, node: u32) -> Result<()> {
    let known = totals.nodes.get(&(0, node)).cloned().unwrap_or_default();
    let host = plain(&known.host).replace('-', "_");
    let tagged = if tag == "final" { String::new() } else { format!("-{tag}") };
    // Nodes of one machine have one name and, if processes ended in between, perhaps one number.
    let name = format!("{host}-{}{tagged}", known.process);
    let profiling = out.join("profiling").join(tag);
    write(&profiling.join(format!("{name}-profiling_operations.csv")), &operations(totals))?;
    write(&profiling.join(format!("{name}-profiling_aggregate.csv")), &aggregate(totals))?;
    write(&profiling.join(format!("{name}-profiling_summary.md")), &summary(totals, tag))?;
    let mode = totals.headers.first().map_or("", |header| header.mode.as_str());
    if mode == "top" {
        write(&profiling.join(format!("{name}-profiling_top_paths.csv")), &top_paths(totals))?;
    }
    if mode == "full" {
        let tables = out.join("tables").join(tag);
        for category in Category::ALL {
            let (suffix, _) = category.table();
            write(&tables.join(format!("{name}-{suffix}")), &event_table(totals, category))?;
        }
        write(&tables.join(format!("{name}-md_ttl_cache_event.output")), &ttl_table(totals))?;
    }
    Ok(())
}

/// Operations as Copper names them, in its order, with what they are made of.
const OPERATIONS: [(&str, &[Operation]); 5] = [
    ("getattr", &[Operation::Lookup, Operation::Attributes]),
    ("readlink", &[Operation::Readlink]),
    ("open", &[Operation::Open]),
    ("read", &[Operation::Read]),
    ("readdir", &[Operation::List]),
];

fn counted(totals: &Totals) -> impl Iterator<Item = (&'static str, Counts)> + '_ {
    OPERATIONS.into_iter().filter_map(|(name, of)| {
        let parts = totals.answers.iter().filter(|((operation, ..), _)| of.contains(operation));
        let counts = Counts::of(parts.map(|(what, sum)| (*what, *sum)));
        (counts.sum.calls > 0).then_some((name, counts))
    })
}

fn operations(totals: &Totals) -> String {
    let mut text =
        "operation,total_calls,cache_hits,cache_misses,negative_results,avg_latency_us,total_latency_s\n"
            .to_owned();
    for (name, counts) in counted(totals) {
        let Counts { sum, hits, misses, negative, .. } = counts;
        let average = sum.nanoseconds as f64 / sum.calls as f64 / 1e3;
        let seconds = sum.nanoseconds as f64 / 1e9;
        let _ = writeln!(text, "{name},{},{hits},{misses},{negative},{average:.2},{seconds:.6}", sum.calls);
    }
    text
}

/// The rows of the table of sums, in Copper's order.
fn sums(totals: &Totals) -> Vec<(&'static str, String)> {
    let counts = Counts::of(totals.answers.iter().map(|(what, sum)| (*what, *sum)));
    let n = |n: u64| n.to_string();
    vec![
        ("total_counted_fuse_operations", n(counts.sum.calls)),
        ("total_cache_hits", n(counts.hits)),
        ("total_cache_misses", n(counts.misses)),
        ("total_negative_results", n(counts.negative)),
        ("estimated_cache_served_operations_saved_by_copper", n(counts.hits)),
        ("metadata_enoent_ttl_stores", n(0)),
        ("metadata_enoent_ttl_serves", n(counts.serves)),
        ("metadata_enoent_ttl_expires", n(0)),
        ("metadata_enoent_ttl_clears_on_success_or_non_enoent", n(0)),
        ("estimated_repeated_metadata_lookups_avoided_by_ttl", n(counts.serves)),
        ("total_measured_latency_seconds", format!("{:.6}", counts.sum.nanoseconds as f64 / 1e9)),
    ]
}

fn aggregate(totals: &Totals) -> String {
    let rows = sums(totals).into_iter().map(|(metric, value)| format!("{metric},{value}\n"));
    "metric,value\n".to_owned() + &rows.collect::<String>()
}

/// The counts of each path in a category, by path.
fn of_category(totals: &Totals, category: Category) -> BTreeMap<&str, Counts> {
    let counts = |of_path: &OfPath| {
        let parts = of_path.parts().filter(|((operation, ..), ..)| Category::of(*operation) == category);
        Counts::of(parts.map(|(what, sum, _)| (what, sum)))
    };
    let all = totals.paths.iter().map(|(path, of_path)| (&**path, counts(of_path)));
    all.filter(|(_, counts)| counts.sum.calls > 0).collect()
}

fn top_paths(totals: &Totals) -> String {
    let mut text = "category,path,total_events,cache_hits,cache_misses,negative_results,ttl_stores,ttl_serves,ttl_expires,ttl_clears\n".to_owned();
    let top = totals.headers.first().and_then(|header| header.top).map_or(TOP_PATHS, |n| n as usize);
    let quoted = |path: &str| format!("\"{}\"", path.replace('"', "\"\""));
    for category in Category::ALL {
        let mut all: Vec<_> = of_category(totals, category).into_iter().collect();
        all.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.sum.calls));
        for (path, Counts { sum, hits, misses, negative, .. }) in all.into_iter().take(top) {
            let (name, path) = (category.name(), quoted(path));
            let _ = writeln!(text, "{name},{path},{},{hits},{misses},{negative},0,0,0,0", sum.calls);
        }
    }
    let mut served: Vec<_> = of_category(totals, Category::Metadata).into_iter().collect();
    served.retain(|(_, counts)| counts.serves > 0);
    served.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.serves));
    for (path, Counts { serves, .. }) in served.into_iter().take(top) {
        let _ = writeln!(text, "metadata_ttl,{},{serves},0,0,0,0,{serves},0,0", quoted(path));
    }
    text
}

fn event_table(totals: &Totals, category: Category) -> String {
    let mut text = format!("{}\n", category.table().1);
    for (path, Counts { hits, misses, negative, .. }) in of_category(totals, category) {
        let _ =
            write!(text, "{path} {{\ncache hits: {hits},\ncache misses: {misses},\nneg: {negative}\n}}\n");
    }
    text + "}\n"
}

fn ttl_table(totals: &Totals) -> String {
    let mut text = "Metadata ENOENT TTL Events {\n".to_owned();
    for (path, Counts { serves, .. }) in of_category(totals, Category::Metadata) {
        if serves > 0 {
            let _ = write!(text, "{path} {{\nstores: 0,\nserves: {serves},\nexpires: 0,\nclears: 0\n}}\n");
        }
    }
    text + "}\n"
}

fn summary(totals: &Totals, tag: &str) -> String {
    let header = totals.headers.first();
    let mode = match header.map_or("", |header| header.mode.as_str()) {
        "full" => "full-path",
        "top" => "top-path",
        _ => "aggregate-only",
    };
    let limit = header.and_then(|header| header.top).unwrap_or(0);
    let full = if mode == "full-path" { "yes" } else { "no" };
    let mut text = format!(
        "# Copper Profiling Summary\n\n- Profiling mode: {mode}\n- Metadata ENOENT TTL (ms): 0\n- Top-path limit: {limit}\n- Full path outputs enabled: {full}\n"
    );
    if tag != "final" {
        let _ = writeln!(text, "- Snapshot tag: {tag}");
    }
    text += "\n## Aggregate Operation Metrics\n\n| Operation | Total Calls | Cache Hits | Cache Misses | Negative Results | Avg Latency (us) | Total Latency (s) |\n|---|---:|---:|---:|---:|---:|---:|\n";
    operations(totals).lines().skip(1).for_each(|row| text += &format!("| {} |\n", row.replace(',', " | ")));
    text += "\n## Derived High-Level Metrics\n\n| Metric | Value |\n|---|---:|\n";
    for (metric, value) in sums(totals) {
        let _ = writeln!(text, "| {} | {value} |", metric.replace('_', " "));
    }
    text
}

fn export_cluster(all: &Totals, directory: &Path, out: &Path) -> Result<()> {
    let cluster = out.join("profiling/cluster");
    let mut rows = sums(all);
    rows.sort();
    let mut text = format!("metric,value\nranks_with_aggregate_files,{}\n", all.nodes.len());
    rows.iter().for_each(|(metric, value)| text += &format!("{metric},{}\n", field(value)));
    write(&cluster.join("cluster-profiling_aggregate.csv"), &text)?;
    let by_operation = operations(all);
    let mut rows: Vec<&str> = by_operation.lines().collect();
    rows[1..].sort_unstable();
    write(&cluster.join("cluster-profiling_operations.csv"), &(rows.join("\n") + "\n"))?;
    let mut text = format!(
        "# Cluster Profiling Summary\n\n- Input directory: {}\n- Rank summaries aggregated: {}\n\n## Aggregate Metrics\n\n",
        directory.display(),
        all.nodes.len()
    );
    sums(all).iter().for_each(|(metric, value)| text += &format!("- {metric}: {value}\n"));
    text += "\n## Operation Totals\n\n";
    counted(all).for_each(|(name, counts)| text += &format!("- {name}: {}\n", counts.sum.calls));
    write(&cluster.join("cluster-profiling_summary.md"), &text)
}

fn write(path: &Path, text: &str) -> Result<()> {
    let directory = path.parent().map_or(Ok(()), fs::create_dir_all);
    directory
        .and_then(|()| fs::write(path, text))
        .with_context(|| format!("cannot write `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::recorder::event::Mode;
    use crate::profile::recording::{Header, NodeLine, OtherLine, PathLine, Writing};

    fn line(
        node: u32,
        path: &str,
        operation: Operation,
        outcome: Outcome,
        source: AnsweredBy,
        calls: u64,
    ) -> PathLine<'_> {
        let (bytes, nanoseconds) = (0, calls * 2000);
        PathLine {
            node,
            path: path.into(),
            path_bytes: None,
            operation,
            outcome,
            source,
            calls,
            bytes,
            nanoseconds,
            error: 0,
        }
    }

    fn recorded(directory: &Path) {
        use AnsweredBy::{Cache, Storage};
        use Outcome::{Absent, Found};
        let mut writing = Writing::begin(&Header { n_nodes: 2, ..Header::now(Mode::Full, "pre-destroy", 1) });
        for node in 0..2 {
            let (host, process) = (format!("n-{node}"), 7);
            let none = BTreeMap::new();
            writing.add(&OtherLine::Node(NodeLine {
                node,
                host,
                process,
                began_unix_us: 0,
                lost: 0,
                counters: none,
            }));
            writing.add(&line(node, "/e/a", Operation::Lookup, Found, Storage, 2));
            writing.add(&line(node, "/e/a", Operation::Attributes, Found, Cache, 3));
            writing.add(&line(node, "/e/no", Operation::Lookup, Absent, Cache, 4));
            writing.add(&line(node, "/e/a", Operation::Read, Found, Storage, 1));
            writing.add(&line(node, "/e/a", Operation::Read, Found, Cache, 1));
        }
        fs::write(directory.join("recording.jsonl"), writing.end()).unwrap();
    }

    /// A reader of the event tables, as other people's scripts have it: lines of paths, cut before the brace.
    fn tables(text: &str) -> BTreeMap<String, Vec<u64>> {
        let mut tables: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        let mut path = String::new();
        for line in text.lines().skip(1) {
            match line.strip_suffix(" {") {
                Some(begun) => path = begun.to_owned(),
                None => {
                    let number =
                        line.split(": ").nth(1).map(|n| n.trim_end_matches(',').parse::<u64>().unwrap());
                    tables.entry(path.clone()).or_default().extend(number);
                }
            }
        }
        tables
    }

    #[test]
    fn an_independent_reader_finds_every_count_where_copper_has_it() {
        let directory = tempfile::tempdir().unwrap();
        recorded(directory.path());
        let out = directory.path().join("out");
        export(directory.path(), &out).unwrap();
        let read =
            |name: &str| fs::read_to_string(out.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let operations = read("profiling/final/n_1-7-profiling_operations.csv");
        let rows: Vec<&str> = operations.lines().skip(1).collect();
        assert_eq!(rows, ["getattr,9,5,0,4,2.00,0.000018", "read,2,1,1,0,2.00,0.000004"]);
        let aggregate = read("profiling/final/n_0-7-profiling_aggregate.csv");
        assert!(
            aggregate.starts_with("metric,value\ntotal_counted_fuse_operations,11\ntotal_cache_hits,6\n"),
            "{aggregate}"
        );
        assert_eq!(aggregate.lines().count(), 12);
        let metadata = tables(&read("tables/final/n_0-7-md_table_cache_event.output"));
        assert_eq!((&metadata["/e/a"], &metadata["/e/no"]), (&vec![5, 0, 0], &vec![0, 0, 4]));
        let ttl = tables(&read("tables/final/n_0-7-md_ttl_cache_event.output"));
        assert_eq!(ttl["/e/no"], [0, 4, 0, 0]);
        let cluster = read("profiling/cluster/cluster-profiling_aggregate.csv");
        assert!(cluster.starts_with("metric,value\nranks_with_aggregate_files,2\n"), "{cluster}");
        assert!(cluster.contains("total_counted_fuse_operations,22\n"), "{cluster}");
        assert!(
            read("profiling/final/n_0-7-profiling_summary.md").starts_with("# Copper Profiling Summary\n")
        );
    }
}
