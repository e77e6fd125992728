//! Nodes of which some fail: what the tasks of the others, and their own, see of it is nothing but time.
//!
//! Not here: links that are cut (`hosts`), which node is asked when another fails (`tests` of `tree`).

use std::fs;
use std::process::Stdio;
use std::time::Instant;

use spinney::cluster::NodeRank;
use spinney::profile::recorder::Counter;
use spinney::tree::{Shape, Shard};

use crate::actor::{Actor, Ask, at};
use crate::cluster::{Cluster, counted, daemon_of, replace_daemons};
use crate::imports::{IMPORT_ALL, standard_library};
use crate::scene::{Scene, eventually, kill, ordinary, output, scenes, text};
use crate::semantics::tree::settle;
use crate::sharing::forest;

/// A scene with a [`forest`] and its checksum.
fn with_forest() -> (Scene, Ask, String) {
    let scene = ordinary();
    forest(&scene.env);
    settle(&scene.env);
    let ask = Ask::Checksum { path: at(&scene.env), times: 1 };
    let mut native = Actor::native(&scene);
    let want = native.ask(&ask);
    native.leave();
    (scene, ask, want)
}

/// The nodes in the order in which they ask each other in a chain: the root first.
fn chain(nodes: u32) -> Vec<usize> {
    let shape = Shape::chosen(nodes, None, Some(1));
    (0..nodes).map(|place| shape.at(Shard::new(0), place).get() as usize).collect()
}

#[test]
fn deaths_of_daemons_are_not_seen_by_whoever_reads_a_whole_tree_on_eight_nodes() {
    let (scene, ask, want) = with_forest();
    let flags = ["--shards", "3", "--fan-out", "2"];
    let shape = Shape::chosen(8, Some(3), Some(2));
    let roots: Vec<usize> = shape.shards().map(|shard| shape.root(shard).get() as usize).collect();
    let parent = |node: usize| shape.parent(Shard::new(0), NodeRank::new(node as u32));
    let reader =
        (0..8).find(|node| parent(*node).is_some_and(|parent| !roots.contains(&(parent.get() as usize))));
    let reader = reader.expect("one that is not beneath a root");
    let mut cluster = Cluster::start(&scene, 8, &flags);
    let tasks = cluster.tasks();
    let deaths: [(&str, Vec<usize>); 4] = [
        ("the reader's own", vec![reader]),
        ("its parent", vec![parent(reader).unwrap().get() as usize]),
        ("one root", vec![roots[0]]),
        ("all roots", roots.clone()),
    ];
    for (whose, nodes) in deaths {
        for actor in &mut cluster.actors {
            actor.begin(&ask);
        }
        let victims: Vec<i32> = nodes.iter().map(|node| tasks[*node]).collect();
        replace_daemons(&scene, &victims);
        replace_daemons(&scene, &victims);
        for (node, actor) in cluster.actors.iter_mut().enumerate() {
            assert_eq!(actor.answer(), want, "node {node}, death of {whose}");
        }
    }
    let slowest = cluster.ask_all(&Ask::Slowest);
    eprintln!("the slowest file of each node took {slowest:?} ms");
    let report = cluster.leave();
    assert_eq!(report["totals"]["faults"]["daemon_restarts"], 2 * (3 + roots.len()));
    assert_eq!(report["totals"]["faults"]["checksum_mismatches"], 0);
    assert_eq!(report["totals"]["answers"]["errors"], 0);
    scene.assert_nothing_left();
}

