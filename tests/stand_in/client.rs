//! Starts a stand-in for shared storage, speaks its commands, and takes it away again.
//!
//! Meant to be included with `#[path]` by tests and benchmarks, which see the stand-in only through this.
//! Dropping a [`StandIn`] unmounts and ends it, whatever state it is in; so does the end of this process.
//!
//! Not here: the stand-in itself (`program`), the list of commands (`control`).

#![allow(dead_code, reason = "each test uses the part it needs")]

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How a stand-in is to be started. `Start::of(backing)` fills in: one node, no waiting, no limits.
#[derive(Debug, Clone)]
pub struct Start {
    /// The directory to serve.
    pub backing: PathBuf,
    /// How many nodes, each with a mount.
    pub nodes: usize,
    /// What every call waits, in µs.
    pub latency_us: u64,
    /// What the one metadata server needs for each call, in µs.
    pub metadata_service_us: u64,
    /// What all reads together get, in bytes per second; 0: no limit.
    pub bandwidth: u64,
    /// How far the kernel reads ahead, in KiB.
    pub read_ahead_kib: u64,
    /// Whether tasks that wait for an answer can be killed, as on Lustre and NFS; costs each call some 20 µs.
    pub is_killable: bool,
}

/// A stand-in that is running.
pub struct StandIn {
    child: Child,
    control: BufReader<UnixStream>,
    /// Where each node sees the storage.
    pub mounts: Vec<PathBuf>,
    directory: tempfile::TempDir,
}

impl Start {
    /// One node that sees `backing` without any waiting.
    pub fn of(backing: &Path) -> Self {
        Self {
            backing: backing.to_owned(),
            nodes: 1,
            latency_us: 0,
            metadata_service_us: 0,
            bandwidth: 0,
            read_ahead_kib: 128,
            is_killable: false,
        }
    }

    /// Starts it; all mounts are there when this returns.
    ///
    /// # Errors
    /// The program is not built, `/dev/fuse` is missing, or mounting is not allowed; the text says which.
    pub fn start(&self) -> io::Result<StandIn> {
        let directory = tempfile::Builder::new().prefix("stand-in.").tempdir()?;
        // Other users of a test must get through to the mounts.
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755))?;
        let mounts: Vec<PathBuf> =
            (0..self.nodes).map(|node| directory.path().join(format!("node{node}"))).collect();
        mounts.iter().try_for_each(std::fs::create_dir)?;
        let socket = directory.path().join("control");
        let mut child = self.command(&socket, &mounts)?.spawn()?;
        let mut first = String::new();
        let output = child.stdout.take().expect("it was asked for");
        BufReader::new(output).read_line(&mut first)?;
        if first.trim() != "ready" {
            let status = child.wait()?;
            return Err(io::Error::other(format!(
                "the stand-in did not start ({status}); its reason is above"
            )));
        }
        let control = BufReader::new(UnixStream::connect(&socket)?);
        Ok(StandIn { child, control, mounts, directory })
    }

    fn command(&self, socket: &Path, mounts: &[PathBuf]) -> io::Result<Command> {
        let mut command = Command::new(program()?);
        command
            .arg("--while-stdin")
            .arg("--backing")
            .arg(&self.backing)
            .arg("--control")
            .arg(socket)
            .args(["--latency-us", &self.latency_us.to_string()])
            .args(["--metadata-service-us", &self.metadata_service_us.to_string()])
            .args(["--bandwidth-bytes-per-s", &self.bandwidth.to_string()])
            .args(["--read-ahead-kib", &self.read_ahead_kib.to_string()])
            .args(self.is_killable.then_some("--killable"))
            .args(mounts)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        Ok(command)
    }
}

impl StandIn {
    /// What the first, often the only node sees.
    pub fn mount(&self) -> &Path {
        &self.mounts[0]
    }

    /// Sends one command and gives its answer.
    ///
    /// # Panics
    /// If the stand-in is gone or does not know the command: a test is wrong then, not its subject.
    pub fn command(&mut self, line: &str) -> Value {
        let mut answer = String::new();
        let sent = writeln!(self.control.get_mut(), "{line}");
        if let Err(error) = sent.and_then(|()| self.control.read_line(&mut answer)) {
            panic!("the stand-in is gone: {error}; {:?}", self.child.try_wait());
        }
        let answer: Value = serde_json::from_str(&answer).expect("the stand-in answers in JSON");
        assert!(answer.get("error").is_none(), "`{line}`: {answer}");
        answer
    }

    /// Another connection, for a thread of its own.
    pub fn connect_again(&self) -> io::Result<UnixStream> {
        UnixStream::connect(self.directory.path().join("control"))
    }

    /// All counters, see `control`.
    pub fn counters(&mut self) -> Value {
        self.command("counters")
    }

    /// The calls of that kind over all nodes: `lookup_found`, `open`, `metadata_calls`, `read_bytes` and so on.
    pub fn count(&mut self, kind: &str) -> u64 {
        let counters = self.counters();
        counters["total"][kind].as_u64().unwrap_or_else(|| panic!("no counter `{kind}`: {counters}"))
    }

    /// Sets all counters to 0.
    pub fn reset(&mut self) {
        self.command("reset");
    }

    /// Alters what calls wait, in µs: the latency of each, the service of the metadata server.
    pub fn set_waiting(&mut self, latency_us: u64, metadata_service_us: u64) {
        self.command(&format!("set latency_us={latency_us} metadata_service_us={metadata_service_us}"));
    }

    /// Makes every node's kernel forget what nothing has open.
    pub fn drop_caches(&mut self) {
        self.command("drop");
    }

    /// The process, for looking at it in `/proc`.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        // The end of its standard input is what it waits for, even if the control channel is out of step.
        drop(self.child.stdin.take());
        let patience = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(2));
        }
        if !matches!(self.child.try_wait(), Ok(Some(status)) if status.success()) {
            let _ = self.child.kill();
            for mount in &self.mounts {
                let _ = rustix::mount::unmount(mount, rustix::mount::UnmountFlags::DETACH);
            }
            let _ = self.child.wait();
        }
    }
}

/// The program, built beside the test that runs: `cargo test` builds examples, `cargo test --test NAME` does not.
fn program() -> io::Result<PathBuf> {
    let here = std::env::current_exe()?;
    let profile = here.ancestors().find(|directory| directory.join("examples").is_dir());
    let program = profile.map(|directory| directory.join("examples/stand_in"));
    program.filter(|program| program.is_file()).ok_or_else(|| {
        io::Error::other("the stand-in is not built\nhint: `cargo build --example stand_in` (with --release for a benchmark)")
    })
}
