//! Coverage: how much of what there is in an environment a job used.
//!
//! Used is what a recording found by any question, and every directory and link on the way to it. Everything counts
//! once, where it really lies, however many links lead there.
//!
//! Invariant: this says what one run used, never what can be deleted; every report says so.

mod copper;
pub mod packages;
mod text;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::python;
use super::recorded::Recorded;
use crate::profile::copper::RootCoverage;
use crate::text::{counted, csv, plain};
use packages::{Package, Packages};
pub(super) use tree::{Thing, Tree, without_dots};

/// Version of the layout of `--json`.
const SCHEMA: u32 = 1;

/// What the numbers do not say.
pub const MEANING: &str = "Used means: found by this run. It does not mean that the rest can be deleted: another \
                           program, other input, an error or another number of nodes may need it.";

/// Some of what there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Files, and whatever else is neither directory nor link.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Links.
    pub links: u64,
    /// Sizes of the files, summed.
    pub bytes: u64,
    /// Files that were opened or read; of what is available, nothing.
    pub read: u64,
}

/// What there is and what of it was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Part {
    /// What there is.
    pub available: Amount,
    /// What was used of it.
    pub used: Amount,
}

/// The coverage of some roots.
#[derive(Debug)]
pub struct Coverage {
    /// By root.
    pub roots: Vec<(PathBuf, Part)>,
    /// By package, the largest first.
    pub packages: Vec<(Package, Part)>,
    /// All roots.
    pub total: Part,
    /// Paths beneath the roots that were asked for, never found, and are not there.
    pub absent: BTreeSet<PathBuf>,
    /// Paths beneath the roots that were found then and are gone now, or the other way round.
    pub changed: BTreeSet<PathBuf>,
    /// What was used, by real path, and whether it was read.
    pub(super) used: BTreeMap<PathBuf, bool>,
    /// What there is.
    pub(super) tree: Tree,
    /// What belongs to which package.
    pub(super) owners: Packages,
    /// Recorded paths beneath no root.
    pub elsewhere: u64,
    /// What could not be read or listed; numbers are then too small.
    pub troubles: Vec<String>,
    source: String,
    notes: Vec<String>,
}

/// Compares `recorded` with what lies beneath `roots`.
pub fn coverage(recorded: &Recorded, roots: &[PathBuf]) -> Coverage {
    let mut tree = Tree::walk(roots);
    let mut packages = Packages::of(&tree);
    let mut coverage = Coverage {
        roots: tree.roots.iter().map(|(named, _)| (named.clone(), Part::default())).collect(),
        packages: Vec::new(),
        total: Part::default(),
        absent: BTreeSet::new(),
        changed: BTreeSet::new(),
        used: BTreeMap::new(),
        elsewhere: 0,
        troubles: std::mem::take(&mut tree.troubles),
        tree,
        owners: Packages::default(),
        source: recorded.source(),
        notes: recorded.notes(),
    };
    coverage.troubles.append(&mut packages.troubles);
    coverage.mark(recorded);
    coverage.count(&packages);
    coverage.owners = packages;
    coverage.note_what_is_left_out();
    coverage
}

impl Coverage {
    /// What must be known of all numbers.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// For people; at most `rows` packages, 0 for all.
    pub fn lines(&self, rows: usize) -> Vec<String> {
        text::lines(self, &self.source, rows)
    }

