//! Packages that are installed and that nobody imports: what records alone cannot name.
//!
//! What counts is where an import came from: a package of a site's own installation that users only have from
//! environments of their own is not used. Runs that imported the same name from elsewhere are told beside it, since a
//! path may lead to the same place by another name.
//!
//! Not here: what is installed, which the caller has found out.

use std::collections::HashMap;
use std::time::{Duration, UNIX_EPOCH};

use super::answers::best;
use super::tally::{Row, Sums, Tally};
use super::{DAY_SECONDS, Wanted};
use crate::track::store::ModuleRow;
use crate::track::table::{Cell, Table};

/// Somewhere where packages are installed.
#[derive(Debug, Clone)]
pub struct Installation {
    /// As the user names it.
    pub name: String,
    /// How paths of what is imported from there begin: by that name, and by the real one.
    pub paths: Vec<String>,
    /// What is installed there.
    pub packages: Vec<Package>,
}

/// A package that is installed.
#[derive(Debug, Clone)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// `python` or `R`.
    pub program: &'static str,
    /// Its version.
    pub version: String,
    /// The names by which programs import it.
    pub imported_as: Vec<String>,
}

/// The installation that a module was imported from; nothing if it is none of them.
pub(super) fn origin<'wanted>(all: &'wanted [Installation], module: &ModuleRow) -> &'wanted str {
    let beneath = |path: &&String| {
        module
            .path
            .strip_prefix(path.as_str())
            .is_some_and(|rest| path.ends_with('/') || rest.starts_with('/'))
    };
    let found =
        all.iter().filter_map(|it| Some((it.paths.iter().filter(beneath).map(String::len).max()?, it)));
    // One may lie within another.
    found.max_by_key(|(length, _)| *length).map_or("", |(_, it)| &it.name)
}

/// What nobody has imported for as long as was asked, the longest first.
pub(super) fn installed(tally: &Tally<'_>, wanted: &Wanted) -> Table {
    let sums: HashMap<_, &Sums> = tally.rows().map(|Row { key, sums, .. }| (key, sums)).collect();
    let mut rows = Vec::new();
    for installation in &wanted.installations {
        for package in &installation.packages {
            let of = |place: &str| {
                package
                    .imported_as
                    .iter()
                    .filter_map(|name| sums.get(&[name.as_str(), package.program, place]))
                    .copied()
                    .collect::<Vec<_>>()
            };
            let last = of(&installation.name).iter().map(|sums| sums.last_seen).reduce(f64::max);
            if last.is_some_and(|last| wanted.now - last < wanted.days * DAY_SECONDS) {
                continue;
            }
            let places = wanted.installations.iter().map(|it| it.name.as_str()).chain([""]);
            let elsewhere = places.filter(|place| *place != installation.name);
            // Of several names that with most runs: a run may import them all.
            let runs = |place| of(place).iter().map(|sums| sums.runs).fold(0.0, f64::max);
            rows.push((last, package, installation.name.as_str(), elsewhere.map(runs).sum::<f64>()));
        }
    }
    let order = |last: Option<f64>| last.unwrap_or(f64::NEG_INFINITY);
    let rows = best(rows, wanted.rows_max, |a, b| {
        let time = order(a.0).total_cmp(&order(b.0));
        time.then_with(|| (&a.1.name, a.2, &a.1.version).cmp(&(&b.1.name, b.2, &b.1.version)))
    });
    let row = |(last, package, place, elsewhere): (Option<f64>, &Package, &str, f64)| {
        let version = if package.version.is_empty() { "-" } else { &package.version };
        let names = [&package.name, package.program, version, &last.map_or_else(|| "never".to_owned(), day)];
        let names = names.map(Cell::text).into_iter();
        names.chain([Cell::Count(elsewhere), Cell::text(place)]).collect()
    };
    let columns = vec!["package", "program", "version", "last_import", "runs_elsewhere", "installed_in"];
    Table { columns, rows: rows.into_iter().map(row).collect() }
}

/// `2026-03-01`.
fn day(seconds: f64) -> String {
    let time = UNIX_EPOCH + Duration::from_secs_f64(seconds.clamp(0.0, 1e11));
    humantime::format_rfc3339_seconds(time).to_string().chars().take(10).collect()
}
