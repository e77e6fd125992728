//! (being written)

use crate::holder::estate::Estate;
use std::process::ExitCode;

mod stub;

/// Stub.
pub fn run(estate: Estate) -> ExitCode {
    stub::run(estate)
}

/// Writes the report of a run that had no service.
///
/// # Errors
/// The report cannot be written.
pub fn report_direct_run(
    settings: &crate::holder::estate::Settings,
    outcome: &crate::holder::messages::RunOutcome,
) -> anyhow::Result<()> {
    let Some(report) = &settings.report else { return Ok(()) };
    std::fs::write(report.join("run.json"), serde_json::to_vec(outcome)?)?;
    Ok(())
}
