//! Which package each file belongs to, as the package managers have written it down.
//!
//! | source | names |
//! |---|---|
//! | `*.dist-info/RECORD` (PEP 376, PEP 627) | every file of a Python package, relative to the directory it stands in |
//! | `conda-meta/*.json` | every file of a conda package, relative to the prefix |
//! | `DESCRIPTION` with `Package:` and `Built:` | an installed R package: everything beside it |
//!
//! A file that two of them claim belongs to the first. Bytecode that nobody claims belongs to its module's package.
//!
//! Not here: what of it was used (`coverage`).

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::tree::{Thing, Tree};

/// Bytes of a list of files at most that is read: the longest seen, of a package with 30,000 files, has 4 MB.
const LIST_BYTES_MAX: u64 = 64 << 20;

/// A package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Its name; in parentheses, what is none.
    pub name: String,
    /// Its version; empty if nobody says.
    pub version: String,
    /// Who says so: `pip`, `conda`, `r`, or nothing.
    pub kind: &'static str,
}

/// The packages of a tree and what belongs to them.
#[derive(Debug, Clone, Default)]
pub struct Packages {
    /// In the order they were found.
    pub all: Vec<Package>,
    /// What each of them says of itself: files, and directories that count with all that is in them.
    pub metadata: Vec<Vec<PathBuf>>,
    owners: HashMap<PathBuf, usize>,
    r_packages: HashMap<PathBuf, usize>,
    /// What could not be read, in words.
    pub troubles: Vec<String>,
}

impl Packages {
    /// Reads what the package managers have left in `tree`.
    pub fn of(tree: &Tree) -> Self {
        let mut packages = Self::default();
        let files = |name: &'static str| {
            tree.things
                .iter()
                .filter(move |(path, thing)| matches!(thing, Thing::File(_)) && path.ends_with(name))
        };
        for (record, _) in files("RECORD") {
            packages.read_record(tree, record);
        }
        let in_meta = |path: &&PathBuf| {
            path.extension() == Some(OsStr::new("json"))
                && path.parent().is_some_and(|meta| meta.ends_with("conda-meta"))
        };
        for meta in tree.things.keys().filter(in_meta) {
            packages.read_conda(tree, meta);
        }
        for (description, _) in files("DESCRIPTION") {
            packages.read_description(description);
        }
        packages
    }

    /// The package of a file at a real path.
    pub fn owner(&self, file: &Path) -> Option<usize> {
        let named = || self.owners.get(file).or_else(|| self.owners.get(&module_of_bytecode(file)?));
        named().or_else(|| file.ancestors().find_map(|ancestor| self.r_packages.get(ancestor))).copied()
    }

    fn read_record(&mut self, tree: &Tree, record: &Path) {
        let Some(info) = record.parent().filter(|info| info.extension() == Some(OsStr::new("dist-info")))
        else {
            return;
        };
        let (Some(text), Some(site)) = (self.text(record), info.parent()) else { return };
        let stem = info.file_stem().unwrap_or_default().to_string_lossy();
        let (name, version) = stem.split_once('-').unwrap_or((&stem, ""));
        let package = Package { name: name.to_owned(), version: version.to_owned(), kind: "pip" };
        let files = text.lines().map(|line| site.join(first_field(line)));
        self.claim(tree, package, files, vec![info.to_owned()]);
    }

    fn read_conda(&mut self, tree: &Tree, meta: &Path) {
        let Some(prefix) = meta.parent().and_then(Path::parent) else { return };
        let Some(text) = self.text(meta) else { return };
        let value: serde_json::Value = match serde_json::from_str(&text) {
            Ok(value) => value,
            Err(_) => {
                return self.troubles.push(format!("{}: not JSON, its package is unknown", meta.display()));
            }
        };
        let field = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let package = Package { name: field("name"), version: field("version"), kind: "conda" };
        let files = value["files"].as_array().into_iter().flatten().filter_map(|file| file.as_str());
        let own = vec![meta.to_owned()];
        self.claim(tree, package, files.map(|file| prefix.join(file)).chain(own.clone()), own);
    }

    fn read_description(&mut self, description: &Path) {
        let Some(text) = self.text(description) else { return };
        let field = |name| field(&text, name).map(str::to_owned);
        // Only installation writes `Built`; without it this is a source package or something else.
        let (Some(name), Some(_), Some(parent)) = (field("Package"), field("Built"), description.parent())
        else {
            return;
        };
        let package = Package { name, version: field("Version").unwrap_or_default(), kind: "r" };
        self.r_packages.insert(parent.to_owned(), self.all.len());
        self.all.push(package);
        self.metadata
            .push(["DESCRIPTION", "NAMESPACE", "INDEX", "Meta"].map(|name| parent.join(name)).into());
    }

    fn claim(
        &mut self,
        tree: &Tree,
        package: Package,
        files: impl Iterator<Item = PathBuf>,
        metadata: Vec<PathBuf>,
    ) {
        let number = self.all.len();
        self.all.push(package);
        self.metadata.push(metadata);
        for file in files {
            // A list may go through a link (`lib64/...`); what lies beneath no root is nobody's here.
            if let Some(real) = tree.real(&file, &mut Vec::new()) {
                self.owners.entry(real).or_insert(number);
            }
        }
    }

    fn text(&mut self, file: &Path) -> Option<String> {
        match text_of(file) {
            Ok(text) => Some(text),
            Err(error) => {
                self.troubles.push(format!("{}: {error}", file.display()));
                None
            }
        }
    }
}

