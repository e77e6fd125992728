//! An independent observer beside Spinney's own figures: `strace` of daemons, holders and tasks.
//!
//! Everything is compared: each call of a daemon on storage with what the daemon counted, each path that a task asked for
//! with what was recorded. The counters are read from their shared memory once all processes have ended, so no call
//! comes too late to be seen.
//!
//! Not here: what a recording says beside its paths (`profile`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use spinney::profile::recorder::Counter;

use crate::cluster::{counters_of, in_counters};
use crate::scene::{Scene, eventually, finish, scenes, text};

/// Debian's: an ordinary user can execute it too.
const PYTHON: &str = "/usr/bin/python3";

/// What the task does: a good part of the standard library, names that are not there, each kind of question.
const IMPORT: &str =
    "import asyncio, email.message, http.client, json, sqlite3, sys, unittest, xml.etree.ElementTree
import os
here = os.path.dirname(os.__file__)
os.listdir(here); os.statvfs(here); os.readlink(here + '/link'); open(here + '/link').read()
try: import nothing_of_this_name
except ImportError: pass
print(sys.prefix)
";

/// Makes the scene's view a Python of its own, with a link to a file and one to nothing.
fn furnish(scene: &Scene) -> String {
    let real = fs::canonicalize(PYTHON).unwrap();
    let name = real.file_name().unwrap().to_str().unwrap().to_owned();
    let library = Path::new("/usr/lib").join(&name);
    let copy = |from: &Path, to: PathBuf| {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        assert!(Command::new("cp").arg("-rL").arg(from).arg(to).status().unwrap().success());
    };
    copy(&real, scene.env.join("bin").join(&name));
    copy(&library, scene.env.join("lib").join(&name));
    std::os::unix::fs::symlink(&name, scene.env.join("bin/python3")).unwrap();
    std::os::unix::fs::symlink("os.py", scene.env.join("lib").join(&name).join("link")).unwrap();
    scene.shown("bin/python3")
}

/// One system call as `strace` wrote it.
#[derive(Debug)]
struct Call {
    kind: String,
    line: String,
}

impl Call {
    fn of(line: &str) -> Option<Self> {
        let kind = line.split_once('(')?.0;
        let is_name = kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        is_name.then(|| Call { kind: kind.to_owned(), line: line.to_owned() })
    }

    /// What it answered.
    fn result(&self) -> i64 {
        let (_, answer) = self.line.rsplit_once(") = ").unwrap_or_default();
        answer.split([' ', '<']).next().and_then(|number| number.parse().ok()).unwrap_or(-1)
    }

    /// Whether one of its descriptors or paths lies beneath `directory`. What is written may begin with a path too.
    fn concerns(&self, directory: &str) -> bool {
        let marks = if self.kind.starts_with("write") { &["<"][..] } else { &["<", "(\"", ", \""] };
        marks.iter().any(|before| {
            self.line
                .match_indices(&format!("{before}{directory}"))
                .any(|(at, found)| self.line[at + found.len()..].starts_with(['/', '>', '"']))
        })
    }
}

/// The calls of all processes of a run, each process with those of all its threads.
struct Trace(BTreeMap<i32, Vec<Call>>);

impl Trace {
    /// Of the files `trace.THREAD` in `directory`.
    fn read(directory: &Path) -> Self {
        let mut threads: BTreeMap<i32, Vec<Call>> = BTreeMap::new();
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let thread = entry.file_name().to_str().unwrap().rsplit_once('.').unwrap().1.parse().unwrap();
            let content = fs::read(entry.path()).unwrap();
            threads.insert(thread, text(&content).lines().filter_map(Call::of).collect());
        }
        let mut process_of = BTreeMap::new();
        for (thread, calls) in &threads {
            let begins_threads = calls.iter().filter(|call| call.line.contains("CLONE_THREAD"));
            process_of.extend(begins_threads.map(|call| (call.result() as i32, *thread)));
        }
        let mut processes: BTreeMap<i32, Vec<Call>> = BTreeMap::new();
        for (thread, calls) in threads {
            let mut process = thread;
            while let Some(above) = process_of.get(&process) {
                process = *above;
            }
            processes.entry(process).or_default().extend(calls);
        }
        Trace(processes)
    }

    /// The processes that run the program in this hidden role.
    fn in_role(&self, role: &str) -> Vec<i32> {
        let runs = |call: &Call| call.kind == "execve" && call.line.contains(role) && call.result() == 0;
        self.0.iter().filter(|(_, calls)| calls.iter().any(runs)).map(|(process, _)| *process).collect()
    }
}

