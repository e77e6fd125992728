//! Where the key comes from that only the owner of the job can read.
//!
//! In this order: `SPINNEY_KEY`; a file in the user's configuration directory, made on demand; a secret that the
//! launcher hands to the tasks (`PMI_SHARED_SECRET`). Nodes of one machine get a random one by memory.
//!
//! Invariant: no key is ever printed, and its memory is wiped when it is let go.
//!
//! Not here: munge. It vouches for who sent a message but gives no key to two ends, and each credential is decoded
//! once only; see docs/WIRE.md. What is derived from the key is in `identity`.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};
use rustix::fs::{FileType, Mode, OFlags};
use zeroize::Zeroizing;

pub use crate::cluster::job_key::KEY_VARIABLE;

/// Bytes of a key at least: 16, 128 bits. Whoever sees a handshake can test guesses of the key.
const KEY_BYTES_MIN: usize = 16;

/// Bytes of a key's text at most: 4 KiB.
const KEY_TEXT_BYTES_MAX: u64 = 4096;

/// Bytes of the keys made here.
const KEY_BYTES_MADE: usize = 32;

/// A secret that the owner's nodes share.
#[derive(Clone)]
pub struct SharedKey(Zeroizing<Vec<u8>>);

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedKey")
    }
}

/// Where a key was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// [`KEY_VARIABLE`].
    Variable,
    /// This file; it may have been made just now.
    File(PathBuf),
    /// `PMI_SHARED_SECRET`.
    Launcher,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The variable does not hold one.
    #[error(
        "`{KEY_VARIABLE}` is no key: it must be at least {KEY_BYTES_MIN} bytes in hexadecimal or base64\nhint: make one with `openssl rand -hex 32`"
    )]
    Variable,
    /// Others can read the file.
    #[error("others may read the key `{}`\nhint: remove it so that a new one is made; if nobody has read it, `chmod 600` will do", .0.display())]
    Readable(PathBuf),
    /// It belongs to somebody else, or is not a plain file.
    #[error("`{}` is not a file of yours\nhint: remove it so that a key is made", .0.display())]
    NotOwned(PathBuf),
    /// The file does not hold a key.
    #[error("`{}` holds no key\nhint: remove it so that one is made", .0.display())]
    Unusable(PathBuf),
    /// The file can be neither read nor made.
    #[error("cannot use the key `{}`: {cause}\nhint: set `{KEY_VARIABLE}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// There is nowhere to look.
    #[error("no key: neither `{KEY_VARIABLE}`, nor a home directory, nor `PMI_SHARED_SECRET`")]
    Nowhere,
}

/// What the environment says about keys, so that tests need not change it.
#[derive(Debug, Clone, Default)]
pub struct KeyPlaces {
    /// [`KEY_VARIABLE`].
    pub variable: Option<OsString>,
    /// The user's directory for configuration, such as `~/.config`.
    pub configuration: Option<PathBuf>,
    /// `PMI_SHARED_SECRET`.
    pub launcher: Option<OsString>,
    /// Whether the directory is on a disk of this machine, so that other nodes may have another key there.
    pub is_own_disk: bool,
}

impl KeyPlaces {
    /// The places that this process's environment names.
    pub fn of_environment() -> Self {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let absolute = |path: &PathBuf| path.is_absolute();
        let configuration = set("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .filter(absolute)
            .or_else(|| set("HOME").map(PathBuf::from).filter(absolute).map(|home| home.join(".config")));
        let is_own_disk = configuration.as_deref().is_some_and(is_own_disk);
        KeyPlaces {
            variable: set(KEY_VARIABLE),
            configuration,
            launcher: set("PMI_SHARED_SECRET"),
            is_own_disk,
        }
    }

    /// Whether the launcher's secret goes before the file: all nodes of a launch have the same, while a file that only
    /// this node sees is another on each.
    pub fn uses_launcher(&self) -> bool {
        self.is_own_disk && self.launcher.as_ref().is_some_and(|secret| secret.len() >= KEY_BYTES_MIN)
    }
}

/// File systems that lie on a disk or in the memory of one machine (`linux/magic.h`): ext2 to ext4, xfs, btrfs, tmpfs,
/// overlay, f2fs, zfs.
const OWN_DISKS: [u32; 7] =
    [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0xf2f5_2010, 0x2fc1_2fc1];

/// Of the directory, or where it would be made.
fn is_own_disk(directory: &Path) -> bool {
    let kind = directory.ancestors().find_map(|there| rustix::fs::statfs(there).ok());
    kind.is_some_and(|kind| u32::try_from(kind.f_type).is_ok_and(|kind| OWN_DISKS.contains(&kind)))
}

impl SharedKey {
    /// A key that nobody else has: for nodes that get it by memory.
    pub fn random() -> Self {
        let mut bytes = Zeroizing::new(vec![0; KEY_BYTES_MADE]);
        SystemRandom::new().fill(&mut bytes).expect("the kernel gives random bytes once it has booted");
        SharedKey(bytes)
    }

