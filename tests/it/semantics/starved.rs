//! Little of everything: descriptors, memory, file size. It costs time; it never shows.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::tree::{pattern, settle};
use crate::actor::{Actor, Ask, at};
use crate::scene::{CONTENT, Scene, output, scenes, text};

/// More directories and files than any of the limits here lets the daemon keep.
fn many(scene: &Scene) {
    for i in 0..100 {
        let directory = scene.env.join(format!("directory {i}/inner/most"));
        fs::create_dir_all(&directory).unwrap();
        for j in 0..3 {
            fs::write(directory.join(format!("file {j}")), pattern(50_000 * j + i, (i + j) as u64)).unwrap();
        }
    }
    settle(&scene.env);
}

/// Sets a limit, hard and soft, for `command` and what it starts.
fn limit(command: &mut Command, resource: libc::__rlimit_resource_t, most: u64) {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: one system call with a value that is moved into the closure.
    unsafe {
        command.pre_exec(move || match libc::setrlimit(resource, &raw const limit) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
}

/// The whole tree, twice, through a view that `prepare` and `flags` make short of something.
fn assert_right(flags: &[&str], prepare: impl Fn(&mut Command)) {
    for scene in scenes() {
        many(&scene);
        let ask = Ask::Checksum { path: at(&scene.env), times: 2 };
        let mut native = Actor::native(&scene);
        let want = native.ask(&ask);
        native.leave();
        let mut view = Actor::inside_with(&scene, flags, |command| prepare(command));
        assert_eq!(view.ask(&ask), want, "{}", scene.who());
        for i in (0..100).step_by(9) {
            let inner = scene.env.join(format!("directory {i}/inner"));
            assert_eq!(view.ask(&Ask::Stat { path: at(inner.join("absent")), follow: true }), "ENOENT");
        }
        view.leave();
        scene.assert_nothing_left();
    }
}

#[test]
fn a_cache_of_one_mebibyte_serves_a_whole_tree_right() {
    assert_right(&["--cache-bytes", "1MiB"], |_| {});
}

#[test]
fn sixty_four_descriptors_serve_a_whole_tree_right() {
    assert_right(&[], |command| limit(command, libc::RLIMIT_NOFILE, 64));
}

#[test]
fn where_limits_leave_no_room_for_a_view_the_command_runs_on_storage_itself() {
    for (resource, most) in
        [(libc::RLIMIT_FSIZE, 1 << 16), (libc::RLIMIT_AS, 300 << 20), (libc::RLIMIT_NOFILE, 12)]
    {
        for scene in scenes() {
            let mut command = scene.run(&[], &["cat", &scene.shown("file")]);
            limit(&mut command, resource, most);
            let output = output(&mut command);
            let stderr = text(&output.stderr);
            assert_eq!(text(&output.stdout), CONTENT, "{} limit {resource}: {stderr}", scene.who());
            assert!(output.status.success(), "{} limit {resource}: {stderr}", scene.who());
            assert_eq!(stderr.lines().count(), 1, "{} limit {resource}: {stderr}", scene.who());
            eprintln!("{}", stderr);
            scene.assert_nothing_left();
        }
    }
}
