//! The flags of whatever starts a service: `spinney run` and `spinney up`.

use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, ValueEnum};

use super::cpus::Cpus;
use crate::cluster::named::Wishes;
use crate::enter::Request;
use crate::enter::talk::Talk;
use crate::launch;
use crate::profile::recorder::event::{Mode, Profiling};

/// Rows of `--profile top=N` at most: 10,000. More is `full`.
const TOP_MAX: u32 = 10_000;

/// What a service is to be like.
#[derive(Debug, Args)]
pub struct ServiceArgs {
    /// Show this directory; may be repeated [default: the environment of COMMAND]
    #[arg(long = "view", value_name = "DIR", help_heading = "Views")]
    views: Vec<PathBuf>,
    /// Show views beneath DIR, as DIR/opt/env for /opt/env, instead of in place
    #[arg(long, value_name = "DIR", help_heading = "Views")]
    mount_under: Option<PathBuf>,
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
    pub(super) job: Option<String>,
    /// The nodes of the job: a list such as a[01-16,20],b3, or a file with one [default: what the launcher says]
    ///
    /// Slurm, PALS and PBS, Open MPI, MPICH, Flux and LSF say it in the environment; `spinney doctor` tells what was found.
    /// Their order decides which node asks which, so it must be the same on all of them. Start the command on each of these
    /// hosts, all with the same --job. A name with a slash, or of an existing file, is that of a file.
    #[arg(long, value_name = "FILE|LIST", help_heading = "Cluster")]
    hosts: Option<String>,
    /// Addresses of the nodes, one `HOST INTERFACE ADDRESS` per line, as `spinney addresses` prints them
    ///
    /// Instead of asking the name service. If neither --hosts nor a launcher says who the nodes are, the hosts of FILE are.
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    address_book: Option<PathBuf>,
    /// Talk to other nodes over this network interface, such as hsn0 [default: the fastest that both have]
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
    pub local_nodes: Option<u32>,
    /// Write DIR/run.json about this run
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    report: Option<PathBuf>,
    /// What to record of the run: nothing, figures, the N paths asked for most, or every path
    ///
    /// `off`, `aggregate`, `top=N` or `full`. The recording is written to the directory of --report; see
    /// `spinney profile`. With `full` the kernel remembers nothing, so that every access is seen, and the run is slower;
    /// otherwise it remembers what it was told once, and the counts of paths are a lower bound.
    #[arg(long, value_name = "MODE", value_parser = mode, default_value = "off", help_heading = "Profile")]
    profile: Mode,
    /// Have every access seen also with less than --profile full
    #[arg(long, help_heading = "Profile")]
    observe: bool,
    /// Write what is recorded so far each time, such as 30s, not only at the end
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, requires = "report", help_heading = "Profile")]
    snapshot_every: Option<Duration>,
    /// Tell the figures of this node to Prometheus on this port of 127.0.0.1, at /metrics [default: not]
    ///
    /// Counters, the name of the job and of the host; no paths. Every user of the machine can read them. With --local-nodes
    /// node N has port PORT + N. `spinney status --prometheus` prints the same without a port.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..), help_heading = "Output")]
    metrics_port: Option<u16>,
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
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl ServiceArgs {
    /// What these flags ask for; the rest is as `spinney run` has it without any.
    pub fn request(self) -> Request {
        let report = self.report.map(absolute);
        if report.is_none() && self.profile != Mode::Off {
            let message = "--profile needs --report DIR, where the recording is written";
            super::Cli::command().error(ErrorKind::MissingRequiredArgument, message).exit();
        }
        if u32::from(self.metrics_port.unwrap_or(0)) + self.local_nodes.unwrap_or(1) > 1 << 16 {
            let message = "--metrics-port PORT: there is no port for each of so many nodes from there on";
            super::Cli::command().error(ErrorKind::ValueValidation, message).exit();
        }
        Request {
            command: Vec::new(),
            views: self.views,
            mount_under: self.mount_under,
            way: None,
            job: self.job,
            require: false,
            freshness: self.freshness,
            talk: match (self.quiet, self.verbose) {
                (true, _) => Talk::Quiet,
                (_, true) => Talk::Verbose,
                _ => Talk::Normal,
            },
            recordings: report.clone(),
            report,
            profiling: Profiling {
                mode: self.profile,
                observe: self.observe || self.profile == Mode::Full,
                snapshot_every: self.snapshot_every.filter(|_| self.profile != Mode::Off),
            },
            record_args: false,
            log: self.log.map(absolute),
            log_level: format!("{:?}", self.log_level).to_lowercase(),
            cache_bytes: self.cache_bytes,
            nodes: Wishes { hosts: self.hosts, address_book: self.address_book, interface: self.interface },
            shards: self.shards,
            fan_out: self.fan_out,
            trust_fabric: self.trust_fabric,
            shared: self.shared,
            local: None,
            daemon_cpus: self.daemon_cpus.map(|cpus| cpus.0),
            metrics_port: self.metrics_port,
            keep: None,
            variables: Vec::new(),
            masked: masked(),
        }
    }
}

/// `off`, `aggregate`, `top=N` or `full`.
fn mode(text: &str) -> Result<Mode, String> {
    let top = |n: &str| n.parse().ok().filter(|n| (1..=TOP_MAX).contains(n)).map(Mode::Top);
    match text {
        "off" => Ok(Mode::Off),
        "aggregate" => Ok(Mode::Aggregate),
        "full" => Ok(Mode::Full),
        _ => text
            .strip_prefix("top=")
            .and_then(top)
            .ok_or_else(|| format!("not `off`, `aggregate`, `full` or `top=N` with N up to {TOP_MAX}")),
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