    /// The key of the first place that has one. The file is made if there is none.
    ///
    /// # Errors
    /// A place that holds something unusable is not passed over: the nodes would take different keys.
    pub fn find(places: &KeyPlaces) -> Result<(Self, KeySource), KeyError> {
        if let Some(text) = &places.variable {
            let key = Self::from_text(text.as_bytes()).ok_or(KeyError::Variable)?;
            return Ok((key, KeySource::Variable));
        }
        let secret = places.launcher.as_deref().filter(|secret| secret.len() >= KEY_BYTES_MIN);
        if places.uses_launcher() {
            return Self::of_launcher(secret);
        }
        match (&places.configuration, secret) {
            (Some(directory), secret) => match Self::of_file(directory) {
                // No home to write to, as for some service accounts.
                Err(KeyError::File { .. }) if secret.is_some() => Ok(Self::of_launcher(secret)?),
                found => found,
            },
            (None, secret) => Self::of_launcher(secret),
        }
    }

    /// The key itself, for deriving others from it or handing it to a node of this machine.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// A key that [`SharedKey::bytes`] gave to another process of the owner; `None` if it is too short.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() >= KEY_BYTES_MIN).then(|| SharedKey(Zeroizing::new(bytes.to_vec())))
    }

    /// The key that `text` spells in hexadecimal or base64.
    fn from_text(text: &[u8]) -> Option<Self> {
        let text = text.trim_ascii();
        let bytes = Zeroizing::new(from_hexadecimal(text).or_else(|| from_base64(text))?);
        Self::from_bytes(&bytes)
    }

    fn of_launcher(secret: Option<&OsStr>) -> Result<(Self, KeySource), KeyError> {
        let key = secret.and_then(|secret| Self::from_bytes(secret.as_bytes())).ok_or(KeyError::Nowhere)?;
        Ok((key, KeySource::Launcher))
    }

    fn of_file(configuration: &Path) -> Result<(Self, KeySource), KeyError> {
        let path = configuration.join("spinney").join("key");
        let fail = |cause: io::Error| KeyError::File { path: path.clone(), cause };
        let key = match read(&path) {
            Err(KeyError::File { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {
                make(&path).map_err(fail)?;
                // Whoever was first made it; all take that one.
                read(&path)?
            }
            result => result?,
        };
        Ok((key, KeySource::File(path)))
    }
}

fn read(path: &Path) -> Result<SharedKey, KeyError> {
    let fail = |cause: io::Error| KeyError::File { path: path.to_owned(), cause };
    // Not blocking: somebody may have put a FIFO there.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file: OwnedFd = match rustix::fs::open(path, flags, Mode::empty()) {
        Err(rustix::io::Errno::LOOP) => return Err(KeyError::NotOwned(path.to_owned())),
        result => result.map_err(|errno| fail(errno.into()))?,
    };
    let stat = rustix::fs::fstat(&file).map_err(|errno| fail(errno.into()))?;
    let is_plain = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if !is_plain || stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(KeyError::NotOwned(path.to_owned()));
    }
    if stat.st_mode & 0o077 != 0 {
        return Err(KeyError::Readable(path.to_owned()));
    }
    let mut text = Zeroizing::new(Vec::new());
    File::from(file).take(KEY_TEXT_BYTES_MAX).read_to_end(&mut text).map_err(fail)?;
    SharedKey::from_text(&text).ok_or_else(|| KeyError::Unusable(path.to_owned()))
}

