//! What every measurement stands on: the trees it reads, the commands it starts, the report that Spinney writes.
//!
//! Shared by the benchmarks, each of which uses the part it needs.
//!
//! Not here: what is measured.

#![allow(dead_code, reason = "each benchmark uses the part it needs")]

pub mod command;
pub mod probe;
pub mod processes;
pub mod report;
pub mod rows;
pub mod storage;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

/// How long one command may take: 300 s. The slowest, W on the busiest storage, takes 45 s natively.
const PATIENCE: Duration = Duration::from_secs(300);

/// Prepared paths and settings.
pub struct Ground {
    /// The program that is measured.
    pub spinney: PathBuf,
    /// How often native and Spinney take turns.
    pub pairs: usize,
    /// The Python tree.
    pub tree: PathBuf,
    /// The import statement that is W.
    pub import: String,
    /// What the tree is, as its maker wrote it down.
    pub workload: Value,
    work: PathBuf,
    itself: PathBuf,
}

/// A command that ran, and how long that took.
pub struct Run {
    /// Wall time in seconds.
    pub seconds: f64,
    /// What it wrote and how it ended.
    pub output: Output,
}

impl Ground {
    /// Makes what is missing in `work`.
    pub fn prepare(spinney: &Path, work: &Path, pairs: usize) -> anyhow::Result<Self> {
        fs::create_dir_all(work)?;
        let work = work.canonicalize()?;
        let tree = work.join("python");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/make-workload.sh");
        ensure!(Command::new(script).arg(&tree).status()?.success(), "the workload was not made");
        let workload: Value = serde_json::from_slice(&fs::read(tree.join("workload.json"))?)?;
        let import = workload["import"].as_str().context("workload.json names no import")?.to_owned();
        let spinney = spinney.canonicalize().with_context(|| format!("no program {}", spinney.display()))?;
        let itself = std::env::current_exe()?;
        Ok(Self { spinney, pairs: pairs.max(1), tree, import, workload, work, itself })
    }

    /// A directory for one measurement, empty.
    pub fn scratch(&self) -> anyhow::Result<tempfile::TempDir> {
        Ok(tempfile::Builder::new().prefix("spinney-bench.").tempdir()?)
    }

    /// W in the tree at `root`.
    pub fn workload(&self, root: &Path) -> Vec<String> {
        vec![text(root.join("bin/python3")), "-c".into(), self.import.clone()]
    }

    /// `command` with Spinney in front, and `view` shown through it.
    pub fn with_spinney(&self, view: &Path, flags: &[&str], command: &[String]) -> Vec<String> {
        let mut words = vec![text(&self.spinney), "run".into(), "-q".into(), "--view".into(), text(view)];
        words.extend(flags.iter().map(|flag| (*flag).to_owned()));
        words.push("--".into());
        words.extend_from_slice(command);
        words
    }

    /// The part of this program that runs within the view.
    pub fn inside(&self, words: &[&str], command: &[String]) -> Vec<String> {
        let mut all = vec![text(&self.itself), "inside".into()];
        all.extend(words.iter().map(|word| (*word).to_owned()));
        all.extend_from_slice(command);
        all
    }

    /// 200,000 small files in 2,000 directories.
    pub fn large_tree(&self) -> anyhow::Result<PathBuf> {
        let (tree, finished) = (self.work.join("files-200000"), self.work.join("files-200000.finished"));
        if finished.exists() {
            return Ok(tree);
        }
        eprintln!("making {}", tree.display());
        for directory in 0..2_000 {
            let directory = tree.join(format!("group{:02}/directory{directory:04}", directory / 100));
            fs::create_dir_all(&directory)?;
            for file in 0..100 {
                fs::write(directory.join(format!("a_module_of_usual_name_{file:03}.py")), "x = 1\n")?;
            }
        }
        fs::write(finished, "")?;
        Ok(tree)
    }
}

/// Runs a command and demands that it succeeds.
pub fn run(command: &[String]) -> anyhow::Result<Run> {
    let run = run_whatever(command)?;
    let complaint = String::from_utf8_lossy(&run.output.stderr);
    ensure!(
        run.output.status.success(),
        "`{}` ended with {}\n{complaint}",
        command.join(" "),
        run.output.status
    );
    Ok(run)
}

/// Runs a command and lets it end as it may.
pub fn run_whatever(command: &[String]) -> anyhow::Result<Run> {
    let start = Instant::now();
    let output = Job::start(command)?.end()?;
    Ok(Run { seconds: start.elapsed().as_secs_f64(), output })
}

/// A command that is running. Dropped, or after [`PATIENCE`], it is killed with all it started in its process group:
/// a measurement that fails must not leave anything to disturb the next.
pub struct Job {
    child: Option<Child>,
}

impl Job {
    /// Starts a command whose output is kept.
    pub fn start(command: &[String]) -> anyhow::Result<Self> {
        let child = Command::new(&command[0])
            .args(&command[1..])
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Python must not be led elsewhere, nor told to leave bytecode alone, by who runs the benchmark.
            .env_remove("PYTHONPATH")
            .env_remove("PYTHONHOME")
            .spawn();
        let child = child.with_context(|| format!("cannot start `{}`", command[0]))?;
        Ok(Self { child: Some(child) })
    }

    /// Whether it has ended.
    pub fn is_over(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }

    /// Waits for its end and gives what it wrote.
    pub fn end(mut self) -> anyhow::Result<Output> {
        let child = self.child.take().expect("it is taken here only");
        let group = child.id();
        let (is_over, watched) = mpsc::channel::<()>();
        let watchdog = std::thread::spawn(move || {
            if watched.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                kill_group(group);
            }
        });
        let output = child.wait_with_output();
        drop(is_over);
        let _ = watchdog.join();
        Ok(output?)
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            kill_group(child.id());
            let _ = child.wait();
        }
    }
}

fn kill_group(leader: u32) {
    if let Some(group) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// Reads `run.json` of a report, waiting for it a little: another process may still be writing it.
pub fn run_report(directory: &Path) -> anyhow::Result<Value> {
    let file = directory.join("run.json");
    let read = || -> anyhow::Result<Value> { Ok(serde_json::from_slice(&fs::read(&file)?)?) };
    let patience = Instant::now() + Duration::from_secs(5);
    loop {
        match read() {
            Err(_) if Instant::now() < patience => std::thread::sleep(Duration::from_millis(20)),
            result => return result.with_context(|| format!("no {}", file.display())),
        }
    }
}

/// FUSE requests of all nodes, from a report.
pub fn requests_total(report: &Value) -> anyhow::Result<f64> {
    report["totals"]["fuse"]["requests_total"]
        .as_f64()
        .context("the report has no totals.fuse.requests_total")
}

/// Waits until `so` gives something.
pub fn wait_for<T>(what: &str, seconds: u64, mut so: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    let patience = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(result) = so() {
            return Ok(result);
        }
        ensure!(Instant::now() < patience, "waited {seconds} s in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A command as words, without what it has beside them.
pub fn words(command: &Command) -> Vec<String> {
    std::iter::once(command.get_program()).chain(command.get_args()).map(text).collect()
}

/// A path as a word of a command; the paths here are our own and are UTF-8.
pub fn text(path: impl AsRef<OsStr>) -> String {
    path.as_ref().to_string_lossy().into_owned()
}
