//! Where messages wait that could not be delivered: a directory of the user's, one file for each.
//!
//! Whoever sends takes a message by renaming it, so that of many nodes that share the directory one sends it. A sender
//! that died is noticed by the age of what it took.
//!
//! Invariant: what was accepted stays until it is delivered, or until it is [`AGE_MAX`] old.
//! Invariant: the directory has mode 0700 and is the user's own, files 0600; nothing is followed.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::destination::{Destination, Form};
use super::{Message, Outgoing, SendError, deliver, files};
use crate::track::run::now;

/// Messages at most: a day's runs of a busy user.
pub const MESSAGES_MAX: usize = 4096;

/// Bytes of all of them at most: 256 MiB, well below the smallest quota of a home directory.
pub const BYTES_MAX: u64 = 256 << 20;

/// How long a message waits: 30 days, longer than any collector is down.
pub const AGE_MAX: Duration = Duration::from_secs(30 * 86_400);

/// When a sender that has taken a message counts as dead: 10 min, hundreds of times what sending takes.
const TAKEN_MAX: Duration = Duration::from_secs(600);

const SUFFIX: &str = ".msg";
const TAKEN: &str = ".taken-";

/// The directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spool(PathBuf);

/// What became of the messages.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Flushed {
    /// Delivered.
    pub delivered: usize,
    /// Still there.
    pub left: usize,
    /// Given up, being too old.
    pub given_up: usize,
    /// Why some are still there.
    pub troubles: Vec<String>,
}

impl Spool {
    /// The spool in `directory`.
    pub fn new(directory: PathBuf) -> Self {
        Spool(directory)
    }

    /// Where a user's messages wait if nobody says where: `$XDG_STATE_HOME/spinney/track`, which is beneath `~/.local/state`
    /// if that is not set.
    pub fn default_place() -> Option<PathBuf> {
        let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")))?;
        Some(state.join("spinney/track"))
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.0
    }

    /// Accepts a message.
    ///
    /// # Errors
    /// The spool is full, or its directory cannot be written to or is another's.
    pub fn accept(&self, outgoing: &Outgoing) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        self.check_owner()?;
        let bytes = packed(outgoing);
        let (mut count, mut sum) = (0, bytes.len() as u64);
        for entry in fs::read_dir(&self.0)?.flatten() {
            count += 1;
            sum += entry.metadata().map_or(0, |attributes| attributes.len());
        }
        if count >= MESSAGES_MAX || sum > BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, "the spool is full"));
        }
        let name = format!("{:016x}-{}{SUFFIX}", (now() * 1e6) as u64, outgoing.message.name);
        files::whole(&self.0, &name, &bytes)
    }

    /// Delivers what waits, the oldest first, until `deadline`. After one failure the other messages for the same place are
    /// left for another time.
    pub fn flush(&self, deadline: Instant) -> Flushed {
        let mut flushed = Flushed::default();
        if self.check_owner().is_err() {
            return flushed; // none there, or another's
        }
        let mut names: Vec<String> = self.names();
        names.sort();
        let mut failed: Vec<Destination> = Vec::new();
        for name in names {
            let file = self.0.join(&name);
            if age(&file) > AGE_MAX {
                flushed.given_up += usize::from(fs::remove_file(&file).is_ok());
                continue;
            }
            if Instant::now() >= deadline {
                flushed.left += 1;
                continue;
            }
            match self.send_one(&name, deadline, &failed) {
                Ok(true) => flushed.delivered += 1,
                Ok(false) => flushed.left += 1,
                Err((to, error)) => {
                    flushed.left += 1;
                    flushed.troubles.push(format!("{}: {error}", to.to_text().display()));
                    failed.push(to);
                }
            }
        }
        flushed
    }

    /// `false`: not this time.
    fn send_one(
        &self,
        name: &str,
        deadline: Instant,
        failed: &[Destination],
    ) -> Result<bool, (Destination, SendError)> {
        let (file, taken) = (self.0.join(name), self.0.join(format!("{TAKEN}{name}")));
        let Some(outgoing) = read(&file).ok().and_then(|bytes| unpacked(&bytes)) else { return Ok(false) };
        // Marks when it was taken: a rename alone leaves the time of the last change of the content.
        if failed.contains(&outgoing.to) || fs::rename(&file, &taken).is_err() {
            return Ok(false);
        }
        match deliver(&outgoing, deadline) {
            Ok(()) => {
                let _ = fs::remove_file(&taken);
                Ok(true)
            }
            Err(error) => {
                let _ = fs::rename(&taken, &file);
                Err((outgoing.to, error))
            }
        }
    }

    /// What waits; what a dead sender took is put back first.
    fn names(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.0) else { return Vec::new() };
        let mut names = Vec::new();
        for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
            let Some(original) = name.strip_prefix(TAKEN) else {
                if name.ends_with(SUFFIX) && !name.starts_with('.') {
                    names.push(name);
                }
                continue;
            };
            let taken = self.0.join(&name);
            if since_change(&taken) > TAKEN_MAX && fs::rename(&taken, self.0.join(original)).is_ok() {
                names.push(original.to_owned());
            }
        }
        names
    }

    fn check_owner(&self) -> io::Result<()> {
        let attributes = fs::symlink_metadata(&self.0)?;
        let is_own = attributes.is_dir() && attributes.uid() == rustix::process::geteuid().as_raw();
        is_own.then_some(()).ok_or_else(|| io::Error::from(io::ErrorKind::PermissionDenied))
    }
}

