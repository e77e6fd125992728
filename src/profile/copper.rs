//! A recording in the layout of Copper's profile files, for scripts that read those.
//!
//! Copper counts other things: each request is a hit, a miss or a negative result of one of four tables. What stands for
//! what is told in the `README.md` that is written beside. Counts are those of the recording; nothing is made up.
//!
//! Not here: our own report (`report`).

mod sections;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

pub use self::sections::class;
use super::recorder::event::{AnsweredBy, Operation, Outcome};
use super::recording::Trouble;
use super::totals::{OfPath, Sum, Totals, What, add, added_up};
use crate::text::csv::field;
use crate::text::{plain, size};

/// Rows of each category in the table of paths: 100.
const TOP_PATHS: usize = 100;

/// What stands beside the files.
const README: &str = "\
These files have Copper's layout; the figures are Spinney's.

- `getattr` is `lookup` and `attributes` together. A hit was found, by whoever; a negative result is an absence or an error.
- `read` and `readdir`: a hit came from the node's own cache; a miss from another node or from storage; an error is negative.
- `open` is a hit. Whole files over a limit do not count as negative results.
- Absences are proven by listings, so the rows of the ENOENT TTL are 0 but for serves, which are absences told by a cache.
- `metadata_ttl` rows are those absences. Classes are counted over all recorded paths, not over the hottest alone. A full
  recording also has the table of the 100 hottest of each category, which Copper writes only when told a limit.
- `final` is what stood in the recording at the end; what was written before teardown is the same, and also `pre-destroy`.
  Snapshots on demand are `ioctl-snapshot`.
- In `cache_usage_summary.csv` the bytes of single tables are empty: Spinney has one cache for all.
- The coverage table and `paths_dir/` compare with what lay beneath the views when this was written.
- Control characters in paths are escaped.
- Latency is from reading a request to its answer. Host names have `_` for `-`, which Copper's scripts cannot read.
";

/// The tables that Copper keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Category {
    Metadata,
    Data,
    Tree,
    /// Absences that a cache told: Copper remembers them for a time.
    Absences,
}

/// By category, the paths that have something of it. Categories are in Copper's order.
type Rows<'a> = Vec<(Category, BTreeMap<&'a str, Counts>)>;

impl Category {
    /// Those that have a table of hits and misses.
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
            Category::Absences => "metadata_ttl",
        }
    }

    /// Suffix of the file, and its first line, misspelt as Copper has it.
    fn table(self) -> (&'static str, &'static str) {
        match self {
            Category::Metadata => ("md_table_cache_event.output", "Metdata Cache Events {"),
            Category::Data => ("data_table_cache_event.output", "Data Cache Events {"),
            Category::Tree => ("tree_table_cache_event.output", "Tree Cache Events {"),
            Category::Absences => ("md_ttl_cache_event.output", "Metadata ENOENT TTL Events {"),
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
        add(counter, sum.calls);
        if outcome == Outcome::Absent && from_cache {
            add(&mut self.serves, sum.calls);
        }
    }

    /// What Copper calls events: requests, or absences told.
    fn events(&self, category: Category) -> u64 {
        if category == Category::Absences { self.serves } else { self.sum.calls }
    }

    fn of<'a>(parts: impl Iterator<Item = (What, Sum)> + 'a) -> Self {
        let mut counts = Counts::default();
        parts.for_each(|(what, sum)| counts.add(what, sum));
        counts
    }
}

/// How much of one view was used, as `environment::coverage` has it.
#[derive(Debug, Clone, Default)]
pub struct RootCoverage {
    /// The view.
    pub root: String,
    /// Whether it is there.
    pub exists: bool,
    /// Files used and there.
    pub files: (u64, u64),
    /// The same of directories.
    pub directories: (u64, u64),
    /// Paths that were asked for and are not there.
    pub missing: Vec<String>,
}

/// Writes the recordings of `directory`, the final one and those beneath `snapshots`, to `out`, and returns what could not be
/// read.
///
/// # Errors
/// None of `directory` can be used, something is at `out` already, a file cannot be written.
pub fn export(directory: &Path, out: &Path, coverage: &[RootCoverage]) -> Result<Vec<Trouble>> {
    // First, so that nothing is written if it cannot be read.
    let (all, by_node) = Totals::read_by_node(directory)?;
    // Whoever reads the files takes all that there are, those of another run too.
    if fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) {
        bail!("`{}` is there and not an empty directory", plain(out));
    }
    export_tag(&by_node, out, "final")?;
    write(&out.join("README.md"), README)?;
    fs::create_dir_all(out.join("logs"))?;
    let tag = all.headers.iter().max_by_key(|header| header.unix_us).map_or("", |header| header.tag.as_str());
    if tag == "pre-destroy" {
        export_tag(&by_node, out, tag)?;
    }
    drop(by_node);
    export_cluster(&all, directory, out, coverage)?;
    let mut unread = all.into_unread();
    for entry in fs::read_dir(directory.join("snapshots")).into_iter().flatten().flatten() {
        let by_node = match Totals::read_by_node(&entry.path()) {
            Ok((snapshot, by_node)) => {
                unread.extend(snapshot.into_unread());
                by_node
            }
            Err(trouble) => {
                unread.push(trouble);
                continue;
            }
        };
        let tag = of_tag(&entry.file_name().to_string_lossy());
        export_tag(&by_node, out, if tag == "on-demand" { "ioctl-snapshot" } else { &tag })?;
    }
    Ok(unread)
}

