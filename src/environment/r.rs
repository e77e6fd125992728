//! What makes a directory an R installation or an R library.
//!
//! `R` is a shell script with its home written inside, `Rscript` a small program beside it. An
//! installation has `lib/R/library` (`lib64` on some); a directory in R_LIBS is a library by being there.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::bounds;
use super::search::Search;

/// Whether a command of this name is R.
pub fn is_r(name: &OsStr) -> bool {
    name == "R" || name == "Rscript"
}

/// Accepts what the R at `real` will load from: its installation, the user's library.
pub fn accept_r(search: &mut Search, real: &Path) {
    let reason = format!("R installation of `{}`", real.display());
    if bounds::is_system(real) {
        search.note(format!("left out: the {reason} {}", bounds::Refusal::System.because()));
    } else if let Some(installation) = installation(search, real) {
        // A refusal has been noted; there is nothing narrower left to try.
        let _ = search.accept(installation, reason);
    }
    accept_user_library(search);
}

/// The prefix R was installed into; its home if it has none.
fn installation(search: &Search, real: &Path) -> Option<PathBuf> {
    let prefix = prefix_in(real).or_else(|| {
        real.parent().filter(|parent| parent.ends_with("bin")).and_then(Path::parent).map(Path::to_owned)
    });
    if let Some(prefix) = prefix {
        let library = |lib: &&str| search.looks.directory(&prefix.join(lib).join("R/library"));
        if ["lib", "lib64"].iter().find_map(library).is_some() {
            return Some(prefix);
        }
    }
    let home = home_in(&search.looks.start(real)?.bytes)?;
    let library = search.looks.directory(&home.join("library"))?;
    prefix_in(&library).or_else(|| library.parent().map(Path::to_owned))
}

/// The prefix in a path through `lib/R`: such a path proves the marker by itself.
pub fn prefix_in(path: &Path) -> Option<PathBuf> {
    let home =
        path.ancestors().find(|ancestor| ancestor.ends_with("lib/R") || ancestor.ends_with("lib64/R"))?;
    home.parent()?.parent().map(Path::to_owned)
}

/// The value of `R_HOME_DIR=` in R's start script.
fn home_in(script: &[u8]) -> Option<PathBuf> {
    let line = script.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"R_HOME_DIR="))?;
    let value = line.trim_ascii().trim_ascii_start();
    let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    Some(PathBuf::from(OsStr::from_bytes(value))).filter(|home| home.is_absolute())
}

/// `~/R/PLATFORM-library`, which R takes unless R_LIBS_USER names another.
///
/// One listing: the platform's name is fixed when R is built and stands in no name seen so far.
fn accept_user_library(search: &mut Search) {
    if search.around.variable("R_LIBS_USER").is_some() {
        return; // with the other variables
    }
    let Some(parent) = search.around.home.as_ref().map(|home| home.join("R")) else { return };
    let Some(parent) = search.looks.directory(&parent) else { return };
    for name in search.looks.names(&parent) {
        if name.as_bytes().ends_with(b"-library") {
            // A refusal has been noted; there is nothing narrower left to try.
            let _ = search.accept(parent.join(&name), "R library of the user");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_script_names_its_home() {
        let cases: [(&[u8], Option<&str>); 4] = [
            (b"#!/bin/sh\n# Shell wrapper\nR_HOME_DIR=/sw/R/4.2/lib64/R\n", Some("/sw/R/4.2/lib64/R")), // as installed
            (b"#!/bin/sh\nR_HOME_DIR=\"/sw/R 4/lib/R\"\n", Some("/sw/R 4/lib/R")), // quoted
            (b"#!/bin/sh\nR_HOME_DIR=${PREFIX}/R\n", None),                        // not known before it runs
            (b"\x7fELF", None),                                                    // Rscript
        ];
        for (script, want) in cases {
            assert_eq!(home_in(script), want.map(PathBuf::from), "{}", String::from_utf8_lossy(script));
        }
    }

    #[test]
    fn a_path_through_lib_r_names_its_prefix() {
        assert_eq!(prefix_in(Path::new("/sw/R/lib64/R/bin/R")), Some("/sw/R".into()));
        assert_eq!(prefix_in(Path::new("/sw/R/bin/R")), None);
    }
}
