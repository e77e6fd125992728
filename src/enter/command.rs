//! COMMAND: which file it is, and becoming it.
//!
//! It is looked up before anything is started, as a shell would: so a misspelt name costs nothing and ends
//! with 127, and the file that is executed inside is the one that was found outside.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;

use crate::cluster::job_key::KEY_VARIABLE;

/// Where commands are looked up if PATH is not set; glibc's own default.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The hidden subcommand of a keeper.
pub const KEEPER_SUBCOMMAND: &str = "keeper-process";

/// Runs scripts that do not say what runs them, as `execvp` has it.
const SHELL: &str = "/bin/sh";

/// A command that exists and may be executed.
#[derive(Debug, Clone)]
pub struct Command {
    /// The file; relative if it was found through a relative path.
    pub file: PathBuf,
    /// The words as typed, the name first.
    pub words: Vec<OsString>,
}

/// Why there is nothing to run.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is no such file.
    #[error("`{}`: command not found", name.display())]
    NotFound {
        /// As typed.
        name: OsString,
    },
    /// The file is there, but what is to run it, by its first line or its program header, is not.
    #[error("`{}`: the interpreter that it names was not found", name.display())]
    NoInterpreter {
        /// As typed.
        name: OsString,
    },
    /// There is one, but it cannot be executed.
    #[error("`{}`: cannot be executed: {cause}", name.display())]
    NotExecutable {
        /// As typed.
        name: OsString,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
}

impl Command {
    /// Finds the file that a shell would execute for `words`, given the value of PATH.
    ///
    /// # Errors
    /// No such file, or none that may be executed.
    /// # Cost
    /// One `access` per directory of PATH up to the hit, and one `stat`.
    pub fn find(words: Vec<OsString>, path: Option<&OsStr>) -> Result<Self, CommandError> {
        let name = words.first().cloned().unwrap_or_default();
        if name.is_empty() {
            return Err(CommandError::NotFound { name }); // else it would be each directory of PATH itself
        }
        if name.as_bytes().contains(&b'/') {
            return match executable(Path::new(&name)) {
                Ok(()) => Ok(Command { file: name.into(), words }),
                Err(errno) => Err(CommandError::of(name, errno)),
            };
        }
        let mut refused = None;
        for directory in std::env::split_paths(path.unwrap_or(OsStr::new(DEFAULT_PATH))) {
            // An empty element means the working directory, in PATH.
            let file = if directory.as_os_str().is_empty() { Path::new(".") } else { &directory }.join(&name);
            match executable(&file) {
                Ok(()) => return Ok(Command { file, words }),
                // A directory that may not be searched hides what it has; only a file that is seen counts.
                Err(Errno::ACCESS) if rustix::fs::stat(&file).is_ok() => refused = Some(Errno::ACCESS),
                _ => {}
            }
        }
        Err(CommandError::of(name, refused.unwrap_or(Errno::NOENT)))
    }

    /// What keeps a service for tasks to come: this program, waiting to be told to end. Through a link that leads to it
    /// wherever it is.
    pub fn keeper() -> Self {
        let words = ["spinney", KEEPER_SUBCOMMAND].map(OsString::from);
        Command { file: "/proc/self/exe".into(), words: words.into() }
    }

    /// Becomes the command, with `variables` added to its environment; returns only if that fails, with the reason.
    pub fn exec(&self, variables: &[(OsString, OsString)]) -> Errno {
        for (name, value) in variables {
            // SAFETY: this process has one thread and is about to exec.
            unsafe { std::env::set_var(name, value) };
        }
        let file = c_string(self.file.as_os_str());
        let words: Vec<CString> = self.words.iter().map(|word| c_string(word)).collect();
        let errno = execve(&file, &words);
        if errno != Errno::NOEXEC {
            return errno;
        }
        let mut script = vec![c_string(OsStr::new(SHELL)), file];
        script.extend(words.into_iter().skip(1));
        execve(&c_string(OsStr::new(SHELL)), &script)
    }
}

