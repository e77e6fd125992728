//! What is written, read by a small reader made from what Copper's users have: names, columns, sections.

use std::path::PathBuf;

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
    let nanoseconds = calls * 2000;
    PathLine { nanoseconds, ..PathLine::of(node, path, operation, outcome, source, calls) }
}

fn recorded(directory: &Path) {
    use AnsweredBy::{Cache, Storage};
    use Outcome::{Absent, Found};
    let mut writing = Writing::begin(&Header { n_nodes: 2, ..Header::now(Mode::Full, "pre-destroy", 1) });
    for node in 0..2 {
        let (host, process) = (format!("n-{node}"), 7);
        let counters = BTreeMap::from([("memory.cached_bytes".to_owned(), 1000)]);
        writing.add(&OtherLine::Node(NodeLine { node, host, process, began_unix_us: 0, lost: 0, counters }));
        writing.add(&line(node, "/e/a", Operation::Lookup, Found, Storage, 2));
        writing.add(&line(node, "/e/a", Operation::Attributes, Found, Cache, 3));
        writing.add(&line(node, "/e/no", Operation::Lookup, Absent, Cache, 4));
        writing.add(&line(node, "/e/lib/python3.11/a \"b\", c\n.py", Operation::Lookup, Found, Cache, 1));
        writing.add(&line(node, "/e/libz.so", Operation::Lookup, Absent, Cache, 1));
        writing.add(&line(node, "/e/a", Operation::Read, Found, Storage, 1));
        writing.add(&line(node, "/e/a", Operation::Read, Found, Cache, 1));
    }
    fs::write(directory.join("recording.jsonl"), writing.end()).unwrap();
}

/// Files beneath `out`, by their path.
fn files(out: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut left = vec![out.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            match entry.file_type().unwrap().is_dir() {
                true => left.push(entry.path()),
                false => {
                    let name = entry.path().strip_prefix(out).unwrap().to_str().unwrap().to_owned();
                    files.insert(name, fs::read_to_string(entry.path()).unwrap());
                }
            }
        }
    }
    files
}

/// Rows of comma-separated values as dictionaries, as other people's scripts read them: quotes are doubled in quotes.
fn csv(text: &str) -> Vec<BTreeMap<String, String>> {
    let fields = |line: &str| {
        let (mut fields, mut quoted) = (vec![String::new()], false);
        let mut letters = line.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '"' if quoted && letters.peek() == Some(&'"') => {
                    fields.last_mut().unwrap().push(letters.next().unwrap());
                }
                '"' => quoted = !quoted,
                ',' if !quoted => fields.push(String::new()),
                letter => fields.last_mut().unwrap().push(letter),
            }
        }
        assert!(!quoted, "{line}");
        fields
    };
    let mut lines = text.lines();
    let head = fields(lines.next().unwrap());
    lines
        .map(|line| {
            let row = fields(line);
            assert_eq!(row.len(), head.len(), "{line}");
            head.iter().cloned().zip(row).collect()
        })
        .collect()
}

/// Sections of Markdown, each with its lines; tables as their cells, without the head.
fn sections_of(text: &str) -> BTreeMap<String, Vec<Vec<String>>> {
    let mut sections: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
    let mut section = String::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(name) = line.strip_prefix("## ") {
            section = name.to_owned();
            sections.entry(section.clone()).or_default();
        } else if let Some(row) = line.strip_prefix("| ").and_then(|row| row.strip_suffix(" |")) {
            sections.get_mut(&section).unwrap().push(row.split(" | ").map(str::to_owned).collect());
        } else if let Some(item) = line.strip_prefix("- ") {
            sections.entry(section.clone()).or_default().push(vec![item.to_owned()]);
        }
    }
    sections
}

