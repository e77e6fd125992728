//! Many nodes over one storage: it is asked for each thing once, and every node gets what storage has.
//!
//! Not here: nodes that fail (`node_faults`).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;
use spinney::file::NAMES_MAX;
use spinney::tree::PEER_SILENCE_MAX;

use crate::actor::{Actor, Ask, at, said_of};
use crate::cluster::Cluster;
use crate::scene::{Scene, eventually, kill, ordinary, scenes};
use crate::semantics::tree::{self, pattern, settle};
use crate::semantics::{changing, observed};
use crate::stand_in::{StandIn, Start};

/// A scene whose view lies on a stand-in. The order of the fields is the order of their ends.
pub struct Shared {
    pub storage: StandIn,
    pub scene: Scene,
}

/// A scene of an ordinary user whose view is what `grow` made, on a stand-in.
pub fn shared(grow: impl FnOnce(&Path)) -> Shared {
    assert!(rustix::process::geteuid().is_root(), "the stand-in for storage can only be mounted by root");
    let mut scene = ordinary();
    grow(&scene.env);
    for path in tree::walk(&scene.env) {
        std::os::unix::fs::lchown(path, scene.uid, scene.uid).unwrap();
    }
    settle(&scene.env);
    let storage = Start { is_killable: true, ..Start::of(&scene.env) }.start().unwrap();
    scene.env = storage.mount().canonicalize().unwrap();
    Shared { storage, scene }
}

/// Directories of a [`forest`], beside its root.
const DIRECTORIES: u64 = 40;

/// Some hundred files in directories of every kind, one of them of several stripes. 14 MB in all, so that a cache holds them
/// that has shrunk because the machine is short of memory (`daemon::pressure`).
pub fn forest(root: &Path) {
    for i in 0..20 {
        let directory = root.join(format!("directory {i}")).join("inner");
        fs::create_dir_all(&directory).unwrap();
        for j in 0..12 {
            fs::write(directory.join(format!("file {j}")), pattern(61 << j, i * 100 + j)).unwrap();
            std::os::unix::fs::symlink(format!("file {j}"), directory.join(format!("link {j}"))).unwrap();
        }
    }
    fs::write(root.join("large"), pattern((9 << 20) + 77, 5)).unwrap();
    for path in tree::walk(root) {
        if !path.is_symlink() {
            fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        }
    }
}

/// What a workload costs storage: calls for names and bytes, by its own count and by that of the nodes.
#[derive(Debug)]
struct Cost {
    calls: u64,
    calls_told: u64,
    bytes_told: u64,
}

/// Every node sums up the whole tree at one time and looks for names that are not there.
fn cost(shared: &mut Shared, nodes: usize, flags: &[&str], want: &str) -> (Cost, Value) {
    let Shared { storage, scene, .. } = shared;
    storage.drop_caches();
    storage.reset();
    let mut cluster = Cluster::start(scene, nodes, flags);
    let said = cluster.ask_all(&Ask::Checksum { path: at(&scene.env), times: 1 });
    assert!(said.iter().all(|said| said == want), "{nodes} nodes {flags:?}: {said:?}, not {want}");
    for i in 0..20 {
        let path = at(scene.env.join(format!("directory {i}/inner/no such file")));
        let said = cluster.ask_all(&Ask::Stat { path, follow: true });
        assert!(said.iter().all(|said| said == "ENOENT"), "{said:?}");
    }
    let report = cluster.leave();
    let told = |name: &str| report["totals"]["storage"][name].as_u64().unwrap();
    let cost = Cost {
        calls: storage.count("metadata_calls"),
        calls_told: told("metadata_calls"),
        bytes_told: told("bytes_read"),
    };
    (cost, report)
}