/// Only characters that Copper has in tags.
fn of_tag(tag: &str) -> String {
    tag.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

fn export_tag(by_node: &BTreeMap<u32, Totals>, out: &Path, tag: &str) -> Result<()> {
    by_node.iter().try_for_each(|(node, totals)| export_node(totals, out, tag, *node))
}

fn export_node(totals: &Totals, out: &Path, tag: &str, node: u32) -> Result<()> {
    let known = totals.nodes.get(&(0, node)).cloned().unwrap_or_default();
    let host = of_tag(&known.host).replace('-', "_");
    let tagged = if tag == "final" { String::new() } else { format!("-{tag}") };
    // Nodes of one machine have one name and, if processes ended in between, perhaps one number.
    let name = format!("{host}-{}{tagged}", known.process);
    let profiling = out.join("profiling").join(tag);
    write(&profiling.join(format!("{name}-profiling_operations.csv")), &operations(totals))?;
    write(&profiling.join(format!("{name}-profiling_aggregate.csv")), &aggregate(totals))?;
    write(&profiling.join(format!("{name}-profiling_summary.md")), &summary(totals, tag))?;
    if let Some(limit) = top_limit(totals) {
        write(&profiling.join(format!("{name}-profiling_top_paths.csv")), &top_paths(totals, limit))?;
    }
    if is_full(totals) {
        let tables = out.join("tables").join(tag);
        for (category, paths) in rows(totals) {
            let (suffix, _) = category.table();
            write(&tables.join(format!("{name}-{suffix}")), &event_table(category, &paths))?;
        }
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

fn is_full(totals: &Totals) -> bool {
    totals.headers.first().is_some_and(|header| header.mode == "full")
}

/// Rows of each category in the table of the hottest paths, if paths were recorded.
fn top_limit(totals: &Totals) -> Option<usize> {
    let header = totals.headers.first()?;
    match header.mode.as_str() {
        "full" => Some(TOP_PATHS),
        "top" => Some(header.top.map_or(TOP_PATHS, |n| n as usize)),
        _ => None,
    }
}

/// The counts of each path, by category.
fn rows(totals: &Totals) -> Rows<'_> {
    let of_category = |category: Category| {
        let counts = |of_path: &OfPath| {
            let parts = of_path.parts().filter(|((operation, ..), ..)| Category::of(*operation) == category);
            Counts::of(parts.map(|(what, sum, _)| (what, sum)))
        };
        let all = totals.paths.iter().map(|(path, of_path)| (&**path, counts(of_path)));
        (category, all.filter(|(_, counts)| counts.sum.calls > 0).collect::<BTreeMap<_, _>>())
    };
    let mut rows: Rows<'_> = Category::ALL.map(of_category).into();
    let absences = rows[0].1.iter().filter(|(_, counts)| counts.serves > 0);
    let absences = absences.map(|(path, counts)| (*path, *counts)).collect();
    rows.push((Category::Absences, absences));
    rows
}

fn top_paths(totals: &Totals, limit: usize) -> String {
    let mut text = "category,path,total_events,cache_hits,cache_misses,negative_results,ttl_stores,ttl_serves,ttl_expires,ttl_clears\n".to_owned();
    for (category, path, counts) in sections::top(&rows(totals), limit) {
        let (name, path) = (category.name(), format!("\"{}\"", plain(path).replace('"', "\"\"")));
        let Counts { hits, misses, negative, serves, .. } = counts;
        let columns = match category {
            Category::Absences => format!("{serves},0,0,0,0,{serves},0,0"),
            _ => format!("{},{hits},{misses},{negative},0,0,0,0", counts.sum.calls),
        };
        let _ = writeln!(text, "{name},{path},{columns}");
    }
    text
}

fn event_table(category: Category, paths: &BTreeMap<&str, Counts>) -> String {
    let mut text = format!("{}\n", category.table().1);
    for (path, Counts { hits, misses, negative, serves, .. }) in paths {
        let counts = match category {
            Category::Absences => format!("stores: 0,\nserves: {serves},\nexpires: 0,\nclears: 0"),
            _ => format!("cache hits: {hits},\ncache misses: {misses},\nneg: {negative}"),
        };
        let _ = write!(text, "{} {{\n{counts}\n}}\n", plain(path));
    }
    text + "}\n"
}

fn summary(totals: &Totals, tag: &str) -> String {
    let limit = top_limit(totals).unwrap_or(0);
    let (mode, full) = match limit {
        0 => ("aggregate-only", "no"),
        _ if is_full(totals) => ("full-path", "yes"),
        _ => ("top-path", "no"),
    };
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
    if limit > 0 {
        let rows = rows(totals);
        text += &sections::top_paths(&rows, limit);
        if full == "yes" {
            text += "\n## Full Path Outputs\n\n";
            rows.iter().for_each(|(category, _)| text += &format!("- *-{}\n", category.table().0));
        }
        text += &sections::about_paths(&rows);
    }
    text
}

fn export_cluster(all: &Totals, directory: &Path, out: &Path, coverage: &[RootCoverage]) -> Result<()> {
    let cluster = out.join("profiling/cluster");
    let mut sorted = sums(all);
    sorted.sort();
    let mut text = format!("metric,value\nranks_with_aggregate_files,{}\n", all.nodes.len());
    sorted.iter().for_each(|(metric, value)| text += &format!("{metric},{}\n", field(value)));
    write(&cluster.join("cluster-profiling_aggregate.csv"), &text)?;
    let by_operation = operations(all);
    let mut sorted: Vec<&str> = by_operation.lines().collect();
    sorted[1..].sort_unstable();
    write(&cluster.join("cluster-profiling_operations.csv"), &(sorted.join("\n") + "\n"))?;
    let mut text = format!(
        "# Cluster Profiling Summary\n\n- Input directory: {}\n- Rank summaries aggregated: {}\n\n## Aggregate Metrics\n\n",
        plain(directory),
        all.nodes.len()
    );
    sums(all).iter().for_each(|(metric, value)| text += &format!("- {metric}: {value}\n"));
    text += "\n## Operation Totals\n\n";
    counted(all).for_each(|(name, counts)| text += &format!("- {name}: {}\n", counts.sum.calls));
    let rows = rows(all);
    text += &sections::about_paths(&rows);
    text += &coverage_table(coverage);
    write(&cluster.join("cluster-profiling_summary.md"), &text)?;
    write(&out.join("cache_usage_summary.csv"), &cache_usage(all, &rows))
}

fn coverage_table(coverage: &[RootCoverage]) -> String {
    let mut text = "\n## Path Coverage Analysis\n\n| Root | Exists | Observed Paths | Observed Files | Total Files | File Coverage | Observed Dirs | Total Dirs | Dir Coverage | Missing Probe Paths | Example |\n|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---|\n".to_owned();
    let share = |(used, all): (u64, u64)| format!("{:.2}%", 100.0 * used as f64 / all.max(1) as f64);
    for RootCoverage { root, exists, files, directories, missing } in coverage {
        let observed = files.0 + directories.0 + missing.len() as u64;
        let _ = writeln!(
            text,
            "| {} | {} | {observed} | {} | {} | {} | {} | {} | {} | {} | {} |",
            plain(root).replace('|', "\\|"),
            if *exists { "yes" } else { "no" },
            files.0,
            files.1,
            share(*files),
            directories.0,
            directories.1,
            share(*directories),
            missing.len(),
            missing.first().map(|path| plain(path).replace('|', "\\|")).unwrap_or_default(),
        );
    }
    text
}

/// Tables that a full recording has files of, and what the caches held.
fn cache_usage(all: &Totals, rows: &Rows<'_>) -> String {
    let mut text = "table,files_found,used_bytes,used_human,entries\n".to_owned();
    let nodes = if is_full(all) { all.nodes.len() } else { 0 };
    let entries = |category: Category| {
        rows.iter().filter(|(known, _)| *known == category).map(|(_, paths)| paths.len()).sum::<usize>()
    };
    for (name, category) in
        [("data", Category::Data), ("tree", Category::Tree), ("metadata", Category::Metadata)]
    {
        let _ = writeln!(text, "{name},{nodes},,,{}", entries(category));
    }
    let held = all.nodes.values().filter_map(|node| node.counters.get("memory.cached_bytes"));
    let held = added_up(held.copied());
    let entries: usize = Category::ALL.into_iter().map(entries).sum();
    let _ = writeln!(text, "combined,{},{held},{},{entries}", 3 * nodes, size(held));
    text
}

fn write(path: &Path, text: &str) -> Result<()> {
    let directory = path.parent().map_or(Ok(()), fs::create_dir_all);
    directory
        .and_then(|()| fs::write(path, text))
        .with_context(|| format!("cannot write `{}`", path.display()))
}
