//! Job control on a terminal, as an interactive shell does it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::scene::{Scene, eventually, scenes};

/// An interactive shell on a terminal of its own, and what is seen on the screen.
pub struct Terminal {
    keyboard: File,
    screen: Arc<Mutex<String>>,
    shell: Child,
    /// How much of the screen has been looked at.
    seen: usize,
}

/// Starts `command` in a session whose terminal is `theirs`; what it writes there is collected from `ours`.
pub fn start_on(command: &mut Command, ours: &File, theirs: &OwnedFd) -> (Child, Arc<Mutex<String>>) {
    let stream = || Stdio::from(theirs.try_clone().unwrap());
    command.stdin(stream()).stdout(stream()).stderr(stream());
    // SAFETY: two async-signal-safe calls that make the terminal this session's.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            libc::ioctl(0, libc::TIOCSCTTY, 0);
            Ok(())
        });
    }
    let child = command.spawn().unwrap();
    let screen = Arc::new(Mutex::new(String::new()));
    let (shared, mut reader) = (screen.clone(), ours.try_clone().unwrap());
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(n @ 1..) = reader.read(&mut bytes) {
            shared.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..n]));
        }
    });
    (child, screen)
}

impl Terminal {
    pub fn open(scene: &Scene) -> Self {
        let (ours, theirs) = pseudo_terminal();
        let mut command = scene.native("bash");
        command.args(["--norc", "--noprofile", "-i"]).env("PS1", "$ ").env("TERM", "dumb");
        command.env(
            "RUN",
            format!("{} run --require --view {} --", scene.binary.display(), scene.env.display()),
        );
        let (shell, screen) = start_on(&mut command, &ours, &theirs);
        let mut terminal = Terminal { keyboard: ours, screen, shell, seen: 0 };
        terminal.expect("$ ");
        terminal
    }

