//! `spinney record-pkg`, which is also this program under the name `xalt_record_pkg`.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use crate::track::{hook::TRACK_VARIABLE, xalt};

/// Record one import, as XALT's `xalt_record_pkg` is told of it
///
/// Under the name `xalt_record_pkg` the program does this too, so that XALT's hooks for Python, R and others record into
/// runs of `spinney run --track`. Outside of such a run it does nothing.
#[derive(Debug, Args)]
pub struct RecordPkgArgs {
    /// -u UUID program P xalt_run_uuid UUID package_version V package_name N package_path P
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORD")]
    words: Vec<OsString>,
}

/// Always 0: whoever calls it is a user's program.
pub fn run(args: &RecordPkgArgs) -> ExitCode {
    record(&args.words)
}

/// Records if this program was called by XALT's name.
pub fn run_if_called_so() -> Option<ExitCode> {
    let mut words = std::env::args_os();
    let name = words.next()?;
    let is_so = Path::new(&name).file_name()? == xalt::RECORD_PKG;
    is_so.then(|| record(&words.collect::<Vec<_>>()))
}

fn record(words: &[OsString]) -> ExitCode {
    if let Some(directory) = std::env::var_os(TRACK_VARIABLE) {
        xalt::record_pkg(Path::new(&directory), words);
    }
    ExitCode::SUCCESS
}
