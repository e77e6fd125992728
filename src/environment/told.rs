//! What recordings say of an environment, as sections of a profile's report: path classes, coverage.
//!
//! Not here: the numbers (`classes`, `coverage`), what to trim (`trim`), the other sections (`profile::report`).

use std::path::PathBuf;

use super::classes::{self, Rules};
use super::coverage::{self, Coverage, MEANING};
use super::recorded::Recorded;
use crate::profile::report::Cell;
use crate::profile::report::sections::Section;
use crate::text::plain;

/// Rows of a table at most: what a page shows at once. `spinney env` has all.
const ROWS_SHOWN: usize = 200;

/// The classes of the recorded paths.
pub fn classes(recorded: &Recorded) -> Section {
    let about = "What kind of software the paths belong to; a package's compiled parts are its `native` class. `spinney env \
                 classify` has all classes, and takes rules of your own.";
    let columns = ["class", "paths", "calls", "found", "absent", "bytes", "waited"];
    let mut section = Section::table("classes", "Path classes", about, &columns);
    let classes = classes::classify(recorded, &Rules::built_in());
    for class in classes.classes.iter().take(ROWS_SHOWN) {
        let usage = &class.usage;
        section.rows.push(vec![
            Cell::Text(plain(&class.name)),
            Cell::Count(class.paths),
            Cell::Count(usage.calls),
            Cell::Count(usage.found),
            Cell::Count(usage.absent),
            Cell::Bytes(usage.bytes),
            Cell::Time(usage.nanoseconds),
        ]);
    }
    section
}

/// The same paths by what they belong to.
pub fn packages(recorded: &Recorded) -> Section {
    let about = "By what was asked for: a package, with its compiled parts, or a class of paths that belong to none. What was \
                 never there counts where it was looked for.";
    let columns = ["belongs to", "paths", "calls", "absent", "bytes", "waited"];
    let mut section = Section::table("packages", "By package", about, &columns);
    for owner in classes::owners(recorded).iter().take(ROWS_SHOWN) {
        let usage = &owner.usage;
        section.rows.push(vec![
            Cell::Text(plain(&owner.name)),
            Cell::Count(owner.paths),
            Cell::Count(usage.calls),
            Cell::Count(usage.absent),
            Cell::Bytes(usage.bytes),
            Cell::Time(usage.nanoseconds),
        ]);
    }
    section
}

/// How much of the views of the recordings was used: by directory and by package.
///
/// # Cost
/// A listing of every directory of the views, and the attributes of every name.
pub fn coverage(recorded: &Recorded) -> Vec<Section> {
    let views: Vec<PathBuf> = recorded.views.iter().cloned().collect();
    let coverage = coverage::coverage(recorded, &views);
    if coverage.roots.is_empty() {
        let mut section = Section::table("coverage", "Coverage", "", &[]);
        section.about =
            "The views are not to be seen here, so it cannot be said how much of them was used.".to_owned();
        return vec![section];
    }
    vec![by_directory(&coverage), by_package(&coverage)]
}

fn by_directory(coverage: &Coverage) -> Section {
    let columns = ["directory", "of its", "used", "available", "share"];
    let mut section = Section::table("coverage", "Coverage", MEANING, &columns);
    let notes = coverage.notes().iter().chain(&coverage.troubles);
    notes.for_each(|note| section.about += &format!(" Note: {note}."));
    for (root, part) in &coverage.roots {
        let (used, all) = (&part.used, &part.available);
        for (what, used, all) in [
            ("files", Cell::Count(used.files), Cell::Count(all.files)),
            ("files, read", Cell::Count(used.read), Cell::Count(all.files)),
            ("directories", Cell::Count(used.directories), Cell::Count(all.directories)),
            ("links", Cell::Count(used.links), Cell::Count(all.links)),
            ("bytes", Cell::Bytes(used.bytes), Cell::Bytes(all.bytes)),
        ] {
            let share = share(&used, &all);
            section.rows.push(vec![Cell::Path(plain(root)), Cell::Text(what.to_owned()), used, all, share]);
        }
    }
    section
}

fn by_package(coverage: &Coverage) -> Section {
    let about =
        "The largest first; what a package manager says that it has, against what was found by the run.";
    let columns = ["package", "version", "by", "files used", "files", "bytes used", "bytes", "share"];
    let mut section = Section::table("coverage-packages", "Coverage by package", about, &columns);
    for (package, part) in coverage.packages.iter().take(ROWS_SHOWN) {
        let (used, all) = (Cell::Bytes(part.used.bytes), Cell::Bytes(part.available.bytes));
        let share = share(&used, &all);
        section.rows.push(vec![
            Cell::Text(plain(&package.name)),
            Cell::Text(plain(&package.version)),
            Cell::Text(package.kind.to_owned()),
            Cell::Count(part.used.files),
            Cell::Count(part.available.files),
            used,
            all,
            share,
        ]);
    }
    section
}

fn share(part: &Cell, whole: &Cell) -> Cell {
    match (part, whole) {
        (Cell::Count(part) | Cell::Bytes(part), Cell::Count(whole) | Cell::Bytes(whole)) if *whole > 0 => {
            Cell::Share(*part as f64 / *whole as f64)
        }
        _ => Cell::Share(0.0),
    }
}
