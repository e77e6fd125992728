//! `spinney env coverage`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::RecordingArgs;
use crate::environment::coverage;

/// Say how much of an environment a job used
///
/// Compares recordings with what lies beneath some directories now: files, directories, links and bytes, for each
/// directory and each package (pip, conda, R). Links are not followed, so everything counts once. What a run did not use
/// is not what can be deleted.
///
/// Ends with 0, or with 1 if a recording or a directory could not be read in full.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  spinney env coverage report/\n  spinney env coverage --root /opt/env --copper paths_dir report/"
)]
pub struct CoverageArgs {
    #[command(flatten)]
    recordings: RecordingArgs,
    /// Look beneath this directory; may be repeated [default: the views of the recordings]
    #[arg(long = "root", value_name = "DIR")]
    roots: Vec<PathBuf>,
    /// Also write Copper's lists of paths and summaries into this directory
    #[arg(long, value_name = "OUT")]
    copper: Option<PathBuf>,
}

/// Compares and prints.
pub fn run(args: &CoverageArgs) -> ExitCode {
    let recorded = match args.recordings.read() {
        Ok(recorded) => recorded,
        Err(code) => return code,
    };
    let Some(roots) = super::roots(&args.roots, &recorded) else { return ExitCode::from(2) };
    let coverage = coverage::coverage(&recorded, &roots);
    coverage.troubles.iter().for_each(|trouble| eprintln!("spinney: {trouble}"));
    if let Some(directory) = &args.copper
        && let Err(error) = coverage.write_copper(directory)
    {
        eprintln!("spinney: error: {}: {error}", directory.display());
        return ExitCode::FAILURE;
    }
    args.recordings.print(
        coverage.notes(),
        |rows| coverage.lines(rows),
        || coverage.csv(),
        || coverage.json(),
    );
    if coverage.troubles.is_empty() { super::ended(&recorded) } else { ExitCode::FAILURE }
}
