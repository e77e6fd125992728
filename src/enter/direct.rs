//! Running COMMAND on storage itself, when no view can be shown or none is wanted.
//!
//! Then Spinney is in nobody's way: this process becomes COMMAND. Only a report makes it stay as the parent, since
//! somebody must write down how COMMAND ended.

use std::convert::Infallible;
use std::time::Instant;

use super::failure::Failure;
use super::found;
use super::inherited;
use super::launched::ToLauncher;
use super::plan::Plan;
use super::step::EnterError;
use super::task::Task;
use super::tenancy::Outcome;
use super::ward::{Arrival, News, Ward};
use crate::daemon;
use crate::holder::estate::WayIn;
use crate::holder::messages::RunOutcome;

/// Runs COMMAND directly.
///
/// # Errors
/// It cannot be executed.
pub fn run(plan: &Plan) -> Result<Outcome, Failure> {
    match &plan.request.report {
        Some(_) => run_and_report(plan),
        // Whoever adds variables waits for the end.
        None if plan.hands_up_record() || !plan.request.variables.is_empty() => run_and_report(plan),
        None => become_it(plan).map(|never| match never {}),
    }
}

fn become_it(plan: &Plan) -> Result<Infallible, Failure> {
    inherited::restore_signals();
    inherited::restore_streams();
    Err(plan.exec_failed(plan.command.exec(&plan.request.variables)))
}

fn run_and_report(plan: &Plan) -> Result<Outcome, Failure> {
    found::try_outputs(plan)?;
    let began = Instant::now();
    let mut ward = Ward::begin()?;
    let wrapper = rustix::process::getpid();
    let task = Task::fork(&ward.signals, || plan.become_command(wrapper))?;
    ward.place_canary();
    if let Arrival::Failed(EnterError { errno, .. }) = ward.arrival(&task)? {
        return Err(plan.exec_failed(errno));
    }
    super::descriptors::release_inherited();
    loop {
        let News::Ended(end) = ward.next(&task, None)? else { continue };
        let outcome = RunOutcome {
            exit_code: end.exit_code(),
            tasks: 1,
            tasks_failed: u64::from(end.exit_code() != 0),
            first_failed: (end.exit_code() != 0).then_some(plan.job.rank),
            founded_unix_us: 0, // all tasks without a service are one
            wall_seconds: began.elapsed().as_secs_f64(),
            ready_seconds: 0.0,
        };
        report(plan, &outcome);
        return Ok(Outcome::Task(end));
    }
}

fn report(plan: &Plan, outcome: &RunOutcome) {
    let settings = found::settings(plan, WayIn::Direct, std::iter::empty());
    if let Some(launched) = &plan.launched {
        let record = daemon::record_of_direct_run(&settings, outcome).map(ToLauncher::Record);
        let _ = record.map(|record| launched.tell(&record));
    } else if plan.request.report.is_some()
        && let Err(error) = daemon::report_direct_run(&settings, outcome)
    {
        plan.request.talk.warn(format_args!("the report could not be written: {error:#}"));
    }
}
