//! What makes a directory a Python environment.
//!
//! An interpreter belongs to a prefix that holds `lib/pythonX.Y`; a virtual environment has a `pyvenv.cfg`
//! that names its base's interpreter directory; a conda environment has `conda-meta`. The order of the
//! questions is the order of certainty, so that a usual environment costs few of them: the real name of an
//! interpreter tells X.Y, and CPython itself looks for `pyvenv.cfg` beside the path it was called by,
//! links not followed (Modules/getpath.py).
//!
//! Not here: how COMMAND leads to an interpreter (`program`), what variables name (`named`).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::bounds;
use super::search::Search;

/// A Python that will be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// The path it is called by.
    pub command: PathBuf,
    /// Where that leads.
    pub real: PathBuf,
    /// What it is called with.
    pub args: Vec<OsString>,
}

/// What `pyvenv.cfg` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VenvConfig {
    /// The directory of the base's interpreter.
    pub home: Option<PathBuf>,
    /// The name of the library directory, `python3.11`.
    pub library: Option<String>,
    /// Whether packages of the base and of the user are seen as well.
    pub system_site: bool,
}

impl VenvConfig {
    /// Reads `key = value` lines as CPython's `site` does: keys without case, unknown ones skipped.
    pub fn parse(text: &[u8]) -> Self {
        let mut config = Self::default();
        for line in text.split(|&byte| byte == b'\n') {
            let Some(equals) = line.iter().position(|&byte| byte == b'=') else { continue };
            let (key, value) = (line[..equals].trim_ascii(), line[equals + 1..].trim_ascii());
            match key.to_ascii_lowercase().as_slice() {
                b"home" => config.home = Some(OsStr::from_bytes(value).into()),
                b"version" | b"version_info" => config.library = library_of_version(value),
                b"include-system-site-packages" => config.system_site = value.eq_ignore_ascii_case(b"true"),
                _ => {}
            }
        }
        config
    }
}

/// `3.11.7` or `3.11.7.final.0` to `python3.11`.
fn library_of_version(version: &[u8]) -> Option<String> {
    library_of(OsStr::from_bytes(&[b"python", version].concat()))
}

/// Whether a file of this name is a Python: `python`, `python3.13t`, `pypy3`; not `python3-config`.
pub fn is_interpreter(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let Some(version) = name.strip_prefix("python").or_else(|| name.strip_prefix("pypy")) else {
        return false;
    };
    let flags = version.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    flags.chars().all(|c| "dmtu".contains(c))
}

/// The library directory that belongs to an interpreter of this name; `None` if it names no X.Y.
///
/// `python3.11` and its debug build `python3.11d` share `python3.11`; the free-threaded one has its own.
pub fn library_of(name: &OsStr) -> Option<String> {
    let name = name.to_str()?;
    let stem = if name.starts_with("pypy") { "pypy" } else { "python" };
    let mut parts = name.strip_prefix(stem)?.splitn(3, '.');
    let (major, rest) = (parts.next()?, parts.next()?);
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    if major.is_empty() || minor.is_empty() || !major.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let threads = if rest[minor.len()..].contains('t') { "t" } else { "" };
    Some(format!("{stem}{major}.{minor}{threads}"))
}

/// The prefix in a path through `lib/pythonX.Y`, and X.Y: such a path proves the marker by itself.
pub fn prefix_in(path: &Path) -> Option<(PathBuf, String)> {
    let found = path.ancestors().find(|ancestor| {
        let parent = ancestor.parent().and_then(Path::file_name);
        parent.is_some_and(|name| name == "lib" || name == "lib64")
            && ancestor
                .file_name()
                .is_some_and(|name| library_of(name).is_some_and(|library| *library == *name))
    })?;
    let library = found.file_name()?.to_str()?.to_owned();
    Some((found.parent()?.parent()?.to_owned(), library))
}

/// Whether this call of Python would import packages from the user's own site directory.
///
/// `-s` and `-I` switch it off (Python's command line documentation); words after `-c` and `-m` are the program's.
fn reads_user_site(args: &[OsString]) -> bool {
    let mut args = args.iter().map(|arg| arg.as_bytes());
    while let Some(flags) = args.next().and_then(|arg| arg.strip_prefix(b"-")) {
        for (at, flag) in flags.iter().enumerate() {
            match flag {
                b's' | b'I' => return false,
                b'c' | b'm' | b'-' => return true,
                b'W' | b'X' => {
                    if at + 1 == flags.len() {
                        args.next();
                    }
                    break;
                }
                _ => {}
            }
        }
    }
    true
}

