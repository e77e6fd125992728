//! Flags, messages and exit codes.

use std::process::Stdio;

use crate::scene::{finish, ordinary, output, scenes, text};

#[test]
fn the_help_is_the_manual() {
    let scene = ordinary();
    let help = |words: &[&str]| {
        let output = output(scene.spinney(words).env("COLUMNS", "100"));
        assert!(output.status.success());
        text(&output.stdout)
    };
    insta::assert_snapshot!("help", help(&["--help"]));
    insta::assert_snapshot!("help-run", help(&["run", "--help"]));
    insta::assert_snapshot!("help-run-short", help(&["run", "-h"]));
    insta::assert_snapshot!("help-up", help(&["up", "--help"]));
    insta::assert_snapshot!("help-doctor", help(&["doctor", "--help"]));
    for words in ["classify", "coverage", "check", "slim"] {
        insta::assert_snapshot!(format!("help-env-{words}"), help(&["env", words, "--help"]));
    }
}

#[test]
fn completions_and_the_manual_page_know_every_flag_of_run() {
    let scene = ordinary();
    for words in [&["completions", "bash"][..], &["completions", "zsh"], &["completions", "fish"], &["man"]] {
        let output = output(&mut scene.spinney(words));
        assert!(output.status.success(), "{words:?}");
        let text = text(&output.stdout).replace("\\-", "-");
        for flag in ["mount-under", "require", "cache-bytes", "local-nodes", "hosts", "log-level", "report"] {
            assert!(text.contains(flag), "{words:?} lacks --{flag}");
        }
        assert!(!text.contains("daemon-process"), "{words:?} tells of what is no user's business");
    }
}

#[test]
fn a_view_that_cannot_be_is_an_error_of_usage_and_starts_nothing() {
    for scene in scenes() {
        let file = scene.shown("file");
        for (view, words) in [
            ("/", "not software"),
            ("/proc", "not software"),
            ("/sys/kernel", "not software"),
            ("/dev/shm", "not software"),
            ("/nothing/here", "No such file"),
            (file.as_str(), "Not a directory"),
        ] {
            let output = output(&mut scene.spinney(&["run", "--view", view, "--", "echo", "started"]));
            let stderr = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{view}: {stderr}");
            assert!(stderr.starts_with("spinney: error: `") && stderr.contains(words), "{view}: {stderr}");
            assert!(stderr.contains("\nspinney: hint: "), "{view}: {stderr}");
            assert!(output.stdout.is_empty(), "{view}: the command was started");
        }
        scene.assert_nothing_left();
    }
}

#[test]
fn a_reader_that_goes_away_changes_nothing_and_a_full_disk_is_told() {
    let scene = ordinary();
    std::fs::create_dir(scene.home.join("none")).unwrap();
    for words in [
        &["status", "--json"][..],
        &["top", "--once"],
        &["completions", "bash"],
        &["man"],
        &["track", "hook", "print"],
        &["track", "filter", "test", "python", "numpy"],
        &["track", "ingest", "--store", "store", "none"],
        &["track", "report", "--store", "store"],
        &["track", "report", "--store", "store", "--format", "html"],
    ] {
        let read = output(&mut scene.spinney(words));
        assert!(!read.stdout.is_empty(), "{words:?}: {}", text(&read.stderr));
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = scene.spinney(words);
        let unread = finish(command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap());
        assert_eq!((unread.status, text(&unread.stderr)), (read.status, text(&read.stderr)), "{words:?}");
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = scene.spinney(words);
        let unwritten = finish(command.stdout(full).stderr(Stdio::piped()).spawn().unwrap());
        let said = text(&unwritten.stderr);
        assert_eq!(unwritten.status.code(), Some(1), "{words:?}: {said}");
        assert!(said.contains("cannot write to standard output: No space left"), "{words:?}: {said}");
    }
}

#[test]
fn flags_that_make_no_sense_are_errors_of_usage() {
    let scene = ordinary();
    for words in [
        &["run"][..],
        &["run", "-q", "-v", "--", "true"],
        &["run", "--cache-bytes", "many", "--", "true"],
        &["run", "--daemon-cpus", "3-1", "--", "true"],
        &["run", "--daemon-cpus", "1023", "--", "true"], // no machine of ours has so many
        &["run", "--way", "magic", "--", "true"],
        &["run", "--no-such-flag", "--", "true"],
        &["completions", "tcsh-or-so"],
    ] {
        assert_eq!(output(&mut scene.spinney(words)).status.code(), Some(2), "{words:?}");
    }
}

#[test]
fn a_view_inside_another_collapses_into_it_with_a_note() {
    let scene = ordinary();
    let inner = scene.shown("bin");
    let output = output(&mut scene.run(&["--view", &inner], &["cat", &scene.shown("file")]));
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains(&format!("view `{inner}` is inside `{}`", scene.env.display())), "{stderr}");
    scene.assert_nothing_left();
}

#[test]
fn a_command_that_is_not_there_is_127_and_one_that_cannot_be_executed_126() {
    for scene in scenes() {
        for (command, code) in [
            ("no-such-command", 127),
            ("./no-such-command", 127),
            ("/etc/passwd", 126),
            ("/etc", 126),
            ("", 127),
        ] {
            let output = output(&mut scene.run(&[], &[command]));
            let stderr = text(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "`{command}`: {stderr}");
            assert!(stderr.starts_with(&format!("spinney: error: `{command}`: ")), "{stderr}");
        }
        scene.assert_nothing_left();
    }
}