/// Whether Copper's aggregator reads a file of this name: `^[^-]+-\d+-profiling_(aggregate|operations|top_paths)\.csv$`.
fn is_read(name: &str) -> bool {
    let mut parts = name.splitn(3, '-');
    let (host, process, rest) =
        (parts.next().unwrap(), parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    !host.is_empty()
        && !process.is_empty()
        && process.bytes().all(|byte| byte.is_ascii_digit())
        && ["aggregate", "operations", "top_paths"].iter().any(|what| rest == format!("profiling_{what}.csv"))
}

/// A directory with a recording, and what was written of it there.
fn exported() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    recorded(directory.path());
    let out = directory.path().join("out");
    export(directory.path(), &out, &[]).unwrap();
    (directory, out)
}

#[test]
fn every_file_of_the_layout_is_there_for_each_tag_and_its_figures_agree() {
    let directory = tempfile::tempdir().unwrap();
    recorded(directory.path());
    for (tag, _) in TAGS {
        fs::create_dir_all(directory.path().join("snapshots").join(tag)).unwrap();
        recorded(&directory.path().join("snapshots").join(tag));
    }
    let out = tempfile::tempdir().unwrap();
    let missing = vec!["/e/no".to_owned(), "/e/a|b".to_owned()];
    let coverage =
        RootCoverage { root: "/e".into(), exists: true, files: (1, 4), directories: (1, 3), missing };
    export(directory.path(), out.path(), &[coverage]).unwrap();
    let files = files(out.path());
    assert!(out.path().join("logs").is_dir());
    let tags = TAGS.iter().map(|(_, theirs)| *theirs).chain(["final", "pre-destroy"]);
    for tag in tags {
        let infix = if tag == "final" { String::new() } else { format!("{tag}-") };
        for host in ["n_0", "n_1"] {
            let of = |kind: &str, suffix: &str| &files[&format!("{kind}/{tag}/{host}-7-{infix}{suffix}")];
            agree(of, tag);
        }
    }
    let names = files.keys().filter_map(|path| path.strip_prefix("profiling/final/"));
    assert_eq!(names.filter(|name| is_read(name)).count(), 2 * 3, "{:?}", files.keys());
    let cluster = csv(&files["profiling/cluster/cluster-profiling_aggregate.csv"]);
    assert_eq!((&*cluster[0]["metric"], &*cluster[0]["value"]), ("ranks_with_aggregate_files", "2"));
    assert!(cluster[1..].is_sorted_by_key(|row| row["metric"].clone()));
    let operations = csv(&files["profiling/cluster/cluster-profiling_operations.csv"]);
    let names: Vec<_> = operations.iter().map(|row| (&*row["operation"], &*row["total_calls"])).collect();
    assert_eq!(names, [("getattr", "22"), ("read", "4")]);
    let summary = sections_of(&files["profiling/cluster/cluster-profiling_summary.md"]);
    assert_eq!(summary["Path Coverage Analysis"][1].join(" "), "/e yes 4 1 4 25.00% 1 3 33.33% 2 /e/no");
    assert_eq!(
        summary[""],
        [
            [format!("Input directory: {}", directory.path().display())],
            ["Rank summaries aggregated: 2".into()]
        ]
    );
    let usage = csv(&files["cache_usage_summary.csv"]);
    let tables: Vec<_> =
        usage.iter().map(|row| (&*row["table"], &*row["files_found"], &*row["entries"])).collect();
    assert_eq!(
        tables,
        [("data", "2", "1"), ("tree", "2", "0"), ("metadata", "2", "4"), ("combined", "6", "5")]
    );
    assert_eq!(usage[3]["used_bytes"], "2000");
}

/// Tags of snapshots, and what Copper calls them.
const TAGS: [(&str, &str); 3] =
    [("runtime-snapshot", "runtime-snapshot"), ("on-demand", "ioctl-snapshot"), ("pre-reset", "pre-reset")];

