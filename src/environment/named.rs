//! What variables name: environments, package directories, libraries.
//!
//! A name alone is no proof. A directory that is not in an environment is left out with a note, because a
//! view is read-only and PYTHONPATH is where people put the code they are working on.

use std::path::{Path, PathBuf};

use super::bounds;
use super::python;
use super::r;
use super::search::Search;

/// How many directories of LD_LIBRARY_PATH are looked at that do not show by name what they belong to.
///
/// Module systems put dozens there; nearly all hold libraries of compilers and MPI, which are no view.
const LIBRARY_ENTRIES_MAX: usize = 4;

/// Accepts what VIRTUAL_ENV and CONDA_PREFIX name: environments as such.
pub fn accept_active(search: &mut Search) {
    if let Some(venv) = unknown(search, "VIRTUAL_ENV") {
        python::accept_venv(search, &venv, None);
    }
    if let Some(conda) = unknown(search, "CONDA_PREFIX") {
        accept_conda(search, &conda, "conda environment named by `CONDA_PREFIX`");
    }
}

/// Accepts what the search paths name, as far as it lies in an environment.
///
/// `library` is the name of the library directory of the Python at hand, `python3.11`.
pub fn accept_search_paths(search: &mut Search, library: Option<&str>) {
    if let Some(home) = unknown(search, "PYTHONHOME") {
        let prefix = home.to_str().and_then(|value| value.split(':').next()).map(PathBuf::from);
        if let Some((prefix, library)) = prefix.and_then(|home| python::installation(search, &home, library))
        {
            python::accept_prefix(
                search,
                prefix,
                Some(&library),
                "Python installation named by `PYTHONHOME`",
            );
        }
    }
    for entry in search.around.list("PYTHONPATH") {
        accept_package_directory(search, &entry);
    }
    for prefix in search.around.list("EBPYTHONPREFIXES") {
        accept_easybuild_prefix(search, &prefix, library);
    }
    for name in ["R_LIBS", "R_LIBS_USER", "R_LIBS_SITE"] {
        for entry in search.around.list(name) {
            accept_r_library(search, &entry, name);
        }
    }
    accept_library_directories(search, library);
}

/// Accepts the conda environment at `prefix`, if it is one.
pub fn accept_conda(search: &mut Search, prefix: &Path, reason: &str) -> bool {
    let Some(meta) = search.looks.directory(&prefix.join("conda-meta")) else { return false };
    meta.parent().is_some_and(|real| search.accept(real.to_owned(), reason).is_ok())
}

/// The path in a variable, unless it lies in an accepted directory anyway.
fn unknown(search: &Search, name: &str) -> Option<PathBuf> {
    search.around.path(name).filter(|path| !search.covers(path))
}

fn accept_package_directory(search: &mut Search, entry: &Path) {
    let Some(real) = real_and_unknown(search, entry) else { return };
    match python::prefix_in(&real) {
        Some((prefix, library)) => {
            python::accept_prefix(search, prefix, Some(&library), "environment named in `PYTHONPATH`");
        }
        None if search.within_bounds(&real) => search.note(format!(
            "left out: `{}` in `PYTHONPATH` lies in no environment; `--view` serves it",
            real.display()
        )),
        None => {} // code that is being worked on
    }
}

/// EasyBuild's way to name packages: prefixes, from which its Python takes `lib/pythonX.Y/site-packages`.
fn accept_easybuild_prefix(search: &mut Search, prefix: &Path, library: Option<&str>) {
    if search.covers(prefix) || library.is_none() {
        return;
    }
    if let Some((prefix, library)) = python::installation(search, prefix, library) {
        python::accept_prefix(search, prefix, Some(&library), "environment named in `EBPYTHONPREFIXES`");
    }
}

fn accept_r_library(search: &mut Search, entry: &Path, variable: &str) {
    if entry.as_os_str().as_encoded_bytes().contains(&b'%') {
        let entry = entry.display();
        search.note(format!(
            "left out: `{entry}` in `{variable}`, which only R can expand; `--view` serves it"
        ));
        return;
    }
    let Some(real) = real_and_unknown(search, entry) else { return };
    let view = r::prefix_in(&real).unwrap_or(real);
    // A refusal has been noted; there is nothing narrower left to try.
    let _ = search.accept(view, format!("R library named in `{variable}`"));
}

fn accept_library_directories(search: &mut Search, library: Option<&str>) {
    let mut looked_at = 0;
    for entry in search.around.list("LD_LIBRARY_PATH") {
        if search.covers(&entry) || bounds::is_system(&entry) {
            continue;
        }
        if python::prefix_in(&entry).is_none() && r::prefix_in(&entry).is_none() {
            looked_at += 1;
        }
        if looked_at <= LIBRARY_ENTRIES_MAX {
            accept_library_directory(search, &entry, library);
        }
    }
}

fn accept_library_directory(search: &mut Search, entry: &Path, library: Option<&str>) {
    const REASON: &str = "environment named in `LD_LIBRARY_PATH`";
    let Some(real) = real_and_unknown(search, entry) else { return };
    if let Some((prefix, library)) = python::prefix_in(&real) {
        return python::accept_prefix(search, prefix, Some(&library), REASON);
    }
    if let Some(prefix) = r::prefix_in(&real) {
        // A refusal has been noted; there is nothing narrower left to try.
        let _ = search.accept(prefix, REASON);
        return;
    }
    let is_lib = real.ends_with("lib") || real.ends_with("lib64");
    let Some(prefix) = real.parent().filter(|prefix| is_lib && search.within_bounds(prefix)) else { return };
    if !accept_conda(search, prefix, REASON)
        && let Some(library) = library
        && search.looks.directory(&real.join(library)).is_some()
    {
        python::accept_prefix(search, prefix.to_owned(), Some(library), REASON);
    }
}

/// The real path of a directory that no accepted one holds and that is not the system's.
fn real_and_unknown(search: &Search, entry: &Path) -> Option<PathBuf> {
    if search.covers(entry) || bounds::is_system(entry) {
        return None;
    }
    search.looks.directory(entry).filter(|real| !search.covers(real) && !bounds::is_system(real))
}
