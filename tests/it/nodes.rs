//! Several nodes on this machine (`--local-nodes`), and lists of nodes that cannot be.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Stdio};

use crate::scene::{Lines, Scene, eventually, finish, kill, ordinary, output, pid_of, scenes, state, text};

/// Waits until all tasks are there, so that those of a node are inside at one time.
const MEET: &str =
    "touch here-$SPINNEY_TASK; until [ $(ls -d here-* | wc -l) -ge $0 ]; do sleep 0.01; done; ";

/// Says its number and `ready`, then its number and the name of each signal it gets, until there is a file `gate`.
const COUNTING: &str = "for s in TERM INT USR1; do trap \"echo $SPINNEY_TASK $s\" $s; done; \
    echo $SPINNEY_TASK ready; until [ -e gate ]; do sleep 0.01; done";

/// Starts [`COUNTING`] as two tasks on each of two nodes, in a process group of its own.
fn counting(scene: &Scene) -> (Child, Lines) {
    let mut command =
        scene.run(&["-q", "--local-nodes", "2", "--tasks-per-node", "2"], &["bash", "-c", COUNTING]);
    let mut child = command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = Lines::of(child.stdout.take().unwrap());
    all_say(&lines, "ready");
    (child, lines)
}

/// Each of four tasks says `word`, once.
fn all_say(lines: &Lines, word: &str) {
    let said: BTreeSet<String> = (0..4).map(|_| lines.next().expect("a line")).collect();
    assert_eq!(said, (0..4).map(|task| format!("{task} {word}")).collect());
}

fn rest(scene: &Scene, child: Child, lines: &Lines) {
    fs::write(scene.home.join("gate"), "").unwrap();
    assert_eq!(lines.next(), None, "more than once");
    assert!(finish(child).status.success(), "{}", scene.who());
    fs::remove_file(scene.home.join("gate")).unwrap();
}

/// Processes in this `role`.
fn in_role(scene: &Scene, role: &str) -> Vec<i32> {
    let all = scene.processes().into_iter().filter(|(_, line)| line.contains(role));
    all.map(|(pid, _)| pid).collect()
}

