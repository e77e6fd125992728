//! `spinney refresh`: every node sees what has changed on storage.

use std::fs;
use std::process::{Child, Stdio};

use crate::named_hosts::named_hosts;
use crate::scene::{Lines, Scene, finish, output, scenes, text};
use crate::semantics::tree::settle;

/// Says what names lead to, once for each file `ask-0`, `ask-1`, ... that comes, until there is a file `gate`.
const ASKED: &str = "n=0; while [ ! -e gate ]; do
    if [ -e ask-$n ]; then said=
    for f in old sub/old new sub/new gone dir; do
    if [ -d $0/$f ]; then said=\"$said$f=dir \"; else said=\"$said$f=$(cat $0/$f 2>/dev/null || echo none) \"; fi; done
    echo \"$said\"; n=$((n + 1)); fi; sleep 0.01; done";

fn furnish(scene: &Scene) {
    fs::create_dir(scene.env.join("sub")).unwrap();
    for name in ["old", "sub/old", "gone"] {
        fs::write(scene.env.join(name), "1").unwrap();
    }
    fs::create_dir(scene.env.join("dir")).unwrap();
    // So old that it is trusted.
    settle(&scene.env);
}

/// Replaces, adds and removes names, in the root of the view and beneath it.
fn change(scene: &Scene) {
    for name in ["old", "sub/old", "new", "sub/new"] {
        fs::write(scene.env.join("beside"), "2").unwrap();
        fs::rename(scene.env.join("beside"), scene.env.join(name)).unwrap();
    }
    fs::remove_file(scene.env.join("gone")).unwrap();
    fs::remove_dir(scene.env.join("dir")).unwrap();
    fs::write(scene.env.join("dir"), "file").unwrap();
}

const BEFORE: &str = "old=1 sub/old=1 new=none sub/new=none gone=1 dir=dir ";
const AFTER: &str = "old=2 sub/old=2 new=2 sub/new=2 gone=none dir=file ";

fn ask(scene: &Scene, lines: &Lines, number: u32, tasks: usize, answer: &str) {
    fs::write(scene.home.join(format!("ask-{number}")), "").unwrap();
    for _ in 0..tasks {
        assert_eq!(lines.next().as_deref(), Some(answer), "{}", scene.who());
    }
}

fn refresh(scene: &Scene, words: &[&str]) -> (Option<i32>, String) {
    let output = output(&mut scene.spinney(&[&["refresh"], words].concat()));
    (output.status.code(), text(&output.stderr))
}

#[test]
fn every_node_sees_what_has_changed_and_not_before() {
    for scene in scenes() {
        furnish(&scene);
        let job = format!("refresh{}", scene.home.display());
        for (flags, tasks) in [(&["--local-nodes", "3", "--fan-out", "1"][..], 3), (&[], 1)] {
            let flags = [&["-q", "--require", "--job", &job], flags].concat();
            let env = scene.env.to_str().unwrap();
            let mut command = scene.run(&flags, &["sh", "-c", ASKED, env]);
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            let lines = Lines::of(child.stdout.take().unwrap());
            ask(&scene, &lines, 0, tasks, BEFORE);
            change(&scene);
            ask(&scene, &lines, 1, tasks, BEFORE);
            assert_eq!(refresh(&scene, &["--job", &job]), (Some(0), String::new()));
            ask(&scene, &lines, 2, tasks, AFTER);
            fs::write(scene.home.join("gate"), "").unwrap();
            assert!(finish(child).status.success());
            scene.assert_nothing_left();
            for name in ["gate", "ask-0", "ask-1", "ask-2"] {
                fs::remove_file(scene.home.join(name)).unwrap();
            }
            for name in ["new", "sub/new", "dir"] {
                fs::remove_file(scene.env.join(name)).unwrap();
            }
            fs::remove_dir_all(scene.env.join("sub")).unwrap();
            furnish(&scene);
        }
    }
}

#[test]
fn one_path_is_refreshed_and_the_others_stay() {
    for scene in scenes() {
        furnish(&scene);
        let job = format!("path{}", scene.home.display());
        let env = scene.env.to_str().unwrap();
        let mut command = scene.run(&["-q", "--require", "--job", &job], &["sh", "-c", ASKED, env]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = Lines::of(child.stdout.take().unwrap());
        ask(&scene, &lines, 0, 1, BEFORE);
        change(&scene);
        assert_eq!(refresh(&scene, &["--job", &job, &scene.shown("sub")]).0, Some(0));
        ask(&scene, &lines, 1, 1, "old=1 sub/old=2 new=none sub/new=2 gone=1 dir=dir ");
        let (code, said) = refresh(&scene, &["--job", &job, "/elsewhere"]);
        assert_eq!(code, Some(1));
        assert!(said.contains("\"/elsewhere\" is in no view"), "{said}");
        fs::write(scene.home.join("gate"), "").unwrap();
        assert!(finish(child).status.success());
        scene.assert_nothing_left();
    }
}

#[test]
fn hosts_tell_each_other_and_one_that_is_not_there_is_named() {
    for hosts in named_hosts(3) {
        let scene = &hosts.scene;
        furnish(scene);
        let env = scene.env.to_str().unwrap();
        let start = |number: u32| -> (Child, Lines) {
            let mut command = hosts.run(number, &["-q"], &["sh", "-c", ASKED, env]);
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            let lines = Lines::of(child.stdout.take().unwrap());
            (child, lines)
        };
        let tasks: Vec<_> = (0..2).map(start).collect();
        fs::write(scene.home.join("ask-0"), "").unwrap();
        tasks.iter().for_each(|(_, lines)| assert_eq!(lines.next().as_deref(), Some(BEFORE)));
        change(scene);
        let (code, said) = refresh(scene, &["--job", &hosts.job]);
        assert_eq!((code, said.as_str()), (Some(1), "spinney: node 2 could not be told\n"));
        fs::write(scene.home.join("ask-1"), "").unwrap();
        tasks.iter().for_each(|(_, lines)| assert_eq!(lines.next().as_deref(), Some(AFTER)));
        fs::write(scene.home.join("gate"), "").unwrap();
        tasks.into_iter().for_each(|(task, _)| assert!(finish(task).status.success()));
        scene.assert_nothing_left();
    }
}
