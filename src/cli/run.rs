//! `spinney run`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::cpus::Cpus;
use crate::enter::talk::Talk;
use crate::enter::{self, Request};
use crate::holder::estate::WayIn;

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
    /// Show this directory; may be repeated [default: the environment of COMMAND]
    #[arg(long = "view", value_name = "DIR", help_heading = "Views")]
    views: Vec<PathBuf>,
    /// Show views beneath DIR, as DIR/opt/env for /opt/env, instead of in place
    #[arg(long, value_name = "DIR", help_heading = "Views")]
    mount_under: Option<PathBuf>,
    /// Use only this way to show a view [default: the best that works]
    #[arg(long, value_enum, value_name = "WAY", help_heading = "Views")]
    way: Option<WayIn>,
    /// Fail with 125 instead of running the command without a view
    #[arg(long, help_heading = "Views")]
    require: bool,
    /// Memory for what was read from storage, such as 16MiB or 4GiB
    ///
    /// By default the least of 4 GiB, a quarter of the machine's memory and an eighth of the tightest cgroup limit.
    #[arg(long, value_name = "SIZE", value_parser = super::bytes::parse, help_heading = "Views")]
    cache_bytes: Option<u64>,
    /// Run the service on these processors only, such as 0-3,8 [default: all that the job may use]
    ///
    /// Those of them count that the job may use. The first task on a node decides for the node.
    #[arg(long, value_name = "LIST", value_parser = super::cpus::parse, help_heading = "Views")]
    daemon_cpus: Option<Cpus>,
    /// Tasks with the same NAME share a view [default: what the launcher says]
    ///
    /// Slurm, PBS, PALS, Flux, LSF and PMIx name the job and step in the environment. Without them, each `spinney run` is a
    /// job of its own.
    #[arg(long, value_name = "NAME", help_heading = "Views")]
    job: Option<String>,
    /// Write DIR/run.json about this run
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    report: Option<PathBuf>,
    /// Put all arguments of the command into the report, not only its name
    #[arg(long, help_heading = "Output")]
    record_args: bool,
    /// Say nothing but errors
    #[arg(short, long, conflicts_with = "verbose", help_heading = "Output")]
    quiet: bool,
    /// Say which views were chosen, why, and how they are shown
    #[arg(short, long, help_heading = "Output")]
    verbose: bool,
    /// Append a log of the service to FILE
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    log: Option<PathBuf>,
    /// How much to log
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "info", help_heading = "Output")]
    log_level: LogLevel,
    /// The command to run, and its arguments
    #[arg(required = true, value_name = "COMMAND", trailing_var_arg = true)]
    command: Vec<OsString>,
}

const AFTER_HELP: &str = "\
Examples:
  spinney run -- python3 train.py
  srun -N 1024 --ntasks-per-node=8 spinney run -- python3 train.py
  spinney run --view /opt/env -- /opt/env/bin/tool
";

const AFTER_LONG_HELP: &str = "\
Examples:
  spinney run -- python3 train.py
  srun -N 1024 --ntasks-per-node=8 spinney run -- python3 train.py
  spinney run --view /opt/env -- /opt/env/bin/tool
  spinney run --report here -- python3 -c 'import numpy'

Exit codes:
  COMMAND's own; if a signal ended it, so does it end Spinney
  2    wrong usage, or a view that cannot be
  125  Spinney failed before the command started, or lost its view and stopped it
  126  the command cannot be executed
  127  the command was not found

Files:
  /etc/spinney.toml  what the site allows: `cache_bytes` (a cap), `denied` (a list of directories)
";

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Runs the command.
pub fn run(args: RunArgs) -> ExitCode {
    enter::run(Request {
        command: args.command,
        views: args.views,
        mount_under: args.mount_under,
        way: args.way,
        job: args.job,
        require: args.require,
        talk: match (args.quiet, args.verbose) {
            (true, _) => Talk::Quiet,
            (_, true) => Talk::Verbose,
            _ => Talk::Normal,
        },
        report: args.report.map(absolute),
        record_args: args.record_args,
        log: args.log.map(absolute),
        log_level: format!("{:?}", args.log_level).to_lowercase(),
        cache_bytes: args.cache_bytes,
        daemon_cpus: args.daemon_cpus.map(|cpus| cpus.0),
        masked: masked(),
    })
}

/// The service works from `/`, so it needs paths that mean the same there.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// `SPINNEY_MASK=resend,no_opendir`: kernel features to behave as if missing. For tests of old kernels only.
fn masked() -> Vec<String> {
    let names = std::env::var("SPINNEY_MASK").unwrap_or_default();
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}
