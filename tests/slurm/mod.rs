//! A cluster that Slurm runs: a controller, munge, and a slurmd on each of some hosts, all on this machine.
//!
//! Hosts are namespaces, one for network, host name, mounts and processes each, so each has its own address, name,
//! sockets and mounts, and can die. They see one file system: views need `--shared`. Everything is beneath one process
//! whose end is the end of all, and that one ends with its maker, also when that is killed.
//!
//! Meant to be included with `#[path]` by tests and benchmarks. Takes root, and what `scripts/prepare-tests.sh` installs.
//!
//! Not here: what runs on the hosts, hosts without a scheduler (`tests/network`).

#![allow(dead_code, reason = "each test uses the part it needs")]

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What all clusters have in common; nodes, paths and process tracking are added.
const SETTINGS: &str = "\
ClusterName=wood
SlurmctldHost=ctl(10.77.0.254)
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
MpiDefault=none
TmpFS=/mnt
KillWait=2
MailProg=/bin/true
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
PartitionName=all Nodes=ALL Default=YES OverSubscribe=YES State=UP MaxTime=INFINITE
";

/// How Slurm finds the processes of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tracking {
    /// By their parents: a daemon that has left its step outlives it.
    Parents,
    /// By their cgroup: whatever a step has started ends with it.
    Cgroups,
}

/// Somebody who may run jobs.
#[derive(Debug, Clone)]
pub struct User {
    /// Also the number of their group.
    pub uid: u32,
    /// Seen by all hosts.
    pub home: PathBuf,
}

/// Where cgroups of version 1 can be frozen, which Slurm needs to kill all processes of one.
const FREEZER: &str = "/sys/fs/cgroup/freezer";

/// How long the kernel may take to empty a cgroup whose processes have ended: 60 s. It takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cgroup that holds a whole cluster, and ends with it.
struct Cgroup(PathBuf);

impl Cgroup {
    /// `None` where there are no cgroups of version 1.
    fn make() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("spinney-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(FREEZER).join(name);
        fs::create_dir(&path).ok()?;
        Some(Cgroup(path))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The kernel takes processes out of it a moment after they have been waited for.
        let began = Instant::now();
        while remove_groups(&self.0).is_err() && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Those inside first. Their files are not files and go with them.
fn remove_groups(group: &Path) -> io::Result<()> {
    for entry in fs::read_dir(group)?.flatten().filter(|entry| entry.path().is_dir()) {
        remove_groups(&entry.path())?;
    }
    fs::remove_dir(group)
}

/// The cluster: hosts `node1`, `node2`…
pub struct Slurm {
    /// `unshare`, the parent of the first process.
    outer: Child,
    /// The first process.
    first: i32,
    directory: tempfile::TempDir,
    /// Its end comes after that of the processes in it.
    cgroup: Option<Cgroup>,
}

impl Drop for Slurm {
    fn drop(&mut self) {
        let _ = self.outer.kill(); // the first process dies with it, and all others with that
        let _ = self.outer.wait();
        if std::thread::panicking() {
            self.tell_logs();
        }
    }
}

impl Slurm {
    /// Where its configuration, keys and logs lie.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// So many hosts, all idle, and who may use them; `None` where `tracking` cannot be had.
    ///
    /// # Errors
    /// This is not root, or a program is missing or fails; the text says what to do.
    pub fn start(nodes: usize, tracking: Tracking, users: &[User]) -> io::Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Err(io::Error::other("hosts of namespaces can only be made by root"));
        }
        let directory = tempfile::tempdir_in("/tmp")?;
        describe(directory.path(), nodes, tracking, users)?;
        let cgroup = match tracking {
            Tracking::Parents => None,
            Tracking::Cgroups => match Cgroup::make() {
                None => return Ok(None),
                made => made,
            },
        };
        let mut outer = first_process(directory.path(), nodes, cgroup.as_ref()).spawn()?;
        let mut line = String::new();
        BufReader::new(outer.stdout.take().expect("it was asked for")).read_line(&mut line)?;
        let children = format!("/proc/{0}/task/{0}/children", outer.id());
        let first = fs::read_to_string(children).ok().and_then(|pid| pid.trim().parse().ok());
        // From here on its end is that of all, also if it did not come up.
        let slurm = Slurm { outer, first: first.unwrap_or_default(), directory, cgroup };
        if line != "up\n" || first.is_none() {
            slurm.tell_logs();
            return Err(io::Error::other(
                "Slurm did not come up\nhint: scripts/prepare-tests.sh installs what it needs",
            ));
        }
        Ok(Some(slurm))
    }

    /// `words` on the controller's host, as a user who has nothing but a home and a PATH.
    pub fn user(&self, user: &User, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(self.entering()).arg(format!("--wd={}", user.home.display()));
        let uid = user.uid;
        command.args(["setpriv", &format!("--reuid={uid}"), &format!("--regid={uid}"), "--clear-groups"]);
        command.args(["env", "-i", "PATH=/usr/bin:/bin", &format!("HOME={}", user.home.display())]);
        command.arg(self.settings()).args(words).stdin(Stdio::null());
        command
    }

