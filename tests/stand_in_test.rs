//! The stand-in for shared storage is what the other tests and the benchmarks measure with: is it true?
//!
//! Each test starts one of its own. They need `/dev/fuse` and the right to mount, and fail without.

#[path = "stand_in/client.rs"]
mod client;

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use client::{StandIn, Start};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;

/// A directory with a bit of everything, and a stand-in of `nodes` nodes that serves it.
fn stand_in(nodes: usize) -> (TempDir, StandIn) {
    let backing = TempDir::new().unwrap();
    let root = backing.path();
    fs::create_dir_all(root.join("lib/inner")).unwrap();
    fs::write(root.join("lib/module.py"), "x = 1\n").unwrap();
    fs::write(root.join("lib/other.py"), "y = 2\n").unwrap();
    fs::write(root.join("large"), vec![7; 4 << 20]).unwrap();
    symlink("lib/module.py", root.join("link")).unwrap();
    let started = Start { nodes, ..Start::of(root) }.start().expect("a stand-in");
    (backing, started)
}

/// The counters of one node that are not 0.
fn calls(stand_in: &mut StandIn, node: usize) -> serde_json::Value {
    let mut counters = stand_in.counters()["mounts"][node].clone();
    let counters = counters.as_object_mut().unwrap();
    counters.retain(|_, value| value.as_u64().is_some_and(|n| n > 0));
    counters.remove("metadata_calls");
    json!(counters)
}

#[test]
fn counters_are_exact_for_a_known_sequence() {
    let (_backing, mut stand_in) = stand_in(1);
    let root = stand_in.mount().to_owned();
    assert_eq!(fs::read_to_string(root.join("link")).unwrap(), "x = 1\n");
    let mut names: Vec<_> = fs::read_dir(root.join("lib")).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["inner", "module.py", "other.py"]);
    // A close is sent when the descriptor goes, which the kernel does a moment after the call.
    wait_until(|| stand_in.count("release") == 1 && stand_in.count("releasedir") == 1);
    assert_eq!(
        calls(&mut stand_in, 0),
        json!({
            "lookup_found": 3, // link, lib, module.py
            "readlink": 1,
            "open": 1,
            "read": 1,
            "read_bytes": 6,
            "release": 1,
            "opendir": 1,
            "readdir": 2, // the names, and that there are no more
            "releasedir": 1,
            "getattr": 1, // std asks the opened file for its size; its mount's root is asked once
        })
    );
}

#[test]
fn each_mount_caches_by_itself() {
    let (_backing, mut stand_in) = stand_in(2);
    let nodes = stand_in.mounts.clone();
    for _ in 0..3 {
        fs::metadata(nodes[0].join("lib/module.py")).unwrap();
    }
    assert_eq!(stand_in.count("lookup_found"), 2, "lib and module.py, once");
    fs::metadata(nodes[1].join("lib/module.py")).unwrap();
    assert_eq!(calls(&mut stand_in, 1)["lookup_found"], 2, "the other node knows nothing of it");
}

#[test]
fn content_is_kept_but_opening_is_asked_each_time() {
    let (_backing, mut stand_in) = stand_in(1);
    for _ in 0..3 {
        assert_eq!(fs::read(stand_in.mount().join("large")).unwrap(), vec![7; 4 << 20]);
    }
    assert_eq!(stand_in.count("read_bytes"), 4 << 20);
    assert_eq!(stand_in.count("open"), 3);
}

#[test]
fn an_absence_is_asked_each_time() {
    let (_backing, mut stand_in) = stand_in(1);
    for _ in 0..3 {
        assert!(!stand_in.mount().join("missing").exists());
    }
    assert_eq!(stand_in.count("lookup_missing"), 3);
}

#[test]
fn a_drop_makes_the_kernel_ask_for_everything_again() {
    let (_backing, mut stand_in) = stand_in(1);
    let large = stand_in.mount().join("large");
    let module = stand_in.mount().join("lib/module.py");
    for round in 1..=3 {
        fs::read(&large).unwrap();
        fs::read(&module).unwrap();
        assert_eq!(stand_in.count("lookup_found"), 3 * round);
        assert_eq!(stand_in.count("read_bytes"), round * ((4 << 20) + 6));
        stand_in.drop_caches();
    }
}

