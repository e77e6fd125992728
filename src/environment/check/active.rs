//! The Python that is at hand: what the search paths must fit.
//!
//! Not here: which directories it loads from for a view (`python`).

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use crate::environment::look::Look;
use crate::environment::program::{self, Program};
use crate::environment::python::{self, VenvConfig};
use crate::environment::search::Search;
use crate::environment::surroundings::Surroundings;

/// Bytes of `pyvenv.cfg` at most; it has a handful of lines.
const CONFIG_BYTES_MAX: u64 = 64 << 10;

/// An interpreter and where it belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Active {
    /// The path it is called by.
    pub command: PathBuf,
    /// The environment it belongs to.
    pub prefix: PathBuf,
    /// The installation beneath a virtual environment.
    pub base: Option<PathBuf>,
    /// `python3.11`, if it is known.
    pub library: Option<String>,
}

impl Active {
    /// The Python that `command` starts, and the variables it will see. Without a command, and for a shell, whose script
    /// only it can read, that is `python3` of PATH.
    pub fn find(
        look: &dyn Look,
        around: &Surroundings,
        command: &[OsString],
    ) -> (Option<Self>, Surroundings) {
        let mut search = Search::new(look, around);
        let python = [OsString::from("python3")];
        let program = match command {
            [] => Program::Shell,
            _ => follow(&mut search, command),
        };
        let program = if program == Program::Shell { follow(&mut search, &python) } else { program };
        let active = match program {
            Program::Python(interpreter) => Self::of(&interpreter),
            _ => None,
        };
        (active, search.around.clone())
    }

    /// Where its packages are.
    pub fn site_directories(&self) -> Vec<PathBuf> {
        let Some(library) = &self.library else { return Vec::new() };
        let site =
            |lib: &str| fs::canonicalize(self.prefix.join(lib).join(library).join("site-packages")).ok();
        let mut directories: Vec<PathBuf> = ["lib", "lib64"].into_iter().filter_map(site).collect();
        directories.dedup();
        directories
    }

    fn of(interpreter: &python::Interpreter) -> Option<Self> {
        let prefix_of = |path: &Path| path.parent().and_then(Path::parent).map(Path::to_owned);
        let real_library = interpreter.real.file_name().and_then(python::library_of);
        let called_in = prefix_of(&interpreter.command)?;
        let config = config(&called_in);
        let prefix = if config.is_some() { called_in } else { prefix_of(&interpreter.real)? };
        let base = config.as_ref().and_then(|config| config.home.as_deref()?.parent().map(Path::to_owned));
        let library =
            real_library.or_else(|| config.and_then(|config| config.library)).or_else(|| library_in(&prefix));
        Some(Self { command: interpreter.command.clone(), prefix, base, library })
    }
}

/// What a command that is not empty comes down to.
fn follow(search: &mut Search, command: &[OsString]) -> Program {
    let (name, args) = (&command[0], &command[1..]);
    let path = if Path::new(name).components().count() > 1 {
        Some(PathBuf::from(name))
    } else {
        program::in_path(search, name, usize::MAX, None)
    };
    path.map_or(Program::Unknown, |path| program::follow(search, &path, args))
}

/// What `pyvenv.cfg` in `prefix` says.
pub fn config(prefix: &Path) -> Option<VenvConfig> {
    text(&prefix.join("pyvenv.cfg")).map(|text| VenvConfig::parse(&text))
}

/// The content of a small file.
pub fn text(file: &Path) -> Option<Vec<u8>> {
    let is_small = fs::metadata(file).is_ok_and(|is| is.is_file() && is.len() <= CONFIG_BYTES_MAX);
    if is_small { fs::read(file).ok() } else { None }
}

fn library_in(prefix: &Path) -> Option<String> {
    let names = fs::read_dir(prefix.join("lib")).ok()?.flatten().map(|entry| entry.file_name());
    names.filter_map(|name| python::library_of(&name).filter(|library| OsStr::new(library) == name)).max()
}