#[test]
fn each_task_of_each_node_knows_its_number_and_nodes_have_views_of_their_own() {
    for scene in scenes() {
        let script =
            format!("{MEET} echo $SPINNEY_TASK $SPINNEY_NODE $(readlink /proc/self/ns/mnt) $(cat $1)");
        let flags = ["--require", "--local-nodes", "4", "--tasks-per-node", "2"];
        let output = output(&mut scene.run(&flags, &["sh", "-c", &script, "8", &scene.shown("file")]));
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{stderr}");
        let mut said: Vec<Vec<&str>> = stdout.lines().map(|line| line.split(' ').collect()).collect();
        said.sort();
        let numbers: Vec<String> = said.iter().map(|words| words[..2].join(" ")).collect();
        assert_eq!(numbers, ["0 0", "1 0", "2 1", "3 1", "4 2", "5 2", "6 3", "7 3"], "{}", scene.who());
        assert!(
            said.iter().all(|words| words[3..].join(" ") == crate::scene::CONTENT.trim_end()),
            "{stdout}"
        );
        assert!(said.chunks(2).all(|node| node[0][2] == node[1][2]), "one view per node: {stdout}");
        assert_eq!(said.iter().map(|words| words[2]).collect::<BTreeSet<_>>().len(), 4, "{stdout}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.contains(": 4 nodes, ") && stderr.contains(" 8 tasks, "), "{stderr}");
        scene.assert_nothing_left();
    }
}

#[test]
fn the_first_task_that_did_not_end_with_0_decides_how_the_whole_ends() {
    for scene in scenes() {
        for (script, code, signal) in [
            ("exit 0", Some(0), None),
            ("test $SPINNEY_TASK != 3 || exit 9", Some(9), None),
            ("exit $((SPINNEY_TASK * 20))", Some(20), None),
            ("test $SPINNEY_TASK = 0 || kill -TERM $$", None, Some(libc::SIGTERM)),
        ] {
            let flags = ["-q", "--local-nodes", "2", "--tasks-per-node", "2"];
            let status = output(&mut scene.run(&flags, &["sh", "-c", script])).status;
            assert_eq!((status.code(), status.signal()), (code, signal), "{}: {script}", scene.who());
        }
        scene.assert_nothing_left();
    }
}

#[test]
fn the_first_task_has_standard_input_and_the_others_have_none() {
    let scene = ordinary();
    let typed = scene.native("echo").arg("typed").stdout(Stdio::piped()).spawn().unwrap().stdout.unwrap();
    let mut command = scene.run(&["-q", "--local-nodes", "3"], &["sh", "-c", "echo $SPINNEY_TASK $(cat)"]);
    let output = output(command.stdin(typed));
    let stdout = text(&output.stdout);
    assert_eq!(stdout.lines().collect::<BTreeSet<_>>(), BTreeSet::from(["0 typed", "1", "2"]));
    scene.assert_nothing_left();
}

#[test]
fn a_signal_for_the_launcher_alone_reaches_every_command_once() {
    for scene in scenes() {
        let (child, lines) = counting(&scene);
        for (name, signal) in [("TERM", libc::SIGTERM), ("INT", libc::SIGINT), ("USR1", libc::SIGUSR1)] {
            kill(pid_of(&child), signal);
            all_say(&lines, name);
        }
        rest(&scene, child, &lines);
        scene.assert_nothing_left();
    }
}

#[test]
fn a_signal_for_the_process_group_reaches_every_command_once() {
    for scene in scenes() {
        let (child, lines) = counting(&scene);
        for (name, signal) in [("INT", libc::SIGINT), ("TERM", libc::SIGTERM)] {
            kill(-pid_of(&child), signal);
            all_say(&lines, name);
        }
        // One for the launcher alone comes after all that, and so late that second copies would have come.
        kill(pid_of(&child), libc::SIGUSR1);
        all_say(&lines, "USR1");
        rest(&scene, child, &lines);
        scene.assert_nothing_left();
    }
}

#[test]
fn the_launcher_stops_with_its_tasks_and_goes_on_with_them() {
    let scene = ordinary();
    let (child, lines) = counting(&scene);
    let launcher = pid_of(&child);
    for (stop, stopped, continued) in [
        (libc::SIGTSTP, launcher, launcher),
        (libc::SIGTSTP, -launcher, -launcher),
        (libc::SIGSTOP, -launcher, -launcher),
    ] {
        kill(stopped, stop);
        eventually("the launcher stops", || state(launcher) == 'T');
        kill(continued, libc::SIGCONT);
        kill(launcher, libc::SIGUSR1);
        all_say(&lines, "USR1");
    }
    rest(&scene, child, &lines);
    scene.assert_nothing_left();
}

#[test]
fn killing_the_launcher_kills_every_task_and_leaves_nothing() {
    for scene in scenes() {
        let (mut child, lines) = counting(&scene);
        kill(pid_of(&child), libc::SIGKILL);
        assert_eq!(lines.next(), None, "a task lived on");
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        scene.assert_nothing_left();
    }
}

#[test]
fn one_report_tells_of_all_nodes() {
    for scene in scenes() {
        for (name, flags) in [("shown", &[][..]), ("direct", &["--way", "direct"])] {
            let flags =
                [flags, &["-q", "--report", name, "--local-nodes", "3", "--tasks-per-node", "2"]].concat();
            let script = format!("{MEET} exit $((SPINNEY_TASK == 3 ? 5 : 0))");
            let ended = output(&mut scene.run(&flags, &["sh", "-c", &script, "6"]));
            assert_eq!(ended.status.code(), Some(5), "{}", text(&ended.stderr));
            let report = fs::read(scene.home.join(name).join("run.json")).unwrap();
            let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
            assert_eq!(report["exit_code"], 5, "{name}");
            assert_eq!(report["missing_nodes"], serde_json::json!([]), "{name}");
            let nodes = report["nodes"].as_array().unwrap();
            let ranks: Vec<u64> = nodes.iter().map(|node| node["rank"].as_u64().unwrap()).collect();
            assert_eq!(ranks, [0, 1, 2], "{name}");
            let tasks = if name == "shown" { 6 } else { 0 };
            assert_eq!(report["totals"]["tasks"]["joined"], tasks, "{name}: {report}");
            let files = fs::read_dir(scene.home.join(name)).unwrap().count();
            assert_eq!(files, 1, "{name}: nothing but the one report");
            output(scene.native("sh").args(["-c", "rm here-*"]));
        }
        scene.assert_nothing_left();
    }
}

#[test]
fn what_all_nodes_would_say_is_said_once() {
    let scene = ordinary();
    let mut command =
        scene.spinney(&["run", "--local-nodes", "4", "--tasks-per-node", "2", "--", "sh", "-c"]);
    let output = output(command.arg("echo ran"));
    let stderr = text(&output.stderr);
    assert_eq!(text(&output.stdout), "ran\n".repeat(8), "{stderr}");
    assert!(stderr.starts_with("spinney: warning: ") && stderr.lines().count() == 1, "{stderr}");
}

#[test]
fn where_a_node_listens_and_its_key_outlive_its_daemon() {
    for scene in scenes() {
        let (child, lines) = counting(&scene);
        let before: BTreeSet<u64> =
            in_role(&scene, "daemon-process").into_iter().flat_map(listening).collect();
        assert_eq!(before.len(), 2, "one port for each node");
        for daemon in in_role(&scene, "daemon-process") {
            kill(daemon, libc::SIGKILL);
        }
        let mut after = BTreeSet::new();
        eventually("the successors listen", || {
            let daemons = in_role(&scene, "daemon-process");
            after = daemons.iter().copied().flat_map(listening).collect();
            after == before && daemons.iter().all(|daemon| has_key(*daemon))
        });
        rest(&scene, child, &lines);
        scene.assert_nothing_left();
    }
}

/// Inode numbers of the TCP sockets on which process `pid` listens on loopback.
fn listening(pid: i32) -> Vec<u64> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let listens =
        table.lines().filter(|line| line.contains(" 0100007F:") && line.contains(" 00000000:0000 0A "));
    let inodes: BTreeSet<u64> =
        listens.filter_map(|line| line.split_whitespace().nth(9)?.parse().ok()).collect();
    let links = descriptors(pid)
        .into_iter()
        .filter_map(|link| link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
    links.filter(|inode| inodes.contains(inode)).collect()
}

fn has_key(pid: i32) -> bool {
    descriptors(pid).iter().any(|link| link.starts_with("/memfd:spinney-key"))
}

fn descriptors(pid: i32) -> Vec<String> {
    let all = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    all.filter_map(|entry| fs::read_link(entry.path()).ok()?.into_os_string().into_string().ok()).collect()
}

#[test]
fn what_cannot_be_is_refused_once_before_anything_is_started() {
    let scene = ordinary();
    let book = scene.home.join("book");
    fs::write(&book, "elsewhere eth0 10.0.0\n").unwrap();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let twice = format!("{host},a,{host}");
    let with_this = format!("{host},a");
    for (flags, words) in [
        (&["--local-nodes", "2", "--way", "fusermount"][..], "`fusermount3`"),
        (&["--local-nodes", "2", "--view", "/nothing"], "`/nothing` cannot be a view"),
        (&["--local-nodes", "0"], "'--local-nodes <N>'"),
        (&["--local-nodes", "4096", "--tasks-per-node", "2"], "at most 4096 tasks"),
        (&["--tasks-per-node", "2"], "--local-nodes <N>"),
        (&["--local-nodes", "2", "--hosts", "a,b"], "cannot be used with"),
        (&["--job", "x", "--hosts", "other[1-3]"], "is not among the 3 hosts of the list"),
        (&["--job", "x", "--hosts", &twice], "is listed twice"),
        (&["--job", "x", "--hosts", "a[1-"], "its brackets do not match"),
        (&["--job", "x", "--hosts", "/no/such/file"], "cannot be read"),
        (&["--job", "x", "--address-book", book.to_str().unwrap()], "line 1: `10.0.0` is no address"),
        (&["--hosts", &with_this], "cannot agree on the name of their job"),
        (&["--job", "x", "--hosts", &with_this, "--interface", "hsn77"], "no interface `hsn77`"),
        (&["--fan-out", "0"], "'--fan-out <K>'"),
    ] {
        let output = output(&mut scene.run(flags, &["echo", "started"]));
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {stderr}");
        assert!(stderr.contains(words), "{flags:?}: {stderr}");
        assert_eq!(stderr.matches("error: ").count(), 1, "{flags:?}: {stderr}");
        assert!(stderr.contains("hint: ") || stderr.starts_with("error: "), "no remedy: {stderr}");
        assert!(output.stdout.is_empty(), "{flags:?}: the command was started");
    }
    let alone = output(&mut scene.run(&["--hosts", &host], &["echo", "ran"]));
    assert_eq!(text(&alone.stdout), "ran\n", "a list of this host alone: {}", text(&alone.stderr));
    scene.assert_nothing_left();
}