/// Fails unless the files of one node say the same of what [`recorded`] wrote.
fn agree<'f>(of: impl Fn(&str, &str) -> &'f String, tag: &str) {
    let aggregate = csv(of("profiling", "profiling_aggregate.csv"));
    let metric = |name: &str| {
        let row = aggregate.iter().find(|row| row["metric"] == name).unwrap_or_else(|| panic!("no {name}"));
        row["value"].clone()
    };
    let operations = csv(of("profiling", "profiling_operations.csv"));
    for (metric_name, column) in [
        ("total_counted_fuse_operations", "total_calls"),
        ("total_cache_hits", "cache_hits"),
        ("total_cache_misses", "cache_misses"),
        ("total_negative_results", "negative_results"),
    ] {
        let sum: u64 = operations.iter().map(|row| row[column].parse::<u64>().unwrap()).sum();
        assert_eq!(metric(metric_name), sum.to_string(), "{tag}: {column}");
    }
    let top = csv(of("profiling", "profiling_top_paths.csv"));
    let row = |category: &str, path: &str| {
        let row = top.iter().find(|row| row["category"] == category && row["path"] == path);
        let row = row.unwrap_or_else(|| panic!("no {path} in {top:?}"));
        ["total_events", "cache_hits", "cache_misses", "negative_results", "ttl_serves"]
            .map(|column| &*row[column])
    };
    assert_eq!(row("metadata", "/e/a"), ["5", "5", "0", "0", "0"]);
    assert_eq!(row("metadata", "/e/lib/python3.11/a \"b\", c\\n.py"), ["1", "1", "0", "0", "0"]);
    assert_eq!(row("data", "/e/a"), ["2", "1", "1", "0", "0"]);
    assert_eq!(row("metadata_ttl", "/e/no"), ["4", "0", "0", "0", "4"]);
    let order = ["metadata", "data", "tree", "metadata_ttl"];
    assert!(top.iter().map(|row| order.iter().position(|name| *name == row["category"])).is_sorted());
    let summary = of("profiling", "profiling_summary.md");
    assert_eq!(summary.contains("- Snapshot tag: "), tag != "final", "{summary}");
    let sections = sections_of(summary);
    assert_eq!(sections["Derived High-Level Metrics"].len(), 1 + 11);
    assert_eq!(sections["Full Path Outputs"].len(), 4);
    let classes: Vec<_> =
        sections["Path Class Heuristics"][1..].iter().map(|row| row[..3].join(" ")).collect();
    let want = [
        "environment_prefix 3 11",
        "negative_probe_path 1 4",
        "shared_library 1 1",
        "missing_shared_library_probe 1 1",
        "python_stdlib 1 1",
    ];
    assert_eq!(
        BTreeMap::from_iter(classes.iter().map(|row| (row.as_str(), ()))),
        BTreeMap::from_iter(want.map(|row| (row, ())))
    );
    assert!(sections["Pruning Guidance"].len() > 1);
    let paths: usize = ["data", "tree", "md"]
        .map(|table| tables(of("tables", &format!("{table}_table_cache_event.output"))).len())
        .iter()
        .sum();
    assert_eq!(paths, 1 + 4);
}

#[test]
fn a_run_is_not_written_among_the_files_of_another() {
    let (directory, out) = exported();
    let before = files(&out);
    let refused = export(directory.path(), &out, &[]).unwrap_err().to_string();
    assert!(refused.ends_with("is there and not an empty directory"), "{refused}");
    assert_eq!(files(&out), before);
}

#[test]
fn a_run_without_paths_has_its_operations() {
    let directory = tempfile::tempdir().unwrap();
    let mut writing = Writing::begin(&Header::now(Mode::Aggregate, "pre-destroy", 1));
    let latency = r#"{"kind":"latency","node":0,"operation":"lookup","source":"cache","buckets":[[9,7]],"nanoseconds":14000,"absences":2}"#;
    writing.add_raw(latency.as_bytes());
    fs::write(directory.path().join("recording.jsonl"), writing.end()).unwrap();
    let out = directory.path().join("out");
    export(directory.path(), &out, &[]).unwrap();
    let files = files(&out);
    let operations = &files["profiling/final/-0-profiling_operations.csv"];
    assert_eq!(operations.lines().nth(1), Some("getattr,7,5,0,2,2.00,0.000014"));
    let cluster = &files["profiling/cluster/cluster-profiling_aggregate.csv"];
    assert!(cluster.contains("total_counted_fuse_operations,7\n"), "{cluster}");
}

