//! The `spinney` program: parse, run, end with an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    spinney::cli::run()
}