/// `strace` before a command: one file for each thread in `directory`.
fn traced(scene: &Scene, directory: &Path, line: &Command) -> Command {
    fs::create_dir(directory).unwrap();
    std::os::unix::fs::chown(directory, scene.uid, scene.uid).unwrap();
    let mut command = scene.native("strace");
    command.args([
        "-ff",
        "-y",
        "-qq",
        "-s",
        "32",
        "-e",
        "trace=%file,%desc,%process",
        "-e",
        "signal=none",
        "-o",
    ]);
    command.arg(directory.join("trace")).arg("--").arg(line.get_program()).args(line.get_args());
    command
}

/// What a daemon counts, by the system calls that it makes for it.
const COUNTED: &[(Counter, &[&str])] = &[
    (Counter::StorageStats, &["statx", "fstat", "newfstatat", "lstat", "stat"]),
    (Counter::StorageOpens, &["openat", "openat2", "open"]),
    (Counter::StorageLists, &["getdents64"]),
    (Counter::StorageReadlinks, &["readlinkat", "readlink"]),
    (Counter::StorageUsages, &["fstatfs", "statfs"]),
    (Counter::StorageReads, &["pread64", "read", "preadv", "readv"]),
];

/// Calls that name a descriptor of storage and ask it nothing: keeping, handing on and closing it.
const ASKING_NOTHING: &[&str] = &["close", "fcntl", "dup", "dup3", "sendmsg", "recvmsg", "execve", "poll"];

#[test]
fn the_storage_counters_of_each_daemon_equal_what_strace_sees_call_for_call() {
    for scene in scenes() {
        let python = furnish(&scene);
        for nodes in [1, 3] {
            let traces = scene.home.join(format!("traces-{nodes}"));
            let script = "\"$1\" -c \"$2\" && touch $0/here-$SPINNEY_NODE && until [ -e $0/gate ]; do sleep 0.01; done";
            let meeting = scene.home.join(format!("meeting-{nodes}"));
            fs::create_dir(&meeting).unwrap();
            std::os::unix::fs::chown(&meeting, scene.uid, scene.uid).unwrap();
            let number = nodes.to_string();
            let flags = ["-q", "--require", "--report", "report", "--local-nodes", &number];
            let line = scene.run(&flags, &["sh", "-c", script, meeting.to_str().unwrap(), &python, IMPORT]);
            let mut run = traced(&scene, &traces, &line);
            let run = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            eventually("all have imported", || fs::read_dir(&meeting).unwrap().count() == nodes);
            let daemons = scene.processes().into_iter().filter(|(_, line)| line.contains("daemon-process"));
            let counters: BTreeMap<i32, File> =
                daemons.map(|(daemon, _)| (daemon, File::open(counters_of(daemon)).unwrap())).collect();
            fs::write(meeting.join("gate"), "").unwrap();
            let ended = finish(run);
            assert!(ended.status.success(), "{}", text(&ended.stderr));
            let trace = Trace::read(&traces);
            assert_eq!(trace.in_role("daemon-process"), counters.keys().copied().collect::<Vec<_>>());
            let storage = scene.env.to_str().unwrap();
            let asks = |call: &&Call| call.concerns(storage) && !ASKING_NOTHING.contains(&call.kind.as_str());
            let mut of_all = 0;
            for (daemon, counters) in counters {
                of_all += compare(trace.0[&daemon].iter().filter(asks).collect(), counters);
            }
            assert!(of_all > 500, "only {of_all} calls");
            for holder in trace.in_role("holder-process") {
                let asked: Vec<_> = trace.0[&holder].iter().filter(asks).collect();
                assert!(asked.is_empty(), "a holder must ask storage nothing: {asked:?}");
            }
            let report: Value =
                serde_json::from_slice(&fs::read(scene.home.join("report/run.json")).unwrap()).unwrap();
            let told = report["totals"]["storage"]["metadata_calls"].as_u64().unwrap();
            assert!(told > 0 && told <= of_all, "{told} of {of_all}");
        }
        scene.assert_nothing_left();
    }
}

/// Fails unless the daemon counted just these calls; returns how many there were but for reads.
fn compare(calls: Vec<&Call>, mut counters: File) -> u64 {
    let mut memory = Vec::new();
    counters.rewind().unwrap();
    counters.read_to_end(&mut memory).unwrap();
    let counted = |counter| in_counters(&memory, counter);
    let uncounted =
        calls.iter().find(|call| !COUNTED.iter().any(|(_, kinds)| kinds.contains(&call.kind.as_str())));
    assert!(uncounted.is_none(), "a kind of call that nobody counts: {uncounted:?}");
    let mut metadata = 0;
    for (counter, kinds) in COUNTED {
        let seen: Vec<_> = calls.iter().filter(|call| kinds.contains(&call.kind.as_str())).collect();
        assert_eq!(counted(*counter), seen.len() as u64, "{}", counter.name());
        if *counter == Counter::StorageReads {
            let bytes: i64 = seen.iter().map(|call| call.result().max(0)).sum();
            assert_eq!(counted(Counter::StorageBytes), bytes as u64);
        } else {
            metadata += seen.len() as u64;
        }
    }
    assert_eq!(counted(Counter::StorageMetadata), metadata);
    metadata
}

