//! Records as lines of syslog: to a daemon's socket, or through the program `logger`.
//!
//! What XALT's reader of logs takes, in XALT's form; in our own form with a kind of its own (`xalt_lines`).
//!
//! Invariant: no wait beyond the deadline; `logger` gets neither variables nor files of the run.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Outgoing, SendError};
use crate::track::clock::syslog_date;
use crate::track::run::now;
use crate::track::xalt_lines::{TAG, lines_of, word};

/// `LOG_USER | LOG_INFO`, as XALT logs.
const PRIORITY: u32 = 8 + 6;

/// Where `logger` is: not looked up, since PATH is the user's.
const LOGGERS: [&str; 2] = ["/usr/bin/logger", "/bin/logger"];

/// Sends all lines to the socket at `path`.
///
/// # Errors
/// Nobody listens, or whoever does takes nothing until `deadline`. Some lines may have arrived.
pub fn to_socket(path: &Path, outgoing: &Outgoing, deadline: Instant) -> Result<(), SendError> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    let syshost = word(&outgoing.message.system);
    for line in outgoing.pieces().iter().flat_map(|piece| lines_of(piece, &syshost)) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(SendError::Late);
        }
        socket.set_write_timeout(Some(left))?;
        let line = format!("<{PRIORITY}>{} {TAG}{syshost}: {line}", syslog_date(now()));
        match socket.send(line.as_bytes()) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(SendError::Late),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Gives all lines to `logger`.
///
/// # Errors
/// There is none, it failed, or it takes longer than until `deadline`; then it is ended.
pub fn to_logger(outgoing: &Outgoing, deadline: Instant) -> Result<(), SendError> {
    let program = LOGGERS.iter().find(|file| Path::new(file).exists());
    let program = program.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is no `logger`"))?;
    let syshost = word(&outgoing.message.system);
    let mut child = Command::new(program)
        .args(["-p", "user.info", "-t", &format!("{TAG}{syshost}")])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let pieces = outgoing.pieces();
    let lines = pieces.iter().flat_map(|piece| lines_of(piece, &syshost));
    let text = lines.map(|line| line + "\n").collect::<String>();
    let mut stdin = child.stdin.take();
    // Of its own: a `logger` that does not read must not hold up the one who watches the time.
    let writer =
        std::thread::spawn(move || stdin.as_mut().map_or(Ok(()), |pipe| pipe.write_all(text.as_bytes())));
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            return Err(SendError::Late);
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let written = writer.join().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()));
    match status.success() {
        true => Ok(written?),
        false => Err(SendError::Refused(status.to_string())),
    }
}