/// Accepts what `interpreter` will load from: its virtual environment, its installation, the user's packages.
///
/// Returns the name of its library directory, which says what other directories must hold to belong to it.
pub fn accept_interpreter(search: &mut Search, interpreter: &Interpreter) -> Option<String> {
    let real_library = interpreter.real.file_name().and_then(library_of);
    let mut user_site = reads_user_site(&interpreter.args);
    let mut library = real_library.clone();
    match venv_of(search, interpreter) {
        Some(config) => {
            user_site &= config.system_site;
            library = library.or(config.library);
        }
        None => library = accept_installation_of(search, &interpreter.real, library),
    }
    if let (true, Some(library)) = (user_site, &library) {
        accept_user_site(search, library);
    }
    library
}

/// The virtual environment an interpreter is called through, accepted together with its base.
fn venv_of(search: &mut Search, interpreter: &Interpreter) -> Option<VenvConfig> {
    let directory = interpreter.command.parent()?;
    let prefix = directory.parent()?;
    // A conda environment is none, and its name is in the variable: that spares asking for a file that is
    // not there, an answer no storage client keeps.
    let is_conda = search.around.path("CONDA_PREFIX").is_some_and(|conda| conda == prefix);
    if is_conda || bounds::is_system(directory) {
        return None;
    }
    accept_venv(search, prefix, Some(&interpreter.real))
}

/// Accepts the virtual environment at `prefix` and its base, if it is one; `real` is its interpreter if known.
pub fn accept_venv(search: &mut Search, prefix: &Path, real: Option<&Path>) -> Option<VenvConfig> {
    let start = search.looks.start(&prefix.join("pyvenv.cfg"))?;
    let config = VenvConfig::parse(&start.bytes);
    let venv = start.path.parent()?.to_owned();
    let library = real.and_then(Path::file_name).and_then(library_of).or_else(|| config.library.clone());
    let base = format!("base of the virtual environment `{}`", venv.display());
    accept_prefix(search, venv, library.as_deref(), "virtual environment");
    if let Some(home) = &config.home {
        accept_base(search, home, real, library.as_deref(), &base);
    }
    Some(config)
}

fn accept_base(search: &mut Search, home: &Path, real: Option<&Path>, library: Option<&str>, reason: &str) {
    let Some(prefix) = home.parent() else { return };
    if search.covers(prefix) {
        return;
    }
    // The interpreter lies where `pyvenv.cfg` says: two witnesses, no further question.
    if real.and_then(Path::parent) == Some(home) {
        accept_prefix(search, prefix.to_owned(), library, reason);
    } else if let Some((prefix, library)) = installation(search, prefix, library) {
        accept_prefix(search, prefix, Some(&library), reason);
    }
}

fn accept_installation_of(search: &mut Search, real: &Path, library: Option<String>) -> Option<String> {
    let prefix = real.parent().filter(|parent| parent.ends_with("bin")).and_then(Path::parent)?;
    let reason = format!("Python installation of `{}`", real.display());
    if bounds::is_system(prefix) {
        // Refused in any case; said once, with no question asked.
        accept_prefix(search, prefix.to_owned(), None, &reason);
        return library;
    }
    let (prefix, library) = installation(search, prefix, library.as_deref())?;
    accept_prefix(search, prefix, Some(&library), &reason);
    Some(library)
}

/// The real path of the Python installation at `prefix` and its library's name, if it is one.
pub fn installation(search: &Search, prefix: &Path, library: Option<&str>) -> Option<(PathBuf, String)> {
    let Some(library) = library else { return installation_of_any_version(search, prefix) };
    let home =
        ["lib", "lib64"].iter().find_map(|lib| search.looks.directory(&prefix.join(lib).join(library)))?;
    // The real path usually ends alike, which spares asking for the prefix itself.
    let real = match prefix_in(&home) {
        Some((real, found)) if found == library && home.parent()?.parent()? == real => real,
        _ => search.looks.directory(prefix)?,
    };
    Some((real, library.to_owned()))
}

/// The same where no name tells the version: one listing.
fn installation_of_any_version(search: &Search, prefix: &Path) -> Option<(PathBuf, String)> {
    let lib = search.looks.directory(&prefix.join("lib"))?;
    let names = search.looks.names(&lib);
    let library = names.iter().find_map(|name| library_of(name).filter(|library| **library == **name))?;
    Some((search.looks.directory(prefix)?, library))
}

