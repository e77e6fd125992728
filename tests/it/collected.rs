//! Recordings of several hosts that share no directory for them: they go up the tree to where the report goes.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use serde_json::{Value, json};
use spinney::tree::{Shape, Shard};

use crate::gathering::is_on;
use crate::named_hosts::{NamedHosts, named_hosts};
use crate::scene::{eventually, finish, kill, output, text};

const HOSTS: u32 = 3;

/// Reads a file of its own and one that all read, and waits for a gate of its own.
const SCRIPT: &str =
    "cat $1/file $1/of-$0; touch here-$0; until [ -e gate-$0 ]; do sleep 0.01; done; cat $1/file";

/// The hosts in the order in which they ask each other in a chain: the root first.
fn chain() -> Vec<u32> {
    let shape = Shape::chosen(HOSTS, None, Some(1));
    (0..HOSTS).map(|place| shape.at(Shard::new(0), place).get()).collect()
}

/// As [`start_on`] all hosts.
fn start(hosts: &NamedHosts, flags: &[&str]) -> Vec<Option<Child>> {
    start_on(hosts, 0..HOSTS, flags)
}

/// A task on each of these hosts, all inside and waiting. Each host has a directory of its own for its report.
fn start_on(hosts: &NamedHosts, on: Range<u32>, flags: &[&str]) -> Vec<Option<Child>> {
    for host in 0..HOSTS {
        fs::write(hosts.scene.env.join(format!("of-{host}")), "own").unwrap();
    }
    let begin = |host: u32| {
        let report = format!("report-{host}");
        let flags = [&["-q", "--profile", "full", "--fan-out", "1", "--report", &report], flags].concat();
        let env = hosts.scene.env.to_str().unwrap();
        let mut command = hosts.run(host, &flags, &["sh", "-c", SCRIPT, &host.to_string(), env]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let tasks = on.clone().map(|host| Some(begin(host))).collect();
    eventually("all wait", || on.clone().all(|host| hosts.scene.home.join(format!("here-{host}")).exists()));
    tasks
}

fn open_gate(hosts: &NamedHosts, host: u32) {
    fs::write(hosts.scene.home.join(format!("gate-{host}")), "").unwrap();
}

fn report_of(hosts: &NamedHosts, host: u32) -> PathBuf {
    hosts.scene.home.join(format!("report-{host}"))
}

/// Ends the tasks that are left, which must go well.
fn end(hosts: &NamedHosts, tasks: Vec<Option<Child>>) {
    (0..HOSTS).for_each(|host| open_gate(hosts, host));
    for task in tasks.into_iter().flatten() {
        let ended = finish(task);
        assert!(ended.status.success(), "{}", text(&ended.stderr));
    }
    hosts.scene.assert_nothing_left();
}

/// Takes away what a run has left, for the next.
fn clear(hosts: &NamedHosts) {
    for host in 0..HOSTS {
        for name in ["gate", "here"] {
            fs::remove_file(hosts.scene.home.join(format!("{name}-{host}"))).unwrap();
        }
        let _ = fs::remove_dir_all(report_of(hosts, host));
    }
}

/// The gathered snapshot of this tag, or the newest recording of all.
fn gathered(hosts: &NamedHosts, tag: Option<&str>) -> PathBuf {
    let report = report_of(hosts, chain()[0]);
    tag.map_or(report.clone(), |tag| report.join("snapshots").join(tag)).join("recording.jsonl")
}

fn header(file: &Path) -> Option<Value> {
    serde_json::from_str(fs::read_to_string(file).ok()?.lines().next()?).ok()
}

/// What one recording tells: missing nodes; hosts of which there are paths; how often each node's own file was opened.
fn told(file: &Path) -> (Value, BTreeSet<u64>, Vec<(u64, u64)>) {
    let content = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let lines: Vec<Value> = content.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.last().unwrap()["lines"], lines.len() as u64 - 1);
    let opened = |line: &&Value, name: &str| {
        line["operation"] == "open" && line["path"].as_str().is_some_and(|path| path.ends_with(name))
    };
    let node = |line: &Value| line["node"].as_u64().unwrap();
    let own = lines.iter().filter(|line| opened(line, &format!("/of-{}", line["node"]))).map(node).collect();
    let mut common: Vec<(u64, u64)> = Vec::new();
    for host in 0..u64::from(HOSTS) {
        let calls = lines.iter().filter(|line| opened(line, "/file") && node(line) == host);
        let calls: u64 = calls.map(|line| line["calls"].as_u64().unwrap()).sum();
        if calls > 0 {
            common.push((host, calls));
        }
    }
    (lines[0]["missing_nodes"].clone(), own, common)
}

/// Fails unless of all hosts only the root has something, and that is complete.
fn assert_complete(hosts: &NamedHosts, common: &[(u64, u64)]) {
    let root = chain()[0];
    let own = BTreeSet::from([0, 1, 2]);
    assert_eq!(told(&report_of(hosts, root).join("recording.jsonl")), (json!([]), own, common.to_vec()));
    for host in 0..HOSTS {
        let entries = fs::read_dir(report_of(hosts, host)).into_iter().flatten().flatten();
        let names: BTreeSet<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        let strangers: Vec<_> = names
            .iter()
            .filter(|name| {
                host != root || !["recording.jsonl", "run.json", "snapshots"].contains(&name.as_str())
            })
            .collect();
        assert!(strangers.is_empty(), "host {host}: {strangers:?}");
    }
}

/// Kills what serves a host: its daemon, or its holder with it, so that nobody starts it again.
fn kill_service(hosts: &NamedHosts, host: u32, roles: &[&str]) {
    let serves = |line: &str| roles.iter().any(|role| line.contains(role));
    let doomed: Vec<i32> =
        hosts.scene.processes().into_iter().filter(|(_, line)| serves(line)).map(|(pid, _)| pid).collect();
    let doomed: Vec<i32> = doomed.into_iter().filter(|pid| is_on(*pid, host)).collect();
    assert_eq!(doomed.len(), roles.len());
    for signal in [libc::SIGSTOP, libc::SIGKILL] {
        doomed.iter().for_each(|pid| kill(*pid, signal));
    }
}

fn snapshot(hosts: &NamedHosts, host: u32) -> std::process::Output {
    output(hosts.on(host).args(["profile", "snapshot", "--job", &hosts.job]))
}

#[test]
fn recordings_of_hosts_that_share_no_directory_are_one_file_at_the_root() {
    for hosts in named_hosts(HOSTS) {
        let tasks = start(&hosts, &[]);
        let said = snapshot(&hosts, chain()[2]);
        assert!(said.status.success(), "{}", text(&said.stderr));
        let place = report_of(&hosts, chain()[0]).join("snapshots/on-demand/recording.jsonl");
        let own = BTreeSet::from([0, 1, 2]);
        assert_eq!(told(&place), (json!([]), own, vec![(0, 1), (1, 1), (2, 1)]));
        end(&hosts, tasks);
        assert_complete(&hosts, &[(0, 2), (1, 2), (2, 2)]);
    }
}

#[test]
fn a_daemon_that_is_killed_on_the_way_or_at_the_root_loses_no_recording() {
    for hosts in named_hosts(HOSTS) {
        for place in [1, 0] {
            let mut tasks = start(&hosts, &[]);
            kill_service(&hosts, chain()[place], &["daemon-process"]);
            // The one furthest from the root ends first, and so while the other is starting anew.
            let last = chain()[2];
            open_gate(&hosts, last);
            let ended = finish(tasks[last as usize].take().unwrap());
            assert!(ended.status.success(), "{}", text(&ended.stderr));
            end(&hosts, tasks);
            assert_complete(&hosts, &[(0, 2), (1, 2), (2, 2)]);
            clear(&hosts);
        }
    }
}

#[test]
fn of_a_host_that_is_lost_altogether_its_last_snapshot_stays_or_it_is_named() {
    for hosts in named_hosts(HOSTS) {
        for (has_snapshot, missing, common) in [
            (true, json!([]), vec![(0, 2), (1, 2), (2, 2)]),
            (false, json!([chain()[2]]), vec![(0, 2), (1, 2), (2, 2)]),
        ] {
            let lost = chain()[2];
            let mut tasks = start(&hosts, &[]);
            if has_snapshot {
                assert!(snapshot(&hosts, lost).status.success());
            }
            kill_service(&hosts, lost, &["daemon-process", "holder-process"]);
            assert_eq!(
                finish(tasks[lost as usize].take().unwrap()).status.code(),
                Some(125),
                "its view is lost"
            );
            end(&hosts, tasks);
            let (told_missing, _, told_common) = told(&report_of(&hosts, chain()[0]).join("recording.jsonl"));
            assert_eq!(told_missing, missing);
            let of_lost = |(host, calls): (u64, u64)| {
                let calls = if host == u64::from(lost) { if has_snapshot { 1 } else { 0 } } else { calls };
                (calls > 0).then_some((host, calls))
            };
            assert_eq!(told_common, common.into_iter().filter_map(of_lost).collect::<Vec<_>>());
            clear(&hosts);
        }
    }
}

/// How often it is written while the job runs; whoever waits for one waits for the file.
const OFTEN: &[&str] = &["--snapshot-every", "100ms"];

#[test]
fn snapshots_of_hosts_are_gathered_now_and_then_and_before_nodes_forget() {
    for hosts in named_hosts(HOSTS) {
        let tasks = start(&hosts, OFTEN);
        let complete = (json!([]), BTreeSet::from([0, 1, 2]), vec![(0, 1), (1, 1), (2, 1)]);
        let runtime = gathered(&hosts, Some("runtime-snapshot"));
        eventually("a snapshot of all", || runtime.exists() && told(&runtime) == complete);
        let said = output(hosts.on(chain()[1]).args(["refresh", "--job", &hosts.job]));
        assert!(said.status.success(), "{}", text(&said.stderr));
        let reset = gathered(&hosts, Some("pre-reset"));
        assert_eq!(told(&reset), complete);
        for (file, tag) in [(&runtime, "runtime-snapshot"), (&reset, "pre-reset")] {
            assert_eq!(header(file).unwrap()["tag"], tag);
        }
        end(&hosts, tasks);
        assert_complete(&hosts, &[(0, 2), (1, 2), (2, 2)]);
        let tags: BTreeSet<_> = fs::read_dir(report_of(&hosts, chain()[0]).join("snapshots"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(tags, ["pre-reset", "runtime-snapshot"].map(str::to_owned).into());
    }
}

#[test]
fn a_host_that_never_comes_keeps_no_snapshot_from_being_gathered() {
    let last = HOSTS - 1;
    for hosts in named_hosts(HOSTS) {
        let tasks = start_on(&hosts, 0..last, OFTEN);
        let some_report = || {
            let mut files = (0..last)
                .map(|host| report_of(&hosts, host).join("snapshots/runtime-snapshot/recording.jsonl"));
            files.find(|file| file.exists())
        };
        let without = (json!([last]), BTreeSet::from([0, 1]), vec![(0, 1), (1, 1)]);
        eventually("a snapshot without it", || some_report().is_some_and(|file| told(&file) == without));
        end(&hosts, tasks);
    }
}

#[test]
fn what_a_lost_root_had_gathered_is_read_and_told_to_be_unfinished() {
    for hosts in named_hosts(HOSTS) {
        let mut tasks = start(&hosts, &[]);
        let (root, first) = (chain()[0], chain()[2]);
        open_gate(&hosts, first);
        assert!(finish(tasks[first as usize].take().unwrap()).status.success());
        kill_service(&hosts, root, &["daemon-process", "holder-process"]);
        assert_eq!(finish(tasks[root as usize].take().unwrap()).status.code(), Some(125), "its view is lost");
        let report = report_of(&hosts, root);
        let report = report.to_str().unwrap();
        assert!(!Path::new(report).join("recording.jsonl").exists(), "it was not put together");
        let env = hosts.scene.env.to_str().unwrap();
        for words in [
            &["profile", "report", report][..],
            &["profile", "aggregate", report],
            &["profile", "diff", report, report],
            &["profile", "copper", report, "copper"],
            &["env", "classify", report],
            &["env", "coverage", report, "--root", env],
        ] {
            let said = output(&mut hosts.scene.spinney(words));
            assert_eq!(said.status.code(), Some(0), "{words:?}: {}", text(&said.stderr));
            let (stdout, stderr) = (text(&said.stdout), text(&said.stderr));
            let told = format!("{stdout}{stderr}").replace('\n', " ");
            assert!(told.contains("the gathering was not finished"), "{words:?}: {told}");
            assert!(stderr.lines().count() <= 1, "{words:?}: {stderr}");
        }
        let said = text(&output(&mut hosts.scene.spinney(&["profile", "aggregate", report])).stdout);
        assert!(said.contains(&format!("{env}/of-{first},open,found")), "{said}");
        let said = output(&mut hosts.scene.spinney(&["env", "slim", report, "--to", "slim", "--root", env]));
        assert_eq!(said.status.code(), Some(1));
        assert!(text(&said.stderr).contains("nothing was heard of 2 nodes"), "{}", text(&said.stderr));
        end(&hosts, tasks);
    }
}

#[test]
fn a_host_that_dies_between_snapshots_loses_only_what_came_after_its_last() {
    for hosts in named_hosts(HOSTS) {
        // The host that is lost, and one of which only the daemon is: far from the root, and on the way to it.
        for (lost, daemon) in [(chain()[2], Some(chain()[1])), (chain()[1], None)] {
            let mut tasks = start(&hosts, OFTEN);
            let runtime = gathered(&hosts, Some("runtime-snapshot"));
            let complete = (json!([]), BTreeSet::from([0, 1, 2]), vec![(0, 1), (1, 1), (2, 1)]);
            eventually("a snapshot of all", || runtime.exists() && told(&runtime) == complete);
            daemon.into_iter().for_each(|host| kill_service(&hosts, host, &["daemon-process"]));
            kill_service(&hosts, lost, &["daemon-process", "holder-process"]);
            let code = finish(tasks[lost as usize].take().unwrap()).status.code();
            assert_eq!(code, Some(125), "its view is lost");
            let left = tasks.iter().position(Option::is_some).unwrap() as u32;
            let said = snapshot(&hosts, left);
            assert_eq!(said.status.code(), Some(1));
            let named = format!("node {lost} ");
            assert!(text(&said.stderr).lines().count() == 1, "{}", text(&said.stderr));
            assert!(text(&said.stderr).contains(&named), "{}", text(&said.stderr));
            let others: BTreeSet<u64> = (0..3).filter(|host| *host != u64::from(lost)).collect();
            let theirs: Vec<_> = others.iter().map(|host| (*host, 1)).collect();
            let demanded = gathered(&hosts, Some("on-demand"));
            assert_eq!(told(&demanded), (json!([lost]), others, theirs), "{named}");
            let before = header(&runtime).unwrap()["unix_us"].as_u64();
            eventually("later snapshots", || header(&runtime).unwrap()["unix_us"].as_u64() > before);
            assert_eq!(told(&runtime), complete, "what is known of the lost one stays");
            end(&hosts, tasks);
            let calls = (0..3).map(|host| (host, if host == u64::from(lost) { 1 } else { 2 })).collect();
            let whole = gathered(&hosts, None);
            assert_eq!(told(&whole), (json!([]), BTreeSet::from([0, 1, 2]), calls));
            assert_eq!(header(&whole).unwrap()["unfinished_nodes"], json!([lost]));
            let report = report_of(&hosts, chain()[0]);
            let report = output(hosts.scene.spinney(&["profile", "report"]).arg(report));
            let warned = format!("**Of 1 node only a snapshot is here, not the end**: {lost}");
            assert!(text(&report.stdout).contains(&warned), "{}", text(&report.stdout));
            clear(&hosts);
        }
    }
}
