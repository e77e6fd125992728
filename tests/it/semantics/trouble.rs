//! Storage that fails or hangs, and the deaths of daemon and holder: what a task sees of it, which is little.
//!
//! Storage is a stand-in that does on command what a parallel file system does on a bad day.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::tree::{pattern, settle};
use crate::actor::{Actor, Ask, at};
use crate::imports::{IMPORT_ALL, standard_library};
use crate::scene::{Lines, Scene, eventually, finish, kill, output, scenes, text};
use crate::stand_in::{StandIn, Start};

/// How soon a killed task has to be gone. Promised is one second; here two, for machines that do much at once.
const GONE_WITHIN: Duration = Duration::from_secs(2);

/// A scene whose view lies on a stand-in. The order of the fields is the order of their ends.
struct Bad {
    storage: StandIn,
    scene: Scene,
}

/// Content of `file 0`.
const FIRST: &str = "`content of file 0\\n`";

/// A scene for each kind of user: `free/` and `bad/`, each with a few of everything.
fn bad_storage() -> Vec<Bad> {
    assert!(rustix::process::geteuid().is_root(), "the stand-in for storage can only be mounted by root");
    scenes().into_iter().map(on_a_stand_in).collect()
}

fn on_a_stand_in(mut scene: Scene) -> Bad {
    for name in ["free", "bad"] {
        let directory = scene.env.join(name);
        fs::create_dir_all(directory.join("inner")).unwrap();
        for i in 0..10 {
            fs::write(directory.join(format!("file {i}")), format!("content of file {i}\n")).unwrap();
            fs::write(directory.join(format!("inner/{i}")), format!("{i}\n")).unwrap();
            std::os::unix::fs::symlink(format!("target {i}"), directory.join(format!("link{i}"))).unwrap();
        }
        fs::write(directory.join("large"), pattern(3 << 20, 1)).unwrap();
    }
    for path in super::tree::walk(&scene.env) {
        std::os::unix::fs::lchown(path, scene.uid, scene.uid).unwrap();
    }
    settle(&scene.env);
    let storage = Start { is_killable: true, ..Start::of(&scene.env) }.start().unwrap();
    scene.env = storage.mount().canonicalize().unwrap();
    Bad { storage, scene }
}

fn read_all(scene: &Scene, name: &str) -> Ask {
    Ask::ReadAll { path: at(scene.env.join(name)) }
}

fn stat(scene: &Scene, name: &str) -> Ask {
    Ask::Stat { path: at(scene.env.join(name)), follow: false }
}

#[test]
fn an_error_of_storage_reaches_the_task_as_it_is_and_is_not_remembered() {
    for Bad { mut storage, scene } in bad_storage() {
        let link = Ask::Target { path: at(scene.env.join("bad/link0")) };
        let large = said_of(&pattern(3 << 20, 1));
        for errno in ["EIO", "EACCES", "ETIMEDOUT", "ENOMEM", "EMFILE", "ESTALE"] {
            for (kind, ask, want) in [
                ("lookup", read_all(&scene, "bad/file 0"), FIRST),
                ("open", read_all(&scene, "bad/file 0"), FIRST),
                ("readlink", link.clone(), "`target 0`"),
                ("read", read_all(&scene, "bad/large"), large.as_str()),
            ] {
                storage.drop_caches();
                let mut view = Actor::inside(&scene, &[]);
                storage.command(&format!("fail {errno} bad {kind}"));
                assert_eq!(view.ask(&ask), errno, "{}: {kind}", scene.who());
                storage.command("fail off");
                assert_eq!(view.ask(&ask), want, "{}: {errno} of {kind} was remembered", scene.who());
                view.leave();
            }
        }
        scene.assert_nothing_left();
    }
}

#[test]
fn an_error_of_listing_reaches_the_task_as_it_is_and_proves_no_absence() {
    for Bad { mut storage, scene } in bad_storage() {
        let mut view = Actor::inside(&scene, &[]);
        let list = Ask::List { path: at(scene.env.join("bad/inner")) };
        for kind in ["opendir", "readdir"] {
            storage.command(&format!("fail EIO bad/inner {kind}"));
            assert_eq!(view.ask(&list), "EIO", "{}: {kind}", scene.who());
            for i in 0..10 {
                let said = view.ask(&stat(&scene, &format!("bad/inner/{i}")));
                assert!(said.starts_with("mode="), "{}: {kind}: {i}: {said}", scene.who());
            }
            assert_eq!(view.ask(&stat(&scene, "bad/inner/none")), "ENOENT");
            storage.command("fail off");
        }
        assert!(view.ask(&list).matches(" | ").count() == 11, "ten names and the dots");
        view.leave();
        scene.assert_nothing_left();
    }
}

