//! From COMMAND to what will really run: launchers, `#!` lines and shims are followed.
//!
//! Not here: what that program loads (`python`, `r`, `named`).

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::bounds;
use super::launcher::{self, Launched};
use super::look::Disk;
use super::python;
use super::r;
use super::search::Search;
use super::shebang;
use super::shim::{self, Shim};
use super::surroundings::Surroundings;

/// How many launchers, scripts and shims may stand before the real program.
///
/// `env` before `time` before a shim before a script is four; the kernel itself stops at five `#!` lines.
const HOPS_MAX: usize = 12;

/// What COMMAND comes down to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// A Python.
    Python(python::Interpreter),
    /// An R, by its real path.
    R(PathBuf),
    /// A shell, which runs what only it knows.
    Shell,
    /// Another program, by its path.
    Other(PathBuf),
    /// It could not be found out; a note says why.
    Unknown,
}

/// A command that was found, on the way to the real one.
struct Call {
    path: PathBuf,
    args: Vec<OsString>,
}

enum Step {
    To(Call),
    End(Program),
}

/// Follows COMMAND to the program that will run.
pub fn follow(search: &mut Search, command: &Path, args: &[OsString]) -> Program {
    let mut call = Call { path: search.around.cwd.join(command), args: args.to_vec() };
    for _ in 0..HOPS_MAX {
        match step(search, call) {
            Step::To(next) => call = next,
            Step::End(program) => return program,
        }
    }
    search.note(format!("`{}` leads through more than {HOPS_MAX} other commands", command.display()));
    Program::Unknown
}

fn step(search: &mut Search, call: Call) -> Step {
    let name = call.path.file_name().unwrap_or_default().to_owned();
    if let Some(launched) = launcher::behind(&name, &call.args) {
        return launch(search, &name, launched);
    }
    if is_shell(&name) {
        return Step::End(Program::Shell);
    }
    if let Some(hint) = chooses_itself(&name) {
        search.note(format!("`{}` {hint}", name.display()));
    }
    match shim::follow(search, &call.path) {
        Shim::For(path) => return Step::To(Call { path, ..call }),
        Shim::Next => return next_in_path(search, &name, call),
        Shim::Foreign(manager) => {
            let path = call.path.display();
            search.note(format!("`{path}` is a shim of {manager}; name the environment with `--view`"));
            return Step::End(Program::Unknown);
        }
        Shim::None => {}
    }
    program(search, &name, call)
}

/// An interpreter by its name, else a script by its first line, else a program.
fn program(search: &mut Search, name: &OsStr, call: Call) -> Step {
    let Some(real) = search.looks.program(&call.path) else {
        search.note(format!("`{}` is not there or cannot be executed", call.path.display()));
        return Step::End(Program::Unknown);
    };
    if r::is_r(name) {
        return Step::End(Program::R(real));
    }
    // A name with a version is an interpreter's; one without may also be a site's own wrapper script.
    let certain = real.file_name().is_some_and(|name| python::library_of(name).is_some())
        && real.file_name().is_some_and(python::is_interpreter);
    if python::is_interpreter(name) && certain {
        return Step::End(Program::Python(python::Interpreter { command: call.path, real, args: call.args }));
    }
    let start = search.looks.start(&call.path).map(|start| start.bytes).unwrap_or_default();
    match shebang::read(&start) {
        Some(interpreter) => {
            let args = interpreter.argument.into_iter().chain([call.path.into_os_string()]).chain(call.args);
            Step::To(Call { path: search.around.cwd.join(interpreter.program), args: args.collect() })
        }
        None if python::is_interpreter(name) => {
            Step::End(Program::Python(python::Interpreter { command: call.path, real, args: call.args }))
        }
        None if is_text(&start) => Step::End(Program::Shell),
        None => Step::End(Program::Other(real)),
    }
}

fn launch(search: &mut Search, name: &OsStr, launched: Launched) -> Step {
    if let Some(warning) = launched.warning {
        search.note(format!("`{}` {warning}", name.display()));
    }
    if launched.cleared {
        search.around.variables.clear();
    }
    for (variable, value) in launched.variables {
        match value {
            Some(value) => search.around.variables.insert(variable, value),
            None => search.around.variables.remove(&variable),
        };
    }
    if let Some(directory) = launched.directory {
        search.around.cwd = search.around.cwd.join(directory);
    }
    let Some((word, args)) = launched.words.split_first() else { return Step::End(Program::Unknown) };
    match in_path(search, word, usize::MAX, None) {
        Some(path) => Step::To(Call { path, args: args.to_vec() }),
        None => {
            search.note(format!("`{}`, started by `{}`, is not in PATH", word.display(), name.display()));
            Step::End(Program::Unknown)
        }
    }
}

fn next_in_path(search: &Search, name: &OsStr, call: Call) -> Step {
    match in_path(search, name, usize::MAX, call.path.parent()) {
        Some(path) => Step::To(Call { path, ..call }),
        None => Step::End(Program::Unknown),
    }
}

/// The path `execvp` would take for `word`: the first program of that name in PATH.
///
/// Looks at `storage_entries_max` directories that are not the system's, and passes over `except`.
pub fn in_path(
    search: &Search,
    word: &OsStr,
    storage_entries_max: usize,
    except: Option<&Path>,
) -> Option<PathBuf> {
    if word.as_encoded_bytes().contains(&b'/') {
        return Some(search.around.cwd.join(word));
    }
    let mut left = storage_entries_max;
    for directory in search.around.search_path() {
        if Some(directory.as_path()) == except {
            continue;
        }
        if !bounds::is_system(&directory) {
            left = left.checked_sub(1)?;
        }
        let path = directory.join(word);
        if search.looks.program(&path).is_some() {
            return Some(path);
        }
    }
    None
}

/// The path at which a shell would find the command `word`, links not followed.
///
/// # Cost
/// One look per directory of PATH up to the hit.
pub fn program_in_path(word: &OsStr, around: &Surroundings) -> Option<PathBuf> {
    in_path(&Search::new(&Disk, around), word, usize::MAX, None)
}

/// Whether this is the beginning of a script without a first line: `execvp` gives it to the shell.
fn is_text(start: &[u8]) -> bool {
    !start.is_empty() && !start.contains(&0)
}

/// Whether a command of this name is a shell. Its script is not read: what it runs, variables tell.
fn is_shell(name: &OsStr) -> bool {
    ["sh", "bash", "dash", "zsh", "ksh", "mksh", "csh", "tcsh", "fish"].iter().any(|shell| name == *shell)
}

/// What to tell the user of a command that picks the software by rules of its own.
fn chooses_itself(name: &OsStr) -> Option<&'static str> {
    match name.to_str()? {
        "uv" | "uvx" | "poetry" | "pipenv" | "pixi" | "hatch" | "pdm" | "micromamba" => {
            Some("picks the environment itself; name it with `--view`")
        }
        "apptainer" | "singularity" | "docker" | "podman" | "shifter" | "ch-run" => {
            Some("starts a container, whose files are not served; put `spinney run --` inside")
        }
        _ => None,
    }
}