#[test]
fn many_nodes_ask_storage_for_each_thing_once() {
    let mut shared = shared(forest);
    let mut native = Actor::native(&shared.scene);
    let want = native.ask(&Ask::Checksum { path: at(&shared.scene.env), times: 1 });
    native.leave();
    let (one, _) = cost(&mut shared, 1, &[], &want);
    eprintln!("1 node: {one:?}");
    for (nodes, flags) in [
        (8, &[][..]),
        (4, &["--fan-out", "1"]), // a chain
        (4, &["--shards", "4", "--fan-out", "2"]),
        (4, &["--shards", "2", "--fan-out", "1", "--trust-fabric"]),
    ] {
        let (many, report) = cost(&mut shared, nodes, flags, &want);
        eprintln!("{nodes} nodes {flags:?}: {many:?}");
        assert_eq!(many.bytes_told, one.bytes_told, "{nodes} nodes {flags:?}: {}", report["nodes"]);
        // Each further root opens directories of its own, on the way to those that it knows the names of.
        let opened = if flags.contains(&"--shards") { 2 * DIRECTORIES } else { 0 };
        let most = |calls: u64| calls + calls / 50 + opened;
        assert!(many.calls_told <= most(one.calls_told), "{nodes} nodes {flags:?}: {many:?} against {one:?}");
        assert!(many.calls <= most(one.calls), "{nodes} nodes {flags:?}: {many:?} against {one:?}");
        let faults = &report["totals"]["faults"];
        for fault in ["parents_lost", "checksum_mismatches", "views_apart", "daemon_restarts"] {
            assert_eq!(faults[fault], 0, "{nodes} nodes {flags:?}: {faults}");
        }
    }
    shared.scene.assert_nothing_left();
}

#[test]
fn a_node_far_from_storage_shows_what_the_plain_directory_shows() {
    for (mut scene, flags) in
        scenes().into_iter().zip([&["--fan-out", "1"][..], &["--shards", "3", "--fan-out", "1"]])
    {
        if scene.uid.is_some() {
            scene.groups = vec![tree::group_of(&scene)];
        }
        tree::build(&scene);
        let mut cluster = Cluster::start(&scene, 4, flags);
        for observed in observed::side_by_side(&scene, cluster.actors.iter_mut()) {
            observed.assert_same("");
        }
        let report = cluster.leave();
        assert_eq!(report["totals"]["faults"]["parents_lost"], 0);
        scene.assert_nothing_left();
    }
}

#[test]
fn a_file_that_changes_is_never_mixed_on_any_node() {
    let scene = ordinary();
    let paths = changing::files(&scene);
    let mut cluster = Cluster::start(&scene, 3, &["--fan-out", "1"]);
    // One node knows the files already.
    for path in &paths {
        cluster.actors[0].ask(&Ask::Stat { path: at(path), follow: true });
    }
    changing::change_each(&scene, &mut cluster.actors[2], &paths);
    for actor in &mut cluster.actors {
        changing::see_each_changed(actor, &paths);
    }
    let report = cluster.leave();
    assert_ne!(report["totals"]["faults"]["stale_reads"], 0);
    scene.assert_nothing_left();
}

#[test]
fn a_file_overwritten_in_a_part_that_other_nodes_answer_for_is_new_everywhere() {
    let scene = ordinary();
    // Each part of so many bytes is in the next tree, so at least one of these has another root than the name.
    let part = spinney::tree::STRIPE_BLOCKS * spinney::file::BLOCK_BYTES;
    let paths: Vec<_> = (0..3).map(|i| scene.env.join(format!("file {i}"))).collect();
    for (i, path) in paths.iter().enumerate() {
        fs::write(path, pattern(2 * part as usize, i as u64)).unwrap();
        fs::set_permissions(path, PermissionsExt::from_mode(0o644)).unwrap();
    }
    settle(&scene.env);
    let mut cluster = Cluster::start(&scene, 4, &["--shards", "3", "--fan-out", "1"]);
    for (node, path) in paths.iter().enumerate() {
        // All nodes know the name, and the first part.
        let file = || "f".to_owned();
        cluster.ask_all(&Ask::Open { file: file(), path: at(path), flags: libc::O_RDONLY });
        cluster.ask_all(&Ask::Read { file: file(), offset: 0, length: 4096 });
        fs::write(path, pattern(2 * part as usize, 99)).unwrap();
        let said =
            cluster.actors[node].ask(&Ask::Read { file: file(), offset: 2 * part - 4096, length: 4096 });
        assert_eq!(said, "ESTALE", "{node}");
        let new = said_of(&pattern(2 * part as usize, 99));
        for (number, actor) in cluster.actors.iter_mut().enumerate() {
            eventually(&format!("the new content of {node} on node {number}"), || {
                let now = actor.ask(&Ask::ReadAll { path: at(path) });
                assert!(now == new || now == "ESTALE", "{node} on node {number}: {now}");
                now == new
            });
        }
    }
    cluster.leave();
    scene.assert_nothing_left();
}

