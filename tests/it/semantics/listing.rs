//! Directories of every size, read whole, in pieces, and while they change.

use std::fs;

use super::tree;
use crate::actor::{Actor, Ask, at};
use crate::scene::{eventually, ordinary, scenes};

/// Names in the largest directory that is tried: more than a listing may prove absences for.
const MANY: usize = 100_000;

#[test]
fn a_directory_of_100_000_names_is_listed_whole_and_its_names_are_found() {
    let scene = ordinary();
    let path = scene.env.join("many");
    fs::create_dir(&path).unwrap();
    for i in 0..MANY {
        rustix::fs::symlink("target", path.join(format!("name {i}"))).unwrap();
    }
    let mut native = Actor::native(&scene);
    let mut view = Actor::inside(&scene, &[]);
    for settled in [false, true] {
        if settled {
            let newest = path.join(format!("name {}", MANY - 1));
            tree::settle(&newest);
        }
        let ask = Ask::List { path: at(&path) };
        let listed = view.ask(&ask);
        assert!(listed.starts_with(&format!("{} names", MANY + 2)), "{listed}");
        assert_eq!(listed, native.ask(&ask), "settled: {settled}");
        for i in [0, 1, MANY / 2, MANY - 1] {
            let name = at(path.join(format!("name {i}")));
            assert_eq!(view.ask(&Ask::Target { path: name }), "`target`");
        }
        assert_eq!(view.ask(&Ask::Target { path: at(path.join("no name")) }), "ENOENT");
    }
    native.leave();
    view.leave();
    scene.assert_nothing_left();
}

#[test]
fn a_reader_of_a_directory_can_resume_at_any_position() {
    for scene in scenes() {
        for (name, count, step) in [("none", 0, 1), ("one", 1, 1), ("some", 1000, 37)] {
            let path = scene.env.join(name);
            fs::create_dir(&path).unwrap();
            (0..count).for_each(|i| fs::write(path.join(format!("name {i}")), "").unwrap());
            let mut view = Actor::inside(&scene, &[]);
            let ask = Ask::Resume { path: at(&path), step };
            assert_eq!(view.ask(&ask), "each time the rest", "{name}, just made");
            tree::settle(&path);
            assert_eq!(view.ask(&ask), "each time the rest", "{name}, settled");
            view.leave();
        }
        scene.assert_nothing_left();
    }
}

#[test]
fn a_directory_that_can_be_passed_but_not_listed_is_asked_name_by_name() {
    for scene in scenes() {
        let path = scene.env.join("passed");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "inside\n").unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
        if let Some(uid) = scene.uid {
            std::os::unix::fs::chown(&path, Some(uid + 1), Some(uid + 1)).unwrap();
        }
        let mut view = Actor::inside(&scene, &[]);
        let listed = view.ask(&Ask::List { path: at(&path) });
        assert_eq!(listed == "EACCES", scene.uid.is_some(), "{listed}");
        assert_eq!(view.ask(&Ask::ReadAll { path: at(path.join("inside")) }), "`inside\\n`");
        let later = Ask::ReadAll { path: at(path.join("later")) };
        assert_eq!(view.ask(&later), "ENOENT");
        fs::write(path.join("later"), "later\n").unwrap();
        if scene.uid.is_some() {
            // An absence that no listing proves is believed for a while, not for the job.
            eventually("the new name is seen", || view.ask(&later) == "`later\\n`");
        }
        view.leave();
        scene.assert_nothing_left();
    }
}
