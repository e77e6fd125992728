//! `spinney status`: what services tell while they run.

use std::fs;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::named_hosts::named_hosts;
use crate::scene::{Lines, Scene, eventually, finish, kill, output, scenes, text};

/// Reads the file that is shown, says so, and waits for a file `gate`.
const READING: &str = "cat $0 > /dev/null; echo read; until [ -e gate ]; do sleep 0.01; done";

fn reading(scene: &Scene, flags: &[&str], tasks: usize) -> Child {
    let mut command = scene.run(flags, &["sh", "-c", READING, &scene.shown("file")]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = Lines::of(child.stdout.take().unwrap());
    (0..tasks).for_each(|_| assert_eq!(lines.next().as_deref(), Some("read")));
    child
}

fn status(scene: &Scene, words: &[&str]) -> Value {
    let words = [&["status", "--json"], words].concat();
    let output = output(&mut scene.spinney(&words));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)))
}

/// The services of the job, if there are as many: others of the user may be there.
fn services(scene: &Scene, job: &str) -> Vec<Value> {
    status(scene, &["--job", job])["services"].as_array().unwrap().clone()
}

fn done(scene: &Scene, child: Child) {
    fs::write(scene.home.join("gate"), "").unwrap();
    assert!(finish(child).status.success());
    scene.assert_nothing_left();
}

#[test]
fn every_node_tells_whom_it_asks_and_what_it_has_answered() {
    for scene in scenes() {
        let job = format!("status{}", scene.home.display());
        let flags = ["-q", "--require", "--job", &job, "--local-nodes", "3", "--fan-out", "1"];
        let child = reading(&scene, &flags, 3);
        let services = services(&scene, &job);
        assert_eq!(services.len(), 3);
        for (rank, service) in services.iter().enumerate() {
            assert_eq!(service["rank"], rank, "{service:#}");
            assert_eq!(service["tasks"]["present"], 1);
            assert_eq!(service["views"][0], scene.env.to_str().unwrap());
            assert_eq!(service["restarts"], 0);
            assert!(service["memory"]["rss_bytes"].as_u64() > Some(100_000));
            assert_eq!(service["tree"]["n_nodes"], 3);
            assert_eq!(service["tree"]["given_up"].as_array().map(Vec::len), Some(0));
            let shard = &service["tree"]["shards"][0];
            assert_eq!(shard["asks"], shard["parent"], "{service:#}");
        }
        assert_eq!(
            services.iter().filter(|service| service["tree"]["shards"][0]["is_top"] == true).count(),
            1
        );
        assert!(
            services.iter().filter(|service| service["answers"]["parent"].as_u64() > Some(0)).count() >= 2
        );
        let said = text(&output(&mut scene.spinney(&["status", "--job", &job])).stdout);
        assert!(said.starts_with(&format!("job {job}: 3 of 3 nodes here; ")), "{said}");
        assert_eq!(said.lines().count(), 5, "{said}");
        assert!(said.contains("  root") && said.contains("  asks "), "{said}");
        done(&scene, child);
    }
}

#[test]
fn a_daemon_that_was_started_again_says_so() {
    for scene in scenes() {
        let job = format!("again{}", scene.home.display());
        let child = reading(&scene, &["-q", "--require", "--job", &job], 1);
        kill(scene.process("daemon-process"), libc::SIGKILL);
        eventually("the successor tells", || {
            services(&scene, &job).first().is_some_and(|service| service["restarts"] == 1)
        });
        assert!(services(&scene, &job)[0]["tree"].is_null(), "a node that is alone is in no tree");
        done(&scene, child);
    }
}

#[test]
fn the_root_tells_what_other_hosts_have_reported() {
    for hosts in named_hosts(2) {
        let script = "cat $0 > /dev/null; until [ -e gate ]; do sleep 0.01; done";
        let file = hosts.scene.shown("file");
        let run = |number| {
            let mut command = hosts.run(number, &["-q"], &["sh", "-c", script, &file]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let tasks: Vec<Child> = (0..2).map(run).collect();
        eventually("both tell, and one has reported to the other", || {
            let all = status(&hosts.scene, &["--job", &hosts.job]);
            let services = all["services"].as_array().unwrap();
            services.len() == 2
                && services
                    .iter()
                    .any(|service| service["beneath"].as_array().is_some_and(|all| all.len() == 1))
        });
        fs::write(hosts.scene.home.join("gate"), "").unwrap();
        tasks.into_iter().for_each(|task| assert!(finish(task).status.success()));
        hosts.scene.assert_nothing_left();
    }
}

#[test]
fn without_a_service_there_is_nothing_to_tell() {
    for scene in scenes() {
        let output = output(&mut scene.spinney(&["status", "--job", "no such job"]));
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("no service of yours runs"), "{}", text(&output.stderr));
    }
}
