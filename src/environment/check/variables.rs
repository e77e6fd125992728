//! Search paths in variables: each entry looked at for itself, beside its neighbours, and against the Python at hand.
//!
//! An entry has at most one of the faults that a corrected value is made without; the first in the safe order counts.
//!
//! Not here: what search paths in files say (`files`, `native`), the corrected values (`values`).

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::active::Active;
use super::{Fault, Finding};
use crate::environment::bounds;
use crate::environment::look::NAMES_MAX;
use crate::environment::python;
use crate::environment::surroundings::Surroundings;

/// The search paths looked at, and what is searched in them.
const LISTS: [(&str, Sought); 6] = [
    ("PATH", Sought::Programs),
    ("PYTHONPATH", Sought::Modules),
    ("LD_LIBRARY_PATH", Sought::Libraries),
    ("R_LIBS", Sought::RPackages),
    ("R_LIBS_USER", Sought::RPackages),
    ("R_LIBS_SITE", Sought::RPackages),
];

/// Programs that decide which environment is used; others may well be found twice.
const PROGRAMS: [&str; 9] =
    ["python", "python3", "pip", "R", "Rscript", "julia", "mpirun", "mpiexec", "srun"];

/// Names told of those that are shadowed.
const NAMES_TOLD: usize = 3;

/// What a search path is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sought {
    Programs,
    Modules,
    Libraries,
    RPackages,
}

/// A search path in a variable.
#[derive(Debug, Clone)]
pub struct List {
    /// The variable.
    pub name: &'static str,
    /// Its entries in order.
    pub entries: Vec<Entry>,
    sought: Sought,
}

/// One directory of a search path.
#[derive(Debug, Clone)]
pub struct Entry {
    /// As it is written.
    pub text: OsString,
    /// What it means, absolute.
    pub path: PathBuf,
    /// Where it leads, if it is there.
    pub real: Option<PathBuf>,
    /// What is wrong with it, and in words.
    pub fault: Option<(Fault, String)>,
    /// Whether a corrected value has it in spite of its fault.
    pub is_kept: bool,
}

impl List {
    /// The entries without those that have one of these faults.
    pub fn without(&self, faults: &[Fault]) -> Vec<&OsStr> {
        let stays = |entry: &&Entry| {
            entry.is_kept || entry.fault.as_ref().is_none_or(|(fault, _)| !faults.contains(fault))
        };
        self.entries.iter().filter(stays).map(|entry| entry.text.as_os_str()).collect()
    }

    /// What is wrong with single entries.
    pub fn findings(&self) -> impl Iterator<Item = (Finding, &Entry)> {
        self.entries.iter().filter_map(|entry| {
            let (fault, says) = entry.fault.clone()?;
            Some((Finding::new(fault, self.name, entry.text.clone(), says), entry))
        })
    }

    /// Entries whose names an earlier one has too.
    pub fn shadows(&self) -> Vec<Finding> {
        let mut seen: Vec<(&Entry, BTreeSet<OsString>)> = Vec::new();
        let mut findings = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.real.is_some() && entry.fault.is_none()) {
            let names = names(&entry.path, self.sought);
            for (earlier, theirs) in &seen {
                // Whoever activates an environment means it to come before the system's programs.
                if bounds::is_system(&entry.path) {
                    break;
                }
                let both: Vec<&OsString> = names.intersection(theirs).collect();
                if both.is_empty() {
                    continue;
                }
                let says = format!("`{}` has {} first", earlier.path.display(), told(&both));
                findings.push(Finding::new(Fault::Shadowed, self.name, entry.text.clone(), says));
            }
            seen.push((entry, names));
        }
        findings
    }
}

/// Reads the search paths that are set.
pub fn lists(around: &Surroundings, active: Option<&Active>) -> Vec<List> {
    let set = LISTS.iter().filter_map(|&(name, sought)| {
        let value = around.variable(name)?;
        let entries = value.as_bytes().split(|&byte| byte == b':').map(OsStr::from_bytes);
        let entries = entries.map(|text| entry(text, name, around)).collect();
        Some(List { name, entries, sought })
    });
    let mut lists: Vec<List> = set.collect();
    lists.iter_mut().for_each(|list| judge(list, active));
    lists
}

/// Variables that name one directory: what does not fit.
pub fn prefixes(around: &Surroundings, active: Option<&Active>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, marker, what) in [
        ("VIRTUAL_ENV", "pyvenv.cfg", "virtual environment"),
        ("CONDA_PREFIX", "conda-meta", "conda environment"),
    ] {
        let Some(path) = around.path(name) else { continue };
        let mut find =
            |fault, says: String| findings.push(Finding::new(fault, name, path.clone().into(), says));
        if let Some((fault, says)) = super::of_no_directory(&path) {
            find(fault, says);
        } else if !path.join(marker).exists() {
            find(Fault::Stale, format!("is no {what}: it has no `{marker}`"));
        } else if let Some(active) = active.filter(|active| !is_of(&path, active)) {
            find(
                Fault::Stale,
                format!("`{}` belongs to `{}`", active.command.display(), active.prefix.display()),
            );
        }
    }
    findings.extend(python_home(around, active));
    findings
}

