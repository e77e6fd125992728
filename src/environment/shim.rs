//! Shims: small scripts of a version manager that stand in PATH for the real program.
//!
//! pyenv's are followed by its own rules (pyenv-version-name, pyenv-version-file): PYENV_VERSION, else the
//! nearest `.python-version`, else the global `version` file; an abbreviated version means the latest that is
//! installed. Others are recognised and reported.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::search::Search;

/// How many directories upward a `.python-version` is looked for.
const PARENTS_MAX: usize = 16;

/// What a shim stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shim {
    /// This program.
    For(PathBuf),
    /// The next one in PATH: the version is called `system`.
    Next,
    /// A manager of this name, whose rules are not known here.
    Foreign(&'static str),
    /// It is no shim.
    None,
}

/// Follows `command` if it lies in a directory called `shims`.
pub fn follow(search: &Search, command: &Path) -> Shim {
    let in_shims = command.parent().is_some_and(|parent| parent.ends_with("shims"));
    let Some(start) = in_shims.then(|| search.looks.start(command)).flatten() else { return Shim::None };
    if let Some(root) = pyenv_root(&start.bytes) {
        return follow_pyenv(search, &root, command.file_name().unwrap_or_default());
    }
    let managers = ["asdf", "mise", "rtx", "rbenv"];
    let named = |manager: &&&str| {
        start.path.ends_with(manager)
            || start.bytes.windows(manager.len()).any(|window| window == manager.as_bytes())
    };
    managers.iter().find(named).map_or(Shim::None, |manager| Shim::Foreign(manager))
}

/// The value in `export PYENV_ROOT="/root/.pyenv"`.
fn pyenv_root(script: &[u8]) -> Option<PathBuf> {
    let line =
        script.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"export PYENV_ROOT="))?;
    let value = line.trim_ascii();
    let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    Some(OsStr::from_bytes(value).into())
}

fn follow_pyenv(search: &Search, root: &Path, program: &OsStr) -> Shim {
    for version in pyenv_versions(search, root) {
        if version == "system" {
            return Shim::Next;
        }
        let in_version = |name: &OsStr| root.join("versions").join(name).join("bin").join(program);
        // Called by this path, not by the real one: a version may be a link to a virtual environment.
        let path = in_version(&version);
        if search.looks.program(&path).is_some() {
            return Shim::For(path);
        }
        if let Some(latest) = latest(&version, &search.looks.names(&root.join("versions"))) {
            let path = in_version(&latest);
            if search.looks.program(&path).is_some() {
                return Shim::For(path);
            }
        }
    }
    Shim::Next
}

fn pyenv_versions(search: &Search, root: &Path) -> Vec<OsString> {
    if let Some(value) = search.around.variable("PYENV_VERSION") {
        return versions_in(value.as_bytes());
    }
    let cwd = search.around.cwd.clone();
    let starts = [search.around.path("PYENV_DIR").unwrap_or_else(|| cwd.clone()), cwd];
    let parents = starts.iter().flat_map(|start| start.ancestors().take(PARENTS_MAX));
    let local = parents.map(|parent| parent.join(".python-version"));
    let mut files = local.chain([root.join("version")]);
    let start = files.find_map(|file| search.looks.start(&file));
    start.map_or_else(|| vec!["system".into()], |start| versions_in(&start.bytes))
}

/// Versions separated by blanks, lines or colons; `#` begins a comment.
fn versions_in(text: &[u8]) -> Vec<OsString> {
    let lines = text.split(|&byte| byte == b'\n').filter_map(|line| line.split(|&byte| byte == b'#').next());
    let words = lines.flat_map(|line| line.split(|&byte| byte == b':' || byte.is_ascii_whitespace()));
    words
        .filter(|word| !word.is_empty())
        .map(|word| OsStr::from_bytes(word.strip_prefix(b"python-").unwrap_or(word)).to_owned())
        .collect()
}

/// The latest installed version that `version` abbreviates: `3.11` means 3.11.7 before 3.11.10.
fn latest(version: &OsStr, installed: &[OsString]) -> Option<OsString> {
    let prefix = format!("{}.", version.to_str()?);
    let numbers = |name: &OsString| -> Option<Vec<u32>> {
        // Only digits and dots: a pre-release is never meant by an abbreviation.
        name.to_str()?.strip_prefix(&prefix)?.split('.').map(|part| part.parse().ok()).collect()
    };
    installed.iter().filter_map(|name| Some((numbers(name)?, name))).max().map(|(_, name)| name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abbreviated_version_is_the_latest_installed() {
        let installed: Vec<OsString> =
            ["3.11.7", "3.11.10", "3.12.0", "3.11-dev", "3.11.11rc1"].map(Into::into).into();
        let cases = [
            ("3.11", Some("3.11.10")), // ten comes after seven
            ("3", Some("3.12.0")),     // any minor version
            ("3.1", None),             // not an abbreviation of 3.11
            ("env", None),             // a virtual environment's name
        ];
        for (version, want) in cases {
            assert_eq!(latest(OsStr::new(version), &installed), want.map(OsString::from), "{version}");
        }
    }

    #[test]
    fn version_files_are_read_as_pyenv_reads_them() {
        let cases: [(&[u8], &[&str]); 4] = [
            (b"3.11.7\n", &["3.11.7"]),                   // one
            (b"3.11.7\n3.12.1\n", &["3.11.7", "3.12.1"]), // several lines
            (b"3.11.7:system", &["3.11.7", "system"]),    // as in the variable
            (b"python-3.12 # pinned\n\n", &["3.12"]),     // a prefix and a comment
        ];
        for (text, want) in cases {
            assert_eq!(versions_in(text), want, "{}", String::from_utf8_lossy(text));
        }
    }
}
