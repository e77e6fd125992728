//! Which directories hold packages: what no path tells by itself, but all paths together do.
//!
//! `site-packages` and `dist-packages` do by name. A directory made by `pip install --target`, or named in PYTHONPATH,
//! is found by what was found in it: metadata of a package, or a package by its `__init__` where the directory itself
//! has none. Likewise an R library is a directory with packages in it, by their `Meta` or `DESCRIPTION`.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::environment::python;

/// What all paths together tell.
#[derive(Debug, Clone, Default)]
pub struct Places {
    packages: HashSet<PathBuf>,
    r_libraries: HashSet<PathBuf>,
    ways: HashSet<PathBuf>,
}

impl Places {
    /// Looks through the paths that were found.
    pub fn of<'a>(found: impl Iterator<Item = &'a Path> + Clone) -> Self {
        let mut places = Self::default();
        for path in found.clone() {
            for ancestor in path.ancestors().skip(1) {
                if !places.ways.insert(ancestor.to_owned()) {
                    break; // its ancestors are known too
                }
            }
            places.r_libraries.extend(r_library(path).map(Path::to_owned));
        }
        let certain: HashSet<&Path> = found.clone().filter_map(holder_of_metadata).collect();
        let packages: HashSet<&Path> = found.filter_map(package).collect();
        let likely = packages.iter().filter_map(|package| package.parent());
        let likely =
            likely.filter(|parent| !packages.contains(parent) && python::prefix_in(parent).is_none());
        let all: HashSet<&Path> = certain.into_iter().chain(likely).collect();
        // A namespace package looks like a directory of packages; the outermost is one.
        let inner =
            |path: &Path| path.ancestors().skip(1).any(|outer| is_named(outer) || all.contains(outer));
        places.packages = all.iter().filter(|path| !inner(path)).map(|&path| path.to_owned()).collect();
        places
    }

    /// Whether Python packages lie in `directory`.
    pub fn is_packages(&self, directory: &Path) -> bool {
        is_named(directory) || self.packages.contains(directory)
    }

    /// Whether R packages lie in `directory`.
    pub fn is_r_library(&self, directory: &Path) -> bool {
        self.r_libraries.contains(directory)
            || directory.ends_with("R/library")
            || directory.ends_with("R/site-library")
    }

    /// Whether another path that was found lies beneath `path`.
    pub fn is_way(&self, path: &Path) -> bool {
        self.ways.contains(path)
    }
}

fn is_named(directory: &Path) -> bool {
    directory.file_name().is_some_and(|name| name == "site-packages" || name == "dist-packages")
}

/// D of `D/X.dist-info` and what lies in it.
fn holder_of_metadata(path: &Path) -> Option<&Path> {
    let is_metadata = |path: &&Path| path.extension() == Some(OsStr::new("dist-info"));
    path.ancestors().find(is_metadata)?.parent()
}

/// D of `D/__init__.py` and its like.
fn package(path: &Path) -> Option<&Path> {
    let name = path.file_name()?.to_str()?;
    let parent = path.parent()?;
    let is_package = name.starts_with("__init__.");
    is_package.then(|| if parent.ends_with("__pycache__") { parent.parent() } else { Some(parent) })?
}

/// D of `D/X/Meta/package.rds` and `D/X/DESCRIPTION`.
fn r_library(path: &Path) -> Option<&Path> {
    let package = if path.ends_with("Meta/package.rds") {
        path.parent()?.parent()?
    } else if path.ends_with("DESCRIPTION") {
        path.parent()?
    } else {
        return None;
    };
    package.parent()
}