#[test]
fn a_recording_of_the_hottest_has_no_tables_and_one_without_paths_no_hottest() {
    for (mode, top_paths) in [(Mode::Top(1), true), (Mode::Aggregate, false)] {
        let directory = tempfile::tempdir().unwrap();
        let mut writing = Writing::begin(&Header::now(mode, "on-demand", 1));
        if top_paths {
            for (path, calls) in [("/e/a", 1), ("/e/b", 3)] {
                writing.add(&line(0, path, Operation::Lookup, Outcome::Found, AnsweredBy::Storage, calls));
            }
        }
        fs::write(directory.path().join("recording.jsonl"), writing.end()).unwrap();
        let out = tempfile::tempdir().unwrap();
        export(directory.path(), out.path(), &[]).unwrap();
        let files = files(out.path());
        assert!(files.keys().all(|path| !path.starts_with("tables/") && !path.contains("/pre-destroy/")));
        let hottest: Vec<_> = files.iter().filter(|(path, _)| path.ends_with("top_paths.csv")).collect();
        assert_eq!(hottest.len(), usize::from(top_paths), "{mode:?}");
        for (_, text) in hottest {
            assert_eq!(csv(text).iter().map(|row| row["path"].clone()).collect::<Vec<_>>(), ["/e/b"]);
        }
    }
}

/// A reader of the event tables, as other people's scripts have it: lines of paths, cut before the brace.
fn tables(text: &str) -> BTreeMap<String, Vec<u64>> {
    let mut tables: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut path = String::new();
    for line in text.lines().skip(1) {
        match line.strip_suffix(" {") {
            Some(begun) => path = begun.to_owned(),
            None => {
                if let Some(number) = line.split(": ").nth(1) {
                    let number = number.trim_end_matches(',').parse::<u64>().unwrap();
                    tables.entry(path.clone()).or_default().push(number);
                }
            }
        }
    }
    tables
}

#[test]
fn an_independent_reader_finds_every_count_where_copper_has_it() {
    let (_directory, out) = exported();
    let read =
        |name: &str| fs::read_to_string(out.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let operations = read("profiling/final/n_1-7-profiling_operations.csv");
    let rows: Vec<&str> = operations.lines().skip(1).collect();
    assert_eq!(rows, ["getattr,11,6,0,5,2.00,0.000022", "read,2,1,1,0,2.00,0.000004"]);
    let aggregate = read("profiling/final/n_0-7-profiling_aggregate.csv");
    assert!(
        aggregate.starts_with("metric,value\ntotal_counted_fuse_operations,13\ntotal_cache_hits,7\n"),
        "{aggregate}"
    );
    assert_eq!(aggregate.lines().count(), 12);
    let metadata = tables(&read("tables/final/n_0-7-md_table_cache_event.output"));
    assert_eq!((&metadata["/e/a"], &metadata["/e/no"]), (&vec![5, 0, 0], &vec![0, 0, 4]));
    let ttl = tables(&read("tables/final/n_0-7-md_ttl_cache_event.output"));
    assert_eq!(ttl["/e/no"], [0, 4, 0, 0]);
    let cluster = read("profiling/cluster/cluster-profiling_aggregate.csv");
    assert!(cluster.starts_with("metric,value\nranks_with_aggregate_files,2\n"), "{cluster}");
    assert!(cluster.contains("total_counted_fuse_operations,26\n"), "{cluster}");
    assert!(read("profiling/final/n_0-7-profiling_summary.md").starts_with("# Copper Profiling Summary\n"));
}
