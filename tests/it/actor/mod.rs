//! An actor: a process that makes the system calls a test tells it to, natively or inside a view, and says what
//! came of each. Two actors with the same script show whether a view behaves as the plain directory does.
//!
//! It is this very test binary in another role, so that nothing else has to be installed and no interpreter adds
//! calls of its own. Questions and answers are lines of JSON over its standard streams.
//!
//! Not here: the calls themselves (`doing`, `mutations`), what the answers should be (`semantics`).

mod doing;
mod mutations;
mod words;

use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde::{Deserialize, Serialize};

pub use self::mutations::{MUTATIONS, Mutation};
pub use self::words::{bytes as said_of, hash};
use crate::scene::{Lines, Scene, finish, text};

/// The first argument that makes this binary an actor.
const ROLE: &str = "actor-of-the-tests";

/// A path as bytes.
pub type Bytes = Vec<u8>;

/// What an actor can be asked. Files, directories and maps are kept under names that the test chooses.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Ask {
    /// `stat`, or `lstat` if not `follow`.
    Stat { path: Bytes, follow: bool },
    /// `fstat`.
    Fstat { file: String },
    /// `statx` with AT_STATX_FORCE_SYNC, as a program does that wants no cached answer.
    StatNow { path: Bytes },
    /// `fstatat` relative to an open directory.
    StatAt { directory: String, path: Bytes },
    /// `open`.
    Open { file: String, path: Bytes, flags: i32 },
    /// `openat` relative to an open directory.
    OpenAt { file: String, directory: String, path: Bytes, flags: i32 },
    /// `close`.
    Close { file: String },
    /// `pread` until so many bytes or the end.
    Read { file: String, offset: u64, length: u64 },
    /// `open`, `read` to the end, `close`.
    ReadAll { path: Bytes },
    /// One `read` of up to so many bytes into memory aligned for O_DIRECT.
    ReadAligned { file: String, length: u64 },
    /// `lseek` with this whence.
    Seek { file: String, offset: i64, whence: i32 },
    /// `sendfile` of all to a pipe.
    SendFile { path: Bytes },
    /// `copy_file_range` of all to a file of its own.
    CopyRange { path: Bytes, to: Bytes },
    /// `mmap` of an open file.
    Map { map: String, file: String, length: u64, protection: i32, flags: i32 },
    /// Reads from a map in a child, which may die of SIGBUS.
    Touch { map: String, offset: u64, length: u64 },
    /// Writes to a map.
    Poke { map: String, offset: u64, value: u8 },
    /// All names of a directory in order, with type and inode number.
    List { path: Bytes },
    /// Lists again from the position of every `step`-th name, and tells whether each time the rest came.
    Resume { path: Bytes, step: usize },
    /// `readlink`.
    Target { path: Bytes },
    /// `access` with this mode.
    Access { path: Bytes, mode: i32 },
    /// `chdir`.
    Chdir { path: Bytes },
    /// `getcwd`.
    WhereAmI,
    /// Runs a program and tells its status and output.
    Run { program: Bytes, arguments: Vec<String> },
    /// `statfs`.
    Usage { path: Bytes },
    /// `getxattr`.
    Xattr { path: Bytes, name: String },
    /// `listxattr`.
    Xattrs { path: Bytes },
    /// `ioctl` of an open file with a request that only fills memory.
    Control { file: String, request: u64 },
    /// `flock` of an open file.
    Flock { file: String, how: i32 },
    /// A record lock of an open file, taken by a child that then tells what a second child is told.
    RecordLock { file: String },
    /// Something that a read-only file system refuses.
    Mutate { how: Mutation, path: Bytes, beside: Bytes },
    /// Counts the SIGALRMs of a timer that goes every so many milliseconds, from now on.
    Alarms { every_ms: u64 },
    /// How many there were.
    AlarmsSoFar,
    /// A hash over names, attributes and bytes of a whole tree, so many times; pages are dropped again, so that the
    /// next time they have to be asked for.
    Checksum { path: Bytes, times: usize },
    /// How many milliseconds the slowest file of all checksums so far took.
    Slowest,
    /// Device and inode numbers of a path.
    Identity { path: Bytes },
    /// Its process number.
    Number,
}

/// A path for an [`Ask`].
pub fn at(path: impl AsRef<Path>) -> Bytes {
    path.as_ref().as_os_str().as_bytes().to_vec()
}

/// A running actor.
pub struct Actor {
    /// The process, which is the wrapper's if inside; `None`: somebody else's, such as one of many tasks.
    child: Option<Child>,
    questions: Option<Box<dyn Write + Send>>,
    answers: Lines,
}

impl Actor {
    /// An actor that sees the plain directory.
    pub fn native(scene: &Scene) -> Self {
        let mut command = scene.native(of(scene));
        command.arg(ROLE);
        Actor::start(command)
    }

    /// An actor inside the scene's view.
    pub fn inside(scene: &Scene, flags: &[&str]) -> Self {
        Actor::inside_with(scene, flags, |_| {})
    }

