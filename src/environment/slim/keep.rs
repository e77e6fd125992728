//! What goes into a slim copy: what was used, and what that cannot do without.
//!
//! | reason | keeps |
//! |---|---|
//! | recorded | what the recordings found, and the directories and links on the way |
//! | target | what links lead to |
//! | metadata | what kept packages say of themselves: plugins, versions and licences are looked up in it |
//! | interpreter | Python, R and Julia beside what was used, `pyvenv.cfg`, and the libraries they need |
//!
//! Not here: copying (`copy`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::environment::check::native;
use crate::environment::coverage::{Coverage, Thing, Tree};

/// Why something is kept; the first that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The recordings found it.
    Recorded,
    /// A kept link leads to it.
    Target,
    /// A kept package says so of itself.
    Metadata,
    /// It is an interpreter, or one needs it.
    Interpreter,
}

impl Reason {
    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Recorded => "recorded",
            Reason::Target => "target",
            Reason::Metadata => "metadata",
            Reason::Interpreter => "interpreter",
        }
    }
}

/// What is kept, by real path: each with all directories on the way to it.
pub(super) type Kept = BTreeMap<PathBuf, Reason>;

/// What of `coverage` is kept.
pub(super) fn keep(coverage: &Coverage) -> Kept {
    let mut keeping = Keeping { tree: &coverage.tree, kept: Kept::new() };
    keeping.kept.extend(coverage.used.keys().map(|path| (path.clone(), Reason::Recorded)));
    let is_link = |path: &&PathBuf| matches!(coverage.tree.things.get(*path), Some(Thing::Link(_)));
    coverage.used.keys().filter(is_link).for_each(|link| keeping.add_target(link));
    let owners = &coverage.owners;
    let packages: std::collections::BTreeSet<usize> =
        keeping.kept.keys().filter_map(|path| owners.owner(path)).collect();
    for metadata in packages.into_iter().flat_map(|package| &owners.metadata[package]) {
        keeping.add_whole(metadata, Reason::Metadata);
    }
    keeping.add_interpreters();
    keeping.kept
}

struct Keeping<'a> {
    tree: &'a Tree,
    kept: Kept,
}

impl Keeping<'_> {
    /// Keeps what is at a real path, all directories on the way, and what it leads to.
    fn add(&mut self, real: &Path, reason: Reason) {
        if self.kept.contains_key(real) || !self.tree.things.contains_key(real) {
            return;
        }
        self.kept.insert(real.to_owned(), reason);
        let root = self.tree.root_of(real).map(|root| &self.tree.roots[root].1);
        let above =
            real.ancestors().skip(1).take_while(|above| root.is_some_and(|root| above.starts_with(root)));
        for directory in above {
            self.kept.entry(directory.to_owned()).or_insert(reason);
        }
        if matches!(self.tree.things[real], Thing::Link(_)) {
            self.add_target(real);
        }
    }

    fn add_target(&mut self, link: &Path) {
        let mut through = Vec::new();
        // With something behind it, the link itself is passed too.
        let behind = self.tree.real(&link.join("x"), &mut through);
        let target = behind.as_deref().and_then(Path::parent).map(Path::to_owned);
        for path in through.into_iter().chain(target) {
            self.add(&path, Reason::Target);
        }
    }

    /// Keeps a file, or a directory with everything in it.
    fn add_whole(&mut self, path: &Path, reason: Reason) {
        let Some(real) = self.tree.real(path, &mut Vec::new()) else { return };
        let tree = self.tree;
        let inside = tree.things.range(real.clone()..).take_while(|(path, _)| path.starts_with(&real));
        for (path, _) in inside {
            self.add(path, reason);
        }
    }

    /// Keeps the interpreters of each prefix of which something was used.
    fn add_interpreters(&mut self) {
        let tree = self.tree;
        let all: Vec<&PathBuf> = tree.things.keys().filter(|path| is_interpreter(path)).collect();
        for program in all {
            let Some(prefix) = program.parent().and_then(Path::parent) else { continue };
            let library = prefix.join("lib");
            let is_used =
                self.kept.range(library.clone()..).next().is_some_and(|(path, _)| path.starts_with(&library));
            let config = prefix.join("pyvenv.cfg");
            let is_environment = self.kept.contains_key(prefix) && tree.things.contains_key(&config);
            if !is_used && !is_environment {
                continue;
            }
            self.add(&config, Reason::Interpreter);
            self.add(program, Reason::Interpreter);
            self.add_libraries(program, &library);
        }
    }

    /// Keeps the libraries beneath the roots that the loader needs for `program`, and what these need.
    fn add_libraries(&mut self, program: &Path, library: &Path) {
        let mut waiting = vec![program.to_owned()];
        let mut seen = std::collections::BTreeSet::new();
        while let Some(file) = waiting.pop() {
            // The loader goes by where a file really lies, and so does `$ORIGIN`.
            let Some(file) = std::fs::canonicalize(&file).ok().filter(|file| seen.insert(file.clone()))
            else {
                continue;
            };
            let Some(dynamic) = native::dynamic(&file) else { continue };
            let mut directories: Vec<PathBuf> =
                dynamic.search_paths.iter().flat_map(|path| native::directories(path, &file)).collect();
            directories.push(library.to_owned());
            for name in &dynamic.needed {
                let found = directories.iter().find_map(|directory| {
                    let mut through = Vec::new();
                    let real = self.tree.real(&directory.join(name), &mut through)?;
                    self.tree.things.contains_key(&real).then_some((real, through))
                });
                let Some((real, through)) = found else { continue };
                through.iter().for_each(|link| self.add(link, Reason::Interpreter));
                self.add(&real, Reason::Interpreter);
                waiting.push(real);
            }
        }
    }
}

/// `bin/python3.11`, `bin/R`; not `bin/python3-config`.
fn is_interpreter(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let version = name.strip_prefix("python");
    let is_python =
        version.is_some_and(|version| version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'));
    let is_other = ["R", "Rscript", "julia"].contains(&name);
    (is_python || is_other) && path.parent().is_some_and(|parent| parent.ends_with("bin"))
}