#[test]
fn a_part_of_a_replaced_file_that_nobody_read_and_another_root_answers_for_is_stale_once() {
    let scene = ordinary();
    let part = spinney::tree::STRIPE_BLOCKS * spinney::file::BLOCK_BYTES;
    let (path, beside) = (scene.env.join("large"), scene.env.join("beside"));
    for (path, seed) in [(&path, 1), (&beside, 2)] {
        fs::write(path, pattern(2 * part as usize, seed)).unwrap();
        fs::set_permissions(path, PermissionsExt::from_mode(0o644)).unwrap();
    }
    settle(&scene.env);
    let mut cluster = Cluster::start(&scene, 3, &["--shards", "3", "--fan-out", "1"]);
    let file = || "f".to_owned();
    cluster.ask_all(&Ask::Open { file: file(), path: at(&path), flags: libc::O_RDONLY });
    cluster.ask_all(&Ask::Read { file: file(), offset: 0, length: 4096 });
    fs::rename(&beside, &path).unwrap();
    let old = pattern(2 * part as usize, 1);
    let first = part - 4096;
    let read = |offset: u64| Ask::Read { file: file(), offset, length: 4096 };
    for said in cluster.ask_all(&read(first)) {
        assert_eq!(said, said_of(&old[first as usize..part as usize]), "its root has the file open");
    }
    assert!(cluster.ask_all(&read(part)).iter().all(|said| said == "ESTALE"));
    let new = said_of(&pattern(2 * part as usize, 2));
    for (number, actor) in cluster.actors.iter_mut().enumerate() {
        eventually(&format!("the new file on node {number}"), || {
            actor.ask(&Ask::ReadAll { path: at(&path) }) == new
        });
    }
    cluster.leave();
    scene.assert_nothing_left();
}

#[test]
fn an_error_of_storage_reaches_every_node_as_it_is_and_is_not_remembered() {
    let mut shared = shared(forest);
    let mut cluster = Cluster::start(&shared.scene, 4, &["--fan-out", "1"]);
    let root = shared.scene.env.clone();
    // Each in a directory that nobody has asked about before.
    let asks = |number: usize| {
        let directory = |kind: usize| root.join(format!("directory {}/inner", 4 * number + kind));
        [
            Ask::List { path: at(directory(0)) },
            Ask::ReadAll { path: at(directory(1).join("file 11")) },
            Ask::Target { path: at(directory(2).join("link 3")) },
            Ask::Stat { path: at(directory(3).join("file 3")), follow: true },
        ]
    };
    let mut native = Actor::native(&shared.scene);
    for (number, errno) in ["EIO", "EACCES", "ETIMEDOUT", "ESTALE"].into_iter().enumerate() {
        for ask in asks(number) {
            shared.storage.drop_caches();
            shared.storage.command(&format!("fail {errno}"));
            let said = cluster.ask_all(&ask);
            assert!(said.iter().all(|said| said == errno), "{ask:?}: {said:?} instead of {errno}");
            shared.storage.command("fail off");
            let want = native.ask(&ask);
            let said = cluster.ask_all(&ask);
            assert!(said.iter().all(|said| *said == want), "{errno} of {ask:?}: {said:?}, not {want}");
        }
    }
    native.leave();
    cluster.leave();
    shared.scene.assert_nothing_left();
}