impl CommandError {
    /// What an exec of a file that was found means, if it ended with `errno`.
    pub fn of_exec(name: OsString, errno: Errno) -> Self {
        match CommandError::of(name, errno) {
            CommandError::NotFound { name } => CommandError::NoInterpreter { name },
            other => other,
        }
    }

    /// What a look at the file that ended with `errno` means.
    fn of(name: OsString, errno: Errno) -> Self {
        match errno {
            Errno::NOENT | Errno::NOTDIR => CommandError::NotFound { name },
            errno => CommandError::NotExecutable { name, cause: errno.into() },
        }
    }

    /// As shells have it.
    pub fn exit_code(&self) -> u8 {
        match self {
            CommandError::NotFound { .. } | CommandError::NoInterpreter { .. } => 127,
            CommandError::NotExecutable { .. } => 126,
        }
    }
}

/// Whether the effective user may execute `file`, and it is one.
fn executable(file: &Path) -> Result<(), Errno> {
    accessat(CWD, file, Access::EXEC_OK, AtFlags::EACCESS).or_else(|errno| {
        // Before Linux 5.8 there is no such flag in the kernel; the real ids are then as good.
        if errno == Errno::NOSYS {
            accessat(CWD, file, Access::EXEC_OK, AtFlags::empty())
        } else {
            Err(errno)
        }
    })?;
    let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::stat(file)?.st_mode);
    if kind.is_file() { Ok(()) } else { Err(Errno::ACCESS) }
}

fn execve(file: &CString, words: &[CString]) -> Errno {
    let mut pointers: Vec<_> = words.iter().map(|word| word.as_ptr()).collect();
    pointers.push(std::ptr::null());
    // SAFETY: no other thread reads the environment: this is a child of a single-threaded process about to exec.
    unsafe { std::env::remove_var(KEY_VARIABLE) };
    // SAFETY: a null-terminated list of strings that live until after the call; `execv` passes the rest of the
    // environment on untouched, which also keeps entries that are no `NAME=VALUE`.
    unsafe { libc::execv(file.as_ptr(), pointers.as_ptr()) };
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Arguments came from the kernel as C strings, so there is no zero byte in them.
fn c_string(text: &OsStr) -> CString {
    CString::new(text.to_owned().into_vec()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_first_executable_file_on_the_path_is_the_command() {
        let root = tempfile::tempdir().unwrap();
        let place = |directory: &str, mode: Option<u32>| {
            let file = root.path().join(directory).join("tool");
            match mode {
                Some(mode) => {
                    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                    std::fs::write(&file, "").unwrap();
                    std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
                }
                None => std::fs::create_dir_all(&file).unwrap(),
            }
        };
        place("plain", Some(0o644)); // not executable: passed over
        place("directory", None); // a directory has an x bit too, but is no command
        place("right", Some(0o755));
        let find = |path: &str| {
            let path = path.split(':').map(|d| root.path().join(d));
            let path = std::env::join_paths(path).unwrap();
            Command::find(vec!["tool".into()], Some(&path)).map_err(|error| error.exit_code())
        };
        assert_eq!(find("none:plain:directory:right").unwrap().file, root.path().join("right/tool"));
        assert_eq!(find("none:plain").unwrap_err(), 126);
        assert_eq!(find("none:directory").unwrap_err(), 126);
        assert_eq!(find("none").unwrap_err(), 127);
    }

    #[test]
    fn a_name_with_a_slash_is_not_looked_up() {
        let find = |name: &str| Command::find(vec![name.into()], Some(OsStr::new("/bin")));
        assert_eq!(find("/bin/sh").unwrap().file, Path::new("/bin/sh"));
        assert_eq!(find("./sh-that-is-not-here").unwrap_err().exit_code(), 127);
        assert_eq!(find("/bin").unwrap_err().exit_code(), 126);
        assert_eq!(find("").unwrap_err().exit_code(), 127);
    }
}
