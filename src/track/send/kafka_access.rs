//! How a Kafka cluster lets somebody in: a file that only its owner can read, `kafka://HOST:PORT/TOPIC?access=FILE`.
//!
//! So a password is never on a command line, in the environment, in a spool or in a message: everywhere else there is
//! only the name of the file. It is read anew each time something is sent.
//!
//! Invariant: a password leaves over TLS, or as a proof of SCRAM if the file says so; never as it is.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Bytes of a file at most: 64 KiB.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// What the file says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// Whether the connection is encrypted.
    #[serde(default = "yes")]
    pub tls: bool,
    /// A file of authorities that may vouch for the cluster; else the machine's.
    pub authorities: Option<PathBuf>,
    /// How the name is proved; `None`: nobody asks for one.
    pub mechanism: Option<Mechanism>,
    /// The name.
    #[serde(default)]
    pub user: String,
    /// And its password.
    #[serde(default)]
    pub password: String,
}

/// How a name is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// The password itself.
    Plain,
    /// A proof that it is known.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// The same with longer digests.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

/// Why nobody is let in. None of these texts has anything of what the file says.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The file.
    #[error("cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// Others may read the password.
    #[error("may be read or written by others; `chmod 600` it")]
    Open,
    /// Somebody else wrote it.
    #[error("belongs to somebody else")]
    Theirs,
    /// A device, or no settings.
    #[error("is no file of settings")]
    Odd,
    /// A line of it.
    #[error("line {0} cannot be understood")]
    Line(usize),
    /// Half of what is needed.
    #[error("`mechanism`, `user` and `password` belong together")]
    Incomplete,
    /// A password for everybody on the network.
    #[error("`plain` needs `tls`")]
    Bare,
}

impl Access {
    /// Reads `file`.
    ///
    /// # Errors
    /// It is not its owner's alone, or says what cannot be.
    pub fn read(file: &Path) -> Result<Self, AccessError> {
        // Without waiting for the other end of a pipe. What is looked at is what is read.
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(file)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
            return Err(AccessError::Odd);
        }
        if metadata.mode() & 0o077 != 0 {
            return Err(AccessError::Open);
        }
        if ![0, rustix::process::geteuid().as_raw()].contains(&metadata.uid()) {
            return Err(AccessError::Theirs);
        }
        let mut text = String::new();
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|_| AccessError::Odd)?;
        let access: Access = toml::from_str(&text).map_err(|error| {
            // The library's own words quote the line.
            let at = error.span().map_or(0, |span| span.start.min(text.len()));
            AccessError::Line(1 + text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count())
        })?;
        let parts = [access.mechanism.is_some(), !access.user.is_empty(), !access.password.is_empty()];
        if parts.contains(&true) && parts.contains(&false) {
            return Err(AccessError::Incomplete);
        }
        if access.mechanism == Some(Mechanism::Plain) && !access.tls {
            return Err(AccessError::Bare);
        }
        Ok(access)
    }
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(directory: &tempfile::TempDir, text: &str, mode: u32) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let file = directory.path().join("access.toml");
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn a_file_is_its_owners_alone_and_says_all_or_nothing_and_is_never_quoted() {
        let directory = tempfile::tempdir().unwrap();
        let whole = "mechanism = \"scram-sha-512\"\nuser = \"u\"\npassword = \"secret\"\n";
        let cases = [
            (whole, 0o600, None),
            (whole, 0o400, None),
            ("", 0o600, None), // TLS alone
            (whole, 0o640, Some("chmod 600")),
            (whole, 0o604, Some("chmod 600")),
            ("user = \"u\"\npassword = \"secret\"", 0o600, Some("belong together")), // how?
            ("mechanism = \"plain\"\nuser = \"u\"", 0o600, Some("belong together")), // no password
            (
                "mechanism = \"plain\"\nuser = \"u\"\npassword = \"secret\"\ntls = false",
                0o600,
                Some("needs `tls`"),
            ),
            ("user = \"u\"\npassword = secret\n", 0o600, Some("line 2")), // no quotes
            ("mechanism = \"secret\"\n", 0o600, Some("line 1")),
            ("tls = true\nsecret = 1\n", 0o600, Some("line")), // a key that nobody knows
        ];
        for (text, mode, said) in cases {
            let read = Access::read(&written(&directory, text, mode));
            match (read, said) {
                (Ok(_), None) => {}
                (Err(error), Some(said)) => {
                    let told = error.to_string();
                    assert!(told.contains(said) && !told.contains("secret"), "{text}: {told}");
                }
                (read, _) => panic!("{text}: {:?}", read.err()),
            }
        }
        assert!(matches!(Access::read(Path::new("/dev/null")), Err(AccessError::Odd)));
        assert!(matches!(Access::read(Path::new("/nowhere")), Err(AccessError::Read(_))));
    }
}
