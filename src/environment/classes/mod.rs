//! Path classes: what kind of software the recorded paths belong to, and what each kind costs.
//!
//! Every recorded path has exactly one class, by the first rule that fits (`rules`). The names of Copper's classes are
//! kept where its classes say one thing. Beside them stand totals in Copper's own classes, made by its own tests, so
//! that figures can be compared.
//!
//! Invariant: the totals of all classes are the totals of all paths.

mod pattern;
mod places;
mod rules;
mod text;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::recorded::{Recorded, Usage};
use crate::profile::copper;
use crate::text::{csv, plain};
use places::Places;
pub use rules::{Rules, RulesError};

/// Version of the layout of `--json`.
const SCHEMA: u32 = 1;

/// Paths told of each class: enough to see what the class is about.
const TOP_PATHS: usize = 3;

/// Classes of what every start asks for in vain, which is no fault: what that is called, and why it is asked for.
pub const NORMAL: [(&str, &str, &str); 5] = [
    ("python_zip_probe", "python*.zip", "Python asks for a zipped standard library first"),
    ("virtual_env_probe", "pyvenv.cfg", "Python asks whether it is in a virtual environment"),
    ("python_layout_probe", "python*._pth", "Python asks where it lies"),
    ("glibc_hwcaps_probe", "glibc-hwcaps", "the loader asks for libraries for newer processors"),
    ("loader_platform_probe", "tls", "older loaders ask for libraries for newer processors"),
];

/// One class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// How many paths.
    pub paths: u64,
    /// Their sum.
    pub usage: Usage,
    /// The busiest paths.
    pub top: Vec<(PathBuf, Usage)>,
}

/// All classes of some recordings.
#[derive(Debug, Clone)]
pub struct Classes {
    /// By calls, the busiest first.
    pub classes: Vec<Class>,
    /// The same paths in Copper's classes.
    pub of_copper: Vec<Class>,
    /// Everything.
    pub total: Class,
    source: String,
    notes: Vec<String>,
}

/// Every path of `recorded`, what was asked of it, and its class.
pub fn each<'a>(
    recorded: &'a Recorded,
    rules: &'a Rules,
) -> impl Iterator<Item = (&'a Path, &'a Usage, String)> {
    let places = places(recorded);
    recorded.paths.iter().map(move |(path, usage)| (path.as_path(), usage, rules.class(path, usage, &places)))
}

/// The classes of `paths` beside those of `recorded`, as if they had been found.
pub fn if_found<'a>(
    recorded: &Recorded,
    paths: impl Iterator<Item = &'a Path>,
) -> BTreeMap<&'a Path, String> {
    let (rules, places) = (Rules::built_in(), places(recorded));
    paths.map(|path| (path, rules.class(path, &FOUND, &places))).collect()
}

/// What was found, and no more is known of it.
const FOUND: Usage = Usage { calls: 0, found: 1, absent: 0, errors: 0, reads: 0, bytes: 0, nanoseconds: 0 };

/// What the paths belong to, packages and classes without a package, by the time that was waited for them.
///
/// A path that was never there belongs to what it would belong to if it were.
pub fn owners(recorded: &Recorded) -> Vec<Class> {
    let (rules, places) = (Rules::built_in(), places(recorded));
    let mut owners = totals(recorded, |path, _| owner(&rules.class(path, &FOUND, &places)));
    owners.sort_by_key(|class| std::cmp::Reverse(class.usage.nanoseconds));
    owners
}

/// The owner of what has this class.
fn owner(class: &str) -> String {
    let (kind, name) = class.split_once(':').unwrap_or((class, ""));
    match kind {
        "package" | "native" => format!("Python: {name}"),
        "python_stdlib" => "Python: standard library".to_owned(),
        "r_package" | "r_native" => format!("R: {name}"),
        "julia_package" | "julia_compiled" => format!("Julia: {name}"),
        "environment_prefix" | "unclassified" => "no package".to_owned(),
        _ => class.to_owned(),
    }
}

