//! `spinney env coverage`: what it prints and writes.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::Value;

use crate::env_scene::{RecordingScene, row};
use crate::scene::text;

/// An environment with one package, and a recording that used some of it through `lib64`.
fn covered() -> RecordingScene {
    let scene = RecordingScene::new();
    let env = scene.home().join("env");
    let site = env.join("lib/python3.11/site-packages");
    fs::create_dir_all(site.join("num-2.0.dist-info")).unwrap();
    fs::create_dir_all(site.join("num")).unwrap();
    fs::write(site.join("num/__init__.py"), "x".repeat(1000)).unwrap();
    fs::write(site.join("num/core.so"), "x".repeat(20_000)).unwrap();
    fs::write(site.join("num-2.0.dist-info/RECORD"), "num/__init__.py,,\nnum/core.so,,\n").unwrap();
    fs::write(env.join("lib/python3.11/os.py"), "x".repeat(3000)).unwrap();
    symlink("lib", env.join("lib64")).unwrap();
    let at = |name: &str| env.join(name).to_str().unwrap().to_owned();
    let rows = [
        row(&at("lib64/python3.11/site-packages/num/__init__.py"), "read", "found", 4, 4000),
        row(&at("lib/python3.11/os.py"), "lookup", "found", 4, 0),
        row(&at("lib/libx.so"), "lookup", "absent", 4, 0),
        row("/elsewhere", "lookup", "found", 1, 0),
    ];
    scene.write("recording.jsonl", "full", &rows);
    scene
}

#[test]
fn the_text_tells_roots_and_packages_and_what_it_does_not_mean() {
    let scene = covered();
    let output = scene.env(&["coverage", "--root", "env", "recording.jsonl"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let text = text(&output.stdout).replace(scene.home().to_str().unwrap(), "~");
    assert!(text.contains("It does not mean that the rest can be deleted"));
    insta::assert_snapshot!("env-coverage", text);
}

#[test]
fn coppers_lists_are_written_beside_the_other_forms() {
    let scene = covered();
    let output = scene.env(&["coverage", "--json", "--root", "env", "--copper", "out", "recording.jsonl"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["total"]["files"], &json["total"]["files_used"]), (&4.into(), &2.into()));
    let mut names: Vec<_> =
        fs::read_dir(scene.home().join("out")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "all_possible_existing_paths.txt",
            "missing_probe_paths.txt",
            "paths_summary.md",
            "roots_and_counts.txt",
            "same_run_candidate_not_observed_existing_paths.txt",
            "used_paths_existing.txt",
        ]
    );
}

#[test]
fn a_root_that_is_not_there_is_told_and_the_others_count() {
    let scene = covered();
    let output = scene.env(&["coverage", "--csv", "--root", "env", "--root", "none", "recording.jsonl"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("/none: No such file"), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("package,num,2.0,pip,2,1,1,"), "{}", text(&output.stdout));
}
