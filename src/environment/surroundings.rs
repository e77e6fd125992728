//! What a process is started with, as far as it decides which software it will load.
//!
//! A value, not the process: tests make their own, and `env X=Y command` makes a changed copy.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where commands are searched when PATH is not set; what `execvp` does.
const PATH_WHEN_UNSET: &str = "/usr/bin:/bin";

/// Variables and directories a command is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// The environment variables.
    pub variables: BTreeMap<OsString, OsString>,
    /// The working directory, absolute.
    pub cwd: PathBuf,
    /// The home directory, if one is named.
    pub home: Option<PathBuf>,
    /// Where temporary files go.
    pub tmpdir: PathBuf,
}

impl Surroundings {
    /// Those of this process, which COMMAND inherits.
    ///
    /// # Errors
    /// When the working directory is gone or cannot be reached.
    pub fn of_this_process() -> io::Result<Self> {
        Ok(Self::new(std::env::vars_os(), std::env::current_dir()?))
    }

    /// Surroundings with these variables, started in `cwd`; HOME and TMPDIR are read from the variables.
    pub fn new(variables: impl IntoIterator<Item = (OsString, OsString)>, cwd: PathBuf) -> Self {
        let variables: BTreeMap<OsString, OsString> = variables.into_iter().collect();
        let absolute =
            |name: &str| variables.get(OsStr::new(name)).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = absolute("HOME");
        let tmpdir = absolute("TMPDIR").unwrap_or_else(|| PathBuf::from("/tmp"));
        Self { variables, cwd, home, tmpdir }
    }

    /// The value of a variable; one that is empty counts as not set, as Python and R read theirs.
    pub fn variable(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// The absolute path in a variable; relative ones are taken from the working directory.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.variable(name).map(|value| self.cwd.join(value))
    }

    /// The directories of a list separated by colons, `~` expanded, empty entries left out.
    pub fn list(&self, name: &str) -> Vec<PathBuf> {
        let value = self.variable(name).unwrap_or_default();
        entries(value).filter(|entry| !entry.is_empty()).map(|entry| self.expand(entry)).collect()
    }

    /// Where commands are searched, in order. An empty entry is the working directory.
    pub fn search_path(&self) -> Vec<PathBuf> {
        let value = self.variables.get(OsStr::new("PATH")).map(OsString::as_os_str);
        entries(value.unwrap_or(OsStr::new(PATH_WHEN_UNSET))).map(|entry| self.cwd.join(entry)).collect()
    }

    fn expand(&self, entry: &OsStr) -> PathBuf {
        match (Path::new(entry).strip_prefix("~"), &self.home) {
            (Ok(beneath), Some(home)) => home.join(beneath),
            _ => self.cwd.join(entry),
        }
    }
}

fn entries(value: &OsStr) -> impl Iterator<Item = &OsStr> {
    value.as_bytes().split(|&byte| byte == b':').map(OsStr::from_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, value: &str) -> Surroundings {
        let variables = [(name, value), ("HOME", "/home/ada")].map(|(k, v)| (k.into(), v.into()));
        Surroundings::new(variables, PathBuf::from("/work"))
    }

    #[test]
    fn a_list_is_read_as_the_programs_read_it() {
        let cases: [(&str, &[&str]); 5] = [
            ("/a:/b", &["/a", "/b"]),                 // plain
            ("/a::/b:", &["/a", "/b"]),               // empty entries name nothing
            ("sub", &["/work/sub"]),                  // relative ones mean the working directory
            ("~/r:~", &["/home/ada/r", "/home/ada"]), // R expands the tilde itself
            ("", &[]),                                // set but empty
        ];
        for (value, want) in cases {
            let want: Vec<PathBuf> = want.iter().map(PathBuf::from).collect();
            let got: Vec<PathBuf> =
                with("R_LIBS", value).list("R_LIBS").iter().map(|p| p.components().collect()).collect();
            assert_eq!(got, want, "{value:?}");
        }
    }

    #[test]
    fn an_empty_entry_of_path_is_the_working_directory() {
        let got = with("PATH", "/usr/bin:").search_path();
        assert_eq!(got, [PathBuf::from("/usr/bin"), PathBuf::from("/work/")]);
    }
}
