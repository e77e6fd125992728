//! `spinney run --freshness`: what changes on storage is seen after a while, on every node, and costs storage little.
//!
//! Not here: when exactly something is too old (`cache` and `file::freshness` with ages of their own).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::actor::{Actor, Ask, at, said_of};
use crate::cluster::Cluster;
use crate::scene::{Scene, eventually, scenes};
use crate::semantics::tree::{pattern, settle};

/// Short against the patience of these tests.
const SHORT: &[&str] = &["--freshness", "200ms"];
const SHORT_TIME: Duration = Duration::from_millis(200);

/// Jobs that see changes: nodes and flags.
const JOBS: &[(usize, &[&str])] =
    &[(1, &[]), (3, &["--shared", "--fan-out", "1"]), (3, &["--shared", "--shards", "3", "--fan-out", "1"])];

/// Where things are, in the root of the view and deep beneath it.
const PLACES: &[&str] = &["", "sub/deep/"];

fn write(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o644)).unwrap();
}

fn furnish(scene: &Scene) {
    fs::create_dir_all(scene.env.join("sub/deep")).unwrap();
    for place in PLACES {
        for name in ["replaced", "overwritten", "gone"] {
            write(&scene.env.join(place).join(name), "old");
        }
        fs::create_dir(scene.env.join(place).join("became a file")).unwrap();
    }
    fs::create_dir(scene.env.join("moved")).unwrap();
    write(&scene.env.join("moved/inside"), "old");
    settle(&scene.env);
}

fn change(scene: &Scene) {
    for place in PLACES {
        let at = |name: &str| scene.env.join(place).join(name);
        write(&at("beside"), "newer");
        fs::rename(at("beside"), at("replaced")).unwrap();
        fs::write(at("overwritten"), "newer").unwrap();
        fs::remove_file(at("gone")).unwrap();
        write(&at("added"), "newer");
        fs::remove_dir(at("became a file")).unwrap();
        write(&at("became a file"), "newer");
    }
    // Another directory at the same path: whoever keeps a descriptor of the old one must not go on with it.
    fs::rename(scene.env.join("moved"), scene.env.join("elsewhere")).unwrap();
    fs::create_dir(scene.env.join("moved")).unwrap();
    write(&scene.env.join("moved/inside"), "newer");
}

/// What leads where, before and after.
fn expected(scene: &Scene) -> Vec<(PathBuf, &'static str, &'static str)> {
    let mut all = vec![(scene.env.join("moved/inside"), "old", "newer")];
    for place in PLACES {
        for (name, before, after) in [
            ("replaced", "old", "newer"),
            ("overwritten", "old", "newer"),
            ("gone", "old", "ENOENT"),
            ("added", "ENOENT", "newer"),
            ("became a file", "EISDIR", "newer"),
        ] {
            all.push((scene.env.join(place).join(name), before, after));
        }
    }
    all
}

fn content(actor: &mut Actor, path: &Path) -> String {
    actor.ask(&Ask::ReadAll { path: at(path) })
}

fn in_words(content: &str) -> String {
    if content.starts_with('E') { content.to_owned() } else { said_of(content.as_bytes()) }
}

/// Every node sees what was there at first, also in listings.
fn see_before(scene: &Scene, cluster: &mut Cluster) {
    for (path, before, _) in expected(scene) {
        for said in cluster.ask_all(&Ask::ReadAll { path: at(&path) }) {
            assert_eq!(said, in_words(before), "{}", path.display());
        }
    }
    for said in cluster.ask_all(&Ask::List { path: at(&scene.env) }) {
        assert!(said.contains("gone") && !said.contains("added"), "{said}");
    }
}

#[test]
fn changes_are_seen_after_a_while_on_every_node() {
    for scene in scenes() {
        for (nodes, flags) in JOBS {
            furnish(&scene);
            let mut cluster = Cluster::start(&scene, *nodes, &[SHORT, flags].concat());
            see_before(&scene, &mut cluster);
            change(&scene);
            for (path, before, after) in expected(&scene) {
                for (node, actor) in cluster.actors.iter_mut().enumerate() {
                    let what = format!("node {node} of {nodes} {flags:?} sees {}", path.display());
                    eventually(&what, || {
                        let said = content(actor, &path);
                        let known = [in_words(before), in_words(after), "ESTALE".to_owned()];
                        assert!(known.contains(&said), "{what}: {said}");
                        said == in_words(after)
                    });
                }
            }
            for (node, actor) in cluster.actors.iter_mut().enumerate() {
                eventually(&format!("node {node} lists what is there"), || {
                    let said = actor.ask(&Ask::List { path: at(&scene.env) });
                    !said.contains("gone") && said.contains("added")
                });
            }
            cluster.leave();
            scene.assert_nothing_left();
            fs::remove_dir_all(scene.env.join("moved")).unwrap();
            for entry in fs::read_dir(&scene.env).unwrap().flatten() {
                match entry.file_type().unwrap().is_dir() {
                    true => fs::remove_dir_all(entry.path()).unwrap(),
                    false => fs::remove_file(entry.path()).unwrap(),
                }
            }
        }
    }
}

