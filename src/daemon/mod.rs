//! One node's service: answers the kernel for all views of a job.
//!
//! [`assemble`] is the page to read first: it puts storage, cache, view and kernel channel together.
//!
//! Invariant: the daemon stays outside the tasks' namespaces and reaches storage by descriptors opened before
//! anything was mounted, so it never meets its own mount.
//!
//! Not here: keeping descriptors through a death (`holder`), mounting and joining (`enter`).

pub mod assemble;
mod bytecode;
mod control;
pub mod memory;
mod pressure;
mod report;

use std::process::ExitCode;

use crate::holder::estate::{Estate, Settings};
use crate::holder::messages::RunOutcome;
use crate::profile::recorder::Recorder;

/// Serves until the kernel has ended every connection.
pub fn run(estate: Estate) -> ExitCode {
    prepare();
    let settings = estate.settings.clone();
    let served = Recorder::shared(&estate.counters).and_then(|recorder| {
        let assembled = assemble::assemble(&estate, recorder)?;
        let cache = assembled.cache.clone();
        pressure::mind(cache, assembled.cache.budget_bytes(), recorder);
        let control = control::Control::start(estate, recorder, assembled.cache.clone())?;
        assembled.sessions.into_iter().for_each(crate::fuse::Session::wait);
        control.end();
        Ok(())
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, job = settings.job, "the daemon cannot serve");
            ExitCode::FAILURE
        }
    }
}

/// Writes the report of a run that had no service, if its settings ask for one.
///
/// # Errors
/// The directory or file cannot be written.
pub fn report_direct_run(settings: &Settings, outcome: &RunOutcome) -> anyhow::Result<()> {
    report::write(settings, &Recorder::private(), 0, outcome)
}

fn prepare() {
    // A thread that panics owes an answer. Its successor reads the request again and gives it.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tracing::error!(%panic, "the daemon panicked");
        report(panic);
        std::process::abort();
    }));
    memory::use_few_arenas();
}