#[test]
fn a_changed_path_is_asked_for_again_and_nothing_else() {
    let (backing, mut stand_in) = stand_in(2);
    let nodes = stand_in.mounts.clone();
    for node in &nodes {
        fs::read(node.join("lib/module.py")).unwrap();
        fs::read(node.join("lib/other.py")).unwrap();
    }
    fs::write(backing.path().join("lib/module.py"), "changed = 1\n").unwrap();
    assert_eq!(fs::read(nodes[0].join("lib/module.py")).unwrap(), b"x = 1\n", "kept as long as it may");
    stand_in.command("changed lib/module.py");
    stand_in.reset();
    for node in &nodes {
        assert_eq!(fs::read(node.join("lib/module.py")).unwrap(), b"changed = 1\n");
        assert_eq!(fs::read(node.join("lib/other.py")).unwrap(), b"y = 2\n");
    }
    assert_eq!(stand_in.count("read_bytes"), 2 * 12);
}

#[test]
fn calls_at_the_same_time_wait_their_latency_together() {
    let (_backing, mut stand_in) = stand_in(1);
    stand_in.set_waiting(50_000, 0);
    let wall = ask_at_once(stand_in.mount(), 20);
    assert!(wall >= Duration::from_millis(50), "{wall:?}");
    assert!(wall < Duration::from_millis(500), "one after the other it would be 1 s: {wall:?}");
}

#[test]
fn the_metadata_queue_serves_one_call_after_the_other_for_all_mounts() {
    let (_backing, mut stand_in) = stand_in(2);
    stand_in.set_waiting(0, 5_000);
    let nodes = stand_in.mounts.clone();
    let start = Instant::now();
    thread::scope(|scope| {
        nodes.iter().for_each(|node| drop(scope.spawn(|| ask_at_once(node, 20))));
    });
    let wall = start.elapsed();
    assert!(wall >= Duration::from_millis(40 * 5), "40 calls of 5 ms: {wall:?}");
}

#[test]
fn other_clients_make_the_queue_longer() {
    let (_backing, mut stand_in) = stand_in(1);
    stand_in.set_waiting(0, 5_000);
    stand_in.command("load 10");
    let start = Instant::now();
    assert!(!stand_in.mount().join("missing").exists());
    let wall = start.elapsed();
    assert!(wall >= Duration::from_millis(45), "behind 10 calls of 5 ms: {wall:?}");
    stand_in.command("load 0");
    let made = stand_in.counters()["load_calls"].as_u64().unwrap();
    assert!(made >= 8, "{made} calls of the other clients");
}

#[test]
fn the_bandwidth_is_shared_by_all_mounts() {
    let (_backing, mut stand_in) = stand_in(2);
    stand_in.command("set bandwidth=20000000");
    let nodes = stand_in.mounts.clone();
    let start = Instant::now();
    thread::scope(|scope| {
        nodes.iter().for_each(|node| drop(scope.spawn(|| fs::read(node.join("large")).unwrap())));
    });
    let wall = start.elapsed();
    assert!(wall >= Duration::from_millis(400), "8 MiB at 20 MB/s: {wall:?}");
}

#[test]
fn a_hanging_storage_answers_when_it_no_longer_hangs() {
    let (_backing, mut stand_in) = stand_in(1);
    let module = stand_in.mount().join("lib/module.py");
    stand_in.command("hang on");
    let reader = thread::spawn(move || fs::read(module));
    wait_until(|| stand_in.counters()["held"] == 1);
    assert!(!reader.is_finished());
    stand_in.command("hang off");
    assert_eq!(reader.join().unwrap().unwrap(), b"x = 1\n");
}

#[test]
fn a_task_that_waits_for_a_killable_storage_can_be_killed() {
    let (backing, _) = stand_in(1);
    let mut stand_in = Start { is_killable: true, ..Start::of(backing.path()) }.start().unwrap();
    let module = stand_in.mount().join("lib/module.py");
    assert_eq!(fs::read(&module).unwrap(), b"x = 1\n");
    assert_eq!(fs::read(stand_in.mount().join("large")).unwrap(), vec![7; 4 << 20]);
    stand_in.drop_caches();
    stand_in.command("hang on");
    let mut reader = Command::new("cat").arg(&module).spawn().unwrap();
    wait_until(|| stand_in.counters()["held"] == 1);
    // A signal that does not end the task must not end its wait either.
    signal(&reader, Signal::CONT);
    thread::sleep(Duration::from_millis(200));
    assert!(reader.try_wait().unwrap().is_none());
    signal(&reader, Signal::TERM);
    let start = Instant::now();
    assert!(!reader.wait().unwrap().success());
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    stand_in.command("hang off");
    assert_eq!(fs::read(&module).unwrap(), b"x = 1\n");
}

#[test]
fn a_part_of_the_storage_can_hang() {
    let (_backing, mut stand_in) = stand_in(1);
    let root = stand_in.mount().to_owned();
    stand_in.command("hang on lib");
    let inside = root.join("lib/module.py");
    let reader = thread::spawn(move || fs::read(inside));
    wait_until(|| stand_in.counters()["held"] == 1);
    assert_eq!(fs::read(root.join("large")).unwrap().len(), 4 << 20);
    stand_in.command("hang off");
    assert_eq!(reader.join().unwrap().unwrap(), b"x = 1\n");
}