#[test]
fn imports_on_several_nodes_go_on_while_daemons_die_again_and_again() {
    let library = standard_library();
    let mut scene = scenes().swap_remove(0); // whose interpreter is surely readable by whoever runs the tests
    scene.env = library.clone();
    let library = library.to_str().unwrap();
    let want = output(scene.native("python3").args(["-c", IMPORT_ALL, library]));
    let words = "exec python3 -c \"$0\" \"$1\" > said.$SPINNEY_NODE 2> complained.$SPINNEY_NODE";
    let flags = ["--require", "-q", "--local-nodes", "3", "--shards", "2", "--fan-out", "1"];
    let mut command = scene.run(&flags, &["sh", "-c", words, IMPORT_ALL, library]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let daemons = |scene: &Scene| -> Vec<i32> {
        let all = scene.processes().into_iter().filter(|(_, line)| line.contains("daemon-process"));
        all.map(|(pid, _)| pid).collect()
    };
    eventually("all daemons", || daemons(&scene).len() == 3);
    let mut deaths = 0;
    while deaths < 12 && child.try_wait().unwrap().is_none() {
        // Each time further on in the import.
        let far = |scene: &Scene| {
            fs::read_to_string(scene.home.join("said.1")).map_or(0, |said| said.lines().count())
        };
        let (mut all, mut ended) = (Vec::new(), false);
        eventually("the import goes on", || {
            all = daemons(&scene);
            ended = child.try_wait().unwrap().is_some();
            ended || all.len() == 3 && far(&scene) > deaths * 9
        });
        if ended {
            break;
        }
        // One that ends with its task meanwhile is no matter.
        // SAFETY: sends a signal; touches no memory.
        unsafe { libc::kill(all[deaths % 3], libc::SIGKILL) };
        deaths += 1;
    }
    let began = Instant::now();
    let mut status = None;
    while status.is_none() && began.elapsed().as_secs() < 60 {
        status = child.try_wait().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    for node in 0..3 {
        let said = fs::read(scene.home.join(format!("said.{node}"))).unwrap();
        let complained = fs::read(scene.home.join(format!("complained.{node}"))).unwrap();
        assert_eq!(text(&said), text(&want.stdout), "node {node}: {}", text(&complained));
    }
    assert!(status.expect("the end").success());
    assert!(deaths > 5, "only {deaths}");
    scene.assert_nothing_left();
}

#[test]
fn a_parent_that_falls_silent_is_passed_by_and_used_again_once_it_is_heard() {
    let (scene, ask, want) = with_forest();
    let mut cluster = Cluster::start(&scene, 3, &["--fan-out", "1"]);
    let (tasks, chain) = (cluster.tasks(), chain(3));
    let [parent, reader] = [daemon_of(&scene, tasks[chain[1]]), daemon_of(&scene, tasks[chain[2]])];
    let fresh =
        |number: usize| Ask::Stat { path: at(scene.env.join(format!("not there {number}"))), follow: true };
    let actor = &mut cluster.actors[chain[2]];
    assert_eq!(actor.ask(&fresh(0)), "ENOENT");
    kill(parent, libc::SIGSTOP);
    let began = Instant::now();
    assert_eq!(actor.ask(&ask), want);
    eprintln!("the whole took {:?} with a silent parent", began.elapsed());
    assert_eq!(counted(reader, Counter::FaultsParentsLost), 1);
    assert_eq!(counted(reader, Counter::StorageBytes), 0, "the root was there to be asked");
    kill(parent, libc::SIGCONT);
    let before = counted(parent, Counter::WireRequestsIn);
    let mut number = 0;
    eventually("the parent is asked again", || {
        number += 1;
        // What nobody has asked before: `directory N` was listed, what is beneath a file never is.
        let path = scene.env.join(format!("directory 0/inner/file 0/{number}"));
        assert_eq!(actor.ask(&Ask::Stat { path: at(path), follow: true }), "ENOTDIR");
        actor.ask(&Ask::Usage { path: at(&scene.env) });
        counted(parent, Counter::WireRequestsIn) > before + 8
    });
    cluster.leave();
    scene.assert_nothing_left();
}

#[test]
fn a_report_that_finds_no_room_changes_nothing_but_a_warning() {
    assert!(rustix::process::geteuid().is_root(), "only root can mount a file system without room");
    let scene = scenes().swap_remove(0);
    let full = scene.home.join("full");
    fs::create_dir(&full).unwrap();
    let line =
        scene.run(&["--local-nodes", "2", "--report", full.to_str().unwrap()], &["sh", "-c", "exit 7"]);
    let script = "mount -t tmpfs -o size=8k none $0; head -c 1M /dev/zero > $0/fill 2> /dev/null; \"$@\"; \
        echo ended $?; ls -A $0";
    let mut command = scene.native("unshare");
    command.args(["-m", "sh", "-c", script]).arg(&full).arg(line.get_program()).args(line.get_args());
    let ended = output(&mut command);
    assert_eq!(text(&ended.stdout), "ended 7\nfill\n", "nothing of it is left");
    let warnings = text(&ended.stderr).matches("the report could not be written").count();
    assert_eq!(warnings, 1, "{}", text(&ended.stderr));
    scene.assert_nothing_left();
}