    /// `words` on the controller's host, as root.
    pub fn root(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(self.entering()).arg("env").arg(self.settings()).args(words).stdin(Stdio::null());
        command
    }

    /// `words` on host `number`, counted from 1, as root.
    pub fn on(&self, number: usize, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(self.entering()).args(["nsenter", "--net", "--uts", "--ipc", "--mount", "--pid", "-t"]);
        command.arg(self.pid_of(number)).args(words).stdin(Stdio::null());
        command
    }

    /// Host `number`, counted from 1, loses its power.
    ///
    /// # Panics
    /// If it is not there.
    pub fn kill(&self, number: usize) {
        let mut kill = Command::new("nsenter");
        kill.args(self.entering()).args(["kill", "-9", &self.pid_of(number)]);
        assert!(kill.status().is_ok_and(|status| status.success()), "host {number} is not there");
    }

    /// Whether Slurm keeps the processes of steps in cgroups.
    pub fn uses_cgroups(&self) -> bool {
        let Some(Cgroup(path)) = &self.cgroup else { return false };
        let groups = fs::read_dir(path).into_iter().flatten().flatten();
        groups.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("slurm"))
    }

    /// Where Slurm's programs find it.
    fn settings(&self) -> String {
        format!("SLURM_CONF={}", self.directory.path().join("slurm.conf").display())
    }

    fn entering(&self) -> Vec<String> {
        let mut words: Vec<String> =
            ["--net", "--uts", "--ipc", "--mount", "--pid", "-t"].map(str::to_owned).into();
        words.push(self.first.to_string());
        words
    }

    /// Of the first process of a host, as the processes of the cluster see it.
    fn pid_of(&self, number: usize) -> String {
        let file = self.directory.path().join(format!("node{number}.pid"));
        fs::read_to_string(file).expect("the cluster is up").trim().to_owned()
    }

    fn tell_logs(&self) {
        for entry in fs::read_dir(self.directory.path()).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "log") {
                let log = fs::read_to_string(entry.path()).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let end = lines[lines.len().saturating_sub(12)..].join("\n");
                eprintln!("--- the end of {}\n{end}", entry.file_name().to_string_lossy());
            }
        }
    }
}

/// What makes all others; it writes `up` when they are.
fn first_process(directory: &Path, nodes: usize, cgroup: Option<&Cgroup>) -> Command {
    let kinds = ["--net", "--uts", "--ipc", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let mut unshare = Command::new("sh");
    match cgroup {
        // The first process must be in the cgroup to have it for its root.
        Some(cgroup) => {
            let procs = cgroup.0.join("cgroup.procs").display().to_string();
            unshare.args(["-c", "echo 0 >\"$0\"; exec unshare --cgroup \"$@\"", &procs]);
            unshare.env("CGROUPS", "yes");
        }
        None => drop(unshare.args(["-c", "exec unshare \"$@\"", "unshare"])),
    }
    unshare.args(kinds).args(["sh", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/slurm/world.sh")]);
    unshare.arg(directory).arg(nodes.to_string());
    unshare.stdin(Stdio::piped()).stdout(Stdio::piped());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SLURM_")) {
        unshare.env_remove(name);
    }
    unshare
}

/// The files that the cluster reads.
fn describe(directory: &Path, nodes: usize, tracking: Tracking, users: &[User]) -> io::Result<()> {
    fs::set_permissions(directory, PermissionsExt::from_mode(0o755))?;
    let write = |name: &str, text: &str| fs::write(directory.join(name), text);
    let hosts: String = (1..=nodes).map(|n| format!("10.77.0.{n} node{n}\n")).collect();
    write("hosts", &format!("127.0.0.1 localhost\n10.77.0.254 ctl\n{hosts}"))?;
    // Slurm starts nothing for a user without an entry.
    let entry = |user: &User| format!("u{0}:x:{0}:{0}::{1}:/bin/sh\n", user.uid, user.home.display());
    let known = fs::read_to_string("/etc/passwd")?;
    write("passwd", &format!("{known}{}", users.iter().map(entry).collect::<String>()))?;
    let mut key = vec![0; 128];
    io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut key)?;
    fs::write(directory.join("munge.key"), key)?;
    fs::set_permissions(directory.join("munge.key"), PermissionsExt::from_mode(0o600))?;
    fs::create_dir(directory.join("state"))?;
    let here = directory.display();
    let kind = if tracking == Tracking::Cgroups { "cgroup" } else { "linuxproc" };
    let more = format!(
        "NodeName=node[1-{nodes}] NodeAddr=10.77.0.[1-{nodes}] CPUs=16 CoresPerSocket=16 RealMemory=1000 State=UNKNOWN\n\
         AuthInfo=socket={here}/munge.socket\nStateSaveLocation={here}/state\nSlurmdSpoolDir={here}/spool.%n\n\
         SlurmdPidFile={here}/slurmd.%n.pid\nSlurmctldPidFile={here}/slurmctld.pid\nProctrackType=proctrack/{kind}\n"
    );
    write("slurm.conf", &format!("{SETTINGS}{more}"))?;
    write("cgroup.conf", "CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\n")
}
