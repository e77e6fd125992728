//! Chooses the views of a command when the user names none.
//!
//! Followed are COMMAND to its interpreter, the interpreter to its environment and base, and the variables
//! that Python, R and the loader read. A directory is chosen only if a marker shows that it is software
//! (`pyvenv.cfg`, `conda-meta`, `lib/pythonX.Y`, an R library) and never if the job's own directories lie in
//! it (`bounds`).
//!
//! Cost: this runs before anything is served, so every question goes to storage. The table in the tests
//! has the number of storage calls for usual commands; a search asks for at most `look::LOOKS_MAX` paths.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::look::{Disk, Look};
use super::named;
use super::program::{self, Program};
use super::python;
use super::r;
use super::search::Search;
use super::surroundings::Surroundings;

/// How many directories of PATH outside of the system a shell's `python3` is searched in.
///
/// Modules put the one loaded last in front; further back lie compilers and tools.
const SHELL_PATH_ENTRIES_MAX: usize = 4;

/// A directory to serve, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenView {
    /// The directory: absolute, no links.
    pub path: PathBuf,
    /// What led to it, as a noun: "base of the virtual environment `/sw/env`".
    pub reason: String,
}

/// The outcome of a search.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The views, none inside another, in the order they were found.
    pub views: Vec<ChosenView>,
    /// What was left out, merged or could not be found out; for `-v`.
    pub notes: Vec<String>,
}

impl Found {
    /// What to tell a user whose command has no view at all.
    pub fn warning(&self, command: &Path) -> Option<String> {
        let name = command.file_name().unwrap_or(command.as_os_str()).display();
        self.views.is_empty().then(|| {
            format!("found no environment of `{name}` to serve (hint: name its directory with `--view DIR`)")
        })
    }
}

/// Finds the environment of COMMAND.
///
/// `command` is the path COMMAND was found at, links not followed, since a virtual environment is recognised
/// by the link's place; `args` are the words after it. Never fails: what cannot be reached is not chosen.
///
/// # Cost
/// See the module. One search per node is enough: tasks that join take the views of the first.
pub fn find(command: &Path, args: &[OsString], surroundings: &Surroundings) -> Found {
    find_with(&Disk, command, args, surroundings)
}

/// [`find`] over another file system, or one that counts.
pub fn find_with(look: &dyn Look, command: &Path, args: &[OsString], surroundings: &Surroundings) -> Found {
    let mut search = Search::new(look, surroundings);
    let program = program::follow(&mut search, command, args);
    let library = match &program {
        Program::Python(interpreter) => python::accept_interpreter(&mut search, interpreter),
        Program::R(real) => {
            r::accept_r(&mut search, real);
            None
        }
        Program::Other(real) => {
            accept_home_of(&mut search, real);
            None
        }
        Program::Shell | Program::Unknown => None,
    };
    named::accept_active(&mut search);
    let library = match program {
        Program::Shell if search.accepted() == 0 => accept_shells_interpreters(&mut search),
        _ => library,
    };
    named::accept_search_paths(&mut search, library.as_deref());
    search.finish()
}

/// A program in the `bin` of a conda or virtual environment needs that environment.
fn accept_home_of(search: &mut Search, real: &Path) {
    let Some(prefix) = real.parent().filter(|parent| parent.ends_with("bin")).and_then(Path::parent) else {
        return;
    };
    if search.within_bounds(prefix)
        && !named::accept_conda(search, prefix, "conda environment of the command")
    {
        python::accept_venv(search, prefix, None);
    }
}

/// What a shell's script would get by the names `python3` and `Rscript`, where no environment is active.
fn accept_shells_interpreters(search: &mut Search) -> Option<String> {
    let mut library = None;
    for name in ["python3", "Rscript"] {
        let Some(path) = program::in_path(search, name.as_ref(), SHELL_PATH_ENTRIES_MAX, None) else {
            continue;
        };
        match program::follow(search, &path, &[]) {
            Program::Python(interpreter) => library = python::accept_interpreter(search, &interpreter),
            Program::R(real) => r::accept_r(search, &real),
            Program::Shell | Program::Other(_) | Program::Unknown => {}
        }
    }
    library
}

#[cfg(test)]
mod tests;
