//! What `spinney profile` does, one function for each of its commands; each returns what is to be printed.
//!
//! Not here: flags (`cli::profile`), the work itself.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::report::sections;
use super::totals::Totals;

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

fn write(directory: &Path, name: &str, text: &str) -> Result<()> {
    let path = directory.join(name);
    let written = fs::create_dir_all(directory).and_then(|()| fs::write(&path, text));
    written.with_context(|| format!("cannot write `{}`", path.display()))
}
