//! An audit of the search paths that a start goes through: what costs probes and brings nothing.
//!
//! Looked at are the variables that Python, R and the loader read, and what the environment at hand says in files. With
//! recordings, each finding has the number of probes that it cost.
//!
//! Invariant: it changes nothing. Corrected values keep the order of what stays, in the order of steps that is safe.

mod active;
mod files;
pub(super) mod native;
mod probes;
mod text;
mod values;
mod variables;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde_json::{Value, json};

use super::bounds;
use super::look::Disk;
use super::recorded::Recorded;
use super::surroundings::Surroundings;
use crate::text::{counted, plain};
use active::Active;
use probes::Probes;
pub use values::Shell;
use variables::List;

/// Version of the layout of `--json`.
const SCHEMA: u32 = 1;

/// What can be wrong, in the order in which it is safe to put right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Named before, perhaps through a link.
    Duplicate,
    /// Not there.
    Absent,
    /// Storage gives another answer than that it is not there: so nobody knows what it holds.
    Unreachable,
    /// Says nothing, or means the working directory.
    Empty,
    /// Of another Python, environment or an older toolchain.
    Stale,
    /// Another entry has the same names first.
    Shadowed,
    /// Asked by the recorded job, always in vain.
    NeverHit,
}

impl Fault {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::Absent => "absent",
            Self::Unreachable => "unreachable",
            Self::Empty => "empty",
            Self::Stale => "stale",
            Self::Shadowed => "shadowed",
            Self::NeverHit => "never-hit",
        }
    }
}

/// Where `path` leads; itself if nobody can tell.
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// What is wrong with an entry that storage answered with `error`.
fn of_error(error: &io::Error) -> (Fault, String) {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            (Fault::Absent, "does not exist".to_owned())
        }
        _ => (Fault::Unreachable, format!("cannot be reached: {error}")),
    }
}

/// What is wrong with `path`, which should lead to a directory.
fn of_no_directory(path: &Path) -> Option<(Fault, String)> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => None,
        Ok(_) => Some((Fault::Absent, "is no directory".to_owned())),
        Err(error) => Some(of_error(&error)),
    }
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind.
    pub fault: Fault,
    /// The variable or file.
    pub place: String,
    /// The entry, as it is written.
    pub entry: OsString,
    /// What is wrong, in words.
    pub says: String,
    /// What it cost the recorded job; `None` without a recording that could see it.
    pub probes: Option<Probes>,
}

impl Finding {
    fn new(fault: Fault, place: &str, entry: OsString, says: String) -> Self {
        Self { fault, place: place.to_owned(), entry, says, probes: None }
    }
}

/// The outcome of an audit.
#[derive(Debug, Clone)]
pub struct Check {
    /// What is wrong, by place.
    pub findings: Vec<Finding>,
    /// What is worth knowing and no fault.
    pub remarks: Vec<String>,
    /// Where the numbers come from, and what must be known of them.
    pub notes: Vec<String>,
    python: Option<Active>,
    lists: Vec<List>,
    shell: Shell,
}

/// Audits what `command`, or else `python3`, would be started with.
///
/// # Cost
/// Looks at every entry, lists it, and reads the heads of all compiled modules of the environment.
pub fn check(
    around: &Surroundings,
    command: &[OsString],
    recorded: Option<&Recorded>,
    shell: Shell,
) -> Check {
    let (python, around) = Active::find(&Disk, around, command);
    let lists = variables::lists(&around, python.as_ref());
    let mut findings = Vec::new();
    for list in &lists {
        findings.extend(list.findings().map(|(mut finding, entry)| {
            finding.probes = recorded
                .and_then(|recorded| probes::in_directory(recorded, &entry.path, entry.path.is_dir()));
            finding
        }));
        findings.extend(list.shadows());
        findings.extend(recorded.into_iter().flat_map(|recorded| never_hit(list, recorded)));
    }
    findings.extend(variables::prefixes(&around, python.as_ref()));
    let mut remarks = recorded.map(normal_probes).unwrap_or_default();
    if let Some(python) = &python {
        audit_files(python, &mut findings, &mut remarks);
    }
    let notes =
        recorded.map(|recorded| [vec![recorded.source()], recorded.notes()].concat()).unwrap_or_default();
    Check { findings, remarks, notes, python, lists, shell }
}

impl Check {
    /// For people.
    pub fn lines(&self) -> Vec<String> {
        text::lines(self)
    }

    /// One object with everything.
    pub fn json(&self) -> Value {
        let path = |path: &PathBuf| plain(path);
        let finding = |finding: &Finding| {
            json!({
                "fault": finding.fault.name(),
                "place": finding.place,
                "entry": plain(&finding.entry),
                "says": plain(&finding.says),
                "probes": finding.probes.map(|probes| json!({
                    "absent": probes.absent, "found": probes.found, "itself": probes.itself, "nanoseconds": probes.nanoseconds
                })),
            })
        };
        let steps = values::STEPS.iter().enumerate().map(|(step, (_, name))| {
            json!({ "step": name, "lines": values::lines(&self.lists, step, self.shell) })
        });
        json!({
            "schema": SCHEMA,
            "python": self.python.as_ref().map(|python| json!({
                "command": path(&python.command),
                "prefix": path(&python.prefix),
                "base": python.base.as_ref().map(path),
                "library": python.library,
            })),
            "findings": self.findings.iter().map(finding).collect::<Vec<_>>(),
            "remarks": self.remarks,
            "notes": self.notes,
            "steps": steps.collect::<Vec<_>>(),
        })
    }
}

fn never_hit(list: &List, recorded: &Recorded) -> Vec<Finding> {
    let sound = list.entries.iter().filter(|entry| entry.fault.is_none() && entry.real.is_some());
    let in_vain = sound.filter_map(|entry| {
        let probes = probes::in_directory(recorded, &entry.path, true)?;
        (probes.found == 0 && probes.in_vain() > 0).then_some((entry, probes))
    });
    let finding = |(entry, probes): (&variables::Entry, Probes)| {
        let says = "asked by the recorded job, always in vain".to_owned();
        let finding = Finding::new(Fault::NeverHit, list.name, entry.text.clone(), says);
        Finding { probes: Some(probes), ..finding }
    };
    in_vain.map(finding).collect()
}

fn audit_files(python: &Active, findings: &mut Vec<Finding>, remarks: &mut Vec<String>) {
    findings.extend(files::venv(python));
    let (of_path_files, running) = files::path_files(python);
    findings.extend(of_path_files);
    if running > 0 {
        let files = counted(running as u64, "`.pth` file");
        remarks.push(format!("code that each start of Python runs: in {files}"));
    }
    // What the system's packages carry, its own loader finds on the node's own disk.
    for site in python.site_directories().iter().filter(|site| !bounds::is_system(site)) {
        let audit = native::audit(site);
        findings.extend(audit.findings);
        if audit.modules > 0 {
            let modules = counted(audit.modules as u64, "compiled module");
            let rest = if audit.is_cut { "; there are more" } else { "" };
            remarks.push(format!("looked into {modules} in `{}`{rest}", site.display()));
        }
    }
}

fn normal_probes(recorded: &Recorded) -> Vec<String> {
    let told = |(what, calls, why): (&str, u64, &str)| {
        format!("normal: {} for `{what}`; {why}", counted(calls, "probe"))
    };
    probes::normal(recorded).into_iter().map(told).collect()
}

#[cfg(test)]
mod tests;