#[test]
fn a_process_that_stays_in_a_directory_sees_its_changes_too() {
    for scene in scenes() {
        furnish(&scene);
        let mut cluster = Cluster::start(&scene, 2, SHORT);
        let [actor, inside_moved] = &mut cluster.actors[..] else { panic!("two nodes") };
        actor.ask(&Ask::Chdir { path: at(&scene.env) });
        inside_moved.ask(&Ask::Chdir { path: at(scene.env.join("moved")) });
        let here = inside_moved.ask(&Ask::WhereAmI);
        assert_eq!(content(inside_moved, Path::new("inside")), in_words("old"));
        let list = Ask::List { path: b".".to_vec() };
        assert!(!actor.ask(&list).contains("added"));
        assert_eq!(actor.ask(&Ask::Stat { path: b"added".to_vec(), follow: true }), "ENOENT");
        change(&scene);
        eventually("the new name is listed", || actor.ask(&list).contains("added"));
        eventually("and found", || content(actor, Path::new("added")) == in_words("newer"));
        // A directory is its path: who is in one is in whatever directory is there.
        eventually("the content of the other directory", || {
            content(inside_moved, Path::new("inside")) == in_words("newer")
        });
        assert_eq!(inside_moved.ask(&Ask::WhereAmI), here);
        cluster.leave();
        scene.assert_nothing_left();
    }
}

#[test]
fn a_reader_goes_on_with_what_he_opened_or_fails_though_the_name_leads_elsewhere_by_then() {
    const LENGTH: usize = 9 << 20;
    const PART: u64 = 4096;
    for (nodes, flags) in JOBS {
        let scene = scenes().pop().unwrap();
        let (old, new) = (pattern(LENGTH, 1), pattern(LENGTH, 2));
        let (replaced, overwritten) = (scene.env.join("replaced"), scene.env.join("overwritten"));
        for path in [&replaced, &overwritten] {
            fs::write(path, &old).unwrap();
            fs::set_permissions(path, PermissionsExt::from_mode(0o644)).unwrap();
        }
        settle(&scene.env);
        let mut cluster = Cluster::start(&scene, *nodes, &[SHORT, flags].concat());
        let read = |file: &Path, offset| Ask::Read { file: file.display().to_string(), offset, length: PART };
        let part = |offset: u64| said_of(&old[offset as usize..][..PART as usize]);
        for path in [&replaced, &overwritten] {
            let file = path.display().to_string();
            cluster.ask_all(&Ask::Open { file, path: at(path), flags: libc::O_RDONLY });
            for offset in [0, 5 << 20] {
                // So that every root keeps the file open.
                assert!(cluster.ask_all(&read(path, offset)).iter().all(|said| *said == part(offset)));
            }
        }
        fs::write(scene.env.join("beside"), &new).unwrap();
        fs::rename(scene.env.join("beside"), &replaced).unwrap();
        fs::write(&overwritten, &new).unwrap();
        for actor in &mut cluster.actors {
            for path in [&replaced, &overwritten] {
                eventually("the name leads to what is there now", || content(actor, path) == said_of(&new));
            }
            for offset in [3 << 20, 7 << 20] {
                assert_eq!(actor.ask(&read(&replaced, offset)), part(offset), "{nodes} nodes {flags:?}");
                assert_eq!(actor.ask(&read(&overwritten, offset)), "ESTALE", "{nodes} nodes {flags:?}");
            }
        }
        cluster.leave();
        scene.assert_nothing_left();
    }
}

#[test]
fn until_then_and_without_it_what_was_seen_stays_as_first_seen() {
    for flags in [&["--shared", "--freshness", "1h"][..], &["--shared"]] {
        for scene in scenes() {
            furnish(&scene);
            let mut cluster = Cluster::start(&scene, 3, &[flags, &["--fan-out", "1"]].concat());
            see_before(&scene, &mut cluster);
            change(&scene);
            for (path, before, _) in expected(&scene) {
                // Of a file that was overwritten under its name nothing may be read but what the kernel has.
                for said in cluster.ask_all(&Ask::ReadAll { path: at(&path) }) {
                    assert_eq!(said, in_words(before), "{}", path.display());
                }
            }
            cluster.leave();
            scene.assert_nothing_left();
        }
    }
}

#[test]
fn storage_is_asked_again_by_one_node_and_once_in_that_time() {
    let scene = scenes().pop().unwrap();
    let directory = scene.env.join("many");
    fs::create_dir(&directory).unwrap();
    let names: Vec<_> = (0..10).map(|n| directory.join(format!("file {n}"))).collect();
    names.iter().for_each(|path| write(path, "old"));
    settle(&scene.env);
    let flags = [SHORT, &["--shared", "--fan-out", "1", "--shards", "1"]].concat();
    let mut cluster = Cluster::start(&scene, 4, &flags);
    let began = Instant::now();
    let mut rounds = 0;
    eventually("ten times that time have passed", || {
        rounds += 1;
        for path in names.iter().chain([&directory.join("absent")]) {
            cluster.ask_all(&Ask::Stat { path: at(path), follow: true });
        }
        cluster.ask_all(&Ask::List { path: at(&directory) });
        began.elapsed() > 10 * SHORT_TIME
    });
    let report = cluster.leave();
    let elapsed = began.elapsed();
    let calls: Vec<u64> = report["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["storage"]["metadata_calls"].as_u64().unwrap())
        .collect();
    eprintln!("{rounds} rounds of {} questions in {elapsed:?}: {calls:?}", 4 * 12);
    let times = elapsed.as_millis() as u64 / SHORT_TIME.as_millis() as u64 + 2;
    // Each time: ten names, one that is absent, the directory's own name; its listing looked at and its descriptor opened,
    // both also for the view's root; and what is read of the directories at first.
    let each_time = 10 + 1 + 1 + 2 + 2;
    let at_first = 2 * 10 + 20;
    let (most, root) = (calls.iter().max().unwrap(), times * each_time + at_first);
    assert!(*most <= root, "{most} calls of the root in {times} times that time: {calls:?}");
    let others = calls.iter().sum::<u64>() - most;
    assert!(others <= 3 * 4, "other nodes ask storage only what their view's directory is: {calls:?}");
    scene.assert_nothing_left();
}
