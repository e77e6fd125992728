//! The flags of `spinney run` about tracking.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cluster::launchers::Launch;
use crate::enter::LocalNodes;
use crate::enter::job::Job;
use crate::track::filter::Filter;
use crate::track::filter_file;
use crate::track::flight::{self, Flight, Terms};
use crate::track::record::Run;
use crate::track::send::destination::{Destination, Form};
use crate::track::send::spool::Spool;

/// What is recorded, and where it goes.
#[derive(Debug, Args)]
pub struct TrackingArgs {
    /// Record which packages the command imports, into a file in WHERE, a directory
    ///
    /// Of Python, by a hook that a directory at the front of PYTHONPATH brings in and then hides from the command; of R, by
    /// one that R_PROFILE brings in; of all programs, which shared objects they have mapped. No arguments and no variables
    /// are recorded. docs/TRACKING.md says what is.
    ///
    /// WHERE may also be file:DIR, file_separate_dirs:DIR, syslog, syslog:SOCKET, logger, http://..., https://...,
    /// kafka://HOST:PORT/TOPIC, kafka://HOST:PORT/TOPIC?access=FILE (if built with it; FILE says how to come in) or none.
    #[arg(long, value_name = "WHERE", help_heading = "Output")]
    track: Option<OsString>,
    /// The form of what leaves the node
    #[arg(long, value_enum, value_name = "FORM", default_value_t = Form::Spinney, requires = "track", help_heading = "Output")]
    track_form: Form,
    /// Where records wait that could not be delivered [default: `spinney/track` in $XDG_STATE_HOME or ~/.local/state]
    #[arg(long, value_name = "DIR", requires = "track", help_heading = "Output")]
    track_spool: Option<PathBuf>,
    /// Rules that say which imports are kept: TOML, or XALT's Config.py [default: packages, not modules]
    #[arg(long, value_name = "FILE", requires = "track", help_heading = "Output")]
    track_rules: Option<PathBuf>,
    /// Keep only some runs, chosen by their length and size with XALT's probabilities; N is the seed of the draw
    #[arg(long, value_name = "N", requires = "track", help_heading = "Output")]
    track_sample: Option<u64>,
}

/// A run that is being tracked.
pub struct Tracked {
    flight: Flight,
    filter: Filter,
    is_first: bool,
}

impl TrackingArgs {
    /// Begins, if that was asked for and can be.
    pub fn begin(
        &self,
        command: &[OsString],
        job: Option<&str>,
        local: Option<LocalNodes>,
    ) -> Option<Tracked> {
        let to = destination(self.track.as_deref()?);
        let filter = rules(self.track_rules.as_deref());
        let place = Path::new(flight::PLACE);
        flight::reap(place, &filter);
        let mut run = Run::here(command, job);
        if let Some(local) = local {
            (run.nodes, run.tasks) = (local.nodes, local.nodes.saturating_mul(local.tasks_per_node));
        }
        let spool = self.track_spool.as_ref().and_then(|directory| std::path::absolute(directory).ok());
        let spool = spool.or_else(Spool::default_place);
        let terms = Terms { to, form: self.track_form, spool, seed: self.track_sample };
        let mut flight = Flight::begin(place, &run, &terms)?;
        flight.observe(&filter);
        let is_first = Job::find(job, &Launch::of_environment()).rank == 0;
        Some(Tracked { flight, filter, is_first })
    }
}

impl Tracked {
    /// What COMMAND's environment needs.
    pub fn variables(&self) -> Vec<(OsString, OsString)> {
        self.flight.variables()
    }

    /// COMMAND has ended. Of a job's tasks one sends what waits in the spool.
    pub fn end(self) {
        self.flight.end(&self.filter, self.is_first);
    }
}

/// Where records go; what cannot be is wrong usage.
pub fn destination(text: &OsStr) -> Destination {
    Destination::parse(text).unwrap_or_else(|error| wrong(format!("{}: {error}", text.display())))
}

/// The rules that were named; wrong ones are wrong usage.
fn rules(file: Option<&Path>) -> Filter {
    let Some(file) = file else { return Filter::default() };
    filter_file::read(file).unwrap_or_else(|error| wrong(format!("{}: {error}", file.display())))
}

fn wrong(message: String) -> ! {
    eprintln!("spinney: {message}");
    std::process::exit(2)
}
