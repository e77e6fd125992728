//! Spinney's voice: whole lines on standard error that begin with `spinney: `.
//!
//! A line is one `write`, so that lines of many tasks do not mix, and a standard error that is closed or
//! full is no reason to disturb COMMAND: errors in talking are dropped.

use std::fmt::Display;
use std::io::Write;
use std::sync::OnceLock;

use super::launched::ToLauncher;
use crate::holder::channel::Channel;

/// What every line begins with.
pub const PREFIX: &str = "spinney: ";

/// The line to a launcher that speaks for this process. As standard error is, it is the process's own and set once.
static LAUNCHER: OnceLock<Channel> = OnceLock::new();

/// How much to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Talk {
    /// Errors only: `-q`.
    Quiet,
    /// Warnings and the line at the end.
    Normal,
    /// And what was chosen and why: `-v`.
    Verbose,
}

impl Talk {
    /// What the user asked to know.
    pub fn note(self, line: impl Display) {
        if self == Talk::Verbose {
            say(line);
        }
    }

    /// What the user should know.
    pub fn warn(self, line: impl Display) {
        if self != Talk::Quiet {
            say(format_args!("warning: {line}"));
        }
    }

    /// The line at the end.
    pub fn sum_up(self, line: impl Display) {
        if self != Talk::Quiet {
            say(line);
        }
    }
}

/// What the user must know, even with `-q`. `hint` is the remedy, on a line of its own.
pub fn error(line: impl Display, hint: Option<&str>) {
    say(format_args!("error: {line}"));
    if let Some(hint) = hint {
        say(format_args!("hint: {hint}"));
    }
}

/// From now on lines go to the launcher at the other end of `line`.
pub fn through(line: Channel) {
    let _ = LAUNCHER.set(line);
}

/// A line, whatever the user asked to know.
pub fn say(line: impl Display) {
    if let Some(launcher) = LAUNCHER.get()
        && launcher.send(&ToLauncher::Said(line.to_string()), &[]).is_ok()
    {
        return;
    }
    let _ = std::io::stderr().write_all(format!("{PREFIX}{line}\n").as_bytes());
}