fn python_home(around: &Surroundings, active: Option<&Active>) -> Option<Finding> {
    let home = around.path("PYTHONHOME")?;
    let find = |fault, says| Some(Finding::new(fault, "PYTHONHOME", home.clone().into(), says));
    if let Some((fault, says)) = super::of_no_directory(&home) {
        return find(fault, format!("{says}; Python cannot start"));
    }
    let library = active.and_then(|active| active.library.as_deref())?;
    if !["lib", "lib64"].iter().any(|lib| home.join(lib).join(library).is_dir()) {
        return find(Fault::Stale, format!("has no `lib/{library}`; Python cannot start"));
    }
    let base = active.and_then(|active| active.base.as_deref())?;
    find(Fault::Stale, format!("hides the virtual environment's own base, `{}`", base.display()))
}

fn entry(text: &OsStr, variable: &str, around: &Surroundings) -> Entry {
    // R alone expands the tilde itself.
    let expanded = match (Path::new(text).strip_prefix("~"), &around.home) {
        (Ok(beneath), Some(home)) if variable.starts_with("R_") => home.join(beneath),
        _ => around.cwd.join(text),
    };
    let real =
        if text.is_empty() { None } else { fs::canonicalize(&expanded).ok().filter(|real| real.is_dir()) };
    Entry { text: text.to_owned(), path: expanded, real, fault: None, is_kept: false }
}

fn judge(list: &mut List, active: Option<&Active>) {
    for at in 0..list.entries.len() {
        let (before, rest) = list.entries.split_at(at);
        let entry = &rest[0];
        let fault =
            duplicate(entry, before).or_else(|| absent(entry, list.name, list.sought)).or_else(|| {
                of_another_python(&entry.path, active)
                    .or_else(|| of_another_prefix(entry, list.sought, active))
            });
        list.entries[at].fault = fault;
    }
    let sound: Vec<usize> = (0..list.entries.len()).filter(|&at| list.entries[at].fault.is_none()).collect();
    for &at in &sound {
        let is_newer = |&other: &usize| is_older(&list.entries[at].path, &list.entries[other].path);
        let Some(place) = sound.iter().copied().find(is_newer) else { continue };
        let newer = list.entries[place].path.display().to_string();
        // What comes first is what is used now: that must not change unasked.
        let (says, is_kept) = if place < at {
            (format!("older than `{newer}`, which comes first"), false)
        } else {
            (format!("older than `{newer}`, but comes first and is used; choose one"), true)
        };
        list.entries[at].fault = Some((Fault::Stale, says));
        list.entries[at].is_kept = is_kept;
    }
}

fn duplicate(entry: &Entry, before: &[Entry]) -> Option<(Fault, String)> {
    let same = |other: &Entry| {
        let plain = |path: &Path| path.components().collect::<PathBuf>();
        !entry.text.is_empty()
            && (plain(&entry.path) == plain(&other.path) || entry.real.is_some() && entry.real == other.real)
            || entry.text.is_empty() && other.text.is_empty()
    };
    let first = before.iter().position(same)?;
    let says = if before[first].text == entry.text {
        format!("the same as entry {}", first + 1)
    } else {
        format!("leads to the same directory as entry {}, `{}`", first + 1, before[first].path.display())
    };
    Some((Fault::Duplicate, says))
}

fn absent(entry: &Entry, variable: &str, sought: Sought) -> Option<(Fault, String)> {
    if entry.text.is_empty() {
        let says = match sought {
            Sought::RPackages => "an empty entry means nothing",
            _ => "an empty entry means the working directory",
        };
        return Some((Fault::Empty, says.to_owned()));
    }
    if variable.starts_with("R_") && entry.text.as_bytes().contains(&b'%') {
        return None; // only R can expand it
    }
    let Some(real) = &entry.real else {
        // An archive of modules is a usual entry of PYTHONPATH.
        let is_archive = sought == Sought::Modules && entry.path.is_file();
        return super::of_no_directory(&entry.path).filter(|_| !is_archive);
    };
    // The system's own directories are always there, whether anybody has put something in or not.
    let is_empty =
        !bounds::is_system(real) && fs::read_dir(real).is_ok_and(|mut names| names.next().is_none());
    is_empty.then(|| (Fault::Empty, "an empty directory".to_owned()))
}