fn said_of(bytes: &[u8]) -> String {
    format!("{} bytes {:016x}", bytes.len(), crate::actor::hash(bytes))
}

/// What a task may be waiting for when storage hangs, and what it says once it no longer does.
fn hanging(scene: &Scene) -> Vec<(Ask, String)> {
    let path = |name: &str| at(scene.env.join("bad").join(name));
    vec![
        (Ask::Access { path: path("file 1"), mode: libc::F_OK }, "ok".to_owned()),
        (Ask::ReadAll { path: path("file 0") }, FIRST.to_owned()),
        (Ask::ReadAll { path: path("large") }, said_of(&pattern(3 << 20, 1))),
        (Ask::Target { path: path("link3") }, "`target 3`".to_owned()),
        (Ask::Stat { path: path("none"), follow: true }, "ENOENT".to_owned()),
    ]
}

/// Lets storage hang while tasks, each made by `start`, wait for one thing of [`hanging`]: what each asked and will say.
fn all_waiting(storage: &mut StandIn, scene: &Scene, start: impl Fn() -> Actor) -> Vec<(Actor, Ask, String)> {
    let mut actors: Vec<_> = hanging(scene).into_iter().map(|(ask, want)| (start(), ask, want)).collect();
    let numbers: Vec<_> = actors.iter_mut().map(|(actor, ..)| actor.number()).collect();
    storage.command("hang on bad");
    for ((actor, ask, _), number) in actors.iter_mut().zip(numbers) {
        actor.begin(ask);
        actor.wait_until_it_waits(number);
    }
    actors
}

#[test]
fn while_storage_hangs_tasks_wait_and_afterwards_everything_is_right() {
    for Bad { mut storage, scene } in bad_storage() {
        let job = ["--job", "hang"];
        let mut other = Actor::inside(&scene, &job);
        let mut waiting = all_waiting(&mut storage, &scene, || Actor::inside(&scene, &job));
        // Meanwhile what does not hang is served.
        for i in 0..10 {
            assert_eq!(
                other.ask(&read_all(&scene, &format!("free/file {i}"))),
                format!("`content of file {i}\\n`")
            );
        }
        assert!(waiting.iter_mut().all(|(actor, ..)| actor.answer_so_far().is_none()));
        storage.command("hang off");
        for (mut actor, ask, want) in waiting {
            assert_eq!(actor.answer(), want, "{}: {ask:?}", scene.who());
            actor.leave();
        }
        other.leave();
        scene.assert_nothing_left();
    }
}

#[test]
fn a_task_that_waits_for_hanging_storage_dies_by_a_signal_that_kills_it() {
    for Bad { mut storage, scene } in bad_storage() {
        let signals = [libc::SIGKILL, libc::SIGINT, libc::SIGTERM];
        // The others need not be tried on everything: what counts is that no handler is there to take them.
        let tries = signals.into_iter().flat_map(|signal| {
            hanging(&scene)
                .into_iter()
                .take(if signal == libc::SIGKILL { usize::MAX } else { 1 })
                .map(move |t| (signal, t))
        });
        for (signal, (ask, _)) in tries {
            storage.drop_caches();
            let mut actor = Actor::inside(&scene, &[]);
            let number = actor.number();
            storage.command("hang on bad");
            actor.begin(&ask);
            actor.wait_until_it_waits(number);
            let killed = Instant::now();
            kill(number, signal);
            assert!(actor.died(), "{}: it answered", scene.who());
            assert!(killed.elapsed() < GONE_WITHIN, "{}: {ask:?} after {:?}", scene.who(), killed.elapsed());
            storage.command("hang off");
            assert!(!actor.end().status.success());
        }
        scene.assert_nothing_left();
    }
}

#[test]
fn a_signal_that_is_handled_cuts_no_call_short() {
    for Bad { mut storage, scene } in bad_storage() {
        let mut view = Actor::inside(&scene, &[]);
        let number = view.number();
        view.must(&Ask::Alarms { every_ms: 5 });
        storage.command("hang on bad");
        view.begin(&stat(&scene, "bad/file 1"));
        view.wait_until_it_waits(number);
        // The signal is there and the daemon has been told: the call goes on all the same.
        eventually("a signal is pending", || pending(number) & 1 << (libc::SIGALRM - 1) != 0);
        let told = Instant::now();
        eventually("the daemon has looked a few times", || told.elapsed() > Duration::from_millis(300));
        assert_eq!(view.answer_so_far(), None, "{}", scene.who());
        storage.command("hang off");
        assert!(view.answer().starts_with("mode=100644"), "{}", scene.who());
        for (ask, want) in hanging(&scene) {
            assert_eq!(view.ask(&ask), want);
        }
        assert_ne!(view.ask(&Ask::AlarmsSoFar), "0");
        view.leave();
        scene.assert_nothing_left();
    }
}

