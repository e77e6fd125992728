//! Daemons without tasks and mounts (`launch::mountless`), as benchmarks start them.

use std::process::{Child, Stdio};

use serde_json::Value;

use crate::scene::{Lines, Scene, eventually, finish, kill, ordinary};

/// Eight daemons that have found each other, and what was said of that.
fn eight(scene: &Scene) -> (Child, Value) {
    let job = format!("mountless{}", scene.home.display());
    let mut command =
        scene.spinney(&["mountless-nodes", "8", &scene.shown(""), "--job", &job, "--fan-out", "2"]);
    let mut child = command
        .env("SPINNEY_KEY", "k".repeat(32))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = Lines::of(child.stdout.take().unwrap()).next().expect("they found each other");
    (child, serde_json::from_str(&said).unwrap())
}

fn daemons(scene: &Scene) -> usize {
    scene.processes().iter().filter(|(_, line)| line.contains("daemon-process")).count()
}

#[test]
fn daemons_without_mounts_are_counted_by_their_root_and_end_with_standard_input() {
    let scene = ordinary();
    let (mut child, found) = eight(&scene);
    assert_eq!(found["nodes"], 8, "{found}");
    assert_eq!(daemons(&scene), 8);
    drop(child.stdin.take());
    assert!(finish(child).status.success());
    scene.assert_nothing_left();
}

#[test]
fn daemons_without_mounts_end_when_whoever_started_them_is_killed() {
    let scene = ordinary();
    let (child, _) = eight(&scene);
    kill(child.id() as i32, libc::SIGKILL);
    finish(child);
    eventually("they end", || daemons(&scene) == 0);
    scene.assert_nothing_left();
}
