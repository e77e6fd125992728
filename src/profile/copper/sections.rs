//! The sections of Copper's summaries that say what paths are about: the hottest ones, their classes, what to prune.
//!
//! Copper classes the rows of its table of hottest paths; here all recorded paths are classed, since the rows that it leaves
//! out are the ones nobody suspects.
//!
//! Not here: how calls are counted (`copper`), classes that say more (`environment::classes`).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Category, Counts, Rows, add};
use crate::text::plain;

/// The class of a path in Copper: plain tests of its text, the first that fits. An absence that was told out of a cache
/// is classed by itself.
pub fn class(is_absence: bool, path: &str) -> &'static str {
    if is_absence {
        return match path {
            text if text.contains("python") && text.ends_with(".zip") => "python_zip_probe",
            text if text.ends_with("/pyvenv.cfg") => "virtual_env_probe",
            text if text.contains("glibc-hwcaps") => "glibc_hwcaps_probe",
            text if text.contains(".so") => "missing_shared_library_probe",
            _ => "negative_probe_path",
        };
    }
    const PARTS: [(&str, &str); 6] = [
        ("/site-packages/torch/lib/", "torch_native_library"),
        ("/site-packages/torch", "torch_python_package"),
        ("/site-packages", "python_site_packages"),
        ("/lib/python", "python_stdlib"),
        ("/bin/", "environment_bin"),
        (".so", "shared_library"),
    ];
    PARTS.iter().find(|(part, _)| path.contains(part)).map_or("environment_prefix", |(_, class)| class)
}

/// One class: rows, events, and the path with the most of them.
#[derive(Debug, Clone, Copy)]
struct OfClass<'a> {
    name: &'static str,
    entries: u64,
    events: u64,
    example: (&'a str, u64),
}

/// The classes of all rows, those with the most events first.
fn classes<'a>(rows: &'a Rows<'a>) -> Vec<OfClass<'a>> {
    let mut classes: BTreeMap<&'static str, OfClass<'a>> = BTreeMap::new();
    for (category, of_category) in rows {
        for (path, counts) in of_category {
            let events = counts.events(*category);
            let name = class(*category == Category::Absences, path);
            let none = OfClass { name, entries: 0, events: 0, example: (path, 0) };
            let class = classes.entry(name).or_insert(none);
            class.entries += 1;
            add(&mut class.events, events);
            if events > class.example.1 {
                class.example = (path, events);
            }
        }
    }
    let mut classes: Vec<_> = classes.into_values().collect();
    classes.sort_by(|one, other| other.events.cmp(&one.events).then(one.name.cmp(other.name)));
    classes
}

/// `## Path Class Heuristics` and `## Pruning Guidance`.
pub(super) fn about_paths(rows: &Rows<'_>) -> String {
    let mut text = "\n## Path Class Heuristics\n\n| Path Class | Entries | Total Events | Example |\n|---|---:|---:|---|\n".to_owned();
    let classes = classes(rows);
    for OfClass { name, entries, events, example: (path, _) } in &classes {
        let _ = writeln!(text, "| {name} | {entries} | {events} | {} |", cell(path));
    }
    text += "\n## Pruning Guidance\n\n";
    let mut advised = false;
    for OfClass { name, entries, events, .. } in &classes {
        if let Some(advice) = advice(name) {
            let _ = writeln!(text, "- {name}: {events} events of {entries} paths. {advice}");
            advised = true;
        }
    }
    if !advised {
        text += "- No repeated probes of names that are not there.\n";
    }
    text + "- Remove duplicates first, then what does not exist, then what is stale; measure again before trying with less. `spinney env check --recording DIR` names the entries.\n"
}

/// What can be done about a class of probes.
fn advice(class: &str) -> Option<&'static str> {
    Some(match class {
        "python_zip_probe" => "Python asks for its zipped standard library at each start; normal.",
        "virtual_env_probe" => "Python asks whether it is in a virtual environment; normal.",
        "glibc_hwcaps_probe" => {
            "The loader asks for libraries for newer processors in each directory; fewer entries of LD_LIBRARY_PATH are fewer of these."
        }
        "missing_shared_library_probe" => {
            "The loader looks where the library is not: entries of LD_LIBRARY_PATH that hit come first."
        }
        "negative_probe_path" => "Names that are not there: entries of PYTHONPATH that hit come first.",
        _ => return None,
    })
}

/// `## Top Paths`, of so many rows in each category.
pub(super) fn top_paths(rows: &Rows<'_>, limit: usize) -> String {
    let mut text = "\n## Top Paths\n\n| Category | Path | Total Events |\n|---|---|---:|\n".to_owned();
    for (category, path, counts) in top(rows, limit) {
        let _ = writeln!(text, "| {} | {} | {} |", category.name(), cell(path), counts.events(category));
    }
    text
}

/// The rows with the most events of each category, in Copper's order.
pub(super) fn top<'a>(rows: &'a Rows<'a>, limit: usize) -> Vec<(Category, &'a str, Counts)> {
    let mut all = Vec::new();
    for (category, of_category) in rows {
        let mut of_category: Vec<_> = of_category.iter().collect();
        of_category.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.events(*category)));
        all.extend(of_category.into_iter().take(limit).map(|(path, counts)| (*category, *path, *counts)));
    }
    all
}

/// Text in a table of Markdown.
fn cell(path: &str) -> String {
    plain(path).replace('|', "\\|")
}
