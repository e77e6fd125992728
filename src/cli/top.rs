//! `spinney top`.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::services::top;

/// Width where there is no terminal: 80.
const WIDTH: u16 = 80;

/// Watch the services of your jobs on this machine
///
/// For each node: requests, answers by source, calls on storage and what it keeps in memory; with --profile also the paths
/// that tasks waited for longest. Rates are those since the last look, at first since the service began. `q` ends it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  spinney top\n  spinney top --interval 5s --job mine\n  spinney top --once"
)]
pub struct TopArgs {
    /// Print what there is to see now, and end; also where standard output is no terminal
    #[arg(long)]
    once: bool,
    /// Look again after DURATION
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = super::durations::parse)]
    interval: Duration,
    /// Only the job of this name [default: all of yours]
    #[arg(long, value_name = "NAME")]
    job: Option<String>,
}

/// Shows them. With --once 0 if there is a service, else 1.
pub fn run(args: &TopArgs) -> ExitCode {
    let is_terminal = std::io::stdout().is_terminal();
    if is_terminal && !args.once {
        return match top::live(args.job.as_deref(), args.interval) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("spinney: cannot use the terminal: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let (text, any) = top::once(args.job.as_deref(), width(is_terminal));
    super::put(text);
    if any { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Of the terminal, or what COLUMNS says.
fn width(is_terminal: bool) -> u16 {
    let of_terminal = || rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| size.ws_col);
    let said = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let known = if is_terminal { of_terminal() } else { said };
    known.filter(|width| *width > 0).unwrap_or(WIDTH)
}
