//! The hooks that run inside Python and R: where they lie, and how the interpreters come to them.
//!
//! Two ways in: a `.pth` line in a site directory, which does nothing unless SPINNEY_TRACK is set; and, for
//! `spinney run --track`, a directory at the front of PYTHONPATH with a `sitecustomize` that takes itself out of
//! sight and then imports the one that Python would have found. R comes to its hook through R_PROFILE, which then
//! reads the site's own profile.
//!
//! Not here: what it writes (`record`).

use std::io;
use std::path::Path;

/// Names the directory that the hook writes into; without it, it is silent.
pub const TRACK_VARIABLE: &str = "SPINNEY_TRACK";

/// The hook itself, whole, for an environment that keeps its bytecode.
pub const PYTHON: &str = concat!(include_str!("noting.py"), "\n\n", include_str!("hook.py"));

/// What notes an import: apart where bytecode lasts as long as a run, so that an interpreter which imports nothing need
/// not compile it.
pub const NOTING: &str = include_str!("noting.py");

/// The text of a `sitecustomize` that is the hook and makes way for another.
pub const SITECUSTOMIZE: &str = concat!(include_str!("hook.py"), include_str!("enter.py"));

/// The hook for R.
pub const R: &str = include_str!("hook.R");

const ENTER_R: &str = include_str!("enter.R");
const PTH: &str = include_str!("hook.pth");

/// Names in a site directory. `z` comes last there, so other lines find what they always found.
const INSTALLED: [(&str, &str); 2] = [("spinney_track.py", PYTHON), ("zz_spinney_track.pth", PTH)];

/// Installs the hook into a site directory of an environment.
///
/// # Errors
/// The directory cannot be written to.
pub fn install(directory: &Path) -> io::Result<()> {
    for (name, text) in INSTALLED {
        let beside = directory.join(format!(".{name}.{}", std::process::id()));
        std::fs::write(&beside, text)?;
        std::fs::rename(beside, directory.join(name))?;
    }
    Ok(())
}

/// The text of a profile for R that is the hook and then reads another.
pub fn r_profile() -> String {
    format!("{R}{ENTER_R}")
}
