//! `spinney top`: one frame as text, and the terminal while it is watched.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use spinney::services::top;

use crate::actor;
use crate::scene::{Lines, Scene, eventually, finish, kill, ordinary, output, pid_of, scenes, text};
use crate::terminal::{Terminal, pseudo_terminal, start_on};

/// Reads the file that is shown, says so, and waits for a file `gate`.
const READING: &str = "cat $0 > /dev/null; echo read; until [ -e gate ]; do sleep 0.01; done";

/// A job of two nodes that stays until [`Job::end`].
struct Job {
    name: String,
    run: Child,
}

impl Job {
    fn start(scene: &Scene) -> Self {
        let name = format!("top{}", scene.home.display());
        let flags = ["-q", "--require", "--job", &name, "--local-nodes", "2", "--report", "report"];
        let flags = [&flags[..], &["--profile", "top=20"]].concat();
        let mut run = scene.run(&flags, &["sh", "-c", READING, &scene.shown("file")]);
        let mut run = run.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = Lines::of(run.stdout.take().unwrap());
        (0..2).for_each(|_| assert_eq!(lines.next().as_deref(), Some("read")));
        Job { name, run }
    }

    fn end(self, scene: &Scene) {
        fs::write(scene.home.join("gate"), "").unwrap();
        assert!(finish(self.run).status.success());
        scene.assert_nothing_left();
    }
}

/// A process on a terminal of its own, and what it has written there.
struct Watched {
    keyboard: File,
    /// Keeps the terminal there after the process has ended.
    _theirs: OwnedFd,
    screen: Arc<Mutex<String>>,
    process: Child,
}

impl Watched {
    fn start(scene: &Scene, words: &[&str], columns: u16) -> Self {
        Watched::of(scene.spinney(words), columns)
    }

    fn of(mut command: Command, columns: u16) -> Self {
        let (ours, theirs) = pseudo_terminal();
        set_size(&ours, columns);
        command.env("TERM", "xterm");
        let (process, screen) = start_on(&mut command, &ours, &theirs);
        Watched { keyboard: ours, _theirs: theirs, screen, process }
    }

    /// Waits until `words` are written.
    fn expect(&self, words: &str) {
        eventually(&format!("{words:?} on the screen"), || self.screen.lock().unwrap().contains(words));
    }

    /// Forgets what was written so far.
    fn look_away(&self) {
        self.screen.lock().unwrap().clear();
    }

    /// Waits for the end, and that the terminal is as it was `before`, on its first screen and with a cursor.
    fn ends(mut self, before: (u32, u32, u32)) -> ExitStatus {
        let mut ended = None;
        eventually("its end", || {
            ended = self.process.try_wait().unwrap();
            ended.is_some()
        });
        self.expect("\x1b[?1049l");
        self.expect("\x1b[?25h");
        assert_eq!(modes(&self.keyboard), before, "the terminal is not as it was");
        ended.unwrap()
    }
}

/// What raw mode changes.
fn modes(terminal: &File) -> (u32, u32, u32) {
    // SAFETY: a plain structure that the call fills in.
    unsafe {
        let mut modes: libc::termios = std::mem::zeroed();
        assert_eq!(libc::tcgetattr(terminal.as_raw_fd(), &raw mut modes), 0);
        (modes.c_iflag, modes.c_oflag, modes.c_lflag)
    }
}

fn set_size(terminal: &File, columns: u16) {
    let size = libc::winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the call reads one structure.
    assert_eq!(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }, 0);
}

#[test]
fn one_frame_tells_of_every_node_and_fits() {
    for scene in scenes() {
        let job = Job::start(&scene);
        for (columns, width) in [(None, 80), (Some("40"), 40), (Some("160"), 160), (Some("nonsense"), 80)] {
            let mut top = scene.spinney(&["top", "--once", "--job", &job.name]);
            columns.map(|columns| top.env("COLUMNS", columns));
            let output = output(&mut top);
            let said = text(&output.stdout);
            assert!(output.status.success(), "{said}{}", text(&output.stderr));
            assert!(said.lines().all(|line| line.chars().count() <= width), "{said}");
            assert!(said.starts_with(&format!("job {}", job.name)[..20]), "{said}");
            let rows: Vec<&str> =
                said.lines().skip_while(|line| !line.contains("node host")).skip(1).collect();
            let ranks: Vec<_> = rows.iter().filter_map(|row| row.split_whitespace().next()).collect();
            assert_eq!(ranks, ["0", "1"], "{said}");
            assert!(width < 80 || said.contains("/file"), "the paths that cost most: {said}");
            assert!(width < 80 || rows.iter().any(|row| row.ends_with(" root")), "{said}");
        }
        let output = output(scene.spinney(&["top", "--job", &job.name]).stdin(Stdio::null()));
        assert!(text(&output.stdout).contains("node host"), "without a terminal one frame is told");
        job.end(&scene);
        let output = crate::scene::output(&mut scene.spinney(&["top", "--once", "--job", "no such job"]));
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    }
}

