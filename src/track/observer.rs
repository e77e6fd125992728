//! A process that looks, from time to time, which shared objects the processes of a run have mapped.
//!
//! A child of `spinney run`, forked before anything else and killed at its end; nothing is done to COMMAND. Soon after
//! the start it looks often, later once a minute, so what a program maps at its start is seen if it runs for some 20 ms,
//! and what it maps later is seen if it stays mapped for a minute.
//!
//! Invariant: it holds no descriptor of the run, and dies with its parent.

use std::collections::HashSet;
use std::os::fd::IntoRawFd;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::filter::{Filter, Says};
use super::flight::append;
use super::libraries::{beneath, mapped, package_of};
use super::record::{Library, Line};
use crate::enter::descriptors::close_all_but;

/// When it looks first: 10 ms after the start.
const FIRST: Duration = Duration::from_millis(10);

/// Each pause is so many times the one before: a program is seen in the second half of its life, however long that is.
const GROWTH: u32 = 2;

/// The longest pause: a minute, at 1 to 2 ms of work for each look.
const LONGEST: Duration = Duration::from_secs(60);

/// Objects that are told of one run at most, each with each process counted.
const OBJECTS_MAX: usize = 100_000;

/// The process.
#[derive(Debug)]
pub struct Observer(Pid);

impl Observer {
    /// Starts it for what this process will start; `None` if there is no process to be had. This process must have one
    /// thread.
    pub fn start(directory: &Path, filter: &Filter) -> Option<Observer> {
        let parent = rustix::process::getpid();
        // SAFETY: the process has one thread, so the child may allocate.
        match unsafe { libc::fork() } {
            0 => {
                watch(parent, directory, filter);
                // SAFETY: ends the process at once; what its parent has buffered is the parent's.
                unsafe { libc::_exit(0) }
            }
            pid => Some(Observer(Pid::from_raw(pid).filter(|_| pid > 0)?)),
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(self.0, Signal::KILL);
        let _ = rustix::process::waitpid(Some(self.0), rustix::process::WaitOptions::empty());
    }
}

/// The life of the process.
fn watch(parent: Pid, directory: &Path, filter: &Filter) {
    if withdraw(parent).is_none() {
        return;
    }
    let own = std::fs::read_link("/proc/self/exe").unwrap_or_default();
    let file = directory.join(format!("libraries-{}.rec", std::process::id()));
    let (mut seen, mut pause) = (HashSet::new(), FIRST);
    loop {
        std::thread::sleep(pause);
        pause = (pause * GROWTH).min(LONGEST);
        let text = look(parent, &own, filter, &mut seen);
        // A directory that is gone: the run has ended.
        if !text.is_empty() && append(&file, text.as_bytes()).is_err() {
            return;
        }
    }
}

/// Lines for what is mapped now and was not before.
fn look(parent: Pid, own: &Path, filter: &Filter, seen: &mut HashSet<(u32, String)>) -> String {
    let mut text = String::new();
    for pid in beneath(parent.as_raw_nonzero().get().unsigned_abs()) {
        let Ok(program) = std::fs::read_link(format!("/proc/{pid}/exe")) else { continue };
        if program == own || is_left_out(filter, &program) {
            continue;
        }
        for path in mapped(pid) {
            if seen.len() < OBJECTS_MAX && seen.insert((pid, path.clone())) {
                let package = package_of(&path);
                text += &Line::Library(Library { path, package, processes: pid }).to_text();
            }
        }
    }
    text
}

/// Whether `path_patterns` say that this program is not to be told of.
fn is_left_out(filter: &Filter, program: &Path) -> bool {
    let verdict = filter.executable(&program.to_string_lossy());
    verdict.rule.is_some_and(|rule| rule.text.says == Says::Skip)
}

/// Leaves the parent's descriptors and signals alone, and ends when it does.
fn withdraw(parent: Pid) -> Option<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).ok()?;
    if rustix::process::getppid() != Some(parent) {
        return None;
    }
    close_all_but(&[]);
    for _ in 0..3 {
        // The lowest numbers that are free: the standard streams.
        let _ = std::fs::File::options().read(true).write(true).open("/dev/null").ok()?.into_raw_fd();
    }
    let mut all = std::mem::MaybeUninit::uninit();
    // SAFETY: `all` is filled before it is read. Signals for the whole group are the command's.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::sigprocmask(libc::SIG_BLOCK, all.as_ptr(), std::ptr::null_mut());
    }
    Some(())
}
