//! Signals without a terminal: each reaches COMMAND exactly once, whoever it was sent to.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::scene::{Lines, Scene, eventually, finish, kill, pid_of, scenes, state};

/// Says its pid and `ready`, then the name of each signal it gets, and `end` when a line comes in or its input ends;
/// `read` that was interrupted by a signal gives more than 128.
const COUNTING: &str = "for s in USR1 USR2 TERM INT HUP QUIT WINCH ALRM; do trap \"echo $s\" $s; done; \
    echo $$; echo ready; until read line || [ $? -lt 128 ]; do :; done; echo end";

/// Starts [`COUNTING`] in a process group of its own.
fn counting(scene: &Scene) -> (Child, Lines) {
    let (child, lines, _) = counting_with_pid(scene);
    (child, lines)
}

/// The same, with the command's pid.
fn counting_with_pid(scene: &Scene) -> (Child, Lines, i32) {
    let mut command = scene.run(&["-q"], &["bash", "-c", COUNTING]);
    let mut child = command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = Lines::of(child.stdout.take().unwrap());
    let pid = lines.until("ready")[0].parse().unwrap();
    (child, lines, pid)
}

/// Whether no signal waits to be read by a process.
fn has_read_its_signals(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status
        .lines()
        .any(|line| line.strip_prefix("ShdPnd:").is_some_and(|set| set.trim_matches(['\t', '0']).is_empty()))
}

/// Continues `continued`: the wrapper then passes a signal on, and the command hears of it.
fn assert_goes_on(lines: &Lines, wrapper: i32, continued: i32) {
    kill(continued, libc::SIGCONT);
    kill(wrapper, libc::SIGUSR1);
    assert_eq!(lines.next().as_deref(), Some("USR1"));
}

/// Ends it, and returns the signals that it named meanwhile.
fn rest(mut child: Child, lines: &Lines) -> Vec<String> {
    writeln!(child.stdin.as_mut().unwrap()).unwrap();
    let named = lines.until("end");
    assert!(finish(child).status.success());
    named
}

#[test]
fn a_signal_for_the_wrapper_alone_reaches_the_command_once() {
    for scene in scenes() {
        let (child, lines) = counting(&scene);
        for (name, signal) in
            [("USR1", libc::SIGUSR1), ("TERM", libc::SIGTERM), ("INT", libc::SIGINT), ("HUP", libc::SIGHUP)]
        {
            kill(pid_of(&child), signal);
            assert_eq!(lines.next().as_deref(), Some(name), "{}", scene.who());
        }
        assert!(rest(child, &lines).is_empty(), "{}: more than once", scene.who());
        scene.assert_nothing_left();
    }
}

#[test]
fn a_signal_for_the_process_group_reaches_the_command_once() {
    for scene in scenes() {
        let (child, lines) = counting(&scene);
        for (name, signal) in [("USR2", libc::SIGUSR2), ("TERM", libc::SIGTERM), ("QUIT", libc::SIGQUIT)] {
            kill(-pid_of(&child), signal);
            assert_eq!(lines.next().as_deref(), Some(name), "{}", scene.who());
        }
        // One for the wrapper alone comes through after all that, and so late that a second copy would have come.
        kill(pid_of(&child), libc::SIGUSR1);
        assert_eq!(lines.next().as_deref(), Some("USR1"), "{}: more than once", scene.who());
        assert!(rest(child, &lines).is_empty(), "{}: more than once", scene.who());
        scene.assert_nothing_left();
    }
}

#[test]
fn the_service_is_deaf_to_what_schedulers_send_to_everything() {
    for scene in scenes() {
        let (child, lines) = counting(&scene);
        let (holder, daemon) = (scene.process("holder-process"), scene.process("daemon-process"));
        for signal in [libc::SIGUSR1, libc::SIGUSR2, libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGQUIT]
        {
            kill(holder, signal);
            kill(daemon, signal);
        }
        kill(pid_of(&child), libc::SIGUSR1);
        lines.until("USR1");
        assert_eq!((holder, daemon), (scene.process("holder-process"), scene.process("daemon-process")));
        assert!(rest(child, &lines).is_empty());
        scene.assert_nothing_left();
    }
}

#[test]
fn a_stopped_group_is_continued_whoever_is_told() {
    for scene in scenes() {
        let (child, lines) = counting(&scene);
        let (group, wrapper) = (-pid_of(&child), pid_of(&child));
        for (stop, stopped, continued) in [
            (libc::SIGSTOP, group, wrapper),
            (libc::SIGSTOP, group, group),
            (libc::SIGTSTP, wrapper, wrapper),
            (libc::SIGTSTP, wrapper, group),
        ] {
            kill(stopped, stop);
            eventually("the wrapper stops with its command", || state(wrapper) == 'T');
            assert_goes_on(&lines, wrapper, continued);
        }
        assert!(rest(child, &lines).is_empty());
        scene.assert_nothing_left();
    }
}

#[test]
fn processes_that_are_stopped_one_after_the_other_all_go_on_when_their_group_does() {
    for scene in scenes() {
        let (child, lines, task) = counting_with_pid(&scene);
        let wrapper = pid_of(&child);
        for round in 0..300 {
            kill(task, libc::SIGSTOP);
            // Sweeps over what the wrapper does about that; asserts nothing.
            let pause = Duration::from_micros(round % 60 * 5);
            let stopped = Instant::now();
            while stopped.elapsed() < pause {
                std::hint::spin_loop();
            }
            kill(-wrapper, libc::SIGSTOP);
            eventually("the wrapper is stopped", || state(wrapper) == 'T');
            kill(-wrapper, libc::SIGCONT);
            // No shell hears of it: some lose a signal that comes just before they wait for input.
            kill(wrapper, libc::SIGURG);
            eventually("the wrapper goes on", || has_read_its_signals(wrapper));
        }
        assert!(rest(child, &lines).is_empty());
        scene.assert_nothing_left();
    }
}

#[test]
fn a_command_that_is_stopped_alone_stops_its_wrapper_and_goes_on_with_it() {
    for scene in scenes() {
        let (child, lines, task) = counting_with_pid(&scene);
        let wrapper = pid_of(&child);
        for stop in [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN] {
            kill(task, stop);
            eventually("the wrapper stops with its command", || state(wrapper) == 'T');
            assert_goes_on(&lines, wrapper, wrapper);
        }
        assert!(rest(child, &lines).is_empty());
        scene.assert_nothing_left();
    }
}

#[test]
fn ending_by_terminate_during_the_way_in_leaves_nothing() {
    for scene in scenes() {
        for delay_us in (0..12_000).step_by(1500) {
            let mut child = scene.run(&["-q"], &["sleep", "60"]).process_group(0).spawn().unwrap();
            std::thread::sleep(Duration::from_micros(delay_us)); // sweeps over the steps; asserts nothing
            kill(-pid_of(&child), libc::SIGTERM);
            eventually("the end", || child.try_wait().unwrap().is_some());
        }
        scene.assert_nothing_left();
    }
}
