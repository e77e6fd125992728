//! `spinney track send`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use crate::track::send::spool::Spool;

/// Send records that could not be delivered when their runs ended
///
/// Each goes where its run wanted it. Runs send them too, as far as their time allows.
#[derive(Debug, Args)]
pub struct SendArgs {
    /// Where they wait [default: `spinney/track` in $XDG_STATE_HOME or ~/.local/state]
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
    /// For how long to try
    #[arg(long, value_name = "DURATION", value_parser = crate::cli::durations::parse, default_value = "1min")]
    within: Duration,
}

/// 0 if none are left, else 1.
pub fn run(args: &SendArgs) -> ExitCode {
    let Some(directory) = args.spool.clone().or_else(Spool::default_place) else {
        return super::failed("where records wait is not known; name it with `--spool`");
    };
    let done = Spool::new(directory).flush(Instant::now() + args.within);
    let (sent, left, given_up) = (done.delivered, done.left, done.given_up);
    crate::cli::put(format!("{sent} sent, {left} left, {given_up} given up for their age\n"));
    done.troubles.iter().for_each(|trouble| eprintln!("spinney: {trouble}"));
    if done.left == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
