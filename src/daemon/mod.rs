//! One node's service: answers the kernel for all views of a job.
//!
//! [`assemble`] is the page to read first: it puts storage, cache, view and kernel channel together.
//!
//! Invariant: the daemon stays outside the tasks' namespaces and reaches storage by descriptors opened before
//! anything was mounted, so it never meets its own mount.
//!
//! Not here: keeping descriptors through a death (`holder`), mounting and joining (`enter`).

mod asked;
pub mod assemble;
mod bytecode;
mod collecting;
mod control;
mod gathering;
mod idle;
mod line;
pub mod memory;
mod metrics;
mod neighbours;
mod orders;
mod pressure;
pub mod record;
pub mod recording;
mod refresh;
pub mod report;
mod status;
pub mod together;
mod troubles;
mod waiting;

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use self::asked::Asked;
use self::assemble::Assembled;
use self::control::Control;
use self::line::Line;
use self::neighbours::Neighbours;
use crate::cluster::launchers::task_number;
use crate::fuse::Session;
use crate::holder::channel::Channel;
use crate::holder::estate::{Estate, Settings};
use crate::holder::failed::{Failed, cannot};
use crate::holder::messages::{FromDaemon, RunOutcome};
use crate::profile::recorder::Recorder;
use crate::profile::recorder::event::Mode;
use crate::profile::recorder::events::Events;
use collecting::Collecting;
use record::Record;
use recording::Recordings;

/// Serves until the kernel has ended every connection; without one until the holder lets it go or is gone.
pub fn run(estate: Estate) -> ExitCode {
    prepare();
    let holder = estate.peer.try_clone().map(Channel::from);
    match serve(estate) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the daemon cannot serve");
            let word = FromDaemon::Failed(Failed::of(&error));
            // A holder that is gone need not know.
            let _ = holder.map(|holder| holder.send_now(&word, &[]));
            ExitCode::FAILURE
        }
    }
}

fn serve(estate: Estate) -> io::Result<()> {
    let recorder = recorder(&estate)?;
    let line = Line::new(&estate.peer)?;
    let Assembled { sessions, cache, tree, refresher, neighbours } =
        assemble::assemble(&estate, line.clone(), recorder)?;
    pressure::mind(cache.clone(), recorder);
    let gathering = neighbours.as_ref().and_then(|neighbours| neighbours.gathering.clone());
    let others = neighbours.as_ref().map(|neighbours| neighbours.others());
    let ledger = estate.ledger.try_clone()?;
    idle::watch(&estate.settings, recorder, ledger.try_clone()?, line.clone());
    if let Some(listener) = &estate.metrics_listener {
        let source = status::Figures::of(&estate, recorder, &cache).map_err(cannot("tell figures"))?;
        metrics::tell(listener.try_clone()?, source).map_err(cannot("tell figures"))?;
    }
    let collecting = neighbours.as_ref().and_then(|neighbours| neighbours.collecting.clone());
    let recordings = Recordings::of(&estate.settings, recorder, collecting.clone());
    recordings.as_ref().map_or(Ok(()), Recordings::begin_snapshots)?;
    let asked = Asked {
        settings: estate.settings.clone(),
        ledger,
        recorder,
        cache,
        tree,
        gathering,
        collecting: collecting.clone(),
        refresher,
        others,
        neighbours: neighbours.clone(),
        line: line.clone(),
        recordings,
    };
    let control = Control::start(estate, line, asked).map_err(cannot("listen to the holder"))?;
    if sessions.is_empty() {
        if let Some(line) = control.until_let_go() {
            linger(neighbours, collecting);
            line.say(&FromDaemon::Ended);
        }
        return Ok(());
    }
    sessions.into_iter().for_each(Session::wait);
    linger(neighbours, collecting);
    control.end();
    Ok(())
}

/// Stays for other nodes, if there are any; then recordings of theirs that are here are put together.
fn linger(neighbours: Option<Arc<Neighbours>>, collecting: Option<Collecting>) {
    if let Some(neighbours) = neighbours {
        neighbours.linger();
        neighbours.close();
    }
    if let Some(collecting) = collecting {
        collecting.end();
    }
}

fn recorder(estate: &Estate) -> io::Result<Recorder> {
    let counters = Recorder::shared(&estate.counters).map_err(cannot("map the counters"))?;
    match estate.settings.profiling.mode {
        Mode::Off => Ok(counters),
        mode => Ok(counters
            .with(Events::shared(&estate.events, mode, task_number).map_err(cannot("map the record"))?)),
    }
}

/// Writes the report of a run that had no service, if its settings ask for one.
///
/// # Errors
/// The directory or file cannot be written.
pub fn report_direct_run(settings: &Settings, outcome: &RunOutcome) -> anyhow::Result<()> {
    report::write_own(settings, direct_record(settings, outcome))
}

/// The record of a run that had no service, for a launcher.
pub fn record_of_direct_run(settings: &Settings, outcome: &RunOutcome) -> Option<serde_json::Value> {
    direct_record(settings, outcome).to_json()
}

fn direct_record(settings: &Settings, outcome: &RunOutcome) -> Record {
    Record::make(settings, &Recorder::private(), 0, outcome.clone())
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