/// What a package manager wrote into `file`.
///
/// # Errors
/// It cannot be read, or is longer than any such list.
pub fn text_of(file: &Path) -> io::Result<String> {
    if fs::metadata(file)?.len() > LIST_BYTES_MAX {
        return Err(io::Error::other("too long for a list of files"));
    }
    Ok(String::from_utf8_lossy(&fs::read(file)?).into_owned())
}

/// The value of `NAME: VALUE` in a text of METADATA or DESCRIPTION.
pub fn field<'text>(text: &'text str, name: &str) -> Option<&'text str> {
    // The head ends with an empty line; a long text about the package may follow.
    let head = text.lines().take_while(|line| !line.trim().is_empty());
    head.filter_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim).next()
}

/// The first field of a line of CSV.
pub fn first_field(line: &str) -> String {
    let Some(quoted) = line.strip_prefix('"') else {
        return line.split(',').next().unwrap_or_default().to_owned();
    };
    let mut field = String::new();
    let mut letters = quoted.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == '"' && letters.next_if_eq(&'"').is_none() {
            break;
        }
        field.push(letter);
    }
    field
}

/// `D/X.py` of `D/__pycache__/X.cpython-311.pyc`.
fn module_of_bytecode(file: &Path) -> Option<PathBuf> {
    let cache = file.parent().filter(|cache| cache.ends_with("__pycache__"))?;
    let module = file.file_name()?.to_str()?.split('.').next()?;
    Some(cache.parent()?.join(format!("{module}.py")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_field_may_be_quoted() {
        for (line, field) in [
            ("numpy/__init__.py,sha256=x,12", "numpy/__init__.py"),
            ("\"a,b.py\",,", "a,b.py"),
            ("\"a\"\"b.py\",,", "a\"b.py"),
            ("", ""),
        ] {
            assert_eq!(first_field(line), field);
        }
    }

    #[test]
    fn bytecode_leads_to_its_module() {
        for (file, module) in [
            ("/s/__pycache__/x.cpython-311.pyc", Some("/s/x.py")),
            ("/s/__pycache__/x.cpython-311.opt-1.pyc", Some("/s/x.py")),
            ("/s/x.pyc", None),
        ] {
            assert_eq!(module_of_bytecode(Path::new(file)), module.map(PathBuf::from));
        }
    }
}