#[test]
fn a_full_recording_has_the_paths_that_strace_sees_tasks_ask_for_and_no_other() {
    for scene in scenes() {
        let python = furnish(&scene);
        let traces = scene.home.join("traces");
        let line = scene
            .run(&["-q", "--require", "--report", "report", "--profile", "full"], &[&python, "-c", IMPORT]);
        let ended = finish(
            traced(&scene, &traces, &line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap(),
        );
        assert!(ended.status.success(), "{}", text(&ended.stderr));
        assert_eq!(text(&ended.stdout).trim(), scene.env.to_str().unwrap());
        let mut trace = Trace::read(&traces);
        let task = the_task(&trace, &python);
        let asked = trace.0.remove(&task).unwrap();
        let inside =
            asked.iter().position(|call| call.kind == "execve" && call.line.contains(&python)).unwrap();
        let mut want = BTreeSet::new();
        for call in &asked[inside..] {
            for path in paths_of(call) {
                walk(&scene.env, &path, &mut want);
            }
        }
        let recorded = fs::read_to_string(scene.home.join("report/recording.jsonl")).unwrap();
        let lines = recorded.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let got: BTreeSet<PathBuf> =
            lines.filter_map(|line| Some(PathBuf::from(line["path"].as_str()?))).collect();
        let only = |one: &BTreeSet<PathBuf>, other: &BTreeSet<PathBuf>| {
            one.difference(other).cloned().collect::<Vec<_>>()
        };
        assert_eq!(only(&want, &got), Vec::<PathBuf>::new(), "asked for and not recorded");
        assert_eq!(only(&got, &want), Vec::<PathBuf>::new(), "recorded and not asked for");
        let there = want.iter().filter(|path| path.symlink_metadata().is_ok()).count();
        assert!(there > 150 && want.len() - there > 50, "{there} of {}", want.len());
        scene.assert_nothing_left();
    }
}

/// The process that became `program`.
fn the_task(trace: &Trace, program: &str) -> i32 {
    let became = |call: &Call| {
        call.kind == "execve" && call.line.starts_with(&format!("execve(\"{program}\"")) && call.result() == 0
    };
    let found: Vec<i32> =
        trace.0.iter().filter(|(_, calls)| calls.iter().any(became)).map(|(process, _)| *process).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0]
}

/// The paths that a call names: absolute, or beneath a directory that it has open.
fn paths_of(call: &Call) -> Vec<PathBuf> {
    // Of these the text is content.
    if ["read", "pread64", "write", "writev"].contains(&call.kind.as_str()) {
        return Vec::new();
    }
    let Some((_, arguments)) = call.line.split_once('(') else { return Vec::new() };
    let quoted = arguments.split('"').nth(1).map(PathBuf::from);
    let opened = arguments.split_once('<').and_then(|(number, rest)| {
        let is_first = number == "AT_FDCWD" || number.bytes().all(|byte| byte.is_ascii_digit());
        is_first.then(|| PathBuf::from(rest.split('>').next().unwrap_or_default()))
    });
    match (opened, quoted) {
        // Only names: what is asked about a descriptor was asked for by name before.
        (_, None) => Vec::new(),
        (Some(directory), Some(name)) => vec![directory.join(name)],
        (None, Some(name)) => vec![name],
    }
}

/// Adds every path beneath `view` that must be looked up on the way to `path`, links included, up to the first that is not
/// there.
fn walk(view: &Path, path: &Path, into: &mut BTreeSet<PathBuf>) {
    let mut left: Vec<Component<'_>> = path.components().collect();
    left.reverse();
    let mut at = PathBuf::from("/");
    while let Some(component) = left.pop() {
        match component {
            Component::Normal(name) => at.push(name),
            Component::ParentDir => {
                at.pop();
                continue;
            }
            _ => continue,
        }
        if at.starts_with(view) {
            into.insert(at.clone());
        }
        let Ok(attributes) = at.symlink_metadata() else { return };
        if attributes.is_symlink() {
            let target = fs::read_link(&at).unwrap();
            at.pop();
            let rest: PathBuf = left.iter().rev().collect();
            return walk(view, &at.join(target).join(rest), into);
        }
    }
}