    /// Writes the path lists and summaries of Copper's path usage analysis into `directory`, which is made.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write_copper(&self, directory: &Path) -> std::io::Result<()> {
        copper::write(self, directory)
    }

    /// The same by root, for the other files of Copper's layout.
    pub fn for_copper(&self) -> Vec<RootCoverage> {
        copper::by_root(self)
    }

    /// One object with everything but the lists of paths.
    pub fn json(&self) -> Value {
        let root = |(root, part): &(PathBuf, Part)| {
            let mut value = part_json(part);
            value["root"] = json!(plain(root));
            value
        };
        let package = |(package, part): &(Package, Part)| {
            let mut value = part_json(part);
            value["package"] = json!(package.name);
            value["version"] = json!(package.version);
            value["kind"] = json!(package.kind);
            value
        };
        json!({
            "schema": SCHEMA,
            "source": self.source,
            "meaning": MEANING,
            "is_lower_bound": self.notes.iter().any(|note| note.starts_with("lower bound")),
            "notes": self.notes,
            "roots": self.roots.iter().map(root).collect::<Vec<_>>(),
            "packages": self.packages.iter().map(package).collect::<Vec<_>>(),
            "total": part_json(&self.total),
            "absent_paths": self.absent.len(),
            "changed_paths": self.changed.len(),
            "paths_elsewhere": self.elsewhere,
        })
    }

    /// A record for each root and each package.
    pub fn csv(&self) -> Vec<String> {
        let head = "scope,name,version,kind,files,files_used,files_read,directories,directories_used,links,links_used,bytes,bytes_used";
        let record = |words: [&str; 4], part: &Part| {
            let Part { available, used } = part;
            let numbers = [
                available.files,
                used.files,
                used.read,
                available.directories,
                used.directories,
                available.links,
                used.links,
                available.bytes,
                used.bytes,
            ];
            let words = words.map(str::to_owned).into_iter();
            csv::record(words.chain(numbers.map(|number| number.to_string())))
        };
        let roots = self.roots.iter().map(|(root, part)| record(["root", &plain(root), "", ""], part));
        let packages = self
            .packages
            .iter()
            .map(|(package, part)| record(["package", &package.name, &package.version, package.kind], part));
        [head.to_owned()].into_iter().chain(roots).chain(packages).collect()
    }

    /// Notes what was used, and what the recording and the disk do not agree on.
    fn mark(&mut self, recorded: &Recorded) {
        for (path, usage) in &recorded.paths {
            let mut through = Vec::new();
            let Some(real) = self.tree.real(path, &mut through) else {
                self.elsewhere += 1;
                continue;
            };
            let is_there = self.tree.things.contains_key(&real);
            match (usage.found > 0, is_there) {
                (true, true) => {
                    through.iter().for_each(|link| self.use_with_ancestors(link, false));
                    self.use_with_ancestors(&real, usage.reads > 0);
                    self.use_target(&real, usage.reads > 0);
                }
                (true, false) | (false, true) if usage.found > 0 || usage.absent > 0 => {
                    self.changed.insert(path.clone());
                }
                (false, false) if usage.absent > 0 => {
                    self.absent.insert(path.clone());
                }
                _ => {}
            }
        }
    }

    fn use_with_ancestors(&mut self, real: &Path, is_read: bool) {
        *self.used.entry(real.to_owned()).or_default() |= is_read;
        let Some((_, root)) = self.tree.root_of(real).map(|root| self.tree.roots[root].clone()) else {
            return;
        };
        for ancestor in real.ancestors().skip(1).take_while(|ancestor| ancestor.starts_with(&root)) {
            self.used.entry(ancestor.to_owned()).or_default();
        }
    }

    /// Who opens a link reads what it leads to; the kernel resolves the last link without a name of its own.
    fn use_target(&mut self, real: &Path, is_read: bool) {
        if !is_read || !matches!(self.tree.things.get(real), Some(Thing::Link(_))) {
            return;
        }
        let mut through = Vec::new();
        // With something behind it, the link itself is passed too.
        let behind = self.tree.real(&real.join("x"), &mut through);
        if let Some(target) = behind.as_deref().and_then(Path::parent)
            && self.tree.things.contains_key(target)
        {
            self.use_with_ancestors(target, true);
        }
    }

    fn count(&mut self, packages: &Packages) {
        let mut of_packages: BTreeMap<Package, Part> = BTreeMap::new();
        for (path, thing) in &self.tree.things {
            let used = self.used.get(path).copied();
            self.total.add(thing, used);
            if let Some(root) = self.tree.root_of(path) {
                self.roots[root].1.add(thing, used);
            }
            if *thing != Thing::Directory {
                let package =
                    packages.owner(path).map_or_else(|| nobodys(path), |owner| packages.all[owner].clone());
                of_packages.entry(package).or_default().add(thing, used);
            }
        }
        self.packages = of_packages.into_iter().collect();
        self.packages
            .sort_by(|(one, a), (other, b)| b.available.bytes.cmp(&a.available.bytes).then(one.cmp(other)));
    }

    fn note_what_is_left_out(&mut self) {
        let number = |n: usize, noun| counted(n as u64, noun);
        if !self.changed.is_empty() {
            let changed = number(self.changed.len(), "recorded path");
            self.notes.push(format!("appeared or gone since the recording: {changed}"));
        }
        if !self.troubles.is_empty() {
            let troubles = number(self.troubles.len(), "place");
            self.notes
                .push(format!("what is available is a lower bound: {troubles} could not be looked into"));
        }
    }
}

impl Part {
    fn add(&mut self, thing: &Thing, used: Option<bool>) {
        self.available.add(thing, false);
        if let Some(is_read) = used {
            self.used.add(thing, is_read);
        }
    }
}

impl Amount {
    /// Adds one thing.
    pub(super) fn add(&mut self, thing: &Thing, is_read: bool) {
        match thing {
            Thing::Directory => self.directories += 1,
            Thing::Link(_) => self.links += 1,
            Thing::File(bytes) => {
                self.files += 1;
                self.bytes += bytes;
                self.read += u64::from(is_read);
            }
        }
    }
}

/// What a file is that no package claims.
fn nobodys(path: &Path) -> Package {
    let in_library = python::prefix_in(path).is_some();
    let in_packages = path.iter().any(|part| part == "site-packages" || part == "dist-packages");
    let name = if in_library && !in_packages { "(Python's library)" } else { "(no package)" };
    Package { name: name.to_owned(), version: String::new(), kind: "" }
}

fn part_json(part: &Part) -> Value {
    let Part { available, used } = part;
    json!({
        "files": available.files, "files_used": used.files, "files_read": used.read,
        "directories": available.directories, "directories_used": used.directories,
        "links": available.links, "links_used": used.links,
        "bytes": available.bytes, "bytes_used": used.bytes,
    })
}

#[cfg(test)]
mod tests;