#[test]
fn without_an_environment_the_command_runs_directly_with_one_warning() {
    let scene = ordinary();
    // The shell belongs to the system, so there is nothing to show.
    let found = output(&mut scene.spinney(&["run", "--", "sh", "-c", "echo ran; exit 3"]));
    let stderr = text(&found.stderr);
    assert_eq!((found.status.code(), text(&found.stdout).as_str()), (Some(3), "ran\n"), "{stderr}");
    assert!(stderr.starts_with("spinney: warning: ") && stderr.lines().count() == 1, "{stderr}");
    assert!(stderr.contains("--view"), "no remedy: {stderr}");
    let required = output(&mut scene.spinney(&["run", "--require", "--", "sh", "-c", "echo ran"]));
    assert_eq!(required.status.code(), Some(125), "{}", text(&required.stderr));
    assert!(required.stdout.is_empty());
    let quiet = output(&mut scene.spinney(&["run", "-q", "--", "sh", "-c", "echo ran"]));
    assert!(quiet.status.success() && quiet.stderr.is_empty(), "{}", text(&quiet.stderr));
}

#[test]
fn the_key_of_the_nodes_is_not_in_the_commands_environment() {
    let scene = ordinary();
    for flags in [&["--view", scene.shown("").as_str()] as &[&str], &["--way", "direct"]] {
        let mut spinney = scene.spinney(&[&["run", "-q"], flags, &["--", "env"]].concat());
        let found =
            output(spinney.env("SPINNEY_KEY", "00112233445566778899aabbccddeeff").env("OTHER", "stays"));
        let stdout = text(&found.stdout);
        assert!(found.status.success() && stdout.contains("OTHER=stays"), "{}", text(&found.stderr));
        assert!(!stdout.contains("SPINNEY_KEY"), "{stdout}");
    }
}

#[test]
fn one_line_sums_up_at_the_end_and_none_with_q() {
    for scene in scenes() {
        let file = scene.shown("file");
        let normal = output(&mut scene.run(&[], &["cat", &file]));
        let stderr = text(&normal.stderr);
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.starts_with(&format!("spinney: {}: ", scene.env.display())), "{stderr}");
        assert!(stderr.contains(" requests, ") && stderr.contains("view ready in "), "{stderr}");
        let quiet = output(&mut scene.run(&["-q"], &["cat", &file]));
        assert!(quiet.status.success() && quiet.stderr.is_empty(), "{}", text(&quiet.stderr));
        let verbose = text(&output(&mut scene.run(&["-v"], &["cat", &file])).stderr);
        assert!(verbose.contains("(named by `--view`)") && verbose.contains("way in: "), "{verbose}");
        scene.assert_nothing_left();
    }
}

#[test]
fn a_log_is_for_the_owner_only_and_tells_of_holder_and_daemon() {
    let scene = ordinary();
    let log = scene.home.join("log");
    let output = output(&mut scene.run(&["--log", "log", "--log-level", "debug"], &["true"]));
    assert!(output.status.success(), "{}", text(&output.stderr));
    scene.assert_nothing_left();
    let told = std::fs::read_to_string(&log).unwrap();
    assert!(told.contains("role=\"holder\"") && told.contains("role=\"daemon\""), "{told}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&log).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_report_is_written_whichever_way_the_command_ran() {
    for scene in scenes() {
        for (name, flags) in [("shown", &[][..]), ("direct", &["--way", "direct"])] {
            let report = scene.home.join(name).join("deeper");
            let flags = [flags, &["--report", report.to_str().unwrap()]].concat();
            let output = output(&mut scene.run(&flags, &["sh", "-c", "exit 4"]));
            assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
            let json = std::fs::read(report.join("run.json")).unwrap();
            let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
            assert_eq!(json["exit_code"], 4, "{name}: {json}");
        }
        let output = output(&mut scene.run(&["--report", "/proc/no"], &["echo", "started"]));
        assert_eq!(output.status.code(), Some(125));
        assert!(output.stdout.is_empty(), "a report that cannot be written must be told before the run");
        scene.assert_nothing_left();
    }
}

#[test]
fn many_modules_without_bytecode_are_told_once_with_the_remedy_if_tasks_used_their_directory() {
    for scene in scenes() {
        let library = scene.env.join("lib/python3.11");
        for (package, cached) in [("used", 0), ("compiled", 120), ("unused", 0)] {
            let directory = library.join(package);
            std::fs::create_dir_all(directory.join("__pycache__")).unwrap();
            for i in 0..120 {
                std::fs::write(directory.join(format!("m{i}.py")), "").unwrap();
            }
            for i in 0..cached {
                std::fs::write(directory.join(format!("__pycache__/m{i}.cpython-311.pyc")), "").unwrap();
            }
        }
        let line = |flags: &[&str], package: &str| {
            let directory = scene.shown(&format!("lib/python3.11/{package}"));
            let listed =
                output(&mut scene.run(flags, &["ls", &directory, &format!("{directory}/__pycache__")]));
            assert!(listed.status.success(), "{}", text(&listed.stderr));
            let stderr = text(&listed.stderr);
            stderr.lines().filter(|line| line.contains("bytecode")).map(str::to_owned).collect::<Vec<_>>()
        };
        let told = line(&[], "used");
        let remedy = format!("python3 -m compileall -q {}", library.join("used").display());
        assert_eq!(told.len(), 1, "{}: {told:?}", scene.who());
        assert!(
            told[0].starts_with("spinney: warning: 120 modules") && told[0].ends_with(&remedy),
            "{told:?}"
        );
        assert!(line(&["-q"], "used").is_empty(), "{}: -q", scene.who());
        assert!(line(&[], "compiled").is_empty(), "{}: has bytecode", scene.who());
        scene.assert_nothing_left();
    }
}
