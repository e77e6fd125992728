//! Where user namespaces are forbidden: COMMAND runs on storage itself, and what is said names the reason.
//!
//! The limit is set for a namespace of the test's own, where it holds for all beneath, as for everybody where an
//! administrator has set it.
//!
//! Not here: nodes without `/dev/fuse` (`slurm::troubles`), what `spinney doctor` says (its own tests).

use std::process::Command;

use crate::scene::{CONTENT, Scene, ordinary, output, text};

/// `spinney run FLAGS -- sh -c SCRIPT` as an ordinary user who can make no user namespace.
fn run(scene: &Scene, flags: &[&str], script: &str) -> Command {
    let forbid = "echo 0 >/proc/sys/user/max_user_namespaces || exit 99\n\
                  exec setpriv --ambient-caps=-all --inh-caps=-all -- \"$0\" \"$@\"";
    let mut command = scene.native("unshare");
    command.args(["--user", "--map-current-user", "--keep-caps", "sh", "-c", forbid]);
    command.arg(&scene.binary).args(["run", "--view"]).arg(&scene.env).args(flags);
    command.args(["--", &scene.shown("bin/sh"), "-c", script]);
    command
}

#[test]
fn the_command_runs_directly_and_one_warning_names_what_to_ask_for() {
    let scene = ordinary();
    let script = format!("cat {}; grep -c fuse.spinney /proc/self/mounts; exit 7", scene.shown("file"));
    let ended = output(&mut run(&scene, &[], &script));
    let said = text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(7), "{said}");
    assert_eq!(text(&ended.stdout), format!("{CONTENT}0\n"));
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.starts_with("spinney: warning: running the command directly, no way to show a view: "),
        "{said}"
    );
    assert!(said.contains("user-namespace (cannot make a namespace: "), "{said}");
    assert!(said.contains("`sysctl user.max_user_namespaces`"), "the remedy: {said}");
    scene.assert_nothing_left();
}

#[test]
fn where_a_view_is_required_the_command_does_not_run() {
    let scene = ordinary();
    let ended = output(&mut run(&scene, &["--require"], "echo ran"));
    let said = text(&ended.stderr);
    assert_eq!((ended.status.code(), text(&ended.stdout).as_str()), (Some(125), ""), "{said}");
    assert!(said.starts_with("spinney: error: ") && said.contains("cannot make a namespace"), "{said}");
    assert!(said.contains("hint: ") && said.contains("`sysctl user.max_user_namespaces`"), "{said}");
    scene.assert_nothing_left();
}