/// Makes the file, whole or not at all: it is written under another name and linked, so that a node that
/// comes at the same time finds no half-written key.
fn make(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    let directory = path.parent().expect("a file in a directory");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let text = Zeroizing::new(to_hexadecimal(SharedKey::random().bytes()));
    let mut name = [0; 8];
    SystemRandom::new().fill(&mut name).map_err(|_| io::Error::other("no random bytes"))?;
    let draft = directory.join(format!(".key-{}", to_hexadecimal(&name)));
    let made = (|| {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        std::fs::hard_link(&draft, path)
    })();
    let _ = std::fs::remove_file(&draft);
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

fn to_hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hexadecimal(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// Both alphabets, with or without padding.
fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii_end();
    let digits = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    let value = |byte: u8| {
        Some(match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        })
    };
    if digits.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    for group in digits.chunks(4) {
        let mut bits = 0u32;
        for &digit in group {
            bits = bits << 6 | u32::from(value(digit)?);
        }
        bits <<= 6 * (4 - group.len());
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn places(directory: &Path) -> KeyPlaces {
        KeyPlaces { configuration: Some(directory.to_owned()), ..KeyPlaces::default() }
    }

    #[test]
    fn a_key_is_spelled_in_hexadecimal_or_base64_and_never_short() {
        let bytes = b"0123456789abcdef";
        let cases: [(&str, bool); 7] = [
            ("30313233343536373839616263646566", true),
            (" 30313233343536373839616263646566\n", true), // as `openssl` prints it
            ("MDEyMzQ1Njc4OWFiY2RlZg==", true),
            ("MDEyMzQ1Njc4OWFiY2RlZg", true),          // without padding
            ("303132333435363738396162636465", false), // 120 bits
            ("correct horse battery", false),          // a password is no key
            ("", false),
        ];
        for (text, good) in cases {
            let key = SharedKey::from_text(text.as_bytes());
            assert_eq!(key.as_ref().map(SharedKey::bytes), good.then_some(&bytes[..]), "{text:?}");
        }
    }

    #[test]
    fn all_nodes_that_come_at_once_take_the_file_that_one_of_them_made() {
        let directory = tempfile::tempdir().unwrap();
        let seekers: Vec<_> = (0..8)
            .map(|_| {
                let places = places(directory.path());
                std::thread::spawn(move || SharedKey::find(&places).unwrap().0.bytes().to_vec())
            })
            .collect();
        let keys: Vec<_> = seekers.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(keys.iter().all(|key| *key == keys[0] && key.len() == KEY_BYTES_MADE));
        let path = directory.path().join("spinney/key");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(path.parent().unwrap().read_dir().unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_file_that_could_be_somebody_elses_is_refused_with_a_remedy() {
        let directory = tempfile::tempdir().unwrap();
        SharedKey::find(&places(directory.path())).unwrap();
        let path = directory.path().join("spinney/key");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let error = SharedKey::find(&places(directory.path())).unwrap_err();
        assert!(matches!(error, KeyError::Readable(_)) && error.to_string().contains("hint: "), "{error}");

        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        let elsewhere = directory.path().join("elsewhere");
        std::fs::rename(&path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        let error = SharedKey::find(&places(directory.path())).unwrap_err();
        assert!(matches!(error, KeyError::NotOwned(_)), "{error}");
    }

    #[test]
    fn the_variable_goes_first_and_the_launchers_secret_last() {
        let directory = tempfile::tempdir().unwrap();
        let variable = Some(OsString::from("30313233343536373839616263646566"));
        let launcher = Some(OsString::from("0123456789abcdef0"));
        let all = KeyPlaces { variable, launcher: launcher.clone(), ..places(directory.path()) };
        assert_eq!(SharedKey::find(&all).unwrap().1, KeySource::Variable);
        assert!(directory.path().read_dir().unwrap().next().is_none(), "no file is made for nothing");
        let own_disk = KeyPlaces { variable: None, is_own_disk: true, ..all };
        assert_eq!(
            SharedKey::find(&own_disk).unwrap().1,
            KeySource::Launcher,
            "others would have another file"
        );
        let shared = KeyPlaces { is_own_disk: false, ..own_disk };
        assert!(matches!(SharedKey::find(&shared).unwrap().1, KeySource::File(_)));
        let only = KeyPlaces { launcher, ..KeyPlaces::default() };
        assert_eq!(SharedKey::find(&only).unwrap().1, KeySource::Launcher);
        assert!(matches!(SharedKey::find(&KeyPlaces::default()), Err(KeyError::Nowhere)));
    }
}
