//! `spinney env classify`: what it prints, and what it does with recordings that it cannot read.

use std::fs;

use serde_json::Value;

use crate::env_scene::{RecordingScene, row};
use crate::scene::text;

const SITE: &str = "/opt/env/lib/python3.11/site-packages";

fn recorded() -> RecordingScene {
    let scene = RecordingScene::new();
    let rows = [
        row("/opt/env", "lookup", "found", 40, 0),
        row("/opt/env/lib/python311.zip", "lookup", "absent", 4, 0),
        row("/opt/env/lib/libhsa.so", "lookup", "absent", 1200, 0),
        row("/opt/env/lib/python3.11/os.py", "read", "found", 4, 39_000),
        row("/opt/env/lib/python3.11/json/__init__.py", "read", "found", 4, 12_000),
        row(&format!("{SITE}/torch/__init__.py"), "read", "found", 8, 90_000),
        row(&format!("{SITE}/torch/lib/libtorch.so"), "read", "found", 8, 420_000_000),
        row(&format!("{SITE}/six-1.16.dist-info/METADATA"), "read", "found", 4, 1_800),
        row("/opt/env/a \"quoted\", name\nof two lines", "lookup", "found", 2, 0),
    ];
    scene.write("recording.jsonl", "full", &rows);
    scene
}

#[test]
fn the_text_tells_classes_and_their_busiest_paths() {
    let output = recorded().env(&["classify", "."]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let text = text(&output.stdout);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    insta::assert_snapshot!("env-classify", text);
}

#[test]
fn values_and_json_hold_the_same_sums() {
    let scene = recorded();
    let json: Value = serde_json::from_slice(&scene.env(&["classify", "--json", "."]).stdout).unwrap();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["total"]["calls"], 1274);
    assert_eq!(json["is_lower_bound"], false);
    let csv = text(&scene.env(&["classify", "--csv", "."]).stdout);
    let calls = csv.lines().skip(1).map(|line| line.split(',').nth(2).unwrap().parse::<u64>().unwrap());
    assert_eq!(calls.sum::<u64>(), 1274, "{csv}");
}

#[test]
fn a_recording_that_is_not_full_is_a_lower_bound_in_every_form() {
    let scene = recorded();
    scene.write("recording-2.jsonl", "top", &[row("/opt/env/x", "lookup", "found", 1, 0)]);
    for form in [&["classify", "."][..], &["classify", "--csv", "."], &["classify", "--json", "."]] {
        let output = scene.env(form);
        assert!(output.status.success());
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(said.contains("lower bound: recorded with mode `top`"), "{form:?}: {said}");
    }
}

#[test]
fn what_cannot_be_read_is_one_line_each_and_the_rest_counts() {
    let scene = recorded();
    fs::write(scene.home().join("recording-cut.jsonl"), "{\"schema\":1,").unwrap();
    let output = scene.env(&["classify", "--csv", "."]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("spinney: ./recording-cut.jsonl:1: is not a recording"), "{said}");
    assert!(text(&output.stdout).contains("native:torch,1,8,"));
    let output = scene.env(&["classify", "recording-cut.jsonl"]);
    let said = "spinney: recording-cut.jsonl:1: is not a recording of Spinney\n".to_owned();
    assert_eq!((output.status.code(), output.stdout, text(&output.stderr)), (Some(1), Vec::new(), said));
}

#[test]
fn rules_that_make_no_sense_are_an_error_of_usage() {
    let scene = recorded();
    fs::write(scene.home().join("rules.toml"), "[[rule]]\nclass = \"x\"\npath = [\"lib\"]\n").unwrap();
    let output = scene.env(&["classify", "--rules", "rules.toml", "."]);
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!("env-rules-refused", text(&output.stderr));
}