#[test]
fn a_refused_path_gives_the_errno_that_was_asked_for() {
    let (_backing, mut stand_in) = stand_in(1);
    let root = stand_in.mount().to_owned();
    let errno = |path: &str| fs::read(root.join(path)).err().and_then(|error| error.raw_os_error());
    stand_in.command("fail ETIMEDOUT lib/module.py");
    stand_in.command("fail EIO large read");
    assert_eq!(errno("lib/module.py"), Some(libc::ETIMEDOUT));
    assert_eq!(errno("lib/other.py"), None);
    assert_eq!(errno("large"), Some(libc::EIO));
    assert!(root.join("large").exists(), "only its reads are refused");
    stand_in.command("fail off");
    assert_eq!(errno("lib/module.py"), None);
    assert_eq!(errno("large"), None);
}

#[test]
fn every_kind_of_file_and_name_is_shown_as_it_is() {
    let (backing, stand_in) = stand_in(1);
    let root = backing.path();
    let odd = OsStr::from_bytes(b"line\nbreak \xff\xfe");
    fs::write(root.join(odd), "odd").unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, root.join("fifo"), rustix::fs::FileType::Fifo, 0o640.into(), 0)
        .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    let shown = stand_in.mount();
    assert_eq!(fs::read(shown.join(odd)).unwrap(), b"odd");
    assert!(shown.join("fifo").symlink_metadata().unwrap().file_type().is_fifo());
    assert!(shown.join("socket").symlink_metadata().unwrap().file_type().is_socket());
    for name in ["lib", "large", "link", "fifo", "socket", "lib/inner"] {
        let (want, have) = (root.join(name).symlink_metadata(), shown.join(name).symlink_metadata());
        assert_eq!(attributes(&want.unwrap()), attributes(&have.unwrap()), "{name}");
    }
}

#[test]
fn a_directory_of_many_names_is_listed_whole() {
    let (backing, stand_in) = stand_in(1);
    let names: std::collections::BTreeSet<String> = (0..5_000).map(|n| format!("a-name-{n}")).collect();
    names.iter().for_each(|name| fs::write(backing.path().join("lib/inner").join(name), "").unwrap());
    let listed = fs::read_dir(stand_in.mount().join("lib/inner")).unwrap();
    let listed: Vec<_> = listed.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(listed.len(), 5_000, "no name twice");
    assert_eq!(listed.into_iter().collect::<std::collections::BTreeSet<_>>(), names);
}

#[test]
fn it_leaves_nothing_mounted() {
    let (_backing, stand_in) = stand_in(2);
    let mounts = stand_in.mounts.clone();
    let open = fs::File::open(mounts[0].join("large")).unwrap();
    drop(stand_in);
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.iter().for_each(|mount| assert!(!table.contains(mount.to_str().unwrap()), "{table}"));
    drop(open);
}

#[test]
fn an_unknown_command_says_so_and_changes_nothing() {
    let (_backing, stand_in) = stand_in(1);
    let mut connection = BufReader::new(stand_in.connect_again().unwrap());
    for (line, want) in [
        ("frobnicate", "no such command: `frobnicate`"),
        ("set latency_us=soon", "`soon` is not a number"),
        ("set color=3", "no such setting: `color`"),
        ("fail EODD lib", "no such errno: `EODD`"),
        ("fail EIO lib chew", "no such kind of call: `chew`"),
        ("load many", "`load` wants a number"),
    ] {
        writeln!(connection.get_mut(), "{line}").unwrap();
        let mut answer = String::new();
        connection.read_line(&mut answer).unwrap();
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["error"], want, "{line}");
    }
}

/// Asks for `n` names that do not exist, all at once, and says how long it took until all were answered.
fn ask_at_once(root: &Path, n: usize) -> Duration {
    let start = Instant::now();
    thread::scope(|scope| {
        for number in 0..n {
            scope.spawn(move || assert!(!root.join(format!("missing-{number}")).exists()));
        }
    });
    start.elapsed()
}

/// What a user can see of a file, but for the device it is on.
fn attributes(m: &fs::Metadata) -> impl PartialEq + std::fmt::Debug + use<> {
    let times = (m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec());
    ((m.ino(), m.mode(), m.nlink(), m.uid(), m.gid()), (m.rdev(), m.size(), m.blocks()), times)
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal).unwrap();
}

fn wait_until(mut so: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(10);
    while !so() {
        assert!(Instant::now() < patience, "it never came");
        thread::sleep(Duration::from_millis(1));
    }
}
