//! The steps on the way inside, and the word that a child sends when one of them fails.
//!
//! The child's word is one write to a close-on-exec pipe: the step, the errno and, if another process told the
//! reason, its words. An exec that succeeds closes the pipe without a word.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::holder::failed::{Failed, WORDS_BYTES_MAX};

/// Step and errno in front of the words.
const HEAD_BYTES: usize = 5;

/// What was being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// The kernel would let nobody in whose user and group ids are not all the same.
    Identity,
    /// Meeting the other tasks of the job.
    Socket,
    /// `unshare`.
    Unshare,
    /// Writing `setgroups`, `uid_map` and `gid_map`.
    MapIds,
    /// Keeping our mounts from spreading to the rest of the machine.
    Propagation,
    /// Opening `/dev/fuse`.
    OpenFuse,
    /// `mount` of the connection.
    Mount,
    /// Running `fusermount3`.
    Fusermount,
    /// Talking to the holder, or it could not start the daemon.
    Holder,
    /// Binding a view to its own path.
    Bind,
    /// `setns` to the user namespace.
    JoinUser,
    /// `setns` to the mount namespace.
    JoinMount,
    /// The wrapper died meanwhile.
    Orphaned,
    /// Becoming COMMAND.
    Exec,
}

impl Step {
    const ALL: [Step; 14] = [
        Step::Identity,
        Step::Socket,
        Step::Unshare,
        Step::MapIds,
        Step::Propagation,
        Step::OpenFuse,
        Step::Mount,
        Step::Fusermount,
        Step::Holder,
        Step::Bind,
        Step::JoinUser,
        Step::JoinMount,
        Step::Orphaned,
        Step::Exec,
    ];

    /// What is said of it to the user.
    fn words(self) -> &'static str {
        match self {
            Step::Identity => "real, effective and saved ids differ",
            Step::Socket => "cannot use Unix sockets",
            Step::Unshare => "cannot make a namespace",
            Step::MapIds => "cannot map the user into the namespace",
            Step::Propagation => "cannot make mounts private",
            Step::OpenFuse => "cannot open `/dev/fuse`",
            Step::Mount => "cannot mount",
            Step::Fusermount => "`fusermount3` failed",
            Step::Holder => "the service did not start",
            Step::Bind => "cannot show a view at its path",
            Step::JoinUser => "cannot join the user namespace",
            Step::JoinMount => "cannot join the mount namespace",
            Step::Orphaned => "the wrapper is gone",
            Step::Exec => "cannot be executed",
        }
    }
}

/// The step that failed, and the kernel's reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnterError {
    /// What was being done.
    pub step: Step,
    /// What the kernel said.
    pub errno: Errno,
    /// What a helper said, which tells more.
    pub words: Option<String>,
}

impl fmt::Display for EnterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.words {
            Some(words) => write!(f, "{}: {words}", self.step.words()),
            None => write!(f, "{}: {}", self.step.words(), io::Error::from(self.errno)),
        }
    }
}

impl std::error::Error for EnterError {}

/// Makes an [`EnterError`] of whatever error a step gave.
pub fn failed<E: Into<io::Error>>(step: Step) -> impl Fn(E) -> EnterError {
    move |error| {
        let error: io::Error = error.into();
        if let Some(errno) = Errno::from_io_error(&error) {
            return EnterError::new(step, errno);
        }
        let Failed { words, errno } = Failed::of(&error);
        let errno = errno.map_or(Errno::IO, Errno::from_raw_os_error);
        EnterError { words: Some(words), ..EnterError::new(step, errno) }
    }
}

impl EnterError {
    /// `step` failed with `errno`.
    pub fn new(step: Step, errno: Errno) -> Self {
        EnterError { step, errno, words: None }
    }

    /// The service could not be had, for a reason that its own process told.
    pub fn of_service(failed: Failed) -> Self {
        let errno = failed.errno.map_or(Errno::CONNRESET, Errno::from_raw_os_error);
        EnterError { words: Some(failed.words), ..EnterError::new(Step::Holder, errno) }
    }

    /// Which limit to lift, if one stands in the way of a service.
    pub fn remedy(&self) -> Option<&'static str> {
        // Named besides, since the kernel's word for it is "no space left on device".
        if self.step == Step::Unshare && matches!(self.errno, Errno::NOSPC | Errno::USERS) {
            return Some("have more user namespaces allowed (`sysctl user.max_user_namespaces`)");
        }
        if !matches!(self.step, Step::Holder | Step::Socket) {
            return None;
        }
        match self.errno {
            Errno::FBIG => Some("lift the limit on file sizes (`ulimit -f`)"),
            Errno::NOMEM => Some("lift the limit on memory (`ulimit -v`, or the job's)"),
            Errno::AGAIN => Some("allow more processes and threads (`ulimit -u`)"),
            Errno::MFILE => Some("allow more open files (`ulimit -n`, 64 or more)"),
            Errno::CONNRESET => Some("are `ulimit -v`, the job's memory or the disk too small?"),
            _ => None,
        }
    }

    /// Sends the word through `pipe`. If nobody listens any more, nobody minds.
    pub fn tell(self, pipe: &OwnedFd) {
        let mut word = vec![self.step as u8];
        word.extend(self.errno.raw_os_error().to_ne_bytes());
        let words = self.words.unwrap_or_default();
        word.extend(words.bytes().take(WORDS_BYTES_MAX));
        let _ = rustix::io::write(pipe, &word);
    }

    /// Hears the word. `None`: the pipe was closed without one.
    pub fn hear(pipe: &OwnedFd) -> Option<Self> {
        let mut word = [0; HEAD_BYTES + WORDS_BYTES_MAX];
        let read = rustix::io::retry_on_intr(|| rustix::io::read(pipe, &mut word)).ok()?;
        let (head, words) = word[..read].split_at_checked(HEAD_BYTES)?;
        let step = Step::ALL.into_iter().find(|known| *known as u8 == head[0])?;
        let errno = i32::from_ne_bytes(head[1..].try_into().ok()?);
        let words = (!words.is_empty()).then(|| String::from_utf8_lossy(words).into_owned());
        Some(EnterError { words, ..EnterError::new(step, Errno::from_raw_os_error(errno)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_heard_as_it_was_told() {
        for step in Step::ALL {
            for words in [None, Some("cannot map the counters".to_owned())] {
                let (reader, writer) = rustix::pipe::pipe().unwrap();
                let told = EnterError { words, ..EnterError::new(step, Errno::PERM) };
                told.clone().tell(&writer);
                assert_eq!(EnterError::hear(&reader), Some(told));
                drop(writer);
                assert_eq!(EnterError::hear(&reader), None);
            }
        }
    }

    #[test]
    fn words_that_are_too_long_are_cut_and_hold_nothing_up() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let words = Some("é".repeat(100_000));
        EnterError { words, ..EnterError::new(Step::Holder, Errno::PERM) }.tell(&writer);
        let heard = EnterError::hear(&reader).unwrap();
        assert_eq!(heard.words.unwrap().len(), WORDS_BYTES_MAX);
    }
}
