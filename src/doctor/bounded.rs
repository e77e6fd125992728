//! A command that is ended when its time is up, or when this process is told to end.
//!
//! Not here: what is run, and what its answer means (`way`).

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::MemfdFlags;
use rustix::process::{Pid, Signal};

/// How often a command is looked at.
pub const POLL: Duration = Duration::from_millis(5);

/// How often a killed command is looked for: for two seconds.
const REAPS_MAX: usize = 400;

/// How much of a command's output is kept.
const OUTPUT_BYTES_MAX: u64 = 64 << 10;

/// How a command ended.
#[derive(Debug)]
pub enum Ended {
    /// By itself.
    With {
        /// Its exit code or signal.
        status: ExitStatus,
        /// What it wrote to standard output.
        output: Vec<u8>,
        /// What it wrote to standard error.
        errors: Vec<u8>,
    },
    /// It was ended when its time was up.
    Late,
    /// It was ended because this process is to end.
    Interrupted,
}

/// Signals that end a program, held back until its traces are removed.
pub struct HeldSignals {
    before: libc::sigset_t,
}

const ENDING: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

/// The set of [`ENDING`]. Allocates nothing, so it may be made between fork and exec.
fn ending() -> libc::sigset_t {
    // SAFETY: initialised before it is filled; the signals exist.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        ENDING.iter().for_each(|&signal| _ = libc::sigaddset(&mut set, signal));
        set
    }
}

impl HeldSignals {
    /// Holds them back from here on.
    pub fn new() -> Self {
        // SAFETY: the kernel fills the set before it is read.
        unsafe {
            let mut before = std::mem::zeroed();
            libc::pthread_sigmask(libc::SIG_BLOCK, &ending(), &mut before);
            Self { before }
        }
    }

    /// Whether one has arrived meanwhile.
    pub fn one_waits(&self) -> bool {
        // SAFETY: the set is initialised before it is filled; the signals exist.
        unsafe {
            let mut pending = std::mem::zeroed();
            libc::sigemptyset(&mut pending);
            libc::sigpending(&mut pending);
            ENDING.iter().any(|&signal| libc::sigismember(&pending, signal) == 1)
        }
    }
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        // SAFETY: the set that the kernel gave when these were held back. What waits is delivered here.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, std::ptr::null_mut()) };
    }
}

/// Runs a command for at most `limit`, in a process group of its own so that all of it can be ended.
pub fn run_for(command: &mut Command, limit: Duration) -> io::Result<Ended> {
    // Memory files, not pipes: what outlives the command cannot keep us waiting, and nothing can fill up.
    let (output, errors) = (memory_file("output")?, memory_file("errors")?);
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(errors.try_clone()?).process_group(0);
    let held = HeldSignals::new();
    // SAFETY: one system call, on a set made on the spot.
    unsafe {
        command.pre_exec(|| Ok(_ = libc::pthread_sigmask(libc::SIG_UNBLOCK, &ending(), std::ptr::null_mut())))
    };
    let mut child = command.spawn()?;
    let started = Instant::now();
    while started.elapsed() < limit {
        if held.one_waits() {
            end(&mut child);
            return Ok(Ended::Interrupted);
        }
        if let Some(status) = child.try_wait()? {
            return Ok(Ended::With { status, output: contents(output)?, errors: contents(errors)? });
        }
        std::thread::sleep(POLL);
    }
    end(&mut child);
    Ok(Ended::Late)
}

/// Ends a run and its command; the service behind them ends when its last task is gone.
fn end(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
    // A process that waits for storage may not end even so; it is not waited for.
    for _ in 0..REAPS_MAX {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(POLL);
    }
}

fn memory_file(name: &str) -> io::Result<File> {
    let file: OwnedFd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?;
    Ok(file.into())
}

fn contents(mut file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_is_ended_with_all_it_started() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "sleep 1000 & wait"]);
        let started = Instant::now();
        let ended = run_for(&mut command, Duration::from_millis(50)).unwrap();
        assert!(matches!(ended, Ended::Late));
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_try_itself_holds_nothing_back() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "grep SigBlk /proc/self/status"]);
        let Ended::With { output, .. } = run_for(&mut command, Duration::from_secs(10)).unwrap() else {
            panic!("late")
        };
        assert_eq!(String::from_utf8(output).unwrap().trim(), "SigBlk:\t0000000000000000");
    }

    #[test]
    fn an_interrupt_ends_the_try_first() {
        let held = HeldSignals::new();
        let mut command = Command::new("/bin/sleep");
        // SAFETY: a signal to this thread, which holds it back.
        unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGHUP) };
        let ended = run_for(command.arg("1000"), Duration::from_secs(10)).unwrap();
        assert!(matches!(ended, Ended::Interrupted));
        assert!(held.one_waits(), "it still waits");
        // SAFETY: taken away, so that it does not end the test.
        unsafe {
            let mut hangup = std::mem::zeroed();
            libc::sigemptyset(&mut hangup);
            libc::sigaddset(&mut hangup, libc::SIGHUP);
            libc::sigtimedwait(&hangup, std::ptr::null_mut(), &std::mem::zeroed());
        }
        assert!(!held.one_waits());
    }
}
