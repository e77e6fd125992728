//! `spinney env slim`: a copy of what a real run used, tried for real; and what is left of one that cannot be finished.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::scene::{CONTENT, Scene, output, scenes, text};

/// Reads the file of the environment with the environment's own programs, and what it printed.
fn record(scene: &Scene) -> Vec<u8> {
    let flags = ["-q", "--require", "--profile", "full", "--report", "report"];
    let recorded = output(&mut scene.run(&flags, &words(scene, "cat").each_ref().map(String::as_str)));
    assert!(recorded.status.success(), "{}", text(&recorded.stderr));
    recorded.stdout
}

/// A command line of the environment that has `program` read its file.
fn words(scene: &Scene, program: &str) -> [String; 3] {
    let script = format!("{} {}", scene.shown(&format!("bin/{program}")), scene.shown("file"));
    [scene.shown("bin/sh"), "-c".to_owned(), script]
}

fn slim(scene: &Scene, flags: &[&str], command: &[String]) -> Output {
    let mut line = scene.spinney(&["env", "slim", "report", "--to", "slim"]);
    output(line.args(flags).args(command))
}

/// Every file beneath `directory` with its content and times.
fn all(directory: &Path) -> Vec<(std::path::PathBuf, Vec<u8>, std::time::SystemTime)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(all(&path));
        } else {
            files.push((
                path.clone(),
                fs::read(&path).unwrap(),
                path.metadata().unwrap().modified().unwrap(),
            ));
        }
    }
    files.sort();
    files
}

/// What is in the home beside the report.
fn left(scene: &Scene) -> Vec<String> {
    let names = fs::read_dir(&scene.home).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter_map(|name| name.into_string().ok()).filter(|name| name != "report").collect()
}

#[test]
fn a_copy_of_what_a_run_used_serves_that_run_and_tells_what_another_one_misses() {
    for scene in scenes() {
        assert_eq!(text(&record(&scene)), CONTENT);
        let before = all(&scene.env);
        let mut command = vec!["--verify".to_owned(), "--".to_owned()];
        command.extend(words(&scene, "cat"));
        let made = slim(&scene, &[], &command);
        let said = text(&made.stdout) + &text(&made.stderr);
        assert!(made.status.success() && said.contains("verified: "), "{}: {said}", scene.who());
        let copy = scene.home.join("slim");
        assert!(copy.join("bin/cat").exists() && copy.join("file").exists());
        assert!(!copy.join("bin/sleep").exists(), "nobody used it");
        // Another command, which the copy cannot serve.
        fs::remove_dir_all(&copy).unwrap();
        let mut command = vec!["--verify".to_owned(), "--json".to_owned(), "--".to_owned()];
        command.extend(words(&scene, "sleep"));
        command[5] = format!("{} 0; echo $?", scene.shown("bin/sleep"));
        let made = slim(&scene, &[], &command);
        let json: Value = serde_json::from_slice(&made.stdout).unwrap();
        assert_eq!(made.status.code(), Some(1), "{}: {json:#}", scene.who());
        assert_eq!(json["verified"]["missing"], serde_json::json!([scene.shown("bin/sleep")]), "{json:#}");
        let differs = json["verified"]["differences"][0].as_str().unwrap();
        assert!(differs.contains("standard output differs in line 1"), "{json:#}");
        assert_eq!(all(&scene.env), before, "the original is only read");
        assert_eq!(left(&scene), ["slim"], "nothing else is left");
        scene.assert_nothing_left();
    }
}

#[test]
fn a_recording_that_does_not_tell_all_is_refused() {
    let scene = scenes().swap_remove(0);
    let flags = ["-q", "--require", "--profile", "top=9", "--report", "report"];
    assert!(output(&mut scene.run(&flags, &["true"])).status.success());
    let refused = slim(&scene, &[], &[]);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(said.contains("recorded with mode `top`") && said.contains("hint:"), "{said}");
    assert!(left(&scene).is_empty());
}

#[test]
fn a_full_disk_leaves_nothing_of_a_copy() {
    assert!(rustix::process::geteuid().is_root(), "only root can mount a file system without room");
    let scene = scenes().swap_remove(0);
    record(&scene);
    let full = scene.home.join("full");
    fs::create_dir(&full).unwrap();
    let script = "mount -t tmpfs -o size=16k none $0; \"$@\"; echo ended $?; ls -A $0";
    let mut command = scene.native("unshare");
    command.args(["-m", "sh", "-c", script]).arg(&full).arg(&scene.binary);
    let ended = output(command.args(["env", "slim", "report", "--to", "full/slim"]));
    assert_eq!(text(&ended.stdout), "ended 1\n", "{}", text(&ended.stderr));
    assert!(text(&ended.stderr).contains("No space left on device"), "{}", text(&ended.stderr));
}

#[test]
fn a_copy_that_is_killed_half_way_does_not_look_whole() {
    for scene in scenes() {
        record(&scene);
        // The kernel kills who writes beyond the limit (SIGXFSZ): 512 bytes, in the midst of the first program.
        let mut command = scene.native("sh");
        command.args(["-c", "ulimit -f 1; exec \"$@\"", "sh"]).arg(&scene.binary);
        let ended = output(command.args(["env", "slim", "report", "--to", "slim"]));
        assert_eq!(ended.status.code(), None, "{}", text(&ended.stderr));
        let left = left(&scene);
        assert!(left.len() == 1 && left[0].starts_with(".slim.unfinished-"), "{}: {left:?}", scene.who());
        // And it is in nobody's way.
        assert!(slim(&scene, &[], &[]).status.success());
    }
}