/// Classifies every path of `recorded`.
pub fn classify(recorded: &Recorded, rules: &Rules) -> Classes {
    let places = places(recorded);
    let ours = totals(recorded, |path, usage| rules.class(path, usage, &places));
    let of_copper = totals(recorded, |path, usage| copper_class(path, usage).to_owned());
    let total = totals(recorded, |_, _| "total".to_owned()).pop();
    let none = Class { name: "total".to_owned(), paths: 0, usage: Usage::default(), top: Vec::new() };
    Classes {
        classes: ours,
        of_copper,
        total: total.unwrap_or(none),
        source: recorded.source(),
        notes: recorded.notes(),
    }
}

impl Classes {
    /// What must be known of all numbers.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// For people; at most `rows` classes, 0 for all.
    pub fn lines(&self, rows: usize) -> Vec<String> {
        text::lines(self, &self.source, rows)
    }

    /// One object with everything.
    pub fn json(&self) -> Value {
        json!({
            "schema": SCHEMA,
            "source": self.source,
            "is_lower_bound": self.notes.iter().any(|note| note.starts_with("lower bound")),
            "notes": self.notes,
            "classes": self.classes.iter().map(class_json).collect::<Vec<_>>(),
            "copper_classes": self.of_copper.iter().map(class_json).collect::<Vec<_>>(),
            "total": class_json(&self.total),
        })
    }

    /// A record for each class.
    pub fn csv(&self) -> Vec<String> {
        let head = "class,paths,calls,found,absent,errors,bytes,nanoseconds".to_owned();
        let row = |class: &Class| {
            let usage = &class.usage;
            let numbers = [
                class.paths,
                usage.calls,
                usage.found,
                usage.absent,
                usage.errors,
                usage.bytes,
                usage.nanoseconds,
            ];
            let fields = [class.name.clone()].into_iter().chain(numbers.map(|number| number.to_string()));
            csv::record(fields)
        };
        [head].into_iter().chain(self.classes.iter().map(row)).collect()
    }
}

fn places(recorded: &Recorded) -> Places {
    Places::of(recorded.paths.iter().filter(|(_, usage)| usage.found > 0).map(|(path, _)| path.as_path()))
}

fn class_json(class: &Class) -> Value {
    let mut value = usage_json(&class.usage);
    value["class"] = json!(class.name);
    value["paths"] = json!(class.paths);
    let path_json = |(path, usage): &(PathBuf, Usage)| {
        let mut value = usage_json(usage);
        value["path"] = json!(plain(path));
        value
    };
    value["top"] = class.top.iter().map(path_json).collect();
    value
}

fn usage_json(usage: &Usage) -> Value {
    let Usage { calls, found, absent, errors, bytes, nanoseconds, .. } = usage;
    json!({ "calls": calls, "found": found, "absent": absent, "errors": errors, "bytes": bytes, "nanoseconds": nanoseconds })
}

fn totals(recorded: &Recorded, class: impl Fn(&Path, &Usage) -> String) -> Vec<Class> {
    let mut classes: BTreeMap<String, Class> = BTreeMap::new();
    for (path, usage) in &recorded.paths {
        let name = class(path, usage);
        let class = classes.entry(name.clone()).or_insert_with(|| Class {
            name,
            paths: 0,
            usage: Usage::default(),
            top: Vec::new(),
        });
        class.paths += 1;
        class.usage.add(usage);
        let place = class.top.partition_point(|(_, other)| other.calls >= usage.calls);
        if place < TOP_PATHS {
            class.top.insert(place, (path.clone(), *usage));
            class.top.truncate(TOP_PATHS);
        }
    }
    let mut classes: Vec<Class> = classes.into_values().collect();
    classes.sort_by(|one, other| other.usage.calls.cmp(&one.usage.calls).then(one.name.cmp(&other.name)));
    classes
}

/// The class of Copper 1.0. What was never there stands for its category of absences that it remembers.
fn copper_class(path: &Path, usage: &Usage) -> &'static str {
    copper::class(usage.is_probe(), &String::from_utf8_lossy(path.as_os_str().as_encoded_bytes()))
}

#[cfg(test)]
mod tests;