    /// The same, after `prepare` had its way with the command.
    pub fn inside_with(scene: &Scene, flags: &[&str], prepare: impl FnOnce(&mut Command)) -> Self {
        let program = of(scene);
        let flags = [&["--require", "-q"], flags].concat();
        let mut command = scene.run(&flags, &[program.to_str().unwrap(), ROLE]);
        prepare(&mut command);
        Actor::start(command)
    }

    /// Starts `command`, which ends up being an actor.
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let answers = Lines::of(child.stdout.take().unwrap());
        if answers.next().as_deref() != Some("\"ready\"") {
            panic!("no actor: {}", text(&finish(child).stderr));
        }
        let questions = child.stdin.take().map(|stdin| Box::new(stdin) as _);
        Actor { child: Some(child), questions, answers }
    }

    /// An actor that somebody else has started, as [`shell_words`] say.
    pub fn elsewhere(questions: impl Write + Send + 'static, answers: impl Read + Send + 'static) -> Self {
        let answers = Lines::of(answers);
        assert_eq!(answers.next().as_deref(), Some("\"ready\""), "no actor");
        Actor { child: None, questions: Some(Box::new(questions)), answers }
    }

    /// Asks and waits for the answer.
    pub fn ask(&mut self, ask: &Ask) -> String {
        self.begin(ask);
        self.answer()
    }

    /// Asks and expects "ok".
    pub fn must(&mut self, ask: &Ask) {
        assert_eq!(self.ask(ask), "ok", "{ask:?}");
    }

    /// Asks without waiting for the answer.
    pub fn begin(&mut self, ask: &Ask) {
        let line = serde_json::to_string(ask).unwrap();
        writeln!(self.questions.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The answer to the earliest question that has none yet.
    pub fn answer(&mut self) -> String {
        match self.answers.next() {
            Some(line) => serde_json::from_str(&line).unwrap(),
            None => panic!("the actor died: {}", self.last_words()),
        }
    }

    /// The answer if there is one already.
    pub fn answer_so_far(&mut self) -> Option<String> {
        self.answers.waiting().map(|line| serde_json::from_str(&line).unwrap())
    }

    /// Whether the actor died instead of answering; waits for one or the other.
    pub fn died(&mut self) -> bool {
        self.answers.next().is_none()
    }

    fn last_words(&mut self) -> String {
        let mut words = String::new();
        let Some(child) = &mut self.child else { return words };
        if let Some(mut stderr) = child.stderr.take() {
            let _ = stderr.read_to_string(&mut words);
        }
        format!("{:?} {words}", child.try_wait())
    }

    /// Its process number, inside.
    pub fn number(&mut self) -> i32 {
        self.ask(&Ask::Number).parse().unwrap()
    }

    /// Waits until the actor, which has been asked something, waits for an answer of a file system.
    pub fn wait_until_it_waits(&mut self, number: i32) {
        crate::scene::eventually("the actor waits for a file system", || {
            let place = std::fs::read_to_string(format!("/proc/{number}/wchan")).unwrap();
            ["fuse", "request_wait", "folio", "d_alloc_parallel"].iter().any(|word| place.contains(word))
        });
        assert_eq!(self.answer_so_far(), None);
    }

    /// Ends it and waits for its end.
    pub fn leave(self) -> Output {
        let output = self.end();
        assert!(output.status.success(), "{:?}: {}", output.status, text(&output.stderr));
        output
    }

    /// Waits for its end, however that is.
    pub fn end(mut self) -> Output {
        drop(self.questions.take());
        finish(self.child.expect("whoever started it waits for it"))
    }
}

/// The program of an actor and its argument.
pub fn program(scene: &Scene) -> [String; 2] {
    [of(scene).to_str().unwrap().to_owned(), ROLE.to_owned()]
}

/// Words that make a shell become an actor.
pub fn shell_words(scene: &Scene) -> String {
    program(scene).join(" ")
}

/// This binary where the scene's user can execute it.
fn of(scene: &Scene) -> PathBuf {
    let here = scene.home.parent().unwrap().join("actor");
    if !here.exists() {
        let binary = std::env::current_exe().unwrap();
        assert!(Command::new("cp").arg(binary).arg(&here).status().unwrap().success());
    }
    here
}

/// Makes `command` run as this user with these groups, and no others.
pub fn as_member(command: &mut Command, uid: u32, groups: Vec<u32>) {
    // SAFETY: three system calls; the list was made before and is alive in the closure.
    unsafe {
        command.pre_exec(move || {
            let refused = libc::setgroups(groups.len(), groups.as_ptr())
                | libc::setresgid(uid, uid, uid)
                | libc::setresuid(uid, uid, uid);
            if refused == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        });
    }
}

/// Runs before `main`, as the constructors of C++ do: an actor has no use for a test harness with its threads.
/// The standard library reads the arguments in an earlier entry of the same list.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = {
    extern "C" fn become_actor() {
        if std::env::args_os().nth(1).is_some_and(|role| role == ROLE) {
            doing::answer_all();
            std::process::exit(0);
        }
    }
    become_actor
};
