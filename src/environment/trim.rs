//! What would make a start cheaper, as far as recordings show it: search directories that cost more than they bring.
//!
//! Told are directories that a search path may name. What a package asks for in its own directories is its own business,
//! and what every start asks for is told as normal.
//!
//! Not here: which variable names a directory, and what is safe to take out (`check`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::classes::{self, NORMAL, Rules};
use super::recorded::{Recorded, Usage};
use crate::profile::report::Cell;
use crate::profile::report::sections::Section;
use crate::text::plain;

/// Directories that are named: 10.
const DIRECTORIES_SHOWN: usize = 10;

/// Answers that are worth a word: 20. Fewer cost a start nothing that anybody would notice.
const CALLS_MIN: u64 = 20;

/// Names found for each that was not there, at which a directory is worth its place on a search path: a quarter.
const HITS_MIN: u64 = 4;

/// Classes of directories that no search path names by itself, or that no start can do without.
const OWN: [&str; 9] = [
    "package",
    "native",
    "python_stdlib",
    "python_site_packages",
    "r_package",
    "r_native",
    "r_runtime",
    "julia_package",
    "julia_runtime",
];

/// What was asked in one directory.
#[derive(Debug, Default)]
struct Searched {
    in_vain: Usage,
    found: u64,
}

/// The section.
pub fn section(recorded: &Recorded) -> Section {
    let about = "Each row is a cost that the environment can be freed of, or is told to be none. `spinney env check --recording \
                 DIR` says which variables name a directory, and in which order it is safe to put them right.";
    let mut section = Section::table("trim", "What to trim", about, &["what", "calls", "waited", "remedy"]);
    let mut normal = Usage::default();
    let mut source = Usage::default();
    let mut directories: BTreeMap<PathBuf, Searched> = BTreeMap::new();
    let rules = Rules::built_in();
    for (path, usage, class) in classes::each(recorded, &rules) {
        if NORMAL.iter().any(|(normal, ..)| *normal == class) {
            normal.add(usage);
            continue;
        }
        if path.extension().is_some_and(|extension| extension == "py") && usage.bytes > 0 {
            source.add(usage);
        }
        let Some(directory) = path.parent() else { continue };
        let searched = directories.entry(directory.to_owned()).or_default();
        if usage.is_probe() {
            searched.in_vain.add(usage);
        } else {
            searched.found = searched.found.saturating_add(usage.found);
        }
    }
    add_directories(recorded, directories, &mut section);
    if source.calls >= CALLS_MIN {
        let remedy = "compile it once: python3 -m compileall -q DIRECTORY";
        section.rows.push(row("source of Python modules read".to_owned(), &source, remedy));
    }
    if section.rows.is_empty() {
        section.about = "Nothing stands out.".to_owned();
    }
    if normal.calls >= CALLS_MIN {
        let what = "`python*.zip`, `pyvenv.cfg`, `glibc-hwcaps` and the like looked for in vain".to_owned();
        section.rows.push(row(what, &normal, "none: every start asks for these; normal"));
    }
    section
}

/// Directories that were searched in vain, or nearly so.
fn add_directories(recorded: &Recorded, all: BTreeMap<PathBuf, Searched>, section: &mut Section) {
    let kinds = classes::if_found(recorded, all.keys().map(PathBuf::as_path));
    let is_worth_it = |(directory, searched): &(&PathBuf, &Searched)| {
        let kind = kinds[directory.as_path()].split(':').next().unwrap_or_default();
        searched.in_vain.absent < CALLS_MIN
            || searched.found.saturating_mul(HITS_MIN) >= searched.in_vain.absent
            || OWN.contains(&kind)
    };
    let mut vain: Vec<(&PathBuf, &Searched)> = all.iter().filter(|one| !is_worth_it(one)).collect();
    vain.sort_by_key(|(_, searched)| std::cmp::Reverse(searched.in_vain.absent));
    for (directory, searched) in vain.into_iter().take(DIRECTORIES_SHOWN) {
        section.rows.push(row(said(directory, searched), &searched.in_vain, remedy(searched)));
    }
}

fn said(directory: &Path, searched: &Searched) -> String {
    let but = if searched.found == 0 { ", and nothing found there" } else { ", few found there" };
    format!("names looked for in vain in {}{but}", plain(directory))
}

fn remedy(searched: &Searched) -> &'static str {
    match searched.found {
        0 => "if a search path names it: take it off, measure again",
        _ => "if a search path names it: put it later",
    }
}

fn row(what: String, usage: &Usage, remedy: &str) -> Vec<Cell> {
    vec![
        Cell::Text(what),
        Cell::Count(usage.calls),
        Cell::Time(usage.nanoseconds),
        Cell::Text(remedy.to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_search_path_may_name_is_to_be_trimmed_and_normal_probes_are_called_so() {
        const SITE: &str = "/env/lib/python3.11/site-packages";
        let found = |calls| Usage { calls, found: calls, nanoseconds: 1, ..Usage::default() };
        let absent = |calls| Usage { calls, absent: calls, nanoseconds: calls, ..Usage::default() };
        let paths = [
            (format!("{SITE}/numpy/__init__.py"), found(1)),
            (format!("{SITE}/numpy/core.cpython-311-x86_64-linux-gnu.so"), absent(90)), // the package's own search
            (format!("{SITE}/torch.py"), absent(80)), // no start can do without it
            ("/env/lib/python311.zip".to_owned(), absent(30)),
            ("/env/pyvenv.cfg".to_owned(), absent(5)),
            ("/env/lib/glibc-hwcaps".to_owned(), absent(40)),
            ("/sw/never/libz.so".to_owned(), absent(50)),
            ("/sw/seldom/libz.so".to_owned(), absent(60)),
            ("/sw/seldom/libx.so".to_owned(), found(3)),
            ("/sw/often/libz.so".to_owned(), absent(60)),
            ("/sw/often/libx.so".to_owned(), found(30)),
            ("/sw/little/libz.so".to_owned(), absent(19)),
        ];
        let paths = paths.into_iter().map(|(path, usage)| (path.into(), usage)).collect();
        let told = section(&Recorded { paths, ..Recorded::default() });
        let rows: Vec<Vec<String>> =
            told.rows.iter().map(|row| row.iter().map(Cell::plain).collect()).collect();
        let of = |row: &Vec<String>| (row[0].clone(), row[1].clone(), row[2].clone());
        let in_vain =
            |directory: &str, more: &str| format!("names looked for in vain in {directory}, {more}");
        assert_eq!(
            rows.iter().map(of).collect::<Vec<_>>(),
            [
                (in_vain("/sw/seldom", "few found there"), "60".into(), "60".into()),
                (in_vain("/sw/never", "and nothing found there"), "50".into(), "50".into()),
                (
                    "`python*.zip`, `pyvenv.cfg`, `glibc-hwcaps` and the like looked for in vain".into(),
                    "75".into(),
                    "75".into()
                ),
            ]
        );
        assert!(rows[0][3].contains("put it later") && rows[1][3].contains("take it off"));
        assert!(rows[2][3].contains("normal"));
    }

    #[test]
    fn the_classes_named_here_are_those_of_the_rules() {
        let rules = Rules::built_in();
        let is_rule =
            |class: &&&str| rules.all().iter().any(|rule| rule.class.split(':').next() == Some(class));
        let unknown = NORMAL.iter().map(|(class, ..)| class).chain(&OWN).filter(|class| !is_rule(class));
        assert_eq!(unknown.collect::<Vec<_>>(), [&""; 0]);
    }
}
