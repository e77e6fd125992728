//! A cluster that Slurm runs: a controller, munge, and a slurmd on each of four hosts, all on this machine.
//!
//! Hosts are namespaces, one for network, host name, mounts and processes each, so each has its own address, name,
//! sockets and mounts, and can die. They see one file system: views need `--shared`. Everything is beneath one process
//! whose end is the end of all, and that one ends with the test, also when the test is killed.
//!
//! Not here: hosts without a scheduler (`hosts`, `machines`).

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::scene::{Scene, eventually, ordinary, output, text};
use crate::semantics::tree::settle;

/// Hosts of the cluster.
pub const NODES: usize = 4;

/// What all clusters of these tests have in common; paths and process tracking are added.
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
NodeName=node[1-4] NodeAddr=10.77.0.[1-4] CPUs=16 CoresPerSocket=16 RealMemory=1000 State=UNKNOWN
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

/// Where cgroups of version 1 can be frozen, which Slurm needs to kill all processes of one.
const FREEZER: &str = "/sys/fs/cgroup/freezer";

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
        eventually("an empty cgroup", || remove_groups(&self.0).is_ok());
    }
}

/// Those inside first. Their files are not files and go with them.
fn remove_groups(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group)?.flatten().filter(|entry| entry.path().is_dir()) {
        remove_groups(&entry.path())?;
    }
    fs::remove_dir(group)
}

/// The cluster, and an ordinary user with a Python environment whose home all hosts see.
pub struct World {
    pub scene: Scene,
    /// `unshare`, the parent of the first process.
    outer: Child,
    /// The first process.
    first: i32,
    directory: tempfile::TempDir,
    /// Its end comes after that of the processes in it.
    cgroup: Option<Cgroup>,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.outer.kill(); // the first process dies with it, and all others with that
        let _ = self.outer.wait();
        if std::thread::panicking() {
            self.tell_logs();
        }
    }
}

impl World {
    /// A cluster of [`NODES`] hosts, all idle.
    pub fn start() -> Self {
        World::tracking(Tracking::Parents).expect("needs no cgroups")
    }

