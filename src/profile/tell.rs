//! What `spinney profile` does, one function for each of its commands; each returns what is to be printed.
//!
//! Not here: flags (`cli::profile`), the work itself.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::compare;
use super::report::sections;
use super::totals::{Sum, Totals};
use crate::text::csv::field;

/// Tells what the runs in `directories` touched: as Markdown, or into files at `to`.
///
/// # Errors
/// A recording cannot be used, a file cannot be written.
pub fn report(directories: &[PathBuf], to: Option<&Path>) -> Result<String> {
    let report = sections::report(&Totals::read(directories)?);
    let Some(to) = to else { return Ok(report.markdown()) };
    write(to, "report.md", &report.markdown())?;
    write(to, "report.html", &report.html())?;
    write(to, "report.json", &(serde_json::to_string_pretty(&report.json())? + "\n"))?;
    for (name, text) in report.csv() {
        write(to, &format!("{name}.csv"), &text)?;
    }
    Ok(String::new())
}

/// Adds up the recordings in `directories`: a table with a row for each path, operation, outcome and source.
///
/// # Errors
/// A recording cannot be used.
pub fn aggregate(directories: &[PathBuf]) -> Result<String> {
    let totals = Totals::read(directories)?;
    let mut paths: Vec<_> = totals.paths.iter().collect();
    paths.sort_by_key(|(path, _)| *path);
    let mut text = "path,operation,outcome,source,calls,bytes,nanoseconds,nodes\n".to_owned();
    for (path, of_path) in paths {
        for ((operation, outcome, source), sum, nodes) in of_path.parts() {
            let (operation, outcome, source) = (operation.name(), outcome.name(), source.name());
            let (path, Sum { calls, bytes, nanoseconds }) = (field(path), sum);
            let row =
                writeln!(text, "{path},{operation},{outcome},{source},{calls},{bytes},{nanoseconds},{nodes}");
            row.expect("memory takes it");
        }
    }
    Ok(text)
}

/// Tells in what `after` differs from `before`, as Markdown.
///
/// # Errors
/// A recording cannot be used.
pub fn diff(before: &Path, after: &Path) -> Result<String> {
    Ok(compare::report(&Totals::read(&[before])?, &Totals::read(&[after])?).markdown())
}

fn write(directory: &Path, name: &str, text: &str) -> Result<()> {
    let path = directory.join(name);
    let written = fs::create_dir_all(directory).and_then(|()| fs::write(&path, text));
    written.with_context(|| format!("cannot write `{}`", path.display()))
}