fn pending(number: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{number}/status")).unwrap();
    let masks =
        status.lines().filter_map(|line| line.strip_prefix("SigPnd:").or(line.strip_prefix("ShdPnd:")));
    masks.map(|mask| u64::from_str_radix(mask.trim(), 16).unwrap()).fold(0, |all, mask| all | mask)
}

#[test]
fn what_waits_for_hanging_storage_when_the_daemon_dies_is_answered_by_the_next() {
    for mask in ["", "resend"] {
        for Bad { mut storage, scene } in bad_storage() {
            let start = || {
                Actor::inside_with(&scene, &["--job", "hang"], |command| {
                    command.env("SPINNEY_MASK", mask);
                })
            };
            let waiting = all_waiting(&mut storage, &scene, start);
            for _ in 0..2 {
                let daemon = scene.process("daemon-process");
                kill(daemon, libc::SIGKILL);
                eventually("another daemon", || scene.process("daemon-process") != daemon);
            }
            storage.command("hang off");
            for (mut actor, ask, want) in waiting {
                assert_eq!(actor.answer(), want, "{} without `{mask}`: {ask:?}", scene.who());
                actor.leave();
            }
            scene.assert_nothing_left();
        }
    }
}

/// A tree that a checksum of takes a while, half of it with times in the future: such names are asked for each time.
fn forest(root: &Path) {
    for i in 0..12 {
        let directory = root.join(format!("directory {i}"));
        fs::create_dir_all(&directory).unwrap();
        for j in 0..12 {
            let path = directory.join(format!("file {j}"));
            fs::write(&path, pattern(1 << (6 + j), i * 100 + j as u64)).unwrap();
            let modified = if j % 2 == 0 { 4_000_000_000 } else { 1_000_000_000 };
            super::tree::set_times(&path, modified, 0, modified, 0);
        }
    }
    for path in super::tree::walk(root) {
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
}

#[test]
fn deaths_of_the_daemon_and_the_holder_are_not_seen_by_who_reads_a_whole_tree() {
    for mask in ["", "resend"] {
        for scene in scenes() {
            forest(&scene.env);
            let ask = Ask::Checksum { path: at(&scene.env), times: 1 };
            let mut native = Actor::native(&scene);
            let want = native.ask(&ask);
            native.leave();
            let mut view = Actor::inside_with(&scene, &[], |command| {
                command.env("SPINNEY_MASK", mask);
            });
            for death in 0..20 {
                view.begin(&ask);
                let role = if death % 5 == 4 { "holder-process" } else { "daemon-process" };
                let process = scene.process(role);
                kill(process, libc::SIGKILL);
                eventually("a successor", || scene.process(role) != process);
                assert_eq!(view.answer(), want, "{} without `{mask}`: {death}", scene.who());
            }
            view.leave();
            scene.assert_nothing_left();
        }
    }
}

#[test]
fn an_import_goes_on_while_the_daemon_dies_again_and_again() {
    let library = standard_library();
    let mut scene = scenes().swap_remove(0); // whose interpreter is surely readable by whoever runs the tests
    scene.env = library.clone();
    let words = ["python3", "-c", IMPORT_ALL, library.to_str().unwrap()];
    let want = output(scene.native(words[0]).args(&words[1..]));
    let mut child = scene.run(&["--require", "-q"], &words);
    let mut child =
        child.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let lines = Lines::of(child.stdout.take().unwrap());
    let mut got = Vec::new();
    let mut deaths = 0;
    while let Some(line) = lines.next() {
        got.push(line);
        if got.len() % 9 == 0 && deaths < 20 {
            let daemon = scene.process("daemon-process");
            kill(daemon, libc::SIGKILL);
            eventually("another daemon", || scene.process("daemon-process") != daemon);
            deaths += 1;
        }
    }
    let output = finish(child);
    assert_eq!(got.join("\n"), text(&want.stdout).trim_end(), "{}", text(&output.stderr));
    assert_eq!(output.status.code(), want.status.code());
    assert_eq!(deaths, 20, "only {} lines", got.len());
    scene.assert_nothing_left();
}
