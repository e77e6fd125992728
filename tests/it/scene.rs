//! A place for a test to run the program in: a directory everyone can read, with a copy of the program and a
//! small tree to show, and a user of its own.
//!
//! As root, each test runs twice: as root and as an ordinary user, who is made by `setuid` and has a number that no
//! other scene has, so that what is left behind can be told from what other tests are doing. As an ordinary user, it
//! runs as that user. `/dev/fuse` is made usable by everyone if it is not, as a distribution's udev would.
//!
//! Nothing here sleeps for a fixed time: conditions are polled, with a generous deadline.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take before a test fails. Nothing here takes a hundredth of it on an idle machine.
const DEADLINE: Duration = Duration::from_secs(90);

/// The first of the ordinary users' numbers.
const FIRST_UID: u32 = 4242;

/// Content of the file `file` in the tree that is shown.
pub const CONTENT: &str = "what storage holds\n";

/// A user, a directory, a program.
pub struct Scene {
    /// `None`: whoever runs the tests.
    pub uid: Option<u32>,
    /// Supplementary groups of that user.
    pub groups: Vec<u32>,
    /// The copy of the program.
    pub binary: PathBuf,
    /// The tree that is shown: `file`, `bin/cat`, `bin/sh`.
    pub env: PathBuf,
    /// Where the user may write.
    pub home: PathBuf,
    _directory: tempfile::TempDir,
}

/// A scene per kind of user that can be had here.
pub fn scenes() -> Vec<Scene> {
    static NEXT: AtomicU32 = AtomicU32::new(FIRST_UID);
    prepare_fuse();
    if rustix::process::geteuid().is_root() {
        vec![Scene::make(None), Scene::make(Some(NEXT.fetch_add(1, Ordering::Relaxed)))]
    } else {
        vec![Scene::make(None)]
    }
}

/// A scene of an ordinary user.
pub fn ordinary() -> Scene {
    scenes().pop().unwrap()
}

/// A scene of a user with an entry in `/etc/passwd`, without which `fusermount3` refuses to mount.
pub fn with_a_name() -> Scene {
    let scene = ordinary();
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let nobody = users.lines().find_map(|line| line.strip_prefix("nobody:")?.split(':').nth(1)?.parse().ok());
    if scene.uid.is_some() { Scene::make(nobody) } else { scene }
}

impl Scene {
    fn make(uid: Option<u32>) -> Self {
        let directory = tempfile::tempdir_in("/tmp").unwrap();
        let root = directory.path().canonicalize().unwrap();
        fs::set_permissions(&root, PermissionsExt::from_mode(0o755)).unwrap();
        let binary = root.join("spinney");
        copy(env!("CARGO_BIN_EXE_spinney"), &binary);
        let env = root.join("env");
        fs::create_dir_all(env.join("bin")).unwrap();
        fs::write(env.join("file"), CONTENT).unwrap();
        for program in ["cat", "sh", "sleep"] {
            copy(Path::new("/bin").join(program), &env.join("bin").join(program));
        }
        let home = root.join("home");
        fs::create_dir(&home).unwrap();
        if let Some(uid) = uid {
            for path in [&env, &home] {
                std::os::unix::fs::chown(path, Some(uid), Some(uid)).unwrap();
            }
        }
        Scene { uid, groups: Vec::new(), binary, env, home, _directory: directory }
    }

    /// Who this is, for messages.
    pub fn who(&self) -> String {
        self.uid.map_or_else(|| "whoever runs the tests".to_owned(), |uid| format!("user {uid}"))
    }

    /// `program` as this scene's user, without Spinney.
    pub fn native(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.home).stdin(Stdio::null());
        for (name, _) in std::env::vars().filter(|(name, _)| of_a_launcher(name)) {
            command.env_remove(name);
        }
        match self.uid {
            Some(uid) if self.groups.is_empty() => {
                command.uid(uid).gid(uid);
            }
            Some(uid) => crate::actor::as_member(&mut command, uid, self.groups.clone()),
            None => {}
        }
        command
    }

    /// `spinney` with `words`.
    pub fn spinney(&self, words: &[&str]) -> Command {
        let mut command = self.native(&self.binary);
        command.args(words);
        command
    }

    /// `spinney run -q --view ENV FLAGS -- COMMAND`.
    pub fn run(&self, flags: &[&str], command: &[&str]) -> Command {
        let mut line = self.spinney(&["run", "--view"]);
        line.arg(&self.env).args(flags).arg("--").args(command);
        line
    }

    /// A path in the tree that is shown.
    pub fn shown(&self, name: &str) -> String {
        self.env.join(name).to_str().unwrap().to_owned()
    }

    /// Processes that run the copy of the program, with their command lines.
    pub fn processes(&self) -> Vec<(i32, String)> {
        let pids =
            fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
        pids.filter(|pid: &i32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == self.binary))
            .map(|pid| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                (pid, String::from_utf8_lossy(&line).replace('\0', " "))
            })
            .collect()
    }

    /// The one process in this `role`: `holder-process` or `daemon-process`; waits until there is just one.
    pub fn process(&self, role: &str) -> i32 {
        let mut found = Vec::new();
        eventually(&format!("one {role} of {}", self.who()), || {
            found = self.processes().into_iter().filter(|(_, line)| line.contains(role)).collect();
            found.len() == 1
        });
        found[0].0
    }

    /// Fails unless, soon, nothing of what was started here is left: no process, mount, socket.
    pub fn assert_nothing_left(&self) {
        let mut left = Vec::new();
        let began = Instant::now();
        while began.elapsed() < DEADLINE {
            left = self.leftovers();
            if left.is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("{}: still there: {left:#?}", self.who());
    }

    fn leftovers(&self) -> Vec<String> {
        let mut left: Vec<String> =
            self.processes().into_iter().map(|(pid, line)| format!("{pid} {line}")).collect();
        left.extend(self.mounts());
        if let Some(uid) = self.uid {
            let sockets = fs::read_to_string("/proc/net/unix").unwrap();
            let name = format!("@spinney-{uid}-");
            left.extend(sockets.lines().filter(|line| line.contains(&name)).map(str::to_owned));
        }
        left
    }

    /// Lines of `/proc/self/mountinfo` for what is mounted in the scene, without the stand-in beneath it.
    fn mounts(&self) -> Vec<String> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let here = self.env.parent().unwrap().to_str().unwrap().to_owned();
        let ours = |line: &&str| line.contains(&here) && !line.contains(" fuse.lustre ");
        mounts.lines().filter(ours).map(str::to_owned).collect()
    }
}

