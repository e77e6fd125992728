//! The cluster of these tests: Slurm on four hosts, and an ordinary user with a Python environment whose home all see.
//!
//! Not here: how Slurm is started (`tests/slurm`), hosts without a scheduler (`hosts`, `machines`).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

pub use super::cluster::Tracking;
use super::cluster::{Slurm, User};
use crate::scene::{Scene, eventually, eventually_or, ordinary, output, text};
use crate::semantics::tree::settle;

/// Hosts of the cluster.
pub const NODES: usize = 4;

/// Says where each thread of Slurm's own processes of a step waits, and what they hold open.
const OF_SLURMSTEPD: &str = "for process in $(pgrep slurmstepd); do echo $process; \
    for thread in /proc/$process/task/*; do cat $thread/comm $thread/syscall $thread/stack; done; \
    ls -l /proc/$process/fd; done 2>&1";

/// The cluster, and an ordinary user with a Python environment whose home all hosts see.
pub struct World {
    pub scene: Scene,
    slurm: Slurm,
}

impl World {
    /// A cluster of [`NODES`] hosts, all idle.
    pub fn start() -> Self {
        World::tracking(Tracking::Parents).expect("needs no cgroups")
    }

    /// The same with another way to find processes; `None` where it cannot be had.
    pub fn tracking(tracking: Tracking) -> Option<Self> {
        let scene = ordinary();
        grow(&scene);
        let uid = scene.uid.expect("hosts of namespaces can only be made by root");
        let user = |uid: u32| User { uid, home: scene.home.clone() };
        let slurm = Slurm::start(NODES, tracking, &[user(uid), user(uid + OTHER_USER)]).unwrap()?;
        Some(World { scene, slurm })
    }

    /// `words` on the controller's host, as the user, who has nothing but a home and a PATH.
    pub fn user(&self, words: &[&str]) -> Command {
        self.user_with(self.scene.uid.unwrap(), &self.scene.home, words)
    }

    /// The same as another user.
    pub fn user_with(&self, uid: u32, home: &Path, words: &[&str]) -> Command {
        self.slurm.user(&User { uid, home: home.to_owned() }, words)
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

    /// Runs the script of these lines on all hosts by `sbatch`, and returns what it said.
    pub fn batch(&self, name: &str, flags: &[&str], lines: &[String]) -> String {
        let (said, done) = (format!("{name}.said"), format!("{name}.done"));
        let script = self.script(name, &[lines, &[format!("touch {done}")]].concat().join("\n"));
        succeed(&mut self.user(&[&["sbatch", "-N4", "-o", &said], flags, &[&script]].concat()));
        let said = || fs::read_to_string(self.scene.home.join(&said)).unwrap_or_default();
        let tell = || {
            let shown = |words: &[&str]| text(&output(&mut self.root(words)).stdout);
            [
                said(),
                shown(&["squeue", "--steps"]),
                shown(&["ps", "axfo", "pid,user,args"]),
                shown(&["sh", "-c", OF_SLURMSTEPD]),
            ]
            .join("\n")
        };
        eventually_or("the end of a script", || self.scene.home.join(&done).exists(), tell);
        said()
    }

    /// `words` on the controller's host, as root.
    pub fn root(&self, words: &[&str]) -> Command {
        self.slurm.root(words)
    }

    /// `words` on host `number`, counted from 1, as root.
    pub fn on(&self, number: usize, words: &[&str]) -> Command {
        self.slurm.on(number, words)
    }

    /// Runs `lines` of a shell on host `number` as root, which must work.
    pub fn change(&self, number: usize, lines: &str) {
        succeed(&mut self.on(number, &["sh", "-euc", lines]));
    }

    /// `/tmp` of host `number` becomes full, and nothing in it can be executed; what tests have there stays.
    pub fn fill_tmp(&self, number: usize) {
        let (scene, cluster) = (self.scene.env.parent().unwrap().display(), self.slurm.directory().display());
        self.change(
            number,
            &format!(
                "mkdir /mnt/scene /mnt/cluster\n\
                 mount --rbind {scene} /mnt/scene; mount --rbind {cluster} /mnt/cluster\n\
                 mount -t tmpfs -o size=64k,noexec,mode=1777 full /tmp\n\
                 mkdir {scene} {cluster}\n\
                 mount --rbind /mnt/scene {scene}; mount --rbind /mnt/cluster {cluster}\n\
                 umount -l /mnt/scene /mnt/cluster; rmdir /mnt/scene /mnt/cluster\n\
                 ! cat /dev/zero >/tmp/zeros 2>/dev/null"
            ),
        );
    }

    /// Host `number`, counted from 1, loses its power.
    pub fn kill(&self, number: usize) {
        self.slurm.kill(number);
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
            eventually("no file of the user on a host", || self.files_on(number).is_empty());
        }
    }

    /// What the user has of Spinney on a host where programs put what is to go away, shared memory included. Other tests at
    /// the same time may have users of the same number; what these have goes away too.
    fn files_on(&self, number: usize) -> String {
        let mine = self.scene.home.parent().unwrap().display().to_string();
        let places = ["find", "/dev/shm", "/dev/mqueue", "/tmp", "/var/tmp", "/run", "/mnt"];
        let uid = self.scene.uid.unwrap().to_string();
        let which = [
            "-ignore_readdir_race",
            "-path",
            &mine,
            "-prune",
            "-o",
            "-uid",
            &uid,
            "-name",
            "*spinney*",
            "-print",
        ];
        text(&output(&mut self.on(number, &[&places[..], &which].concat())).stdout)
    }

    /// Whether Slurm keeps the processes of steps in cgroups.
    pub fn uses_cgroups(&self) -> bool {
        self.slurm.uses_cgroups()
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
