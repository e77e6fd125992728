//! The steps on the way inside, and the word that a child sends when one of them fails.
//!
//! The child runs between fork and exec, so its word is five bytes through a close-on-exec pipe: the step and
//! the errno. An exec that succeeds closes the pipe without a word.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

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
        match Errno::from_io_error(&error) {
            Some(errno) => EnterError::new(step, errno),
            None => EnterError { words: Some(error.to_string()), ..EnterError::new(step, Errno::IO) },
        }
    }
}

impl EnterError {
    /// `step` failed with `errno`.
    pub fn new(step: Step, errno: Errno) -> Self {
        EnterError { step, errno, words: None }
    }

    /// Sends the word through `pipe`. If nobody listens any more, nobody minds.
    pub fn tell(self, pipe: &OwnedFd) {
        let mut word = [self.step as u8, 0, 0, 0, 0];
        word[1..].copy_from_slice(&self.errno.raw_os_error().to_ne_bytes());
        let _ = rustix::io::write(pipe, &word);
    }

    /// Hears the word. `None`: the pipe was closed without one.
    pub fn hear(pipe: &OwnedFd) -> Option<Self> {
        let mut word = [0; 5];
        let [step, errno @ ..] = match rustix::io::retry_on_intr(|| rustix::io::read(pipe, &mut word)) {
            Ok(5) => word,
            _ => return None,
        };
        let step = Step::ALL.into_iter().find(|known| *known as u8 == step)?;
        Some(EnterError::new(step, Errno::from_raw_os_error(i32::from_ne_bytes(errno))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_heard_as_it_was_told() {
        for step in Step::ALL {
            let (reader, writer) = rustix::pipe::pipe().unwrap();
            let told = EnterError::new(step, Errno::PERM);
            told.clone().tell(&writer);
            assert_eq!(EnterError::hear(&reader), Some(told));
            drop(writer);
            assert_eq!(EnterError::hear(&reader), None);
        }
    }
}