    pub fn type_in(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until `words` appear after what was seen before; returns what came before them.
    pub fn expect(&mut self, words: &str) -> String {
        let (screen, seen) = (self.screen.clone(), self.seen);
        let mut found = None;
        let began = std::time::Instant::now();
        while found.is_none() {
            let screen = screen.lock().unwrap().clone();
            found = screen[seen..].find(words).map(|at| screen[seen..seen + at].to_owned());
            assert!(began.elapsed().as_secs() < 30, "no {words:?} on the screen:\n{}", &screen[seen..]);
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let before = found.unwrap();
        self.seen = seen + before.len() + words.len();
        before
    }

    pub fn leave(mut self) {
        self.type_in("exit\n");
        eventually("the shell's end", || self.shell.try_wait().unwrap().is_some());
    }
}

#[test]
fn control_c_reaches_the_command_once() {
    for scene in scenes() {
        let mut terminal = Terminal::open(&scene);
        terminal.type_in("$RUN bash -c 'trap \"echo got-it\" INT; echo rea\"\"dy; until read x || [ $? -lt 128 ]; do :; done; echo en\"\"d'\n");
        terminal.expect("ready");
        for _ in 0..3 {
            terminal.type_in("\x03");
            terminal.expect("got-it");
        }
        terminal.type_in("\n");
        let more = terminal.expect("end");
        assert!(!more.contains("got-it"), "{}: more than once: {more}", scene.who());
        terminal.expect("$ ");
        terminal.leave();
        scene.assert_nothing_left();
    }
}

#[test]
fn control_c_ends_what_does_not_catch_it_and_the_shell_sees_the_signal() {
    for scene in scenes() {
        let mut terminal = Terminal::open(&scene);
        terminal.type_in("$RUN sh -c 'echo rea\"\"dy; exec sleep 60'\n");
        terminal.expect("ready");
        terminal.type_in("\x03");
        terminal.expect("$ ");
        terminal.type_in("echo code=$?\n");
        terminal.expect("code=130");
        terminal.expect("$ ");
        terminal.leave();
        scene.assert_nothing_left();
    }
}

#[test]
fn control_z_stops_the_job_and_fg_brings_it_back() {
    for scene in scenes() {
        let mut terminal = Terminal::open(&scene);
        terminal.type_in("$RUN sh -c 'echo rea\"\"dy; exec cat'\n");
        terminal.expect("ready");
        for round in 0..3 {
            // Once it answers it runs, and is not between `vfork` and `exec`, where a shell that is
            // stopped hangs, with or without Spinney.
            terminal.type_in(&format!("round-{round}\n"));
            terminal.expect(&format!("round-{round}\r\n"));
            terminal.expect(&format!("round-{round}\r\n")); // the echo, then what `cat` says
            terminal.type_in("\x1a");
            terminal.expect("Stopped");
            terminal.expect("$ ");
            terminal.type_in("jobs\n");
            terminal.expect("Stopped");
            terminal.expect("$ ");
            terminal.type_in("fg\n");
            terminal.expect("RUN");
        }
        terminal.type_in("\x04");
        terminal.expect("requests");
        terminal.expect("$ ");
        terminal.leave();
        scene.assert_nothing_left();
    }
}

#[test]
fn a_job_in_the_background_stops_when_it_reads_the_terminal_and_runs_in_a_pipeline() {
    for scene in scenes() {
        let mut terminal = Terminal::open(&scene);
        terminal.type_in("$RUN cat | tr a-z A-Z &\n");
        terminal.expect("$ ");
        terminal.type_in("\n");
        eventually("the job stops for input", || {
            terminal.type_in("jobs\n");
            terminal.expect("$ ");
            terminal.screen.lock().unwrap().contains("Stopped")
        });
        terminal.type_in("fg\n");
        terminal.expect("| tr");
        terminal.type_in("some words\n");
        terminal.expect("SOME WORDS");
        terminal.type_in("\x04");
        terminal.type_in("echo al''l-over\n");
        terminal.expect("all-over");
        assert!(terminal.screen.lock().unwrap().contains(" requests, "), "no line at the end");
        terminal.leave();
        scene.assert_nothing_left();
    }
}

#[test]
fn an_interactive_python_is_as_it_is_without_spinney() {
    if !std::path::Path::new("/usr/bin/python3").exists() {
        return eprintln!("no /usr/bin/python3 here: the interactive interpreter is not tested");
    }
    for scene in scenes() {
        let mut terminal = Terminal::open(&scene);
        terminal.type_in("$RUN /usr/bin/python3 -q\n");
        terminal.expect(">>> ");
        terminal.type_in("import time; print('in' + 'side'); time.sleep(60)\n");
        terminal.expect("inside");
        terminal.type_in("\x03");
        terminal.expect("KeyboardInterrupt");
        terminal.expect(">>> ");
        terminal.type_in("\x1a");
        terminal.expect("Stopped");
        terminal.expect("$ ");
        terminal.type_in("fg\n");
        terminal.type_in("print(6 * 7)\n");
        terminal.expect("42");
        terminal.type_in("exit(9)\n");
        terminal.expect("$ ");
        terminal.type_in("echo code=$?\n");
        terminal.expect("code=9");
        terminal.expect("$ ");
        terminal.leave();
        scene.assert_nothing_left();
    }
}

#[test]
fn the_death_of_the_terminal_ends_the_command() {
    for scene in scenes() {
        let mut terminal = Terminal::open(&scene);
        terminal.type_in("exec $RUN sh -c 'echo rea\"\"dy; cat'\n");
        terminal.expect("ready");
        let Terminal { keyboard, mut shell, .. } = terminal;
        // SAFETY: hangs the terminal up, as closing its window does, although a thread here still reads it.
        unsafe { libc::ioctl(keyboard.as_raw_fd(), libc::TIOCSTI, 0) };
        drop(keyboard);
        crate::scene::kill(shell.id().cast_signed(), libc::SIGHUP);
        eventually("the end", || shell.try_wait().unwrap().is_some());
        scene.assert_nothing_left();
    }
}

pub fn pseudo_terminal() -> (File, OwnedFd) {
    let (mut ours, mut theirs) = (-1, -1);
    // SAFETY: two places to write descriptors to, which nobody else owns afterwards.
    unsafe {
        let none = std::ptr::null_mut();
        assert_eq!(libc::openpty(&raw mut ours, &raw mut theirs, none, none.cast(), none.cast()), 0);
        for fd in [ours, theirs] {
            libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
        }
        (File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs))
    }
}
