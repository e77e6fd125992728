//! Keeps a node's view alive while daemons come and go.
//!
//! The holder is a small single-threaded process that owns the listening socket, the FUSE descriptors and
//! the shared memory, restarts the daemon, and lets tasks join. The daemon holds copies of all descriptors
//! and restarts the holder in turn.
//!
//! Not here: answering the kernel (`fuse`, run by `daemon`); entering a namespace (`enter`).

pub mod affinity;
pub mod channel;
pub mod estate;
pub mod failed;
mod founding;
pub mod fusermount;
mod guests;
pub mod journal;
pub mod ledger;
pub mod messages;
pub mod namespaces;
pub mod paths;
mod service;
pub mod succession;

use std::os::fd::RawFd;
use std::process::ExitCode;

use estate::{Estate, Inventory};
pub use succession::{restart_holder, start_daemon};

/// The life of a holder process: adopts the manifest in descriptor `number`, founds the service if there is
/// no connection yet, keeps it until the kernel ends it.
pub fn run(number: RawFd) -> ExitCode {
    settle(c"spinney-holder");
    // SAFETY: the number was given to this process by `succession::spawn`, for nobody else.
    let estate = match unsafe { Inventory::adopt(number) } {
        Ok(estate) => estate,
        Err(_) => return ExitCode::FAILURE, // stderr is /dev/null: the parent sees the end of file
    };
    journal::begin(&estate.settings, "holder");
    settle_on_processors(&estate.settings);
    match begin(estate).and_then(service::Service::keep) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn begin(estate: Estate) -> std::io::Result<service::Service> {
    if estate.connections.is_empty() { founding::found(estate) } else { service::Service::resume(estate) }
}

/// Signals that schedulers send to all processes of a job, and terminals to a group, beside TERM.
pub const OF_SCHEDULERS: [i32; 7] =
    [libc::SIGUSR1, libc::SIGUSR2, libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGALRM, libc::SIGXCPU];

/// Has this process ignore `signals`, and so all that it becomes.
pub fn ignore(signals: &[i32]) {
    for signal in signals {
        // SAFETY: no handler is installed, only the disposition is set; nothing else in the process relies on it.
        unsafe { libc::signal(*signal, libc::SIG_IGN) };
    }
}

/// What holder and daemon do first: deaf to the signals that schedulers send to every process of a job,
/// children reaped by the kernel, as many descriptors as allowed, files for the owner only.
///
/// TERM is among the signals: the service must outlive the tasks, which are sent it too and may take their
/// time; it leaves when the last of them has gone.
pub fn settle(name: &std::ffi::CStr) {
    ignore(&OF_SCHEDULERS);
    ignore(&[libc::SIGTERM, libc::SIGPIPE, libc::SIGXFSZ, libc::SIGCHLD]);
    // A new process is called after its file, which is `exe`: of no help to whoever reads `ps`.
    let _ = rustix::thread::set_name(name);
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    lift_limits();
}

/// Goes to the processors that the settings name. One that cannot serves where it is: the wrapper has tried before.
pub fn settle_on_processors(settings: &estate::Settings) {
    if let Err(error) = affinity::take(settings.daemon_cpus.as_deref()) {
        tracing::warn!(%error, "stays on the processors it was started on");
    }
}

/// What limits the tasks need not limit what serves them: descriptors, and what `ulimit` says of file sizes (memfds
/// are files), memory and time. Only root may go beyond the hard limits.
fn lift_limits() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    for resource in [Resource::Fsize, Resource::As, Resource::Data, Resource::Cpu, Resource::Nofile] {
        let maximum = getrlimit(resource).maximum;
        let unlimited = Rlimit { current: None, maximum: None };
        if resource == Resource::Nofile || setrlimit(resource, unlimited).is_err() {
            let _ = setrlimit(resource, Rlimit { current: maximum, maximum });
        }
    }
}