#[test]
fn a_node_that_stops_answering_is_shown_so_and_holds_up_nothing() {
    for scene in scenes() {
        let job = Job::start(&scene);
        let watched = Watched::start(&scene, &["top", "--job", &job.name, "--interval", "100ms"], 100);
        let before = "node host";
        watched.expect(before);
        let daemons = scene.processes().into_iter().filter(|(_, line)| line.contains("daemon-process"));
        let stopped = daemons.map(|(pid, _)| pid).next().unwrap();
        kill(stopped, libc::SIGSTOP);
        watched.expect("no answer");
        watched.look_away();
        kill(stopped, libc::SIGCONT);
        // It is drawn anew where something changed: whom the node asks.
        eventually("it answers again", || {
            let screen = watched.screen.lock().unwrap();
            screen.contains("root") || screen.contains("asks")
        });
        kill(pid_of(&watched.process), libc::SIGKILL);
        let mut watched = watched;
        eventually("its end", || watched.process.try_wait().unwrap().is_some());
        job.end(&scene);
    }
}

#[test]
fn the_terminal_is_given_back_whatever_ends_it() {
    enum Ends {
        Key(&'static str),
        Signal(i32),
    }
    let cases = [
        (Ends::Key("q"), None),
        (Ends::Key("\x03"), None), // Ctrl-C
        (Ends::Signal(libc::SIGTERM), Some(libc::SIGTERM)),
        (Ends::Signal(libc::SIGINT), Some(libc::SIGINT)),
        (Ends::Signal(libc::SIGHUP), Some(libc::SIGHUP)),
    ];
    for scene in scenes() {
        let job = Job::start(&scene);
        for (ends, signal) in &cases {
            let (probe, _theirs) = pseudo_terminal();
            let before = modes(&probe);
            let mut watched = Watched::start(&scene, &["top", "--job", &job.name, "--interval", "100ms"], 80);
            watched.expect("node host");
            assert_ne!(modes(&watched.keyboard), before, "it reads keys one by one");
            match ends {
                Ends::Key(key) => watched.keyboard.write_all(key.as_bytes()).unwrap(),
                Ends::Signal(number) => kill(pid_of(&watched.process), *number),
            }
            let status = watched.ends(before);
            assert_eq!((status.signal(), status.success()), (*signal, signal.is_none()));
        }
        job.end(&scene);
    }
}

/// The first argument that makes this binary one that panics while it has the terminal; the second says where.
const ROLE: &str = "panics-on-the-screen";

/// Before `main`, as for an actor: nothing of the test harness has run.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = {
    extern "C" fn panic_on_the_screen() {
        let words: Vec<String> = std::env::args_os().filter_map(|word| word.into_string().ok()).collect();
        match words.get(1..).unwrap_or_default() {
            [role, place] if role == ROLE => {
                let panicking = |mut terminal: ratatui::DefaultTerminal| {
                    terminal.draw(|frame| frame.render_widget("shown", frame.area())).unwrap();
                    if place == "beside" {
                        let _ = std::thread::spawn(|| panic!("a thread is lost")).join();
                        loop {
                            std::thread::park();
                        }
                    }
                    terminal.draw(|_| panic!("drawing is lost")).map(drop).unwrap();
                };
                top::on_screen(panicking).unwrap();
            }
            _ => {}
        }
    }
    panic_on_the_screen
};

#[test]
fn the_terminal_is_given_back_after_a_panic_of_any_thread() {
    let scene = ordinary();
    for (place, words) in [("drawing", "drawing is lost"), ("beside", "a thread is lost")] {
        let (probe, _theirs) = pseudo_terminal();
        let before = modes(&probe);
        let mut command = scene.native(actor::program(&scene)[0].as_str());
        command.args([ROLE, place]);
        let watched = Watched::of(command, 80);
        watched.expect("shown");
        watched.expect(words);
        let screen = watched.screen.clone();
        assert_eq!(watched.ends(before).code(), Some(101));
        let screen = screen.lock().unwrap();
        let (left, told) = (screen.find("\x1b[?1049l").unwrap(), screen.find(words).unwrap());
        assert!(left < told, "it is told on the screen that stays");
    }
}

#[test]
fn it_follows_the_size_of_the_terminal() {
    for scene in scenes() {
        let job = Job::start(&scene);
        let (probe, _theirs) = pseudo_terminal();
        let before = modes(&probe);
        let mut watched = Watched::start(&scene, &["top", "--job", &job.name, "--interval", "10s"], 40);
        watched.expect("node host");
        assert!(!watched.screen.lock().unwrap().contains("memory"), "there is no room for it");
        set_size(&watched.keyboard, 150);
        watched.expect("memory");
        watched.keyboard.write_all(b"q").unwrap();
        assert!(watched.ends(before).success());
        job.end(&scene);
    }
}

#[test]
fn control_z_stops_it_and_fg_brings_it_back() {
    for scene in scenes() {
        let job = Job::start(&scene);
        let mut terminal = Terminal::open(&scene);
        terminal.type_in("stty rows 24 cols 80\n");
        terminal.expect("$ ");
        terminal.type_in(&format!("{} top --job {}\n", scene.binary.display(), job.name));
        terminal.expect("node host");
        terminal.type_in("\x1a");
        terminal.expect("\x1b[?1049l");
        terminal.expect("Stopped");
        terminal.expect("$ ");
        terminal.type_in("echo al''ive\n");
        terminal.expect("alive");
        terminal.type_in("fg\n");
        terminal.expect("\x1b[?1049h");
        terminal.expect("node host");
        terminal.type_in("q");
        terminal.expect("$ ");
        terminal.leave();
        job.end(&scene);
    }
}
