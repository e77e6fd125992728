//! Recordings of runs: what stands in them, and that it outlives who wrote it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::scene::{CONTENT, Scene, eventually, finish, kill, output, scenes, text};

/// The lines of a recording.
fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Calls by path beneath the view, operation and outcome, over all nodes and sources.
fn calls(scene: &Scene, lines: &[Value]) -> BTreeMap<(String, String, String), u64> {
    let mut calls = BTreeMap::new();
    for line in lines.iter().filter(|line| line["path"].is_string()) {
        let word = |field: &str| line[field].as_str().unwrap().to_owned();
        let path = word("path").replace(scene.env.to_str().unwrap(), "");
        *calls.entry((path, word("operation"), word("outcome"))).or_default() +=
            line["calls"].as_u64().unwrap();
    }
    calls
}

fn key(path: &str, operation: &str, outcome: &str) -> (String, String, String) {
    (path.to_owned(), operation.to_owned(), outcome.to_owned())
}

/// Reads a file three times and looks for one that is not there twice; then waits for a gate if there is to be one.
fn start(scene: &Scene, flags: &[&str], script: &str) -> Child {
    let script =
        format!("for n in 1 2 3; do cat $0/file; done; [ -e $0/nothing ]; [ -e $0/nothing ]; {script}");
    let mut run =
        scene.run(&[&["-q", "--require", "--report", "report"], flags].concat(), &["sh", "-c", &script]);
    run.arg(&scene.env).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

const WAIT: &str = "touch here-$SPINNEY_NODE; until [ -e gate ]; do sleep 0.01; done";

#[test]
fn a_report_for_which_nobody_waits_any_more_is_written_all_the_same() {
    for scene in scenes() {
        let child = start(&scene, &["--profile", "full"], WAIT);
        eventually("it waits", || scene.home.join("here-").exists());
        let daemon = scene.process("daemon-process");
        kill(daemon, libc::SIGSTOP);
        fs::write(scene.home.join("gate"), "").unwrap();
        assert!(finish(child).status.success());
        assert!(!scene.home.join("report/run.json").exists(), "the daemon was stopped");
        kill(daemon, libc::SIGCONT);
        for name in ["run.json", "recording.jsonl"] {
            eventually(name, || scene.home.join("report").join(name).exists());
        }
        scene.assert_nothing_left();
    }
}

#[test]
fn a_full_recording_has_every_access_and_no_other() {
    for scene in scenes() {
        assert!(finish(start(&scene, &["--profile", "full"], "exit 0")).status.success());
        let lines = lines(&scene.home.join("report/recording.jsonl"));
        assert_eq!((&lines[0]["mode"], &lines[0]["tag"]), (&"full".into(), &"pre-destroy".into()));
        let calls = calls(&scene, &lines);
        assert_eq!(calls.get(&key("/file", "open", "found")), Some(&3), "{calls:#?}");
        // The kernel may ask twice for one call.
        assert!(calls.get(&key("/file", "lookup", "found")) >= Some(&3), "{calls:#?}");
        assert!(calls.get(&key("/nothing", "lookup", "absent")) >= Some(&2), "{calls:#?}");
        let read =
            lines.iter().filter(|line| line["path"].as_str().is_some_and(|path| path.ends_with("/file")));
        let bytes: u64 = read.filter_map(|line| line["bytes"].as_u64()).sum();
        assert_eq!(bytes, 3 * CONTENT.len() as u64, "no opening is answered with pages of another");
        let paths: BTreeSet<&str> = calls.keys().map(|(path, ..)| path.as_str()).collect();
        assert_eq!(paths, BTreeSet::from(["", "/file", "/nothing"]));
        let tasks: Vec<&str> = lines.iter().filter_map(|line| line["command"].as_str()).collect();
        assert!(tasks.contains(&"cat") && tasks.contains(&"sh"), "{tasks:?}");
        let of_tasks = lines.iter().filter(|line| line["kind"] == "task");
        let of_tasks: u64 = of_tasks.map(|line| line["calls"].as_u64().unwrap()).sum();
        assert_eq!(of_tasks, calls.values().sum::<u64>(), "each answer was somebody's");
        let said = text(&output(&mut scene.spinney(&["profile", "report", "report"])).stdout);
        assert!(said.contains("every access of the tasks was seen") && said.contains("/nothing"), "{said}");
        scene.assert_nothing_left();
    }
}

#[test]
fn a_daemon_that_is_killed_loses_nothing_that_it_answered() {
    for scene in scenes() {
        let script = format!("{WAIT}; cat $0/file; exit 0");
        let child = start(&scene, &["--profile", "full"], &script);
        eventually("it waits", || scene.home.join("here-").exists());
        kill(scene.process("daemon-process"), libc::SIGKILL);
        fs::write(scene.home.join("gate"), "").unwrap();
        assert!(finish(child).status.success());
        let lines = lines(&scene.home.join("report/recording.jsonl"));
        let calls = calls(&scene, &lines);
        assert_eq!(calls.get(&key("/file", "open", "found")), Some(&4), "{calls:#?}");
        assert!(calls.get(&key("/nothing", "lookup", "absent")) >= Some(&2), "{calls:#?}");
        assert_eq!(lines[1]["counters"]["faults.daemon_restarts"], 1);
        scene.assert_nothing_left();
    }
}

#[test]
fn all_nodes_of_a_machine_are_in_one_recording_and_each_in_a_snapshot() {
    for scene in scenes() {
        let job = format!("snapshot{}", scene.home.display());
        let flags = ["--profile", "top=20", "--job", &job, "--local-nodes", "3"];
        let child = start(&scene, &flags, &format!("{WAIT}; exit 0"));
        eventually("all wait", || (0..3).all(|node| scene.home.join(format!("here-{node}")).exists()));
        let told = output(&mut scene.spinney(&["profile", "snapshot", "--job", &job]));
        assert!(told.status.success(), "{}", text(&told.stderr));
        let report = scene.home.join("report");
        for node in 0..3 {
            let lines = lines(&report.join(format!("snapshots/on-demand/recording-node-{node:06}.jsonl")));
            assert_eq!(lines[0]["tag"], "on-demand");
            assert!(calls(&scene, &lines).contains_key(&key("/file", "read", "found")), "node {node}");
        }
        fs::write(scene.home.join("gate"), "").unwrap();
        assert!(finish(child).status.success());
        let lines = lines(&report.join("recording.jsonl"));
        assert_eq!(
            (&lines[0]["n_nodes"], &lines[0]["missing_nodes"]),
            (&3.into(), &Value::Array(Vec::new()))
        );
        let sources: BTreeSet<&str> = lines.iter().filter_map(|line| line["source"].as_str()).collect();
        // Where another asked first, the root itself had the answer already.
        assert!(sources.contains("root"), "{sources:?}");
        let parts = fs::read_dir(&report).unwrap().flatten();
        assert_eq!(
            parts.filter(|entry| entry.file_name().to_string_lossy().starts_with("recording")).count(),
            1
        );
        scene.assert_nothing_left();
    }
}

#[test]
fn a_view_whose_name_is_not_utf8_arrives_as_it_is() {
    for scene in scenes() {
        let view = scene.home.join(OsStr::from_bytes(b"env \xff, \"it\"\nself"));
        fs::create_dir(&view).unwrap();
        fs::write(view.join("used"), "x").unwrap();
        fs::write(view.join("unused"), "y").unwrap();
        let mut run = scene.spinney(&["run", "-q", "--require", "--report", "report", "--profile", "full"]);
        run.arg("--view").arg(&view).args(["--", "cat"]).arg(view.join("used"));
        let ran = output(&mut run);
        assert!(ran.status.success(), "{}", text(&ran.stderr));
        let lines = lines(&scene.home.join("report/recording.jsonl"));
        assert_eq!(
            (&lines[0]["views"], &lines[0]["views_bytes"]),
            (&json!([]), &json!([view.as_os_str().as_bytes()]))
        );
        let said = |words: &[&str]| {
            let said = output(&mut scene.spinney(words));
            assert!(said.status.success(), "{words:?}: {}", text(&said.stderr));
            text(&said.stdout)
        };
        let (home, one_line) = (scene.home.display(), "env \\xff, \"it\"\\nself");
        let report = said(&["profile", "report", "report"]);
        assert!(report.contains(&format!("views: {home}/{one_line}\n")), "{report}");
        let report: Value =
            serde_json::from_str(&said(&["profile", "report", "report", "--format", "json"])).unwrap();
        let of_view =
            |row: &&Value| row["directory"] == format!("{home}/{one_line}") && row["of_its"] == "files";
        let coverage = report["sections"]["coverage"].as_array().unwrap().iter().find(of_view);
        let coverage = coverage.unwrap_or_else(|| panic!("{report:#}"));
        assert_eq!((&coverage["used"], &coverage["available"]), (&json!(1), &json!(2)));
        let hot = report["sections"]["hot_data"].as_array().unwrap();
        assert_eq!(hot[0]["path"], format!("{home}/env \\xff, \"it\"\nself/used"));
        let rows = said(&["profile", "aggregate", "report"]);
        let field = format!("\"{home}/env \\xff, \"\"it\"\"\nself/used\",open,found");
        assert!(rows.contains(&field), "{rows}");
        scene.assert_nothing_left();
    }
}

#[test]
fn without_a_directory_nothing_can_be_recorded() {
    for scene in scenes() {
        let refused = output(&mut scene.run(&["--profile", "full"], &["true"]));
        assert_eq!(refused.status.code(), Some(2));
        assert!(text(&refused.stderr).contains("--profile needs --report DIR"), "{}", text(&refused.stderr));
        let none = output(&mut scene.spinney(&["profile", "report", "."]));
        assert_eq!(none.status.code(), Some(1));
        let said = "spinney: .: has no recording; `spinney run --report DIR --profile full` writes one\n";
        assert_eq!(text(&none.stderr), said);
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error_and_a_full_disk_is() {
    let scene = scenes().swap_remove(0);
    assert!(finish(start(&scene, &["--profile", "full"], "exit 0")).status.success());
    for words in [
        &["profile", "report", "report"][..],
        &["profile", "aggregate", "report"],
        &["profile", "diff", "report", "report"],
        &["env", "classify", "report"],
        &["env", "coverage", "report", "--json"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = scene.spinney(words);
        let unread = finish(command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap());
        assert_eq!((unread.status.code(), text(&unread.stderr)), (Some(0), String::new()), "{words:?}");
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = scene.spinney(words);
        let unwritten = finish(command.stdout(full).stderr(Stdio::piped()).spawn().unwrap());
        let said = text(&unwritten.stderr);
        assert_eq!(unwritten.status.code(), Some(1), "{words:?}: {said}");
        assert!(said.contains("No space left") && said.lines().count() == 1, "{words:?}: {said}");
    }
}

#[test]
fn what_is_no_whole_recording_is_refused_in_one_line_and_nothing_is_written() {
    let scene = scenes().swap_remove(0);
    assert!(finish(start(&scene, &["--profile", "full"], "exit 0")).status.success());
    let whole = fs::read_to_string(scene.home.join("report/recording.jsonl")).unwrap();
    let lines = |n: usize| whole.lines().take(n).map(|line| format!("{line}\n")).collect::<String>();
    fs::create_dir(scene.home.join("bad")).unwrap();
    for (text_of_it, want) in [
        (whole[..whole.len() - 9].to_owned(), "is cut short within this line"),
        (lines(3), "is cut short: it has no last line"),
        ("path,calls\n/a,3\n".to_owned(), "is not a recording of Spinney"),
        (whole.replacen("\"schema\":1", "\"schema\":9", 1), "use the program that wrote it"),
    ] {
        fs::write(scene.home.join("bad/recording.jsonl"), text_of_it).unwrap();
        for words in [
            &["profile", "report", "bad"][..],
            &["profile", "report", "bad", "--to", "out"],
            &["profile", "aggregate", "report", "bad"],
            &["profile", "diff", "report", "bad"],
            &["profile", "copper", "bad", "out"],
        ] {
            let said = output(&mut scene.spinney(words));
            let (stdout, stderr) = (text(&said.stdout), text(&said.stderr));
            assert_eq!((said.status.code(), stdout.as_str()), (Some(1), ""), "{words:?}: {stderr}");
            assert!(stderr.starts_with("spinney: bad/recording.jsonl"), "{words:?}: {stderr}");
            assert!(stderr.lines().count() == 1 && stderr.matches(want).count() == 1, "{words:?}: {stderr}");
            assert!(!scene.home.join("out").exists(), "{words:?}");
        }
    }
}

#[test]
fn one_broken_recording_of_several_is_told_in_one_line_and_the_others_count() {
    let scene = scenes().swap_remove(0);
    assert!(finish(start(&scene, &["--profile", "full"], "exit 0")).status.success());
    let whole = fs::read_to_string(scene.home.join("report/recording.jsonl")).unwrap();
    fs::create_dir(scene.home.join("nodes")).unwrap();
    fs::write(scene.home.join("nodes/recording-node-000000.jsonl"), &whole).unwrap();
    let newer = whole.replacen("\"schema\":1", "\"schema\":9", 1);
    fs::write(scene.home.join("nodes/recording-node-000001.jsonl"), newer).unwrap();
    let told = "spinney: nodes/recording-node-000001.jsonl:1: has layout 9; this program knows 1 and older; use the \
                program that wrote it\n";
    let missing = "**1 node is missing**: 1";
    let unread = "**1 recording could not be read in full**: nodes/recording-node-000001.jsonl\n";
    for (words, want) in [
        (&["profile", "report", "nodes"][..], &["/nothing", missing, unread][..]),
        (&["profile", "aggregate", "nodes"], &["/nothing,lookup,absent"]),
        (&["profile", "aggregate", "nodes", "report", "--report"], &["/nothing", missing, unread]),
        (&["profile", "diff", "report", "nodes"], &[unread]),
        (&["profile", "diff", "nodes", "nodes"], &[unread]),
        (&["profile", "report", "nodes", "--to", "pages"], &[]),
        (&["profile", "copper", "nodes", "copper"], &[]),
    ] {
        let said = output(&mut scene.spinney(words));
        assert_eq!((said.status.code(), text(&said.stderr).as_str()), (Some(0), told), "{words:?}");
        let stdout = text(&said.stdout);
        assert!(want.iter().all(|want| stdout.contains(want)), "{words:?}: {stdout}");
    }
    let written = fs::read_to_string(scene.home.join("pages/report.md")).unwrap();
    assert!(written.contains(missing) && written.contains(unread), "{written}");
    let of_node = fs::read_dir(scene.home.join("copper/tables/final")).unwrap().count();
    assert!(of_node > 0, "the node that can be read is there");
}

#[test]
fn a_report_is_written_in_the_format_that_is_asked_for() {
    let scene = scenes().swap_remove(0);
    assert!(finish(start(&scene, &["--profile", "full"], "exit 0")).status.success());
    let report =
        |flags: &[&str]| output(&mut scene.spinney(&[&["profile", "report", "report"], flags].concat()));
    assert!(report(&["--format", "parquet", "--to", "tables"]).status.success());
    let tables: BTreeMap<String, Vec<u8>> = fs::read_dir(scene.home.join("tables"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    assert!(tables.keys().all(|name| name.ends_with(".parquet")), "{:?}", tables.keys());
    assert!(tables.values().all(|table| table.starts_with(b"PAR1") && table.ends_with(b"PAR1")));
    let path = scene.env.join("nothing");
    let path = path.to_str().unwrap().as_bytes();
    assert!(tables["paths.parquet"].windows(path.len()).any(|part| part == path));
    assert!(
        ["operations", "classes", "coverage"]
            .iter()
            .all(|name| tables.contains_key(&format!("{name}.parquet")))
    );
    let json: Value = serde_json::from_slice(&report(&["--format", "json"]).stdout).unwrap();
    assert_eq!(json["kind"], "profile");
    let view = scene.env.to_str().unwrap();
    let files = json!({ "directory": view, "of_its": "files", "used": 1, "available": 4, "share": 0.25 });
    assert!(json["sections"]["coverage"].as_array().unwrap().contains(&files), "{json:#}");
    let probe = |class: &&Value| class["class"] == "negative_probe_path";
    let classes = json["sections"]["classes"].as_array().unwrap();
    assert_eq!(classes.iter().find(probe).unwrap()["paths"], 1, "{json:#}");
    let without: Value =
        serde_json::from_slice(&report(&["--format", "json", "--no-coverage"]).stdout).unwrap();
    assert!(without["sections"]["coverage"].is_null() && without["sections"]["classes"].is_array());
    let several = report(&["--format", "csv"]);
    assert_eq!(several.status.code(), Some(1));
    assert!(text(&several.stderr).contains("`--to OUT`") && several.stdout.is_empty());
    assert!(report(&["--to", "all"]).status.success());
    let all = ["report.md", "report.html", "report.json", "operations.csv", "paths.parquet"];
    assert!(all.iter().all(|name| scene.home.join("all").join(name).exists()));
}
