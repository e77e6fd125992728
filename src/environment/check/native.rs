//! The search paths that compiled modules carry with them: RPATH and RUNPATH.
//!
//! The loader asks in each of these directories for each library that the module needs, before it comes to the right
//! one. Wheels that were built elsewhere often name directories of the machine they were built on.
//!
//! Not here: search paths in variables (`variables`).

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use object::read::elf::{Dyn, FileHeader};
use object::{Endianness, FileKind, ReadCache, ReadRef, elf};

use super::{Fault, Finding};
use crate::text::grouped;

/// Compiled modules looked into at most: a torch environment has 1,300.
pub const MODULES_MAX: usize = 20_000;

/// Links that may be loops are not followed; directories at most: ten times those of a torch environment.
const DIRECTORIES_MAX: usize = 50_000;

/// What was found in the modules beneath a directory.
#[derive(Debug, Default)]
pub struct Audit {
    /// Modules with dynamic sections.
    pub modules: usize,
    /// Whether there were more than were looked into.
    pub is_cut: bool,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// A search path of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchPath {
    /// `RPATH` or `RUNPATH`.
    pub kind: &'static str,
    /// As it is written.
    pub value: OsString,
}

/// What an ELF file wants of the loader.
#[derive(Debug, Default)]
pub struct Dynamic {
    /// Where to search.
    pub search_paths: Vec<SearchPath>,
    /// Names of libraries.
    pub needed: Vec<OsString>,
}

/// Looks into every compiled module beneath `directory`.
///
/// # Cost
/// A listing of every directory; a few small reads of every module.
pub fn audit(directory: &Path) -> Audit {
    let mut audit = Audit::default();
    let mut found: BTreeMap<(Fault, &'static str, OsString, String), Vec<PathBuf>> = BTreeMap::new();
    let (modules, is_cut) = modules(directory);
    audit.is_cut = is_cut;
    for module in modules {
        let Some(paths) = search_paths(&module) else { continue };
        audit.modules += 1;
        for path in paths {
            for (fault, entry, says) in faults(&path, &module) {
                found.entry((fault, path.kind, entry, says)).or_default().push(module.clone());
            }
        }
    }
    for ((fault, kind, entry, says), modules) in found {
        let first = modules[0].strip_prefix(directory).unwrap_or(&modules[0]).display();
        let others = match modules.len() {
            1 => String::new(),
            n => format!(" and {} more", grouped(n as u64 - 1)),
        };
        audit.findings.push(Finding::new(fault, kind, entry, format!("{says}; in {first}{others}")));
    }
    audit
}

/// RPATH and RUNPATH of an ELF file; `None` for any other file, and for one that is damaged.
pub fn search_paths(file: &Path) -> Option<Vec<SearchPath>> {
    dynamic(file).map(|dynamic| dynamic.search_paths)
}

/// What the loader is to do for an ELF file; `None` for any other file, and for one that is damaged.
pub fn dynamic(file: &Path) -> Option<Dynamic> {
    // Parts are read as they are needed: a module may have gigabytes.
    let cache = ReadCache::new(File::open(file).ok()?);
    match FileKind::parse(&cache).ok()? {
        FileKind::Elf64 => dynamic_of::<elf::FileHeader64<Endianness>, _>(&cache),
        FileKind::Elf32 => dynamic_of::<elf::FileHeader32<Endianness>, _>(&cache),
        _ => None,
    }
}

fn dynamic_of<'a, E: FileHeader<Endian = Endianness>, R: ReadRef<'a>>(data: R) -> Option<Dynamic> {
    let header = E::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, data).ok()?;
    let (entries, strings) = sections.dynamic(endian, data).ok()??;
    let strings = sections.strings(endian, data, strings).ok()?;
    let mut dynamic = Dynamic::default();
    for entry in entries {
        let (Some(tag), Some(value)) = (entry.tag32(endian), entry.val32(endian)) else { continue };
        if ![elf::DT_RPATH, elf::DT_RUNPATH, elf::DT_NEEDED].contains(&tag) {
            continue;
        }
        let Ok(value) = strings.get(value) else { continue };
        let value = OsString::from_vec(value.to_vec());
        match tag {
            elf::DT_RPATH => dynamic.search_paths.push(SearchPath { kind: "RPATH", value }),
            elf::DT_RUNPATH => dynamic.search_paths.push(SearchPath { kind: "RUNPATH", value }),
            _ => dynamic.needed.push(value),
        }
    }
    Some(dynamic)
}