/// Whether `path` goes through the library of another Python than the one at hand.
pub fn of_another_python(path: &Path, active: Option<&Active>) -> Option<(Fault, String)> {
    let library = active?.library.as_deref()?;
    let of = |name: &OsStr| python::library_of(name).filter(|library| OsStr::new(library) == name);
    let other = path.iter().find_map(of).filter(|other| other != library)?;
    Some((Fault::Stale, format!("for {other}, but the interpreter is {library}")))
}

fn of_another_prefix(entry: &Entry, sought: Sought, active: Option<&Active>) -> Option<(Fault, String)> {
    let active = active.filter(|_| sought != Sought::RPackages)?;
    let is_environment = |path: &&Path| path.join("pyvenv.cfg").exists() || path.join("conda-meta").is_dir();
    let other = entry.path.ancestors().find(is_environment)?;
    // An environment of conda's base needs the base's own `condabin` and programs.
    let is_base = |path: &Path| active.prefix.starts_with(path.join("envs"));
    if is_of(other, active) || is_base(other) {
        return None;
    }
    Some((
        Fault::Stale,
        format!("of `{}`, but the environment is `{}`", other.display(), active.prefix.display()),
    ))
}

/// Whether `prefix` is the environment at hand or its base, perhaps through links.
fn is_of(prefix: &Path, active: &Active) -> bool {
    let own = [Some(&active.prefix), active.base.as_ref()].into_iter().flatten();
    own.map(|own| super::real(own)).any(|own| own == super::real(prefix))
}

/// Whether `one` is the same place as `other` but for a lower version: `/opt/gcc/9.3/lib` and `/opt/gcc/12.2/lib`.
fn is_older(one: &Path, other: &Path) -> bool {
    let (a, b): (Vec<&OsStr>, Vec<&OsStr>) = (one.iter().collect(), other.iter().collect());
    if a.len() != b.len() {
        return false;
    }
    let mut order = std::cmp::Ordering::Equal;
    for (a, b) in a.iter().zip(&b).filter(|(a, b)| a != b) {
        match (versioned(a), versioned(b)) {
            (Some((name, version)), Some((other, newer))) if name == other => {
                order = order.then(version.cmp(&newer))
            }
            _ => return false,
        }
    }
    order.is_lt()
}

/// `cuda-11.8` as `cuda-` and 11, 8; `None` without a version: a number alone, or with a dot in it.
fn versioned(component: &OsStr) -> Option<(&str, Vec<u64>)> {
    let text = component.to_str()?;
    let start = text.find(|letter: char| letter.is_ascii_digit())?;
    let (name, version) = text.split_at(start);
    let numbers: Option<Vec<u64>> = version.split('.').map(|number| number.parse().ok()).collect();
    numbers.filter(|numbers| name.is_empty() || numbers.len() > 1).map(|numbers| (name, numbers))
}

/// What can be found in a directory.
fn names(directory: &Path, sought: Sought) -> BTreeSet<OsString> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().take(NAMES_MAX);
    let sought_name = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let text = name.to_str()?;
        match sought {
            Sought::Programs => PROGRAMS.contains(&text).then_some(name),
            Sought::Libraries => (text.starts_with("lib") && text.contains(".so")).then_some(name),
            Sought::RPackages => entry.path().join("DESCRIPTION").exists().then_some(name),
            Sought::Modules => match text.strip_suffix(".py") {
                Some(module) => Some(module.into()),
                None => entry.path().join("__init__.py").exists().then_some(name),
            },
        }
    };
    entries.filter_map(sought_name).collect()
}

fn told(names: &[&OsString]) -> String {
    let first = names.iter().take(NAMES_TOLD).map(|name| format!("`{}`", name.display())).collect::<Vec<_>>();
    let more = names.len().saturating_sub(NAMES_TOLD);
    if more == 0 { first.join(", ") } else { format!("{} and {more} more", first.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_toolchain_is_told_by_its_version_alone() {
        for (one, other, want) in [
            ("/opt/gcc/9.3/lib", "/opt/gcc/12.2/lib", true),
            ("/opt/gcc/12.2/lib", "/opt/gcc/9.3/lib", false), // newer
            ("/opt/gcc/9/lib", "/opt/gcc/12/lib", true),      // numbers, not letters
            ("/opt/cuda-11.8/lib", "/opt/cuda-12.0/lib", true),
            ("/opt/cuda-11.8/lib", "/opt/cuda-12.0/lib64", false), // another place
            ("/opt/gcc-9.3/lib", "/opt/icc-12.2/lib", false),      // another toolchain
            ("/lus/env1/lib", "/lus/env2/lib", false),             // names with numbers
            ("/opt/gcc/9.3/lib", "/opt/gcc/9.3/lib", false),
        ] {
            assert_eq!(is_older(Path::new(one), Path::new(other)), want, "{one} {other}");
        }
    }
}
