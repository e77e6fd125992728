//! `spinney track export`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use crate::track::export;
use crate::track::send::destination::Form;

/// Pass records on, in the form that XALT reads or as they are
///
/// Names and keys depend on the records alone, so what is exported again replaces what was there.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The form
    #[arg(long, value_enum, value_name = "FORM", default_value_t = Form::Xalt)]
    format: Form,
    /// To where: a directory, or what `spinney run --track` takes
    #[arg(long, value_name = "WHERE")]
    to: OsString,
    /// For how long to try, for each file
    #[arg(long, value_name = "DURATION", value_parser = crate::cli::durations::parse, default_value = "10s")]
    within: Duration,
    /// Files of records, or directories of them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// 0 if everything was passed on, else 1.
pub fn run(args: &ExportArgs) -> ExitCode {
    let to = crate::cli::tracking::destination(&args.to);
    let done = export::export(&args.paths, &to, args.format, || Instant::now() + args.within);
    crate::cli::put(format!("{} runs passed on\n", done.passed_on));
    done.troubles.iter().for_each(|trouble| eprintln!("spinney: {trouble}"));
    if done.troubles.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
