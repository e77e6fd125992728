//! `spinney up` and `down`: a service that outlives the runs that use it.

use std::fs;
use std::process::{Child, Output, Stdio};

use serde_json::Value;

use crate::named_hosts::named_hosts;
use crate::scene::{CONTENT, Lines, Scene, eventually, finish, kill, output, scenes, text};
use crate::semantics::tree::settle;

/// Says that it runs and waits for a file `gate`.
const WAITING: &str = "echo waits; until [ -e gate ]; do sleep 0.01; done";

/// A job of the scene's own: other tests, or people, may have a service of this machine.
fn job(scene: &Scene) -> String {
    format!("kept{}", scene.home.display())
}

fn up(scene: &Scene, flags: &[&str]) -> Output {
    let job = job(scene);
    let env = scene.env.to_str().unwrap();
    output(&mut scene.spinney(&[&["up", "--job", &job, "--view", env], flags].concat()))
}

fn assert_up(scene: &Scene, flags: &[&str], n_nodes: u32) {
    let up = up(scene, flags);
    let said = text(&up.stderr);
    assert!(up.status.success(), "{}: {said}", scene.who());
    assert!(said.starts_with(&format!("spinney: {n_nodes} node")), "{said}");
    assert!(said.contains("ready after") && said.contains("`spinney down`"), "{said}");
    assert_eq!(text(&up.stdout), "");
}

fn run(scene: &Scene, flags: &[&str], command: &[&str]) -> Output {
    let job = job(scene);
    output(&mut scene.run(&[&["--job", &job], flags].concat(), command))
}

fn down(scene: &Scene) -> Output {
    let job = job(scene);
    output(&mut scene.spinney(&["down", "--job", &job]))
}

fn assert_down(scene: &Scene) {
    let down = down(scene);
    assert!(down.status.success(), "{}: {}", scene.who(), text(&down.stderr));
    assert_eq!(text(&down.stderr), "");
    scene.assert_nothing_left();
}

fn services(scene: &Scene) -> Vec<Value> {
    let job = job(scene);
    let said = output(&mut scene.spinney(&["status", "--json", "--job", &job]));
    let said: Value = serde_json::from_slice(&said.stdout).unwrap();
    said["services"].as_array().unwrap().clone()
}

