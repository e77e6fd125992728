//! (being written)

use crate::holder::estate::Estate;
use std::process::ExitCode;

mod stub;

/// Stub.
pub fn run(estate: Estate) -> ExitCode {
    stub::run(estate)
}
