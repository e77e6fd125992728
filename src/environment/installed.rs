//! Which packages are installed beneath a prefix, and by which names they are imported. All of it is read as data, as
//! package managers have left it; nothing is started.
//!
//! | what | from |
//! |---|---|
//! | packages of Python | `*.dist-info/METADATA`, `*.egg-info/PKG-INFO` in site directories |
//! | names they are imported by | `top_level.txt`, else the files in `RECORD`, else the package's own name |
//! | packages of R | `*/DESCRIPTION` in libraries; those that R always loads are left out |
//!
//! Not here: which of them were used (`track::report`), and which file is whose (`coverage::packages`).

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::coverage::packages::{field, first_field, text_of};
use super::python;

/// A package that is installed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Installed {
    /// Its name, as its package manager has it.
    pub name: String,
    /// `python` or `R`.
    pub program: &'static str,
    /// Its version; empty if nobody says.
    pub version: String,
    /// The names by which programs import it: one at least.
    pub imported_as: Vec<String>,
}

/// What is installed in `prefix`: an environment, a site directory of Python or a library of R.
///
/// # Errors
/// It cannot be read, or nothing is installed there.
pub fn installed(prefix: &Path) -> io::Result<Vec<Installed>> {
    fs::read_dir(prefix)?;
    let mut found = BTreeSet::new();
    for directory in directories(prefix) {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten().map(|entry| entry.path()) {
            let extension = entry.extension().unwrap_or_default();
            if extension == "dist-info" || extension == "egg-info" {
                found.extend(of_python(&directory, &entry));
            } else {
                found.extend(of_r(&entry));
            }
        }
    }
    if found.is_empty() {
        return Err(io::Error::other("no packages of Python or R are installed there"));
    }
    Ok(found.into_iter().collect())
}

/// Where packages may lie: in `prefix` itself, and where Python and R have them beneath one.
fn directories(prefix: &Path) -> Vec<PathBuf> {
    let mut found = vec![prefix.to_owned()];
    for library in ["lib", "lib64"].map(|name| prefix.join(name)) {
        found.extend(["R/library", "R/site-library"].map(|name| library.join(name)));
        let entries = fs::read_dir(&library).into_iter().flatten().flatten();
        // Debian has what belongs to all versions in `python3`.
        let is_python = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name == "python3" || python::library_of(name).is_some())
        };
        for python in entries.map(|entry| entry.path()).filter(is_python) {
            found.extend(["site-packages", "dist-packages"].map(|name| python.join(name)));
        }
    }
    // `lib64` is often a link to `lib`.
    let mut met = BTreeSet::new();
    found.retain(|path| path.canonicalize().is_ok_and(|real| met.insert(real)));
    found
}

/// The package that `info` tells of; `None` if nothing of it can be imported.
fn of_python(site: &Path, info: &Path) -> Option<Installed> {
    let about = ["METADATA", "PKG-INFO"].iter().find_map(|name| text_of(&info.join(name)).ok());
    // Of distutils there is a file alone.
    let about = about.or_else(|| text_of(info).ok()).unwrap_or_default();
    let stem = info.file_stem()?.to_str()?;
    let (first, rest) = stem.split_once('-').unwrap_or((stem, ""));
    let name = field(&about, "Name").unwrap_or(first).to_owned();
    let version = field(&about, "Version").or_else(|| rest.split('-').next()).unwrap_or_default().to_owned();
    let own = name.to_lowercase().replace(['-', '.'], "_");
    let named = || text_of(&info.join("top_level.txt")).ok().map(|text| names(text.lines()));
    let listed = || {
        let text = text_of(&info.join("RECORD")).ok()?;
        let files: Vec<String> = text.lines().map(first_field).collect();
        Some(names(files.iter().filter_map(|file| module_of(file))))
    };
    let is_there = [own.clone(), format!("{own}.py")].iter().any(|module| site.join(module).exists());
    let guessed = || if is_there { vec![own.clone()] } else { Vec::new() };
    let imported_as = named().filter(|names| !names.is_empty()).or_else(listed).unwrap_or_else(guessed);
    (!imported_as.is_empty()).then_some(Installed { name, program: "python", version, imported_as })
}

/// What a file of a package is imported by: `numpy` of `numpy/__init__.py`, `six` of `six.py`, `_x` of `_x.abi3.so`.
fn module_of(file: &str) -> Option<&str> {
    match file.split_once('/') {
        Some((directory, rest)) => (rest.ends_with(".py") || rest.ends_with(".so")).then_some(directory),
        None => (file.ends_with(".py") || file.ends_with(".so")).then(|| file.split('.').next())?,
    }
}

