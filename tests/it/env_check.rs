//! `spinney env check`: what it prints for a broken set of variables, and for a sound one.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::Value;

use crate::env_scene::{RecordingScene, row};
use crate::scene::text;

/// A virtual environment and libraries beside it.
fn checked() -> (RecordingScene, String) {
    let scene = RecordingScene::new();
    let home = scene.home().to_str().unwrap().to_owned();
    for directory in ["base/bin", "base/lib/python3.11", "env/bin", "env/lib/python3.11/site-packages"] {
        fs::create_dir_all(scene.home().join(directory)).unwrap();
    }
    for library in ["gcc/9.3/lib/libgcc.so.1", "gcc/12.2/lib/libgcc.so.1", "lib/libz.so.1"] {
        let path = scene.home().join(library);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    let python = scene.home().join("base/bin/python3.11");
    fs::write(&python, "\x7fELF").unwrap();
    fs::set_permissions(&python, PermissionsExt::from_mode(0o755)).unwrap();
    symlink(&python, scene.home().join("env/bin/python3")).unwrap();
    fs::write(scene.home().join("env/pyvenv.cfg"), format!("home = {home}/base/bin\nversion = 3.11.2\n"))
        .unwrap();
    symlink(scene.home().join("lib"), scene.home().join("alias")).unwrap();
    (scene, home)
}

#[test]
fn the_text_tells_every_fault_and_what_to_paste() {
    let (scene, home) = checked();
    let rows = [
        row(&format!("{home}/none/libz.so.1"), "lookup", "absent", 1200, 0),
        row(&format!("{home}/gcc/12.2/lib/libz.so.1"), "lookup", "absent", 600, 0),
        row(&format!("{home}/env/lib/python311.zip"), "lookup", "absent", 4, 0),
    ];
    scene.write("recording.jsonl", "full", &rows);
    let path = format!("{home}/env/bin:{home}/env/bin:/usr/bin");
    let libraries = format!("{home}/gcc/12.2/lib:{home}/gcc/9.3/lib:{home}/none:{home}/lib:{home}/alias:");
    let variables = [("PATH", path.as_str()), ("LD_LIBRARY_PATH", &libraries)];
    let output = scene.env_with(&variables, &["check", "--recording", "recording.jsonl"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    insta::assert_snapshot!("env-check", text(&output.stdout).replace(&home, "/sw"));
    let output = scene.env_with(&variables, &["check", "--shell", "csh", "--json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["steps"][0]["lines"][0], format!("setenv PATH {home}/env/bin:/usr/bin"));
}

#[test]
fn a_sound_environment_ends_with_0() {
    let (scene, home) = checked();
    let path = format!("{home}/env/bin:/usr/bin");
    let output = scene.env_with(&[("PATH", &path)], &["check", "--", "python3", "train.py"]);
    assert!(output.status.success(), "{}", text(&output.stdout));
    insta::assert_snapshot!("env-check-sound", text(&output.stdout).replace(&home, "/sw"));
}
