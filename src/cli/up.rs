//! `spinney up`.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::service::ServiceArgs;
use crate::enter::{Keep, LocalNodes, Request};
use crate::launch;

/// Start the service for runs to come, and return when it is ready
///
/// Until `spinney down`, each `spinney run` of the same job uses it: what one has read, the next finds in memory. The job is
/// what the scheduler says (all its steps share the service), or --job NAME; without either, all that you run on this machine.
///
/// Without --view, the environment of COMMAND is shown, or that of `python3`. COMMAND is not run.
#[derive(Debug, Args)]
#[command(override_usage = "spinney up [OPTIONS] [-- COMMAND [ARGUMENT]...]", after_help = AFTER_HELP)]
pub struct UpArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// Let the service go when nobody has used it for so long, such as 90s or 10m [default: until `spinney down`]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, help_heading = "Views")]
    linger: Option<Duration>,
    /// Whose environment to show
    #[arg(value_name = "COMMAND", trailing_var_arg = true)]
    command: Vec<OsString>,
}

const AFTER_HELP: &str = "\
Examples:
  spinney up -- python3 train.py
  spinney up --local-nodes 4 --view /opt/env --linger 10m
  spinney run -- python3 train.py
  spinney down

Exit codes:
  0    all nodes are ready; also if they were already
  2    wrong usage, a view that cannot be, or a list of nodes that cannot be
  125  no service could be started, or some nodes did not come
";

/// Starts the service.
pub fn run(args: UpArgs) -> ExitCode {
    let local = args.service.local_nodes.map(|nodes| LocalNodes { nodes, tasks_per_node: 1 });
    launch::up::run(Request {
        command: args.command,
        require: true,
        local,
        keep: Some(Keep { linger: args.linger }),
        ..args.service.request()
    })
}