/// What can be a name of a module, each once. Those with `_` in front count only if there are no others: they are what
/// a package has for itself, and are recorded by few.
fn names<'text>(all: impl Iterator<Item = &'text str>) -> Vec<String> {
    let first = all.filter_map(|name| name.trim().split(['/', '.']).next());
    let is_name = |name: &&str| {
        let rest = name.trim_start_matches(|letter: char| letter.is_alphabetic() || letter == '_');
        rest.len() < name.len() && rest.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
    };
    let found: BTreeSet<&str> = first.filter(is_name).collect();
    let (own, public): (Vec<&str>, Vec<&str>) = found.iter().partition(|name| name.starts_with('_'));
    let kept = if public.is_empty() { own } else { public };
    kept.into_iter().map(str::to_owned).collect()
}

fn of_r(package: &Path) -> Option<Installed> {
    let text = text_of(&package.join("DESCRIPTION")).ok()?;
    let (name, _) = (field(&text, "Package")?, field(&text, "Built")?);
    if field(&text, "Priority") == Some("base") {
        return None;
    }
    let version = field(&text, "Version").unwrap_or_default().to_owned();
    Some(Installed { name: name.to_owned(), program: "R", version, imported_as: vec![name.to_owned()] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn packages_have_the_names_by_which_programs_import_them() {
        let root = tempfile::tempdir().unwrap();
        let site = "lib/python3.11/site-packages";
        let files = [
            ("scikit_learn-1.5.dist-info/METADATA", "Name: scikit-learn\nVersion: 1.5\n\nName: not this\n"),
            ("scikit_learn-1.5.dist-info/top_level.txt", "sklearn\n"),
            ("PyYAML-6.0.dist-info/METADATA", "Name: PyYAML\nVersion: 6.0\n"),
            // No `top_level.txt`: the files tell. What others take for themselves does not.
            (
                "PyYAML-6.0.dist-info/RECORD",
                "yaml/__init__.py,,\n_yaml/__init__.py,,\n../../bin/y.py,,\nyaml.libs/a.so,,\n",
            ),
            ("cffi_only-1.dist-info/METADATA", "Name: cffi-only\nVersion: 1\n"),
            ("cffi_only-1.dist-info/RECORD", "_cffi_only.abi3.so,,\n\"a, b/x.py\",,\n"),
            ("six-1.16.egg-info/PKG-INFO", "Name: six\nVersion: 1.16\n"), // a directory, as setuptools made it
            ("six.py", ""),
            ("old_one-0.1-py3.11.egg-info", "Metadata-Version: 1.0\nName: old-one\nVersion: 0.1\n"), // a file
            ("old_one/__init__.py", ""),
            ("types_six-1.dist-info/METADATA", "Name: types-six\n"), // nothing that can be imported
            ("types_six-1.dist-info/RECORD", "six-stubs/__init__.pyi,,\n"),
            ("broken-2.dist-info/METADATA", "\u{0}"), // its directory's name must do
            ("broken.py", ""),
        ];
        files.iter().for_each(|(file, text)| write(root.path(), &format!("{site}/{file}"), text));
        let library = "lib/R/library";
        write(
            root.path(),
            &format!("{library}/ggplot2/DESCRIPTION"),
            "Package: ggplot2\nVersion: 3.4\nBuilt: R 4.2\n",
        );
        write(
            root.path(),
            &format!("{library}/base/DESCRIPTION"),
            "Package: base\nPriority: base\nBuilt: R 4.2\n",
        );
        write(root.path(), &format!("{library}/source/DESCRIPTION"), "Package: source\nVersion: 1\n");
        let want = [
            ("PyYAML", "python", "6.0", "yaml"),
            ("broken", "python", "2", "broken"),
            ("cffi-only", "python", "1", "_cffi_only"),
            ("ggplot2", "R", "3.4", "ggplot2"),
            ("old-one", "python", "0.1", "old_one"),
            ("scikit-learn", "python", "1.5", "sklearn"),
            ("six", "python", "1.16", "six"),
        ];
        let want: Vec<Installed> = want
            .map(|(name, program, version, module)| Installed {
                name: name.to_owned(),
                program,
                version: version.to_owned(),
                imported_as: vec![module.to_owned()],
            })
            .into();
        assert_eq!(installed(root.path()).unwrap(), want);
        let of_python: Vec<_> = want.iter().filter(|it| it.program == "python").cloned().collect();
        assert_eq!(installed(&root.path().join(site)).unwrap(), of_python, "a site directory itself");
        assert_eq!(installed(&root.path().join(library)).unwrap().len(), 1, "a library itself");
    }

    #[test]
    fn where_nothing_is_installed_that_is_said() {
        let root = tempfile::tempdir().unwrap();
        assert!(installed(root.path()).unwrap_err().to_string().contains("no packages"));
        assert_eq!(installed(&root.path().join("nowhere")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn no_text_of_a_package_is_more_than_a_text() {
        let odd = ["../../x", "a;b", "", "__init__", "9lives", "a b", "$(x)"];
        assert_eq!(names(odd.into_iter()), ["__init__"], "only that could be imported");
    }
}