#[test]
fn while_storage_hangs_every_node_waits_and_storage_is_asked_once() {
    let mut shared = shared(forest);
    let mut cluster = Cluster::start(&shared.scene, 4, &["--fan-out", "1"]);
    let tasks = cluster.tasks();
    let file = at(shared.scene.env.join("directory 3/inner/file 5"));
    let want = said_of(&pattern(61 << 5, 305));
    // All know the directories above.
    cluster.ask_all(&Ask::Stat { path: at(shared.scene.env.join("directory 3/inner")), follow: true });
    shared.storage.reset();
    shared.storage.command("hang on");
    for (actor, task) in cluster.actors.iter_mut().zip(&tasks) {
        actor.begin(&Ask::ReadAll { path: file.clone() });
        actor.wait_until_it_waits(*task);
    }
    let held = |storage: &mut StandIn| storage.counters()["held"].as_u64().unwrap();
    let began = Instant::now();
    // What was guessed beside is on its way too, on a busy machine a little later than what the tasks wait for.
    eventually("all that was to be asked has been asked", || began.elapsed() > PEER_SILENCE_MAX / 2);
    let at_first = held(&mut shared.storage);
    // Longer than a silent node is trusted: what waits for storage is not silent.
    eventually("a silent node would have been left", || began.elapsed() > PEER_SILENCE_MAX * 2);
    assert!(cluster.actors.iter_mut().all(|actor| actor.answer_so_far().is_none()));
    assert_eq!(held(&mut shared.storage), at_first, "storage is asked again");
    kill(tasks[2], libc::SIGKILL);
    eventually("a task that waits is gone", || fs::metadata(format!("/proc/{}", tasks[2])).is_err());
    shared.storage.command("hang off");
    for (node, actor) in cluster.actors.iter_mut().enumerate().filter(|(node, _)| *node != 2) {
        assert_eq!(actor.answer(), want, "node {node}");
    }
    assert_eq!(shared.storage.count("open"), 1);
    let (_, report) = cluster.end();
    assert_eq!(report["totals"]["faults"]["parents_lost"], 0);
    shared.scene.assert_nothing_left();
}

#[test]
fn odd_directories_are_the_same_on_every_node() {
    let scene = ordinary();
    let large = scene.env.join("large");
    fs::create_dir(&large).unwrap();
    for i in 0..NAMES_MAX + 7 {
        fs::write(large.join(format!("name {i}")), "").unwrap();
    }
    let closed = scene.env.join("closed");
    fs::create_dir(&closed).unwrap();
    fs::write(closed.join("file"), "there").unwrap();
    fs::set_permissions(&closed, PermissionsExt::from_mode(0o711)).unwrap();
    settle(&scene.env);
    let asks = [
        Ask::List { path: at(&large) },
        Ask::Stat { path: at(large.join(format!("name {}", NAMES_MAX + 1))), follow: true },
        Ask::Stat { path: at(large.join("no such name")), follow: true },
        Ask::List { path: at(&closed) },
        Ask::ReadAll { path: at(closed.join("file")) },
        Ask::Stat { path: at(closed.join("no such file")), follow: true },
    ];
    let mut native = Actor::native(&scene);
    let mut cluster = Cluster::start(&scene, 3, &["--fan-out", "1"]);
    for ask in asks {
        // Owners and access times may differ, as they may on one node.
        let plain = |said: String| {
            let varies = |word: &str| ["uid=", "gid=", "atime="].iter().any(|name| word.starts_with(name));
            said.split(' ').filter(|word| !varies(word)).collect::<Vec<_>>().join(" ")
        };
        let want = plain(native.ask(&ask));
        for said in cluster.ask_all(&ask) {
            assert_eq!(plain(said), want, "{ask:?}");
        }
    }
    native.leave();
    cluster.leave();
    scene.assert_nothing_left();
}