/// The directories of one search path of `module`; those that only the loader knows are left out.
pub fn directories(path: &SearchPath, module: &Path) -> Vec<PathBuf> {
    let entries = path.value.as_bytes().split(|&byte| byte == b':');
    entries.filter_map(|entry| expanded(entry, module)).filter(|entry| entry.is_absolute()).collect()
}

/// An entry with `$ORIGIN` replaced; `None` if it says something that only the loader knows.
fn expanded(entry: &[u8], module: &Path) -> Option<PathBuf> {
    let origin = module.parent().unwrap_or(Path::new("/")).as_os_str().as_bytes();
    let expanded = replaced(&replaced(entry, b"${ORIGIN}", origin), b"$ORIGIN", origin);
    (!expanded.contains(&b'$')).then(|| PathBuf::from(OsString::from_vec(expanded)))
}

/// What is wrong with the entries of one search path.
fn faults(path: &SearchPath, module: &Path) -> Vec<(Fault, OsString, String)> {
    let mut seen: Vec<PathBuf> = Vec::new();
    let mut faults = Vec::new();
    for entry in path.value.as_bytes().split(|&byte| byte == b':') {
        let written = OsStr::from_bytes(entry).to_owned();
        if entry.is_empty() {
            faults.push((Fault::Empty, written, "an empty entry means the working directory".to_owned()));
            continue;
        }
        let Some(expanded) = expanded(entry, module) else {
            continue; // $LIB and $PLATFORM
        };
        if expanded.is_relative() {
            let says = "relative: it means another directory in each working directory".to_owned();
            faults.push((Fault::Empty, written, says));
            continue;
        }
        match fs::canonicalize(&expanded) {
            Err(error) => {
                let (fault, says) = super::of_error(&error);
                faults.push((fault, written, says));
            }
            Ok(real) if seen.contains(&real) => {
                faults.push((Fault::Duplicate, written, "leads to a directory named before".to_owned()));
            }
            Ok(real) => seen.push(real),
        }
    }
    faults
}

fn replaced(text: &[u8], part: &[u8], with: &[u8]) -> Vec<u8> {
    let Some(at) = text.windows(part.len()).position(|window| window == part) else { return text.to_vec() };
    [&text[..at], with, &replaced(&text[at + part.len()..], part, with)].concat()
}

/// Files beneath `directory` that are libraries by their names; links are not followed.
fn modules(directory: &Path) -> (Vec<PathBuf>, bool) {
    let (mut modules, mut waiting, mut listed) = (Vec::new(), vec![directory.to_owned()], 0);
    while let Some(directory) = waiting.pop() {
        listed += 1;
        if listed > DIRECTORIES_MAX || modules.len() >= MODULES_MAX {
            return (modules, true);
        }
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            let name = entry.file_name();
            let name = name.as_bytes();
            if kind.is_dir() {
                waiting.push(entry.path());
            } else if kind.is_file()
                && (name.ends_with(b".so") || name.windows(4).any(|part| part == b".so."))
            {
                modules.push(entry.path());
            }
        }
    }
    modules.sort();
    (modules, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entry_of_a_search_path_is_judged_from_where_its_module_lies() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("p/libs")).unwrap();
        let module = root.join("p/x.so");
        let cases: [(&str, &[Fault]); 8] = [
            ("$ORIGIN/libs", &[]),
            ("${ORIGIN}/libs:$ORIGIN", &[]),
            ("$ORIGIN/../p/libs:$ORIGIN/libs", &[Fault::Duplicate]),
            ("/build/ci/lib", &[Fault::Absent]),
            ("$ORIGIN/none:/build/lib", &[Fault::Absent, Fault::Absent]),
            ("", &[Fault::Empty]),
            ("lib", &[Fault::Empty]),
            ("/usr/$LIB", &[]), // only the loader knows
        ];
        for (value, want) in cases {
            let path = SearchPath { kind: "RUNPATH", value: value.into() };
            let got: Vec<Fault> = faults(&path, &module).into_iter().map(|(fault, ..)| fault).collect();
            assert_eq!(got, want, "{value}");
        }
    }

    #[test]
    fn what_is_no_module_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in [
            ("text.so", b"INPUT(libx.so.1)".as_slice()),
            ("cut.so", b"\x7fELF\x02\x01\x01"),
            ("empty.so", b""),
        ] {
            fs::write(directory.path().join(name), content).unwrap();
        }
        let audit = audit(directory.path());
        assert_eq!((audit.modules, audit.findings.len()), (0, 0));
        let own = search_paths(&std::env::current_exe().unwrap());
        assert!(own.is_some(), "this very program has a dynamic section");
    }
}
