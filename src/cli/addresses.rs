//! `spinney addresses`.

use std::process::ExitCode;

use clap::Args;

use crate::cluster::addresses;

/// Print the network addresses of this machine, as `--address-book` takes them
///
/// One line for each: host, interface, hardware address, IP address; the fastest interface first. Started by a launcher on
/// all nodes, one task on each prints, so the output of all is a book of the job.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  spinney addresses\n  srun -N 16 spinney addresses --interface hsn0 > book"
)]
pub struct AddressesArgs {
    /// Only of this interface [default: all that lead to other machines]
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
}

/// Prints the lines: 0 if there is one, else 1.
pub fn run(args: &AddressesArgs) -> ExitCode {
    let Some(lines) = addresses::lines(args.interface.as_deref()) else { return ExitCode::SUCCESS };
    // One write, so that lines of many tasks do not mix.
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    super::put(&text);
    if lines.is_empty() {
        eprintln!("spinney: no such interface leads to other machines from here");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
