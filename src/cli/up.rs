//! `spinney up`.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::service::ServiceArgs;
use crate::enter::{self, Keep, LocalNodes, Request};
use crate::launch;
use crate::launch::up::{Up, elsewhere};

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
    #[arg(long, value_name = "DURATION", value_parser = super::durations::parse, help_heading = "Views")]
    linger: Option<Duration>,
    /// Start it on each node with these words in front, such as 'pdsh -w a[01-16]' [default: as the scheduler has it]
    ///
    /// In an allocation of several nodes `srun --overlap` (Slurm) or `mpiexec` (PBS) starts a step of its own. Where that is not
    /// what is wanted, or there is no scheduler, name what starts a command once on each node; with --hosts and --job, if it
    /// does not pass the environment on.
    #[arg(long, value_name = "WORDS", conflicts_with = "local_nodes", help_heading = "Cluster")]
    with: Option<String>,
    /// Stay on this node until the service is told to go, as in a step or a job of your own
    ///
    /// This is what a task of a launcher does anyway: start one on each node.
    #[arg(long, conflicts_with = "local_nodes", help_heading = "Cluster")]
    foreground: bool,
    /// Tell a program when all nodes are ready
    #[arg(long, hide = true)]
    announce: bool,
    /// Tell a program whether it is up, and start nothing
    #[arg(long, hide = true)]
    look: bool,
    /// Whose environment to show
    #[arg(value_name = "COMMAND", trailing_var_arg = true)]
    command: Vec<OsString>,
}

const AFTER_HELP: &str = "\
Examples:
  spinney up -- python3 train.py
  spinney up --hosts 'a[01-16]' --job mine --with 'pdsh -w a[01-16]' --view /opt/env
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
    let request = Request {
        command: args.command,
        require: true,
        local,
        keep: Some(Keep { linger: args.linger }),
        ..args.service.request()
    };
    if args.look {
        return match elsewhere::look(&request) {
            Ok(word) => {
                super::put(format!("{word}\n"));
                ExitCode::SUCCESS
            }
            Err(failure) => ExitCode::from(enter::fail(&failure)),
        };
    }
    launch::up::run(Up {
        request,
        with: args.with.map(|words| words.split_whitespace().map(OsString::from).collect()),
        foreground: args.foreground,
        announce: args.announce,
        words: std::env::args_os().skip_while(|word| word != "up").skip(1).collect(),
    })
}