fn waiting(scene: &Scene, flags: &[&str]) -> Child {
    let job = job(scene);
    let mut command = scene.run(&[&["--job", &job], flags].concat(), &["sh", "-c", WAITING]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert_eq!(Lines::of(child.stdout.take().unwrap()).next().as_deref(), Some("waits"));
    child
}

fn let_go(scene: &Scene, child: Child) {
    fs::write(scene.home.join("gate"), "").unwrap();
    assert!(finish(child).status.success());
}

#[test]
fn what_one_run_has_read_the_next_finds_in_memory() {
    for scene in scenes() {
        settle(&scene.env);
        assert_up(&scene, &[], 1);
        let calls = || services(&scene)[0]["storage"]["read_calls"].as_u64().unwrap();
        let mut before = None;
        for _ in 0..3 {
            let run = run(&scene, &["--require"], &["cat", &scene.shown("file")]);
            assert_eq!(text(&run.stdout), CONTENT, "{}", text(&run.stderr));
            assert!(text(&run.stderr).contains(" requests"), "a line at the end: {}", text(&run.stderr));
            let now = calls();
            assert_eq!(*before.get_or_insert(now), now, "storage was read again");
        }
        let service = &services(&scene)[0];
        assert_eq!((&service["kept"], &service["tasks"]["ended"]), (&Value::from(true), &Value::from(3)));
        assert_down(&scene);
    }
}

#[test]
fn the_environment_of_a_command_is_found_from_where_up_was_called() {
    for scene in scenes() {
        let made = output(scene.native("python3").args(["-m", "venv", "--without-pip", "mine"]));
        assert!(made.status.success(), "{}", text(&made.stderr));
        let job = job(&scene);
        let up = output(&mut scene.spinney(&["up", "--job", &job, "--", "mine/bin/python3"]));
        assert!(up.status.success(), "{}: {}", scene.who(), text(&up.stderr));
        let views = &services(&scene)[0]["views"];
        let mine = fs::canonicalize(scene.home.join("mine")).unwrap();
        assert_eq!(views[0], mine.to_str().unwrap(), "{}", scene.who());
        assert_down(&scene);
    }
}

#[test]
fn nodes_of_one_machine_come_up_together_and_runs_find_theirs() {
    for scene in scenes() {
        assert_up(&scene, &["--local-nodes", "3"], 3);
        let connected = |service: &Value| {
            service["tree"]["shards"].as_array().unwrap().iter().all(|shard| shard["asks"] == shard["parent"])
        };
        assert_eq!(services(&scene).iter().filter(|service| connected(service)).count(), 3);
        let nodes = run(&scene, &["--local-nodes", "3"], &["sh", "-c", "echo $SPINNEY_NODE"]);
        let mut numbers: Vec<&str> = std::str::from_utf8(&nodes.stdout).unwrap().split_whitespace().collect();
        numbers.sort_unstable();
        assert_eq!(numbers, ["0", "1", "2"]);
        let one = run(&scene, &["--require"], &["cat", &scene.shown("file")]);
        assert_eq!(text(&one.stdout), CONTENT);
        assert_eq!(
            services(&scene).iter().map(|service| service["tasks"]["ended"].as_u64().unwrap()).sum::<u64>(),
            4,
            "all of them ran in the service"
        );
        assert_down(&scene);
    }
}

#[test]
fn a_run_that_wants_something_else_gets_a_service_of_its_own() {
    for scene in scenes() {
        assert_up(&scene, &["--local-nodes", "2"], 2);
        let more = run(&scene, &["-v", "--local-nodes", "3"], &["cat", &scene.shown("file")]);
        assert_eq!(text(&more.stdout), CONTENT.repeat(3));
        assert!(text(&more.stderr).contains("founding one for this run"), "{}", text(&more.stderr));
        let other = scene.home.join("other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("file"), "another\n").unwrap();
        let job = job(&scene);
        let file = other.join("file");
        let mut elsewhere = scene.spinney(&["run", "-q", "--require", "--job", &job, "--view"]);
        elsewhere.arg(&other).args(["--", "cat"]).arg(&file);
        assert_eq!(text(&output(&mut elsewhere).stdout), "another\n");
        assert_eq!(services(&scene).iter().filter(|service| service["kept"] == true).count(), 2);
        assert_down(&scene);
    }
}

#[test]
fn what_is_up_is_not_started_twice() {
    for scene in scenes() {
        assert_up(&scene, &["--local-nodes", "2"], 2);
        let again = up(&scene, &["--local-nodes", "2"]);
        assert!(again.status.success(), "{}", text(&again.stderr));
        assert!(text(&again.stderr).contains("up already"), "{}", text(&again.stderr));
        let other = up(&scene, &["--local-nodes", "3"]);
        assert_eq!(other.status.code(), Some(125));
        assert!(text(&other.stderr).contains("hint: `spinney down`"), "{}", text(&other.stderr));
        assert_eq!(services(&scene).len(), 2);
        assert_down(&scene);
        let down = down(&scene);
        assert_eq!(down.status.code(), Some(1));
        assert!(text(&down.stderr).contains("no service of `spinney up`"), "{}", text(&down.stderr));
    }
}

#[test]
fn an_idle_service_survives_its_daemon_and_its_holder() {
    for scene in scenes() {
        assert_up(&scene, &[], 1);
        for (round, role) in ["daemon-process", "holder-process", "daemon-process"].into_iter().enumerate() {
            kill(scene.process(role), libc::SIGKILL);
            eventually("the successor tells", || {
                services(&scene).first().is_some_and(|service| service["restarts"] == round + 1)
            });
            let run = run(&scene, &["--require"], &["cat", &scene.shown("file")]);
            assert_eq!(text(&run.stdout), CONTENT, "{role}: {}", text(&run.stderr));
        }
        assert_eq!(services(&scene)[0]["tasks"]["ended"], 3, "all in the same service");
        assert_down(&scene);
    }
}

#[test]
fn a_service_whose_keeper_is_killed_goes_and_the_next_up_mends_it() {
    for scene in scenes() {
        assert_up(&scene, &["--local-nodes", "3"], 3);
        let (keeper, _) = scene
            .processes()
            .into_iter()
            .find(|(_, line)| line.contains("keeper-process"))
            .expect("keepers run");
        kill(keeper, libc::SIGKILL);
        eventually("its node ends", || services(&scene).len() == 2);
        let again = up(&scene, &["--local-nodes", "3"]);
        let said = text(&again.stderr);
        assert!(again.status.success(), "{said}");
        assert!(said.contains("ending what is left of an earlier service that has lost nodes"), "{said}");
        assert_eq!(services(&scene).len(), 3);
        assert_down(&scene);
    }
}

#[test]
fn tasks_go_on_after_down_and_later_runs_are_not_let_in() {
    for scene in scenes() {
        assert_up(&scene, &[], 1);
        let task = waiting(&scene, &["--require"]);
        let down = down(&scene);
        assert_eq!(down.status.code(), Some(1));
        assert!(text(&down.stderr).contains("tasks still run in the service: 1"), "{}", text(&down.stderr));
        let later = run(&scene, &["--require"], &["cat", &scene.shown("file")]);
        assert_eq!(text(&later.stdout), CONTENT, "{}", text(&later.stderr));
        let kept: Vec<Value> =
            services(&scene).into_iter().filter(|service| service["kept"] == true).collect();
        assert_eq!(kept[0]["tasks"]["ended"], 0, "the later run had a service of its own");
        let_go(&scene, task);
        scene.assert_nothing_left();
    }
}

#[test]
fn a_service_that_nobody_uses_goes_by_itself() {
    for scene in scenes() {
        assert_up(&scene, &["--linger", "200ms"], 1);
        scene.assert_nothing_left();
        let run = run(&scene, &["--linger", "1s"], &["cat", &scene.shown("file")]);
        assert_eq!(text(&run.stdout), CONTENT, "{}", text(&run.stderr));
        assert_eq!(services(&scene)[0]["kept"], true, "it stays for runs to come");
        scene.assert_nothing_left();
    }
}

#[test]
fn a_service_of_several_hosts_is_ready_with_the_last_and_ends_from_any() {
    for hosts in named_hosts(2) {
        let up = |number| {
            let mut command = hosts.up(number);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let first = up(0);
        for said in [up(1), first].map(finish) {
            assert!(said.status.success(), "{}", text(&said.stderr));
            assert!(text(&said.stderr).contains("2 nodes are ready"), "{}", text(&said.stderr));
        }
        let run = output(&mut hosts.run(1, &[], &["cat", &hosts.scene.shown("file")]));
        assert_eq!(text(&run.stdout), CONTENT, "{}", text(&run.stderr));
        let mut down = hosts.on(1);
        let said = output(down.args(["down", "--job", &hosts.job]));
        assert!(said.status.success(), "{}", text(&said.stderr));
        hosts.scene.assert_nothing_left();
    }
}

#[test]
fn up_says_what_is_missing() {
    for scene in scenes() {
        let nothing = output(&mut scene.spinney(&["up", "--job", &job(&scene), "--", "true"]));
        assert_eq!(nothing.status.code(), Some(125));
        assert!(text(&nothing.stderr).contains("--view DIR"), "{}", text(&nothing.stderr));
        let wrong = output(&mut scene.spinney(&["up", "--view", "/no/such", "--linger", "soon"]));
        assert_eq!(wrong.status.code(), Some(2));
        scene.assert_nothing_left();
    }
}
