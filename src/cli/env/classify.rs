//! `spinney env classify`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::RecordingArgs;
use crate::environment::classes::{self, Rules};

/// Say what kinds of software a job's accesses went to
///
/// Each recorded path has one class: a package, its compiled parts, the standard library, a probe for something that
/// was never there, and so on. The rules are in docs/PROFILING.md. The end of the text has the same paths in the classes
/// of Copper.
///
/// Ends with 0, or with 1 if a recording could not be read in full; what could be read is reported all the same.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  spinney env classify report/\n  spinney env classify --rules ours.toml --csv report/"
)]
pub struct ClassifyArgs {
    #[command(flatten)]
    recordings: RecordingArgs,
    /// Rules of your own, in TOML; they come before those of spinney
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
}

/// Classifies and prints.
pub fn run(args: &ClassifyArgs) -> ExitCode {
    let rules = match &args.rules {
        None => Rules::built_in(),
        Some(file) => match Rules::with_file(file) {
            Ok(rules) => rules,
            Err(error) => {
                eprintln!("spinney: error: {}: {error}", file.display());
                return ExitCode::from(2);
            }
        },
    };
    let recorded = match args.recordings.read() {
        Ok(recorded) => recorded,
        Err(code) => return code,
    };
    let classes = classes::classify(&recorded, &rules);
    args.recordings.print(classes.notes(), |rows| classes.lines(rows), || classes.csv(), || classes.json());
    super::ended(&recorded)
}