/// Rounds in which what a failed test has left is ended: a holder that goes may have begun another.
const ROUNDS: u32 = 5;

/// A test that failed leaves nothing: what it stopped would hang for ever.
impl Drop for Scene {
    fn drop(&mut self) {
        for _ in (0..ROUNDS).take_while(|_| std::thread::panicking()) {
            for (pid, _) in self.processes() {
                // SAFETY: a system call that touches no memory of ours.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        for mount in self.mounts().iter().filter(|_| std::thread::panicking()) {
            let point = mount.split(' ').nth(4).unwrap_or_default();
            let _ = Command::new("umount").args(["-l", point]).stderr(Stdio::null()).status();
        }
    }
}

/// Waits until `condition` holds.
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    eventually_or(what, condition, String::new);
}

/// The same; what `tell` knows is told if it never does.
pub fn eventually_or(what: &str, mut condition: impl FnMut() -> bool, tell: impl FnOnce() -> String) {
    let began = Instant::now();
    while !condition() {
        if began.elapsed() > DEADLINE {
            panic!("never happened: {what} {}", tell());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs `command` to its end, with everything it writes.
pub fn output(command: &mut Command) -> Output {
    finish(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

/// Waits for the end of a child whose output is piped, and for the end of that output.
pub fn finish(mut child: Child) -> Output {
    drop(child.stdin.take());
    let read = |pipe: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut all = Vec::new();
            pipe.map(|mut pipe| pipe.read_to_end(&mut all));
            all
        })
    };
    let stdout = read(child.stdout.take().map(|pipe| Box::new(pipe) as _));
    let stderr = read(child.stderr.take().map(|pipe| Box::new(pipe) as _));
    eventually("the end of a command and its output", || {
        matches!(child.try_wait(), Ok(Some(_))) && stdout.is_finished() && stderr.is_finished()
    });
    let status = child.wait().unwrap();
    Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

/// Lines that a child writes, each awaited with the deadline.
pub struct Lines(std::sync::mpsc::Receiver<String>);

impl Lines {
    /// Takes over the output of a child.
    pub fn of(pipe: impl Read + Send + 'static) -> Self {
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Lines(receive)
    }

    /// The next line; `None` at the end of the output.
    pub fn next(&self) -> Option<String> {
        match self.0.recv_timeout(DEADLINE) {
            Ok(line) => Some(line),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("no line came"),
        }
    }

    /// A line that has come already.
    pub fn waiting(&self) -> Option<String> {
        self.0.try_recv().ok()
    }

    /// Reads on until `line` comes, and returns what came before it.
    pub fn until(&self, line: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            match self.next() {
                Some(next) if next == line => return before,
                Some(next) => before.push(next),
                None => panic!("`{line}` never came, only {before:?}"),
            }
        }
    }
}

/// What was written, as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Sends a signal; the process must be there.
pub fn kill(pid: i32, signal: i32) {
    // SAFETY: sends a signal; touches no memory.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0, "kill {pid}: {}", std::io::Error::last_os_error());
}

/// The letter that the kernel shows for the state of a process: `T` is stopped.
pub fn state(pid: i32) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").and_then(|(_, after)| after.chars().next()).unwrap_or('?')
}

/// The pid of a child as a signed number.
pub fn pid_of(child: &Child) -> i32 {
    child.id().cast_signed()
}

/// Copies a program in a process of its own: a child that another test forks would inherit our descriptor, and
/// nobody can execute a file that is open for writing anywhere.
fn copy(from: impl AsRef<OsStr>, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}

fn of_a_launcher(name: &str) -> bool {
    ["SLURM_", "PBS_", "PALS_", "FLUX_", "LSB_", "PMI", "OMPI_"].iter().any(|prefix| name.starts_with(prefix))
}

fn prepare_fuse() {
    let device = Path::new("/dev/fuse");
    let mode = fs::metadata(device).expect("these tests need /dev/fuse").permissions().mode();
    if mode & 0o666 != 0o666 && rustix::process::geteuid().is_root() {
        eprintln!("/dev/fuse is {:o}; making it 666, as udev would", mode & 0o777);
        fs::set_permissions(device, PermissionsExt::from_mode(0o666)).unwrap();
    }
}