/// Accepts a prefix; where it holds the job's own directories too, only its packages.
pub fn accept_prefix(search: &mut Search, prefix: PathBuf, library: Option<&str>, reason: &str) {
    let refused = search.accept(prefix.clone(), reason).is_err();
    let Some(library) = library.filter(|_| refused && !bounds::is_system(&prefix)) else { return };
    if let Some(packages) = search.looks.directory(&prefix.join("lib").join(library)) {
        // A refusal has been noted; there is nothing narrower left to try.
        let _ = search.accept(packages, format!("packages of the {reason}"));
    }
}

/// `pip install --user`: PYTHONUSERBASE or ~/.local. Only its packages, for programs write beside them.
fn accept_user_site(search: &mut Search, library: &str) {
    if search.around.variable("PYTHONNOUSERSITE").is_some() {
        return;
    }
    let local = search.around.home.as_ref().map(|home| home.join(".local"));
    let Some(base) = search.around.path("PYTHONUSERBASE").or(local) else { return };
    let packages = base.join("lib").join(library);
    if search.covers(&packages) {
        return;
    }
    if let Some(packages) = search.looks.directory(&packages) {
        // A refusal has been noted; there is nothing narrower left to try.
        let _ = search.accept(packages, format!("packages of {library} installed for the user"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interpreters_name_tells_its_library() {
        let cases = [
            ("python3.11", true, Some("python3.11")),   // the usual real name
            ("python3.11d", true, Some("python3.11")),  // the debug build shares it
            ("python3.13t", true, Some("python3.13t")), // the free-threaded one does not
            ("python3.6m", true, Some("python3.6")),    // an old build flag
            ("pypy3.10", true, Some("pypy3.10")),       // PyPy has its own
            ("python3", true, None),                    // no minor version
            ("python", true, None),                     // no version
            ("python3-config", false, None),            // a script beside it
            ("pythonista", false, None),                // another program
            ("ipython3", false, None),                  // a script, read for its first line
        ];
        for (name, is, library) in cases {
            assert_eq!(is_interpreter(OsStr::new(name)), is, "{name}");
            assert_eq!(library_of(OsStr::new(name)).as_deref(), library, "{name}");
        }
    }

    #[test]
    fn pyvenv_cfg_is_read_whoever_wrote_it() {
        let cases: [(&str, &str, Option<&str>, bool); 4] = [
            // the standard library's venv
            (
                "home = /base/bin\ninclude-system-site-packages = false\nversion = 3.11.7\n",
                "/base/bin",
                Some("python3.11"),
                false,
            ),
            // virtualenv
            (
                "home = /base/bin\nversion_info = 3.12.1.final.0\ninclude-system-site-packages = true\n",
                "/base/bin",
                Some("python3.12"),
                true,
            ),
            // uv, with a key nobody else has
            (
                "home = /uv/python/bin\nuv = 0.4.0\nversion_info = 3.13.0\n",
                "/uv/python/bin",
                Some("python3.13"),
                false,
            ),
            // no blanks, a capital
            ("Home=/base/bin\n", "/base/bin", None, false),
        ];
        for (text, home, library, system_site) in cases {
            let config = VenvConfig::parse(text.as_bytes());
            let want =
                VenvConfig { home: Some(home.into()), library: library.map(str::to_owned), system_site };
            assert_eq!(config, want, "{text}");
        }
    }

    #[test]
    fn a_path_through_a_library_names_its_prefix() {
        let cases = [
            ("/sw/e/lib/python3.11/site-packages", Some(("/sw/e", "python3.11"))), // PYTHONPATH of a module
            ("/sw/e/lib64/python3.9/site-packages/x/lib", Some(("/sw/e", "python3.9"))), // a library in a package
            ("/sw/e/lib", None),                                                         // no version
            ("/sw/python3.11/src", None),                                                // not beneath lib
            ("/sw/lib/python3/dist-packages", None),                                     // the distribution's
        ];
        for (path, want) in cases {
            let want = want.map(|(prefix, library)| (PathBuf::from(prefix), library.to_owned()));
            assert_eq!(prefix_in(Path::new(path)), want, "{path}");
        }
    }

    #[test]
    fn flags_decide_whether_the_users_packages_count() {
        let cases = [
            ("script.py -s", true),     // the script's flag
            ("-s script.py", false),    // switched off
            ("-Bs script.py", false),   // shares a dash
            ("-I -c pass", false),      // isolated
            ("-c -I", true),            // the program is `-I`
            ("-W -s x.py", true),       // the value of -W
            ("-X utf8 -s x.py", false), // after a value
            ("-m module -s", true),     // the module's flag
            ("", true),                 // interactive
        ];
        for (line, want) in cases {
            let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            assert_eq!(reads_user_site(&args), want, "{line}");
        }
    }
}