    /// The same with another way to find processes; `None` where it cannot be had.
    pub fn tracking(tracking: Tracking) -> Option<Self> {
        assert!(rustix::process::geteuid().is_root(), "hosts of namespaces can only be made by root");
        let scene = ordinary();
        grow(&scene);
        let directory = tempfile::tempdir_in("/tmp").unwrap();
        describe(directory.path(), &scene, tracking);
        let cgroup = match tracking {
            Tracking::Parents => None,
            Tracking::Cgroups => Some(Cgroup::make()?),
        };
        let kinds = ["--net", "--uts", "--ipc", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
        let mut unshare = Command::new("sh");
        match &cgroup {
            // The first process must be in the cgroup to have it for its root.
            Some(cgroup) => {
                let procs = cgroup.0.join("cgroup.procs").display().to_string();
                unshare.args(["-c", "echo 0 >\"$0\"; exec unshare --cgroup \"$@\"", &procs]);
                unshare.env("CGROUPS", "yes");
            }
            None => drop(unshare.args(["-c", "exec unshare \"$@\"", "unshare"])),
        }
        unshare.args(kinds).args(["sh", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/slurm/world.sh")]);
        unshare.arg(directory.path()).arg(NODES.to_string());
        unshare.stdin(Stdio::piped()).stdout(Stdio::piped());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SLURM_")) {
            unshare.env_remove(name);
        }
        let mut outer = unshare.spawn().expect("these tests need `unshare`");
        let mut line = String::new();
        BufReader::new(outer.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "up\n", "scripts/prepare-tests.sh installs what Slurm's tests need");
        let children = format!("/proc/{0}/task/{0}/children", outer.id());
        let first = fs::read_to_string(children).unwrap().trim().parse().unwrap();
        Some(World { scene, outer, first, directory, cgroup })
    }

    /// `words` on the controller's host, as the user, who has nothing but a home and a PATH.
    pub fn user(&self, words: &[&str]) -> Command {
        self.user_with(self.scene.uid.unwrap(), &self.scene.home, words)
    }

    /// The same as another user.
    pub fn user_with(&self, uid: u32, home: &Path, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(self.entering()).current_dir(home);
        command.args(["--wd=."]);
        command.args(["setpriv", &format!("--reuid={uid}"), &format!("--regid={uid}"), "--clear-groups"]);
        command.args(["env", "-i", "PATH=/usr/bin:/bin", &format!("HOME={}", home.display())]);
        command.arg(format!("SLURM_CONF={}", self.directory.path().join("slurm.conf").display()));
        command.args(words).stdin(Stdio::null());
        command
    }

    /// `srun FLAGS spinney run --require --shared MORE -- COMMAND`.
    pub fn srun(&self, flags: &[&str], more: &[&str], command: &[&str]) -> Command {
        let binary = self.scene.binary.to_str().unwrap();
        let words = [&["srun"], flags, &[binary, "run", "--require", "--shared"], more, &["--"], command];
        self.user(&words.concat())
    }

    /// Python of the environment, importing all its modules.
    pub fn import(&self) -> [String; 3] {
        [self.scene.shown("bin/python3"), "-c".to_owned(), "import json, wood".to_owned()]
    }

    /// A script that the user may run.
    pub fn script(&self, name: &str, lines: &str) -> String {
        let path = self.scene.home.join(name);
        fs::write(&path, format!("#!/bin/sh\n{lines}\n")).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// `words` on host `number`, counted from 1, as root.
    pub fn on(&self, number: usize, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(self.entering()).args(["nsenter", "--net", "--uts", "--ipc", "--mount", "--pid", "-t"]);
        command.arg(self.pid_of(number)).args(words).stdin(Stdio::null());
        command
    }

    /// Runs `lines` of a shell on host `number` as root, which must work.
    pub fn change(&self, number: usize, lines: &str) {
        succeed(&mut self.on(number, &["sh", "-euc", lines]));
    }

    /// `/tmp` of host `number` becomes full, and nothing in it can be executed; what tests have there stays.
    pub fn fill_tmp(&self, number: usize) {
        let (scene, cluster) = (self.scene.env.parent().unwrap().display(), self.directory.path().display());
        self.change(
            number,
            &format!(
                "mkdir /mnt/scene /mnt/cluster\n\
                 mount --rbind {scene} /mnt/scene; mount --rbind {cluster} /mnt/cluster\n\
                 mount -t tmpfs -o size=64k,noexec,mode=1777 full /tmp\n\
                 mkdir {scene} {cluster}\n\
                 mount --rbind /mnt/scene {scene}; mount --rbind /mnt/cluster {cluster}\n\
                 ! cat /dev/zero >/tmp/zeros 2>/dev/null"
            ),
        );
    }

    /// Host `number`, counted from 1, loses its power.
    pub fn kill(&self, number: usize) {
        let mut kill = Command::new("nsenter");
        kill.args(self.entering()).args(["kill", "-9", &self.pid_of(number)]);
        assert!(kill.status().unwrap().success());
    }

    /// Another user, with a home.
    pub fn other_user(&self) -> (u32, PathBuf) {
        let uid = self.scene.uid.unwrap() + OTHER_USER;
        let home = self.scene.home.with_file_name("other");
        fs::create_dir(&home).unwrap();
        std::os::unix::fs::chown(&home, Some(uid), Some(uid)).unwrap();
        (uid, home)
    }

    /// The report that `--report NAME` has written in the home.
    pub fn report(&self, name: &str) -> Value {
        let path = self.scene.home.join(name).join("run.json");
        serde_json::from_slice(&fs::read(&path).expect("a report")).unwrap()
    }

    /// Fails unless, soon, nothing of Spinney is left on any host.
    pub fn assert_nothing_left(&self) {
        self.assert_nothing_left_on(&Vec::from_iter(1..=NODES));
    }

    /// The same for the hosts that are left.
    pub fn assert_nothing_left_on(&self, hosts: &[usize]) {
        self.scene.assert_nothing_left();
        for &number in hosts {
            eventually("no socket and no mount on a host", || {
                let said = output(&mut self.on(number, &["cat", "/proc/net/unix", "/proc/mounts"]));
                said.status.success() && !text(&said.stdout).contains("spinney-")
            });
        }
    }

    /// Whether Slurm keeps the processes of steps in cgroups.
    pub fn uses_cgroups(&self) -> bool {
        let Some(Cgroup(path)) = &self.cgroup else { return false };
        fs::read_dir(path)
            .unwrap()
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with("slurm"))
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
        fs::read_to_string(file).unwrap().trim().to_owned()
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

/// A virtual environment with a package of some modules in the place of the scene's tree.
fn grow(scene: &Scene) {
    let made =
        Command::new("/usr/bin/python3").args(["-m", "venv", "--without-pip"]).arg(&scene.env).status();
    assert!(made.unwrap().success(), "these tests need python3 with venv");
    let library = fs::read_dir(scene.env.join("lib")).unwrap().flatten().next().unwrap().path();
    let package = library.join("site-packages/wood");
    fs::create_dir(&package).unwrap();
    let modules: Vec<String> = (0..12).map(|n| format!("tree{n}")).collect();
    for module in &modules {
        fs::write(package.join(format!("{module}.py")), format!("rings = '{module}'\n")).unwrap();
    }
    fs::write(package.join("__init__.py"), format!("from . import {}\n", modules.join(", "))).unwrap();
    let compile = ["-m", "compileall", "-q"];
    assert!(Command::new("/usr/bin/python3").args(compile).arg(&package).status().unwrap().success());
    settle(&scene.env);
}

/// The files that the cluster reads.
fn describe(directory: &Path, scene: &Scene, tracking: Tracking) {
    fs::set_permissions(directory, PermissionsExt::from_mode(0o755)).unwrap();
    let write = |name: &str, text: &str| fs::write(directory.join(name), text).unwrap();
    let hosts: String = (1..=NODES).map(|n| format!("10.77.0.{n} node{n}\n")).collect();
    write("hosts", &format!("127.0.0.1 localhost\n10.77.0.254 ctl\n{hosts}"));
    // Slurm starts nothing for a user without an entry.
    let uid = scene.uid.unwrap();
    let user = |uid: u32| format!("u{uid}:x:{uid}:{uid}::{}:/bin/sh\n", scene.home.display());
    let users = fs::read_to_string("/etc/passwd").unwrap();
    write("passwd", &format!("{users}{}{}", user(uid), user(uid + OTHER_USER)));
    let mut key = vec![0; 128];
    std::io::Read::read_exact(&mut fs::File::open("/dev/urandom").unwrap(), &mut key).unwrap();
    fs::write(directory.join("munge.key"), key).unwrap();
    fs::set_permissions(directory.join("munge.key"), PermissionsExt::from_mode(0o600)).unwrap();
    let here = directory.display();
    let paths = format!(
        "AuthInfo=socket={here}/munge.socket\nStateSaveLocation={here}/state\nSlurmdSpoolDir={here}/spool.%n\n\
         SlurmdPidFile={here}/slurmd.%n.pid\nSlurmctldPidFile={here}/slurmctld.pid\n"
    );
    fs::create_dir(directory.join("state")).unwrap();
    let kind = if tracking == Tracking::Cgroups { "cgroup" } else { "linuxproc" };
    write("slurm.conf", &format!("{SETTINGS}{paths}ProctrackType=proctrack/{kind}\n"));
    write("cgroup.conf", "CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\n");
}

/// What makes the number of another user of the cluster out of that of the first.
pub const OTHER_USER: u32 = 100_000;

/// A field of each node of a report, in order; its parts separated by dots.
pub fn field<'a>(report: &'a Value, name: &str) -> Vec<&'a Value> {
    let nodes = report["nodes"].as_array().unwrap();
    nodes.iter().map(|node| name.split('.').fold(node, |value, part| &value[part])).collect()
}

/// Fails unless one node alone has read storage, and all others have asked it or each other.
pub fn assert_one_tree(report: &Value, nodes: usize) {
    let count = |name: &str| -> usize {
        field(report, name).into_iter().filter(|count| count.as_u64().unwrap() > 0).count()
    };
    assert_eq!(field(report, "rank").len(), nodes, "{report:#}");
    assert_eq!(report["missing_nodes"], json!([]));
    assert_eq!(count("answers.parent"), nodes - 1, "all but the root ask another: {report:#}");
    assert_eq!(count("storage.bytes_read"), 1, "only the root reads: {report:#}");
}

/// The shell of the environment, running `lines`.
pub fn shell(world: &World, lines: &str) -> [String; 3] {
    [world.scene.shown("bin/sh"), "-c".to_owned(), lines.to_owned()]
}

/// A command line as it is passed on.
pub fn words(line: &[String]) -> Vec<&str> {
    line.iter().map(String::as_str).collect()
}

/// Runs it to its end, which must be a success.
pub fn succeed(command: &mut Command) -> Output {
    let ended = output(command);
    assert!(ended.status.success(), "{:?}: {}", ended.status, text(&ended.stderr));
    ended
}
