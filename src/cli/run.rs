//! `spinney run`.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory};

use super::service::ServiceArgs;
use super::tracking::{Tracked, TrackingArgs};
use crate::enter::{self, Keep, LocalNodes, Request};
use crate::holder::estate::WayIn;
use crate::launch;

/// Run a command with its software shown through a fast read-only view
///
/// Without --view, the view is the software environment of the command: found from its interpreter, CONDA_PREFIX,
/// VIRTUAL_ENV, PYTHONPATH, LD_LIBRARY_PATH and R_LIBS. It is shown at its own path, to the command and what it starts,
/// and to nobody else. Standard input and output, signals, job control and the exit code are the command's own.
///
/// Tasks of one job on one node share one view: the first to come makes it, and it ends with the last process inside.
#[derive(Debug, Args)]
#[command(override_usage = "spinney run [OPTIONS] -- COMMAND [ARGUMENT]...", after_help = AFTER_HELP, after_long_help = AFTER_LONG_HELP)]
pub struct RunArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// Use only this way to show a view [default: the best that works]
    #[arg(long, value_enum, value_name = "WAY", help_heading = "Views")]
    way: Option<WayIn>,
    /// Fail with 125 instead of running the command without a view
    #[arg(long, help_heading = "Views")]
    require: bool,
    /// Start the command P times on each of these nodes
    #[arg(
        long,
        value_name = "P",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(launch::TASKS_MAX)),
        requires = "local_nodes",
        help_heading = "Cluster"
    )]
    tasks_per_node: u32,
    /// Leave the service behind for runs to come, until nobody has used it for so long, such as 90s or 10m
    ///
    /// As `spinney up --linger` before the run. A scheduler may end it with the step.
    #[arg(long, value_name = "DURATION", value_parser = super::durations::parse, conflicts_with_all = ["way", "report"], help_heading = "Views")]
    linger: Option<Duration>,
    /// Put all arguments of the command into the report, not only its name
    #[arg(long, help_heading = "Output")]
    record_args: bool,
    #[command(flatten)]
    tracking: TrackingArgs,
    /// The command to run, and its arguments
    #[arg(required = true, value_name = "COMMAND", trailing_var_arg = true)]
    command: Vec<OsString>,
}

const AFTER_HELP: &str = "\
Examples:
  spinney run -- python3 train.py
  srun -N 1024 --ntasks-per-node=8 spinney run -- python3 train.py
  spinney run --view /opt/env -- /opt/env/bin/tool
  spinney run --local-nodes 4 -- python3 -c 'import numpy'
";

const AFTER_LONG_HELP: &str = "\
Examples:
  spinney run -- python3 train.py
  srun -N 1024 --ntasks-per-node=8 spinney run -- python3 train.py
  spinney run --view /opt/env -- /opt/env/bin/tool
  spinney run --report here -- python3 -c 'import numpy'
  spinney run --local-nodes 4 -- python3 -c 'import numpy'
  pdsh -w 'a[01-16]' spinney run --hosts 'a[01-16]' --job mine -- python3 train.py

Exit codes:
  COMMAND's own; if a signal ended it, so does it end Spinney; with --local-nodes that of the first task that failed
  2    wrong usage, a view that cannot be, or a list of nodes that cannot be
  125  Spinney failed before the command started, or lost its view and stopped it
  126  the command cannot be executed
  127  the command was not found

Files:
  /etc/spinney.toml  what the site allows: `cache_bytes` (a cap), `denied` (a list of directories)
";

/// Runs the command.
pub fn run(args: RunArgs) -> ExitCode {
    let local =
        args.service.local_nodes.map(|nodes| LocalNodes { nodes, tasks_per_node: args.tasks_per_node });
    if local.is_some_and(|local| local.nodes.saturating_mul(local.tasks_per_node) > launch::TASKS_MAX) {
        let message = format!("at most {} tasks can be started on one machine", launch::TASKS_MAX);
        super::Cli::command().error(ErrorKind::ValueValidation, message).exit();
    }
    let linger = args.linger;
    let tracked = args.tracking.begin(&args.command, args.service.job.as_deref(), local);
    let mut request = request(args, local);
    request.variables = tracked.as_ref().map(Tracked::variables).unwrap_or_default();
    if linger.is_some() {
        launch::up::beforehand(Request { keep: Some(Keep { linger }), require: true, ..request.clone() });
    }
    let after = || tracked.into_iter().for_each(Tracked::end);
    match local {
        Some(nodes) => launch::run_then(request, nodes, after),
        None => enter::run_then(request, after),
    }
}

fn request(args: RunArgs, local: Option<LocalNodes>) -> Request {
    Request {
        command: args.command,
        way: args.way,
        require: args.require,
        record_args: args.record_args,
        local,
        ..args.service.request()
    }
}
