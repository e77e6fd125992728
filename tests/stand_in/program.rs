//! A stand-in for shared storage: a directory served through FUSE as a parallel file system would serve it.
//!
//! One process is the storage; each of its mounts is the client of one node, with a cache of its own. How long
//! calls take, how many the metadata server does in a second and how many bytes travel can be set while
//! it runs, and every call that reaches the storage is counted. Made for tests and benchmarks; `control` has
//! the commands, `client` speaks them.
//!
//! It shares no code with the product's own FUSE channel, so a mistake there cannot hide here.

mod control;
mod counters;
mod delay;
mod device;
mod mount;
mod nodes;
mod server;

use std::io::{self, Read};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use anyhow::Context;
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::control::Control;
use crate::mount::{Mount, Waits};
use crate::server::{Server, Settings};

/// Serve DIR at each MOUNT, as the nodes' clients of one shared file system would.
#[derive(Parser)]
struct Flags {
    /// the directory to serve
    #[arg(long, value_name = "DIR")]
    backing: PathBuf,
    /// where to listen for commands
    #[arg(long, value_name = "SOCKET")]
    control: PathBuf,
    /// what every call waits, in µs
    #[arg(long, value_name = "N", default_value_t = 0)]
    latency_us: u64,
    /// what the one metadata server needs for each call, in µs
    #[arg(long, value_name = "N", default_value_t = 0)]
    metadata_service_us: u64,
    /// what all reads together get; 0: no limit
    #[arg(long, value_name = "N", default_value_t = 0)]
    bandwidth_bytes_per_s: u64,
    /// how far the kernel reads ahead, in KiB; its default of 128 is also that of an NFS client
    #[arg(long, value_name = "KIB", default_value_t = 128)]
    read_ahead_kib: u64,
    /// let a task that waits for an answer be killed, as on Lustre and NFS; costs each call some 20 µs
    #[arg(long)]
    killable: bool,
    /// end as soon as standard input does, that is with the process that started this one
    #[arg(long)]
    while_stdin: bool,
    /// where to show it; an empty directory each
    #[arg(required = true, value_name = "MOUNT")]
    mounts: Vec<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    allow_descriptors()?;
    let end = end_signals()?;
    let server = Server::start(Settings {
        latency_us: flags.latency_us,
        metadata_service_us: flags.metadata_service_us,
        bandwidth: flags.bandwidth_bytes_per_s,
    });
    let backing = flags.backing.canonicalize().with_context(|| flags.backing.display().to_string())?;
    let _ = std::fs::remove_file(&flags.control);
    let listener = UnixListener::bind(&flags.control)
        .with_context(|| format!("listen at {}", flags.control.display()))?;
    let mounts = mount_all(&server, &backing, &flags)?;
    let quit = end.sender.clone();
    let control = Arc::new(Control {
        server: server.clone(),
        mounts,
        quit: Box::new(move || quit.send(()).unwrap_or(())),
    });
    let served = control.clone();
    std::thread::spawn(move || served.serve(listener));
    if flags.while_stdin {
        end_with_stdin(end.sender.clone());
    }
    println!("ready");
    let _ = end.received.recv();
    server.fail_nothing();
    server.release();
    control.mounts.iter().for_each(|mount| unmount(&mount.path));
    let _ = std::fs::remove_file(&flags.control);
    // Not by returning: threads that wait for the kernel would be waited for.
    std::process::exit(0);
}

fn mount_all(server: &Arc<Server>, backing: &Path, flags: &Flags) -> anyhow::Result<Vec<Mount>> {
    let mut mounts: Vec<Mount> = Vec::new();
    for path in &flags.mounts {
        match mount_one(server, backing, path, flags) {
            Ok(mount) => mounts.push(mount),
            Err(error) => {
                mounts.iter().for_each(|mount| unmount(&mount.path));
                return Err(error).with_context(|| format!("mount {}", path.display()));
            }
        }
    }
    Ok(mounts)
}

fn mount_one(server: &Arc<Server>, backing: &Path, path: &Path, flags: &Flags) -> anyhow::Result<Mount> {
    let path = path.canonicalize()?;
    let waits = if flags.killable { Waits::TillKilled } else { Waits::TillAnswered };
    let mount = Mount::new(server.clone(), backing, &path, waits)?;
    if let Err(error) = set_read_ahead(&path, flags.read_ahead_kib) {
        unmount(&path);
        return Err(error).context("set how far the kernel reads ahead");
    }
    Ok(mount)
}

/// The kernel takes the figure per mounted device, and only from root; others live with its default.
fn set_read_ahead(mount: &Path, kib: u64) -> io::Result<()> {
    let device = mountinfo_device(mount)?;
    let setting = format!("/sys/class/bdi/{device}/read_ahead_kb");
    if std::fs::read_to_string(&setting)?.trim() == kib.to_string() {
        return Ok(());
    }
    std::fs::write(setting, kib.to_string())
}

/// Device number `major:minor` of the mount, found without asking the mount itself: that would be counted.
fn mountinfo_device(mount: &Path) -> io::Result<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    let lines = table.lines().rev().map(|line| line.split(' ').collect::<Vec<_>>());
    lines
        .filter(|fields| fields.len() > 4)
        .find(|fields| Path::new(fields[4]) == mount)
        .map(|fields| fields[2].to_owned())
        .ok_or_else(|| io::Error::other("not in /proc/self/mountinfo"))
}

/// Each file that a kernel knows holds a descriptor, so the limit must be far above the usual one.
fn allow_descriptors() -> io::Result<()> {
    let most = std::fs::read_to_string("/proc/sys/fs/nr_open")?.trim().parse().unwrap_or(1 << 20);
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    if setrlimit(Resource::Nofile, limit).is_err() {
        let hard = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard })?;
    }
    Ok(())
}

struct End {
    sender: mpsc::Sender<()>,
    received: mpsc::Receiver<()>,
}

/// Turns TERM, INT and HUP into a message. Called before any other thread exists, so that all block them.
fn end_signals() -> io::Result<End> {
    let (sender, received) = mpsc::channel();
    // SAFETY: the set is initialised by sigemptyset before it is read, and lives through the calls.
    let set = unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            libc::sigaddset(&mut set, signal);
        }
        match libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) {
            0 => set,
            errno => return Err(io::Error::from_raw_os_error(errno)),
        }
    };
    let on_signal = sender.clone();
    std::thread::spawn(move || {
        let mut signal = 0;
        // SAFETY: both point to live values.
        while unsafe { libc::sigwait(&set, &mut signal) } != 0 {}
        let _ = on_signal.send(());
    });
    Ok(End { sender, received })
}

fn end_with_stdin(end: mpsc::Sender<()>) {
    std::thread::spawn(move || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        let _ = end.send(());
    });
}

/// Takes the mount away even while something has it open; that then gets ENOTCONN.
fn unmount(path: &Path) {
    if let Err(error) = rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH) {
        eprintln!("stand_in: cannot unmount {}: {error}", path.display());
    }
}
