//! What `spinney profile` does, one function for each of its commands; each returns what is to be printed, and what could
//! not be read.
//!
//! Not here: flags (`cli::profile`), the work itself.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::compare;
use super::report::Report;
use super::report::sections::{self, Section};
use super::totals::Totals;

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people, as text.
    Markdown,
    /// For people, as one page that needs nothing else.
    Html,
    /// For programs, all in one.
    Json,
    /// For spreadsheets, a file for each table.
    Csv,
    /// For data frames and databases, a file for each table and one with all paths.
    Parquet,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 5] = [Format::Markdown, Format::Html, Format::Json, Format::Csv, Format::Parquet];
}

/// What is to be said.
#[derive(Debug, Default)]
pub struct Told {
    /// What was asked for; empty if it was written to files.
    pub text: String,
    /// What could not be read; each one clear line.
    pub troubles: Vec<String>,
}

impl Told {
    fn of<'a>(text: String, read: impl IntoIterator<Item = &'a Totals>) -> Self {
        let unread = read.into_iter().flat_map(Totals::unread);
        Told { text, troubles: unread.map(ToString::to_string).collect() }
    }
}

/// What others have to say of runs whose paths are known: sections that come after our own.
pub type More<'a> = &'a dyn Fn(&[PathBuf]) -> Vec<Section>;

/// Tells what the runs in `directories` touched, in one of the formats that are one text.
///
/// # Errors
/// A recording cannot be used, or the format is one of several files.
pub fn report(directories: &[PathBuf], format: Format, more: More<'_>) -> Result<Told> {
    if matches!(format, Format::Csv | Format::Parquet) {
        bail!("these are several files; `--to OUT` says where to write them");
    }
    let totals = Totals::read(directories)?;
    let report = whole(&totals, directories, more);
    let text = match format {
        Format::Html => report.html(),
        Format::Json => serde_json::to_string_pretty(&report.json())? + "\n",
        _ => report.markdown(),
    };
    Ok(Told::of(text, [&totals]))
}

/// Writes what the runs in `directories` touched into files at `to`, in these formats.
///
/// # Errors
/// A recording cannot be used, a file cannot be written.
pub fn write_report(directories: &[PathBuf], to: &Path, formats: &[Format], more: More<'_>) -> Result<Told> {
    let totals = Totals::read(directories)?;
    let report = whole(&totals, directories, more);
    for format in formats {
        match format {
            Format::Markdown => write(to, "report.md", report.markdown())?,
            Format::Html => write(to, "report.html", report.html())?,
            Format::Json => write(to, "report.json", serde_json::to_string_pretty(&report.json())? + "\n")?,
            Format::Csv => {
                for table in report.tables() {
                    write(to, &format!("{}.csv", table.name), table.csv())?;
                }
            }
            Format::Parquet => {
                let paths = (!totals.paths.is_empty()).then(|| sections::every_path(&totals));
                for table in report.tables().chain(&paths) {
                    write(to, &format!("{}.parquet", table.name), table.parquet()?)?;
                }
            }
        }
    }
    Ok(Told::of(String::new(), [&totals]))
}

/// Adds up the recordings in `directories`: a table with a row for each path, operation, outcome and source.
///
/// # Errors
/// A recording cannot be used.
pub fn aggregate(directories: &[PathBuf]) -> Result<Told> {
    let totals = Totals::read(directories)?;
    Ok(Told::of(sections::every_path(&totals).csv(), [&totals]))
}

/// Tells in what `after` differs from `before`, as Markdown.
///
/// # Errors
/// A recording cannot be used.
pub fn diff(before: &Path, after: &Path) -> Result<Told> {
    let (before, after) = (Totals::read(&[before])?, Totals::read(&[after])?);
    Ok(Told::of(compare::report(&before, &after).markdown(), [&before, &after]))
}

fn whole(totals: &Totals, directories: &[PathBuf], more: More<'_>) -> Report {
    let mut report = sections::report(totals);
    if !totals.paths.is_empty() {
        report.sections.extend(more(directories));
    }
    report
}

fn write(directory: &Path, name: &str, content: impl AsRef<[u8]>) -> Result<()> {
    let path = directory.join(name);
    let written = fs::create_dir_all(directory).and_then(|()| fs::write(&path, content));
    written.with_context(|| format!("cannot write `{}`", path.display()))
}