/// Since the content was written.
fn age(file: &Path) -> Duration {
    let written = fs::symlink_metadata(file).and_then(|attributes| attributes.modified());
    // A clock that jumped back makes it young.
    written.ok().and_then(|at| at.elapsed().ok()).unwrap_or_default()
}

/// Since it was renamed or written.
fn since_change(file: &Path) -> Duration {
    let Ok(attributes) = fs::symlink_metadata(file) else { return Duration::ZERO };
    Duration::try_from_secs_f64(now() - attributes.ctime() as f64).unwrap_or_default()
}

fn packed(outgoing: &Outgoing) -> Vec<u8> {
    let Outgoing { to, form, message } = outgoing;
    let to = to.to_text();
    let head = [to.as_bytes(), form.name().as_bytes(), message.name.as_bytes(), message.system.as_bytes()];
    let mut bytes = head.join(&0);
    bytes.push(0);
    bytes.extend(&message.text);
    bytes
}

fn unpacked(bytes: &[u8]) -> Option<Outgoing> {
    let mut parts = bytes.splitn(5, |&byte| byte == 0);
    let to = Destination::parse(std::ffi::OsStr::from_bytes(parts.next()?)).ok()?;
    let mut text = || String::from_utf8(parts.next()?.to_vec()).ok();
    let (form, name, system) = (text()?.parse::<Form>().ok()?, text()?, text()?);
    Some(Outgoing { to, form, message: Message { name, system, text: parts.next()?.to_vec() } })
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(file)?;
    file.take(BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    fn outgoing(to: &Path, name: &str) -> Outgoing {
        let message =
            Message { name: name.to_owned(), system: "s".to_owned(), text: b"[\"end\"]\n\0\xff".to_vec() };
        Outgoing { to: Destination::Files(to.to_owned()), form: Form::Spinney, message }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn what_was_accepted_waits_until_it_can_be_delivered() {
        let place = tempfile::tempdir().unwrap();
        let spool = Spool::new(place.path().join("a/spool"));
        let to = place.path().join("records");
        fs::write(&to, "in the way").unwrap();
        let both = ["one", "two"].map(|name| outgoing(&to, name));
        both.iter().for_each(|outgoing| spool.accept(outgoing).unwrap());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(spool.directory()), 0o700);
        for name in spool.names() {
            assert_eq!(mode(&spool.directory().join(name)), 0o600);
        }
        let flushed = spool.flush(soon());
        assert_eq!(
            (flushed.delivered, flushed.left, flushed.troubles.len()),
            (0, 2, 1),
            "one try for one place"
        );
        fs::remove_file(&to).unwrap();
        assert_eq!(spool.flush(soon()), Flushed { delivered: 2, ..Flushed::default() });
        assert!(spool.names().is_empty());
        assert_eq!(fs::read_dir(&to).unwrap().count(), 2);
    }

    #[test]
    fn a_message_comes_back_as_it_was_and_half_a_one_is_none() {
        let outgoing = outgoing(Path::new("/x"), "n");
        let bytes = packed(&outgoing);
        assert_eq!(unpacked(&bytes), Some(outgoing));
        for cut in 0..bytes.len() - 10 {
            assert_eq!(unpacked(&bytes[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn nothing_is_sent_twice_at_once_and_what_a_dead_sender_took_comes_back() {
        let place = tempfile::tempdir().unwrap();
        let spool = Spool::new(place.path().to_owned());
        spool.accept(&outgoing(&place.path().join("to"), "one")).unwrap();
        let name = spool.names().remove(0);
        let taken = place.path().join(format!("{TAKEN}{name}"));
        fs::rename(place.path().join(&name), &taken).unwrap();
        assert_eq!(spool.flush(soon()), Flushed::default(), "another has it");
        assert!(taken.exists());
    }

    #[test]
    fn a_full_spool_refuses_and_keeps_what_it_has() {
        let place = tempfile::tempdir().unwrap();
        let spool = Spool::new(place.path().to_owned());
        let large = fs::File::create(place.path().join("1-large.msg")).unwrap();
        large.set_len(BYTES_MAX).unwrap();
        let refused = spool.accept(&outgoing(Path::new("/x"), "n")).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::QuotaExceeded);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_too_old_is_given_up() {
        let place = tempfile::tempdir().unwrap();
        let spool = Spool::new(place.path().to_owned());
        spool.accept(&outgoing(Path::new("/nowhere/x"), "n")).unwrap();
        let file = fs::File::options().append(true).open(place.path().join(&spool.names()[0])).unwrap();
        file.set_modified(std::time::SystemTime::now() - AGE_MAX - Duration::from_secs(60)).unwrap();
        assert_eq!(spool.flush(soon()), Flushed { given_up: 1, ..Flushed::default() });
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_cannot_be_written_to_or_is_a_link_accepts_nothing() {
        let place = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(place.path(), place.path().join("link")).unwrap();
        assert!(Spool::new(place.path().join("link")).accept(&outgoing(Path::new("/x"), "n")).is_err());
        assert!(Spool::new(PathBuf::from("/proc/spool")).accept(&outgoing(Path::new("/x"), "n")).is_err());
        fs::set_permissions(place.path(), Permissions::from_mode(0o700)).unwrap();
    }
}
