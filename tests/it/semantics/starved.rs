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

/// A limit, and what is said where it leaves no room for a view: what failed, and the remedy.
type Limit = (libc::__rlimit_resource_t, u64, &'static str, &'static str);

const NO_ROOM: [Limit; 5] = [
    (libc::RLIMIT_FSIZE, 0, "cannot start the holder: File too large", "`ulimit -f`"),
    (libc::RLIMIT_FSIZE, 1 << 16, "cannot map the table of names: File too large", "`ulimit -f`"),
    (libc::RLIMIT_AS, 300 << 20, "cannot map the table of names: Cannot allocate memory", "`ulimit -v`"),
    (libc::RLIMIT_NOFILE, 12, "Too many open files", "`ulimit -n`"),
    // Root may have any number of processes.
    (libc::RLIMIT_NPROC, 1, "cannot start the holder: Resource temporarily unavailable", "`ulimit -u`"),
];

#[test]
fn where_limits_leave_no_room_for_a_view_the_command_runs_on_storage_itself() {
    for (resource, most, what, remedy) in NO_ROOM {
        for scene in scenes() {
            if resource == libc::RLIMIT_NPROC && scene.uid.is_none() && super::tree::is_root() {
                continue;
            }
            let who = format!("{} limit {resource}", scene.who());
            let run = |flags: &[&str]| {
                // No program of its own, since that would be one process more.
                let script = format!("read line < {}; echo \"$line\"; exit 3", scene.shown("file"));
                let mut command = scene.run(flags, &["sh", "-c", &script]);
                limit(&mut command, resource, most);
                output(&mut command)
            };
            let direct = run(&[]);
            let stderr = text(&direct.stderr);
            assert_eq!(text(&direct.stdout), CONTENT, "{who}: {stderr}");
            assert_eq!(direct.status.code(), Some(3), "{who}: {stderr}");
            assert_eq!(stderr.lines().count(), 1, "{who}: {stderr}");
            assert!(stderr.contains(what) && stderr.contains(remedy), "{who}: {stderr}");
            let required = run(&["--require"]);
            let stderr = text(&required.stderr);
            assert_eq!(required.status.code(), Some(125), "{who}: {stderr}");
            assert!(required.stdout.is_empty(), "{who}: the command was started");
            assert!(stderr.contains(what) && stderr.contains(remedy), "{who}: {stderr}");
            scene.assert_nothing_left();
        }
    }
}

#[test]
fn a_full_dev_shm_is_no_matter_since_shared_memory_is_not_taken_from_there() {
    let scene = scenes().remove(0);
    let fill =
        "mount -t tmpfs -o size=4k none /dev/shm && ! head -c 8192 /dev/zero > /dev/shm/all && exec \"$@\"";
    let flags = if super::tree::is_root() { "-m" } else { "-rm" };
    let mut command = scene.native("unshare");
    command.args([flags, "sh", "-c", fill, "sh"]).arg(&scene.binary).args(["run", "--require", "--view"]);
    let output = output(command.arg(&scene.env).args(["--", "cat", &scene.shown("file")]));
    assert_eq!(text(&output.stdout), CONTENT, "{}", text(&output.stderr));
    assert!(output.status.success(), "{}", text(&output.stderr));
    scene.assert_nothing_left();
}
