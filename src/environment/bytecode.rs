//! Modules without bytecode: on a read-only view every process compiles them again, and none can keep it.
//!
//! pip and conda write bytecode when they install, `uv pip` and a plain copy do not. Importing numpy, scipy
//! and pandas then took 2.3 s instead of 0.75 s in every process.
//!
//! Not here: walking on behalf of a run. A run counts from the listings it serves anyway, with
//! [`uncompiled`]; only the diagnosis that a user asks for walks.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::python;

/// From how many modules without bytecode on a user should be told.
///
/// A clean installation has a few dozen that cannot be compiled: templates, and test data with old syntax.
pub const MANY_UNCOMPILED: usize = 100;

/// Modules looked at in a walk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Bytecode {
    /// Modules seen.
    pub modules: usize,
    /// Those of them without bytecode.
    pub uncompiled: usize,
    /// Whether the walk was cut, so that the numbers are the least there are.
    pub is_cut: bool,
}

/// Where a walk stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalkLimit {
    /// Directories listed at most.
    pub directories_max: usize,
    /// Time spent at most; looked at between two directories.
    pub time_max: Duration,
}

/// How many of the modules in a directory have no bytecode in its `__pycache__`.
///
/// `names` are the directory's names, `cached` those in its `__pycache__`. A module is `X.py` with X an
/// identifier, since nothing else can be imported. Bytecode of any interpreter counts, as does `X.pyc`
/// beside the module.
pub fn uncompiled<'a>(
    names: impl IntoIterator<Item = &'a OsStr>,
    cached: impl IntoIterator<Item = &'a OsStr>,
) -> usize {
    let cached: HashSet<&str> = cached.into_iter().filter_map(module_of_bytecode).collect();
    let names: HashSet<&str> = names.into_iter().filter_map(OsStr::to_str).collect();
    let modules = names.iter().filter_map(|name| module(name));
    modules
        .filter(|module| !cached.contains(module) && !names.contains(format!("{module}.pyc").as_str()))
        .count()
}

/// X of `X.py`, if X can be imported.
fn module(name: &str) -> Option<&str> {
    let module = name.strip_suffix(".py")?;
    let mut letters = module.chars();
    let first = letters.next()?;
    let is_identifier =
        (first.is_alphabetic() || first == '_') && letters.all(|c| c.is_alphanumeric() || c == '_');
    is_identifier.then_some(module)
}

/// X of `X.cpython-311.pyc` and `X.cpython-311.opt-1.pyc` (PEP 3147, PEP 488).
fn module_of_bytecode(name: &OsStr) -> Option<&str> {
    let (tagged, _) = name.to_str()?.strip_suffix(".pyc").map(|stem| {
        stem.rsplit_once('.').filter(|(_, last)| last.starts_with("opt-")).unwrap_or((stem, ""))
    })?;
    tagged.rsplit_once('.').map(|(module, _)| module)
}

/// Counts the modules of a view that have no bytecode, by walking its libraries until `limit`.
///
/// Looks in `lib/pythonX.Y` where there is one, else everywhere; links are not followed. What cannot be
/// listed is passed over.
///
/// # Cost
/// One listing per directory, two for those with modules: only for a diagnosis, never for a run.
pub fn missing_bytecode(view: &Path, limit: WalkLimit) -> Bytecode {
    let started = Instant::now();
    let mut found = Bytecode::default();
    let mut waiting = libraries(view);
    let mut listed = 0;
    while let Some(directory) = waiting.pop() {
        if listed >= limit.directories_max || started.elapsed() >= limit.time_max {
            found.is_cut = true;
            return found;
        }
        listed += 1;
        count_directory(&directory, &mut found, &mut waiting);
    }
    found
}

fn count_directory(directory: &Path, found: &mut Bytecode, waiting: &mut Vec<PathBuf>) {
    let (mut names, mut cached) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            names.push(name);
        } else if name == "__pycache__" {
            cached = names_in(&entry.path());
        } else {
            waiting.push(entry.path());
        }
    }
    let modules = names.iter().filter(|name| name.to_str().and_then(module).is_some()).count();
    found.modules += modules;
    found.uncompiled += uncompiled(names.iter().map(AsRef::as_ref), cached.iter().map(AsRef::as_ref));
}

fn names_in(directory: &Path) -> Vec<OsString> {
    std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect()
}

fn libraries(view: &Path) -> Vec<PathBuf> {
    let lib_names = ["lib", "lib64"].map(|lib| view.join(lib));
    let in_lib = |lib: &PathBuf| {
        let is_library = |name: &OsString| python::library_of(name).is_some_and(|library| *library == **name);
        names_in(lib).into_iter().filter(is_library).map(|name| lib.join(name)).collect::<Vec<_>>()
    };
    // Virtual environments have lib64 as a link to lib: counted once.
    let real = lib_names.iter().filter(|lib| !lib.is_symlink());
    let libraries: Vec<PathBuf> = real.flat_map(in_lib).collect();
    if libraries.is_empty() { vec![view.to_owned()] } else { libraries }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_module_is_compiled_if_any_bytecode_names_it() {
        let cases: [(&[&str], &[&str], usize); 9] = [
            (&["a.py"], &["a.cpython-311.pyc"], 0),               // the usual case
            (&["a.py"], &["a.cpython-311.opt-1.pyc"], 0),         // optimised
            (&["a.py"], &["a.pypy310.pyc"], 0),                   // another interpreter
            (&["a.py", "b.py"], &["a.cpython-311.pyc"], 1),       // one is missing
            (&["a.py"], &["aa.cpython-311.pyc"], 1),              // another module whose name begins alike
            (&["a.py"], &["a.cpython-311.pyc.140234"], 1),        // left behind by a writer that was killed
            (&["a.py", "a.pyc"], &[], 0),                         // beside it, the old way
            (&["a-b.py", "2to3.py", "a.pyi", "README"], &[], 0),  // nothing that can be imported
            (&["__init__.py"], &["__init__.cpython-311.pyc"], 0), // packages themselves
        ];
        for (names, cached, want) in cases {
            let got = uncompiled(names.iter().map(OsStr::new), cached.iter().map(OsStr::new));
            assert_eq!(got, want, "{names:?} {cached:?}");
        }
    }

    #[test]
    fn a_walk_counts_libraries_and_stops_at_its_limit() {
        let view = tempfile::tempdir().unwrap();
        for package in 0..20 {
            let directory = view.path().join(format!("lib/python3.11/site-packages/p{package}"));
            fs::create_dir_all(directory.join("__pycache__")).unwrap();
            fs::write(directory.join("a.py"), "").unwrap();
            fs::write(directory.join("b.py"), "").unwrap();
            fs::write(directory.join("__pycache__/a.cpython-311.pyc"), "").unwrap();
        }
        fs::create_dir_all(view.path().join("share")).unwrap();
        fs::write(view.path().join("share/template.py"), "").unwrap();
        let limit = WalkLimit { directories_max: 1000, time_max: Duration::from_secs(60) };
        let all = missing_bytecode(view.path(), limit);
        assert_eq!(all, Bytecode { modules: 40, uncompiled: 20, is_cut: false });
        let cut = missing_bytecode(view.path(), WalkLimit { directories_max: 5, ..limit });
        assert!(cut.is_cut && cut.modules < 40, "{cut:?}");
        let no_time = missing_bytecode(view.path(), WalkLimit { time_max: Duration::ZERO, ..limit });
        assert!(no_time.is_cut && no_time.modules == 0, "{no_time:?}");
    }
}
