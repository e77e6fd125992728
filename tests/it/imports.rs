//! The whole standard library of Python as a workload: thousands of names, hundreds of files, an order that shows.

use std::path::PathBuf;
use std::process::Command;

use crate::scene::{output, text};

/// Imports everything in the directory that is its argument and prints where each module came from, so that anything
/// else that was loaded, or not found, shows.
pub const IMPORT_ALL: &str = "import importlib, pkgutil, sys\n\
    names = sorted(m.name for m in pkgutil.iter_modules([sys.argv[1]]) if m.name not in ('antigravity', 'this', 'idlelib'))\n\
    for name in names:\n\
    \x20   try:\n\
    \x20       m = importlib.import_module(name)\n\
    \x20       print(name, getattr(m, '__file__', None), len(dir(m)), flush=True)\n\
    \x20   except ImportError as e:\n\
    \x20       print(name, e, flush=True)\n";

/// Where `python3` has its standard library.
pub fn standard_library() -> PathBuf {
    let found =
        output(Command::new("python3").args(["-c", "import sysconfig; print(sysconfig.get_path('stdlib'))"]));
    PathBuf::from(text(&found.stdout).trim())
}
