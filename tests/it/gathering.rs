//! One report for a job on several hosts.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::named_hosts::{NamedHosts, named_hosts};
use crate::scene::{eventually, finish, kill, text};

/// Waits until all have come, so that no task ends before the others have begun.
const MEET: &str = "touch here-$0; until [ $(ls -d here-* | wc -l) -ge 3 ]; do sleep 0.01; done; cat $1; ";

fn start(hosts: &NamedHosts, number: u32, flags: &[&str], script: &str) -> Child {
    let script = format!("{MEET}{script}");
    let shown = hosts.scene.shown("file");
    let mut command = hosts.run(number, flags, &["sh", "-c", &script, &number.to_string(), &shown]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn report(hosts: &NamedHosts) -> Option<Value> {
    serde_json::from_slice(&fs::read(hosts.scene.home.join("report/run.json")).ok()?).ok()
}

fn ranks(report: &Value) -> Vec<u64> {
    report["nodes"].as_array().unwrap().iter().map(|node| node["rank"].as_u64().unwrap()).collect()
}

#[test]
fn the_report_of_the_root_tells_of_every_host() {
    for hosts in named_hosts(3) {
        let flags = ["-q", "--report", "report", "--fan-out", "1"];
        let tasks: Vec<Child> =
            (0..3).map(|n| start(&hosts, n, &flags, "exit $(($0 == 2 ? 7 : 0))")).collect();
        let ended: Vec<_> = tasks.into_iter().map(finish).collect();
        let codes: Vec<_> = ended.iter().map(|output| output.status.code()).collect();
        assert_eq!(codes, [Some(0), Some(0), Some(7)], "{}", text(&ended[0].stderr));
        let report = report(&hosts).expect("a report, as soon as the commands have ended");
        assert_eq!(ranks(&report), [0, 1, 2]);
        assert_eq!(report["missing_nodes"], json!([]));
        assert_eq!(report["totals"]["tasks"]["joined"], 3);
        assert_eq!(report["exit_code"], 7);
        assert!(report["nodes"][2]["answers"]["parent"].as_u64() > Some(0), "{report}");
        assert_eq!(fs::read_dir(hosts.scene.home.join("report")).unwrap().count(), 1);
        hosts.scene.assert_nothing_left();
    }
}

#[test]
fn a_host_that_ends_later_is_added_and_the_root_does_not_wait_for_it() {
    for hosts in named_hosts(3) {
        let flags = ["-q", "--report", "report"];
        let script = "[ $0 != 2 ] || until [ -e gate ]; do sleep 0.01; done";
        let mut tasks: Vec<Child> = (0..3).map(|n| start(&hosts, n, &flags, script)).collect();
        let late = tasks.pop().unwrap();
        let began = Instant::now();
        for task in tasks {
            assert!(finish(task).status.success());
        }
        assert!(began.elapsed() < Duration::from_secs(10), "the root waits 5 s at most");
        let first = report(&hosts).expect("a report without waiting");
        let joined = first["nodes"].as_array().unwrap().len();
        assert_eq!(joined + first["missing_nodes"].as_array().unwrap().len(), 3, "{first}");
        fs::write(hosts.scene.home.join("gate"), "").unwrap();
        assert!(finish(late).status.success());
        eventually("the late host is in the report", || {
            report(&hosts).is_some_and(|report| ranks(&report) == [0, 1, 2])
        });
        hosts.scene.assert_nothing_left();
    }
}

#[test]
fn a_host_that_is_killed_is_named_or_there_with_what_it_had_told() {
    for hosts in named_hosts(3) {
        let flags = ["-q", "--report", "report"];
        let script = "[ $0 = 2 ] && sleep 100; until [ -e gate ]; do sleep 0.01; done";
        let mut tasks: Vec<Child> = (0..3).map(|n| start(&hosts, n, &flags, script)).collect();
        let dead = tasks.pop().unwrap();
        eventually("all are inside", || hosts.scene.home.join("here-2").exists());
        let serves = |line: &str| line.contains("daemon-process") || line.contains("holder-process");
        eventually("all serve", || {
            hosts.scene.processes().iter().filter(|(_, line)| serves(line)).count() == 6
        });
        // Both at once: the one left would start the other again.
        let doomed = hosts.scene.processes().into_iter();
        let doomed: Vec<_> = doomed.filter(|(pid, line)| serves(line) && is_on(*pid, 2)).collect();
        assert_eq!(doomed.len(), 2);
        for signal in [libc::SIGSTOP, libc::SIGKILL] {
            doomed.iter().for_each(|(pid, _)| kill(*pid, signal));
        }
        assert_eq!(finish(dead).status.code(), Some(125), "its view is lost");
        fs::write(hosts.scene.home.join("gate"), "").unwrap();
        for task in tasks {
            let ended = finish(task);
            assert!(ended.status.success(), "{}", text(&ended.stderr));
        }
        let report = report(&hosts).unwrap();
        let missing = report["missing_nodes"].as_array().unwrap().len();
        assert_eq!(ranks(&report).len() + missing, 3);
        assert!(missing == 0 || report["missing_nodes"] == json!([2]), "{report}");
        hosts.scene.assert_nothing_left();
    }
}

/// Whether process `pid` is on the host of this number: it lies in that host's UTS namespace, whose name it sees.
pub fn is_on(pid: i32, number: u32) -> bool {
    let name = std::process::Command::new("nsenter")
        .args(["--uts", "--target", &pid.to_string(), "hostname"])
        .output();
    name.is_ok_and(|output| text(&output.stdout).trim() == format!("a{number}"))
}

#[test]
fn a_report_that_cannot_be_written_is_one_warning_and_the_job_goes_on() {
    for hosts in named_hosts(3) {
        let place = hosts.scene.home.join("report");
        // A directory in the way of the file: as a full disk, but for root too.
        fs::create_dir_all(place.join("run.json")).unwrap();
        if let Some(uid) = hosts.scene.uid {
            std::os::unix::fs::chown(&place, Some(uid), Some(uid)).unwrap();
        }
        let tasks: Vec<Child> = (0..3).map(|n| start(&hosts, n, &["--report", "report"], "exit 3")).collect();
        let ended: Vec<_> = tasks.into_iter().map(finish).collect();
        assert!(ended.iter().all(|output| output.status.code() == Some(3)));
        let said: String = ended.iter().map(|output| text(&output.stderr)).collect();
        assert_eq!(said.matches("the report could not be written").count(), 1, "{said}");
        hosts.scene.assert_nothing_left();
    }
}
