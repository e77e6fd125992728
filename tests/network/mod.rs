//! Hosts on one machine: network, host name and mounts of each are namespaces, links are pairs of virtual interfaces with
//! a bridge between them. So links can be cut and slowed down, and each host can have another storage.
//!
//! Meant to be included with `#[path]` by tests and benchmarks. Takes root, and `ip`, `tc`, `unshare` and `nsenter`.
//! Nothing has a name outside: all is gone with the processes that hold the namespaces, which end with their maker.
//!
//! Not here: what runs on the hosts.

#![allow(dead_code, reason = "each test uses the part it needs")]

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Hosts `h0`, `h1`… whose interface `eth0` is on one network.
pub struct Network {
    /// A process in the namespaces of each host.
    hosts: Vec<Child>,
    /// A process in that of the bridge.
    bridge: Child,
}

impl Network {
    /// So many hosts, which see what is mounted now; `book` becomes their address book.
    ///
    /// # Errors
    /// This is not root, or a program is missing or fails; the text says which.
    pub fn make(number: usize, book: &Path) -> io::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Err(io::Error::other("hosts of namespaces can only be made by root"));
        }
        let bridge = namespaces()?;
        let mut network = Network { hosts: Vec::new(), bridge };
        must(&network.bridge, "ip link add bridge type bridge")?;
        must(&network.bridge, "ip link set bridge up")?;
        let mut lines = String::new();
        for host in 0..number {
            network.add(host)?;
            lines += &format!("h{host} eth0 10.77.0.{}\n", host + 1);
        }
        fs::write(book, lines)?;
        Ok(network)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.hosts.len()
    }

    /// A command on a host, to be completed with a program and its arguments.
    pub fn command(&self, host: usize) -> Command {
        inside(&self.hosts[host])
    }

    /// The words of [`Self::command`].
    pub fn prefix(&self, host: usize) -> Vec<String> {
        let command = self.command(host);
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| word.to_string_lossy().into_owned()).collect()
    }

    /// Runs a line of words on a host.
    ///
    /// # Errors
    /// It cannot be started or fails; the text says what it said.
    pub fn must(&self, host: usize, line: &str) -> io::Result<()> {
        must(&self.hosts[host], line)
    }

    /// Shows another directory on one host at `over`.
    ///
    /// # Errors
    /// As [`Self::must`].
    pub fn bind(&self, host: usize, directory: &Path, over: &Path) -> io::Result<()> {
        self.must(host, &format!("mount --bind {} {}", directory.display(), over.display()))
    }

    /// What a host sends gets no more than `rate` (as `tc` spells it), and comes in pieces of `burst` at most.
    ///
    /// # Errors
    /// As [`Self::must`].
    pub fn limit(&self, host: usize, rate: &str, burst: &str) -> io::Result<()> {
        self.must(host, &format!("tc qdisc add dev eth0 root tbf rate {rate} burst {burst} latency 50ms"))
    }

    /// Takes a host off the network.
    ///
    /// # Errors
    /// As [`Self::must`].
    pub fn cut(&self, host: usize) -> io::Result<()> {
        must(&self.bridge, &format!("ip link set p{host} down"))
    }

    /// Puts it on again.
    ///
    /// # Errors
    /// As [`Self::must`].
    pub fn heal(&self, host: usize) -> io::Result<()> {
        must(&self.bridge, &format!("ip link set p{host} up"))
    }

    /// The network namespace of a host.
    ///
    /// # Errors
    /// What opening it answers.
    pub fn namespace(&self, host: usize) -> io::Result<File> {
        File::open(format!("/proc/{}/ns/net", self.hosts[host].id()))
    }

    fn add(&mut self, n: usize) -> io::Result<()> {
        self.hosts.push(namespaces()?);
        let host = &self.hosts[n];
        must(&self.bridge, &format!("ip link add p{n} type veth peer name eth0 netns {}", host.id()))?;
        must(&self.bridge, &format!("ip link set p{n} master bridge up"))?;
        must(host, &format!("hostname h{n}"))?;
        must(host, &format!("ip addr add 10.77.0.{}/24 dev eth0", n + 1))?;
        must(host, "ip link set eth0 up")?;
        must(host, "ip link set lo up")
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for child in self.hosts.iter_mut().chain([&mut self.bridge]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A process that does nothing in new namespaces.
fn namespaces() -> io::Result<Child> {
    let mut command = Command::new("unshare");
    command.args(["-n", "-u", "-m", "sleep", "infinity"]).stdin(Stdio::null());
    // SAFETY: one system call.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    let mut child = command.spawn()?;
    let patience = Instant::now() + Duration::from_secs(10);
    let name = format!("/proc/{}/comm", child.id());
    while !fs::read_to_string(&name).is_ok_and(|name| name.trim() == "sleep") {
        if Instant::now() > patience {
            let _ = child.kill();
            let _ = child.wait();
            return Err(io::Error::other("`unshare` made no namespaces"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(child)
}

fn inside(host: &Child) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["-n", "-u", "-m", "-t", &host.id().to_string()]);
    command
}

fn must(host: &Child, line: &str) -> io::Result<()> {
    let ended = inside(host).args(line.split(' ')).stdin(Stdio::null()).output()?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        return Err(io::Error::other(format!("`{line}`: {}", said.trim())));
    }
    Ok(())
}
