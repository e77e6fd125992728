//! The files of Copper's path usage analysis: four lists of paths and two summaries.
//!
//! Names, columns and labels are those that its users' scripts read. As there, links count as what they lead to, and a
//! path with a line break in it cannot be told: it is left out, and the summaries say how many were.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Coverage, Thing};
use crate::profile::copper::RootCoverage;

const ALL: &str = "all_possible_existing_paths.txt";
const USED: &str = "used_paths_existing.txt";
const UNUSED: &str = "same_run_candidate_not_observed_existing_paths.txt";
const MISSING: &str = "missing_probe_paths.txt";

/// One list.
struct List<'a> {
    label: &'static str,
    name: &'static str,
    paths: Vec<&'a Path>,
    files: u64,
    directories: u64,
    missing: u64,
}

pub(super) fn write(coverage: &Coverage, directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let (lists, left_out) = lists(coverage);
    for list in &lists {
        let mut file = BufWriter::new(fs::File::create(directory.join(list.name))?);
        for path in &list.paths {
            file.write_all(path.as_os_str().as_bytes())?;
            file.write_all(b"\n")?;
        }
        file.flush()?;
    }
    let roots: Vec<String> = coverage.roots.iter().map(|(root, _)| root.display().to_string()).collect();
    let mut note = counts(&lists, &roots);
    let mut summary = summary(&lists, &roots);
    for line in coverage.notes().iter().cloned().chain(left_out) {
        note += &format!("note: {line}\n");
        summary += &format!("\nNote: {line}\n");
    }
    fs::write(directory.join("roots_and_counts.txt"), note)?;
    fs::write(directory.join("paths_summary.md"), summary)
}

/// How much of each root was used, counted as in the lists.
pub(super) fn by_root(coverage: &Coverage) -> Vec<RootCoverage> {
    let of_root = |(root, real): &(PathBuf, PathBuf)| {
        let missing = coverage.absent.iter().filter(|path| path.starts_with(root));
        let beneath =
            || coverage.tree.things.keys().map(PathBuf::as_path).filter(|path| path.starts_with(real));
        let all = list(coverage, "", ALL, beneath().collect());
        let is_used = |path: &&Path| coverage.used.contains_key(*path);
        let used = list(coverage, "", USED, beneath().filter(is_used).collect());
        RootCoverage {
            root: root.display().to_string(),
            exists: root.is_dir(),
            files: (used.files, all.files),
            directories: (used.directories, all.directories),
            missing: missing.map(|path| path.display().to_string()).collect(),
        }
    };
    coverage.tree.roots.iter().map(of_root).collect()
}

fn lists(coverage: &Coverage) -> ([List<'_>; 4], Option<String>) {
    let things = || coverage.tree.things.keys().map(PathBuf::as_path);
    let is_used = |path: &&Path| coverage.used.contains_key(*path);
    let mut lists = [
        list(coverage, "All possible existing paths under the selected roots", ALL, things().collect()),
        list(coverage, "Actually used in this run", USED, things().filter(is_used).collect()),
        list(
            coverage,
            "Not seen in this run, but exists",
            UNUSED,
            things().filter(|path| !is_used(path)).collect(),
        ),
        list(coverage, "Probed but absent", MISSING, coverage.absent.iter().map(PathBuf::as_path).collect()),
    ];
    let mut left_out = 0;
    for list in &mut lists {
        let before = list.paths.len();
        list.paths.retain(|path| !path.as_os_str().as_bytes().contains(&b'\n'));
        left_out += before - list.paths.len();
    }
    let told = format!("{left_out} lines are left out of the lists: their paths hold a line break");
    (lists, (left_out > 0).then_some(told))
}

fn list<'a>(coverage: &Coverage, label: &'static str, name: &'static str, paths: Vec<&'a Path>) -> List<'a> {
    let mut list = List { label, name, paths, files: 0, directories: 0, missing: 0 };
    list.paths.sort_by_key(|path| path.as_os_str());
    for path in &list.paths {
        match coverage.tree.things.get(*path) {
            Some(Thing::Directory) => list.directories += 1,
            Some(Thing::File(_)) => list.files += 1,
            Some(Thing::Link(_)) if path.is_dir() => list.directories += 1,
            Some(Thing::Link(_)) if path.exists() => list.files += 1,
            _ => list.missing += 1,
        }
    }
    list
}

fn counts(lists: &[List; 4], roots: &[String]) -> String {
    let [all, used, unused, missing] = lists;
    let mut text = String::from("Selected roots:\n");
    roots.iter().for_each(|root| text += &format!("- {root}\n"));
    let observed = used.paths.len() + missing.paths.len();
    for (words, number) in [
        ("\nAll existing paths under selected roots", all.paths.len()),
        ("Observed existing paths under selected roots", used.paths.len()),
        ("Observed missing probe paths under selected roots", missing.paths.len()),
        ("Observed paths under selected roots", observed),
        ("Candidate existing paths not observed in final outputs", unused.paths.len()),
    ] {
        text += &format!("{words}: {number}\n");
    }
    text += "\nCoverage estimates:\n";
    for (what, used, all) in estimates(lists) {
        text += &format!("- Observed {what}: {used} of {all} ({})\n", per_cent(used, all));
    }
    text += &format!("\n{}\n", super::MEANING);
    text
}

fn summary(lists: &[List; 4], roots: &[String]) -> String {
    let [all, used, unused, missing] = lists;
    let mut text = String::from("# Path Usage Analysis\n\n## Selected roots\n\n");
    roots.iter().for_each(|root| text += &format!("- `{root}`\n"));
    text += "\n## Counts Table\n\n| Meaning | File | Total Paths | Files | Directories | Missing |\n|---|---|---:|---:|---:|---:|\n";
    for list in lists {
        let List { label, name, files, directories, missing, .. } = list;
        text +=
            &format!("| {label} | `{name}` | {} | {files} | {directories} | {missing} |\n", list.paths.len());
    }
    text += "\n## Interpretation Notes\n\n";
    let observed = used.paths.len() + missing.paths.len();
    for (words, number) in [
        ("Observed paths under the selected roots in this run", observed),
        ("Existing observed paths", used.paths.len()),
        ("Missing probe paths", missing.paths.len()),
        ("Existing paths not observed in this run", unused.paths.len()),
        ("All existing paths under the selected roots", all.paths.len()),
    ] {
        text += &format!("- {words}: `{number}`\n");
    }
    text += "\n## Coverage Estimates\n\n";
    for (what, used, all) in estimates(lists) {
        text += &format!("- Observed {what}: `{used}` of `{all}` (`{}`)\n", per_cent(used, all));
    }
    text + &format!("\n{}\n", super::MEANING)
}

fn estimates(lists: &[List; 4]) -> [(&'static str, u64, u64); 2] {
    let [all, used, ..] = lists;
    [("files", used.files, all.files), ("directories", used.directories, all.directories)]
}

fn per_cent(part: u64, whole: u64) -> String {
    if whole == 0 { "0.00%".to_owned() } else { format!("{:.2}%", 100.0 * part as f64 / whole as f64) }
}
