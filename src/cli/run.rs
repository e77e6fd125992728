//! `spinney run`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, ValueEnum};

use super::cpus::Cpus;
use crate::cluster::named::Wishes;
use crate::enter::talk::Talk;
use crate::enter::{self, LocalNodes, Request};
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
    /// Show changes on storage after at most DURATION, such as 2s or 10min [default: as first seen]
    ///
    /// Names, attributes and listings that are older are asked for again, by one node for the whole job. Each costs a call on
    /// storage, so choose no less than needed. All tasks and nodes of a job must say the same.
    #[arg(long, value_name = "DURATION", value_parser = super::durations::parse, help_heading = "Views")]
    freshness: Option<Duration>,
    /// Memory for what was read from storage, such as 16MiB or 4GiB
    ///
    /// By default the least of 4 GiB, a quarter of the machine's memory and an eighth of the tightest cgroup limit, divided
    /// by --local-nodes.
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
    /// The nodes of the job: a list such as a[01-16,20],b3, or a file with one
    ///
    /// Their order decides which node asks which, so it must be the same on all of them. Start the command on each of these
    /// hosts, all with the same --job. A name with a slash, or of an existing file, is that of a file.
    #[arg(long, value_name = "FILE|LIST", help_heading = "Cluster")]
    hosts: Option<String>,
    /// Addresses of the nodes, one `HOST INTERFACE ADDRESS` per line
    ///
    /// Instead of asking the name service. Without --hosts the hosts of FILE are the nodes.
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    address_book: Option<PathBuf>,
    /// Talk to other nodes over this network interface, such as hsn0 [default: all]
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    interface: Option<String>,
    /// How many trees the nodes form, each with another root [default: by the number of nodes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = "Cluster")]
    shards: Option<u16>,
    /// How many nodes ask one node; 1 makes chains [default: by the number of nodes]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = "Cluster")]
    fan_out: Option<u16>,
    /// Do not encrypt what nodes send each other; they still prove who they are
    #[arg(long, help_heading = "Cluster")]
    trust_fabric: bool,
    /// Take the views for equal on all nodes, whatever file system they are on
    ///
    /// Otherwise only views on network file systems are read through other nodes.
    #[arg(long, help_heading = "Cluster")]
    shared: bool,
    /// Run on N nodes, all on this machine
    ///
    /// Each has a view and a service of its own. COMMAND finds the number of its node in SPINNEY_NODE and that of its task in
    /// SPINNEY_TASK. The first task has standard input, the others have none.
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(launch::TASKS_MAX)),
        conflicts_with_all = ["hosts", "address_book", "interface"],
        help_heading = "Cluster"
    )]
    local_nodes: Option<u32>,
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
    let local = args.local_nodes.map(|nodes| LocalNodes { nodes, tasks_per_node: args.tasks_per_node });
    if local.is_some_and(|local| local.nodes.saturating_mul(local.tasks_per_node) > launch::TASKS_MAX) {
        let message = format!("at most {} tasks can be started on one machine", launch::TASKS_MAX);
        super::Cli::command().error(ErrorKind::ValueValidation, message).exit();
    }
    let request = request(args, local);
    match local {
        Some(nodes) => launch::run(request, nodes),
        None => enter::run(request),
    }
}

fn request(args: RunArgs, local: Option<LocalNodes>) -> Request {
    Request {
        command: args.command,
        views: args.views,
        mount_under: args.mount_under,
        way: args.way,
        job: args.job,
        require: args.require,
        freshness: args.freshness,
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
        nodes: Wishes { hosts: args.hosts, address_book: args.address_book, interface: args.interface },
        shards: args.shards,
        fan_out: args.fan_out,
        trust_fabric: args.trust_fabric,
        shared: args.shared,
        local,
        daemon_cpus: args.daemon_cpus.map(|cpus| cpus.0),
        masked: masked(),
    }
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
