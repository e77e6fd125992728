//! An actor on each node of a cluster on this machine, and the daemons that serve them.
//!
//! The actors are the tasks of one `spinney run --local-nodes`, which talk with the test through named pipes. So a
//! test can ask the task of one node something while it does something to the daemon of another.
//!
//! Not here: what nodes that share storage should do (`sharing`), and what when some of them fail (`node_faults`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::Value;
use spinney::profile::recorder::{Counter, Recorder};

use crate::actor::{Actor, Ask, shell_words};
use crate::scene::{Scene, eventually, finish, kill, text};

/// A cluster of which every node has one task, an actor.
pub struct Cluster {
    /// The actor of each node.
    pub actors: Vec<Actor>,
    launcher: Child,
    report: PathBuf,
    pipes: tempfile::TempDir,
}

/// A pipe that is opened with the first read: opening waits for whoever writes.
struct Answers {
    path: PathBuf,
    pipe: Option<File>,
}

impl Read for Answers {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.pipe.is_none() {
            self.pipe = Some(File::open(&self.path)?);
        }
        self.pipe.as_mut().expect("opened above").read(into)
    }
}

impl Cluster {
    /// So many nodes on the scene's view, started with these flags.
    pub fn start(scene: &Scene, nodes: usize, flags: &[&str]) -> Self {
        Cluster::start_with(scene, nodes, flags, |_| ())
    }

    /// The same, after `prepare` had its way with the command.
    pub fn start_with(
        scene: &Scene,
        nodes: usize,
        flags: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        let pipes = tempfile::tempdir_in(&scene.home).unwrap();
        own(scene, pipes.path());
        for node in 0..nodes {
            for way in ["to", "from"] {
                let pipe = pipes.path().join(format!("{way}{node}"));
                let made = rustix::fs::mknodat(
                    rustix::fs::CWD,
                    &pipe,
                    rustix::fs::FileType::Fifo,
                    rustix::fs::Mode::from_raw_mode(0o600),
                    0,
                );
                made.unwrap();
                own(scene, &pipe);
            }
        }
        let report = pipes.path().join("report");
        let (number, reports) = (nodes.to_string(), report.to_str().unwrap());
        let flags = [&["--require", "-q", "--local-nodes", &number, "--report", reports], flags].concat();
        let script = format!("exec {} < $0/to$SPINNEY_NODE > $0/from$SPINNEY_NODE", shell_words(scene));
        let mut command = scene.run(&flags, &["sh", "-c", &script, pipes.path().to_str().unwrap()]);
        prepare(&mut command);
        let launcher = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let actor = |node: usize| {
            // For both directions, so that opening does not wait.
            let questions = pipes.path().join(format!("to{node}"));
            let questions = OpenOptions::new().read(true).write(true).open(questions).unwrap();
            Actor::elsewhere(
                questions,
                Answers { path: pipes.path().join(format!("from{node}")), pipe: None },
            )
        };
        let actors = (0..nodes).map(actor).collect();
        Cluster { actors, launcher, report, pipes }
    }

    /// Asks all actors the same at one time.
    pub fn ask_all(&mut self, ask: &Ask) -> Vec<String> {
        self.actors.iter_mut().for_each(|actor| actor.begin(ask));
        self.actors.iter_mut().map(Actor::answer).collect()
    }

    /// The process of each task, by its node.
    pub fn tasks(&mut self) -> Vec<i32> {
        self.actors.iter_mut().map(Actor::number).collect()
    }

    /// Waits until all tasks have left, which must have gone well, and returns the report.
    pub fn leave(self) -> Value {
        let (status, report) = self.end();
        assert!(status.success(), "{status:?}");
        report
    }

    /// Waits until all tasks have left and returns the report.
    pub fn end(self) -> (ExitStatus, Value) {
        let Cluster { actors, launcher, report, pipes } = self;
        drop(actors);
        let output = finish(launcher);
        eprint!("{}", text(&output.stderr));
        let report = fs::read(report.join("run.json")).unwrap();
        drop(pipes);
        (output.status, serde_json::from_slice(&report).unwrap())
    }
}

/// The daemon whose view the process `task` is in: its holder keeps the namespace that the task is in.
pub fn daemon_of(scene: &Scene, task: i32) -> i32 {
    let inside = fs::read_link(format!("/proc/{task}/ns/mnt")).unwrap();
    let mut found = Vec::new();
    eventually("a daemon of this task's view", || {
        let all = scene.processes();
        let in_role =
            |role: &'static str| all.iter().filter(move |(_, line)| line.contains(role)).map(|(pid, _)| *pid);
        let holders: Vec<i32> = in_role("holder-process").filter(|pid| holds(*pid, &inside)).collect();
        found = in_role("daemon-process").filter(|pid| holders.contains(&parent_of(*pid))).collect();
        found.len() == 1
    });
    found[0]
}

/// Kills the daemons that serve these tasks, and waits for their successors.
pub fn replace_daemons(scene: &Scene, tasks: &[i32]) {
    let before: Vec<i32> = tasks.iter().map(|task| daemon_of(scene, *task)).collect();
    before.iter().for_each(|daemon| kill(*daemon, libc::SIGKILL));
    for (task, before) in tasks.iter().zip(before) {
        eventually("another daemon", || daemon_of(scene, *task) != before);
    }
}

/// What a daemon has counted so far.
pub fn counted(daemon: i32, counter: Counter) -> u64 {
    in_counters(&fs::read(counters_of(daemon)).unwrap(), counter)
}

/// The memory in which a daemon counts: it can be opened while the daemon lives.
pub fn counters_of(daemon: i32) -> PathBuf {
    let descriptors = fs::read_dir(format!("/proc/{daemon}/fd")).unwrap().flatten().map(|entry| entry.path());
    let is_counters = |path: &PathBuf| {
        fs::read_link(path).is_ok_and(|link| link.to_string_lossy().starts_with("/memfd:spinney-counters"))
    };
    descriptors.into_iter().find(is_counters).expect("its counters")
}

/// One counter in that memory, in which each thread has a table of its own.
pub fn in_counters(memory: &[u8], counter: Counter) -> u64 {
    let tables = memory.chunks_exact(Recorder::TABLE_BYTES);
    tables.map(|table| u64::from_ne_bytes(table[counter as usize * 8..][..8].try_into().unwrap())).sum()
}

fn holds(pid: i32, namespace: &Path) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|link| link == namespace)
}

fn parent_of(pid: i32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after = stat.rsplit_once(") ").map(|(_, after)| after.to_owned()).unwrap_or_default();
    after.split(' ').nth(1).and_then(|parent| parent.parse().ok()).unwrap_or(0)
}

fn own(scene: &Scene, path: &Path) {
    std::os::unix::fs::chown(path, scene.uid, scene.uid).unwrap();
}
