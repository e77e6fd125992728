//! Where the records of a run go, and in which form: `--track WHERE` and `--track-form`.
//!
//! The same text stands with a run in flight and with a message in the spool, so that whoever finds one knows where it
//! was to go.
//!
//! Not here: how they get there (the other files of this folder).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where syslog daemons listen.
const SYSLOG_SOCKET: &str = "/dev/log";

/// Where records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Files in a directory.
    Files(PathBuf),
    /// Files in directories of their kind beneath one, as XALT's `file_separate_dirs` has it.
    SeparateFiles(PathBuf),
    /// Lines to a syslog daemon's socket.
    Syslog(PathBuf),
    /// Lines to the program `logger`.
    Logger,
    /// POST to this address, `http://` or `https://`.
    Http(String),
    /// A topic of a Kafka cluster.
    Kafka {
        /// Servers to begin with, `HOST:PORT`.
        servers: Vec<String>,
        /// The topic.
        topic: String,
        /// The file that says how to be let in, if anybody asks.
        access: Option<PathBuf>,
    },
    /// Nowhere: runs are tracked and forgotten, which tells what tracking costs.
    Nowhere,
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Form {
    /// The lines that `spinney track ingest` reads, which tell everything.
    #[default]
    Spinney,
    /// XALT's own records, one for each package and one for the run.
    Xalt,
}

/// Why a text names no destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// `kafka:` with something else behind it.
    #[error("expected `kafka://HOST:PORT/TOPIC` or `kafka://HOST:PORT/TOPIC?access=FILE`")]
    Kafka,
    /// This binary was built without a client.
    #[error("this binary was built without Kafka; build it with `--features kafka`")]
    NoKafka,
    /// An address without a host.
    #[error("expected `http://HOST/PATH` or `https://HOST/PATH`")]
    Http,
    /// Bytes that are no text, elsewhere than in a path.
    #[error("is no text")]
    Text,
}

impl Destination {
    /// Reads what the user wrote; relative directories are taken from here.
    ///
    /// # Errors
    /// It begins like an address and is none.
    pub fn parse(text: &OsStr) -> Result<Self, DestinationError> {
        let bytes = text.as_bytes();
        let path = |rest: &[u8]| {
            let path = PathBuf::from(OsStr::from_bytes(rest));
            std::path::absolute(&path).unwrap_or(path)
        };
        let after = |prefix: &str| bytes.strip_prefix(prefix.as_bytes());
        if let Some(rest) = after("file:") {
            return Ok(Destination::Files(path(rest)));
        }
        if let Some(rest) = after("file_separate_dirs:").or_else(|| after("file-separate-dirs:")) {
            return Ok(Destination::SeparateFiles(path(rest)));
        }
        if let Some(rest) = after("syslog:") {
            return Ok(Destination::Syslog(path(rest)));
        }
        let is_address = ["http://", "https://", "kafka:"].iter().any(|prefix| after(prefix).is_some());
        match bytes {
            b"syslog" => Ok(Destination::Syslog(PathBuf::from(SYSLOG_SOCKET))),
            b"logger" => Ok(Destination::Logger),
            b"none" => Ok(Destination::Nowhere),
            _ if is_address => address(text.to_str().ok_or(DestinationError::Text)?),
            _ => Ok(Destination::Files(path(bytes))),
        }
    }

    /// What [`Destination::parse`] reads as this.
    pub fn to_text(&self) -> OsString {
        let with = |prefix: &str, path: &Path| {
            OsString::from_vec([prefix.as_bytes(), path.as_os_str().as_bytes()].concat())
        };
        match self {
            Destination::Files(directory) => with("file:", directory),
            Destination::SeparateFiles(directory) => with("file_separate_dirs:", directory),
            Destination::Syslog(socket) => with("syslog:", socket),
            Destination::Logger => "logger".into(),
            Destination::Http(address) => address.into(),
            Destination::Kafka { servers, topic, access } => {
                let address = format!("kafka://{}/{topic}", servers.join(","));
                let access = access.as_ref().map(|file| format!("?access={}", file.display()));
                (address + &access.unwrap_or_default()).into()
            }
            Destination::Nowhere => "none".into(),
        }
    }
}

impl Form {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Form::Spinney => "spinney",
            Form::Xalt => "xalt",
        }
    }
}

impl FromStr for Form {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, DestinationError> {
        let forms = [Form::Spinney, Form::Xalt];
        forms.into_iter().find(|form| form.name() == text).ok_or(DestinationError::Text)
    }
}

fn address(text: &str) -> Result<Destination, DestinationError> {
    if let Some(rest) = text.strip_prefix("kafka:") {
        let (servers, topic) =
            rest.strip_prefix("//").and_then(|rest| rest.split_once('/')).ok_or(DestinationError::Kafka)?;
        // Of the file there is only the name here: what it says must not be on a command line.
        let (topic, access) = match topic.split_once('?') {
            Some((topic, more)) => {
                (topic, Some(more.strip_prefix("access=").ok_or(DestinationError::Kafka)?))
            }
            None => (topic, None),
        };
        let access = access.map(std::path::absolute).transpose().map_err(|_| DestinationError::Kafka)?;
        let servers: Vec<String> = servers.split(',').map(str::to_owned).collect();
        let has_port = |server: &String| {
            server
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        };
        if topic.is_empty() || topic.contains('/') || !servers.iter().all(has_port) {
            return Err(DestinationError::Kafka);
        }
        if cfg!(not(feature = "kafka")) {
            return Err(DestinationError::NoKafka);
        }
        return Ok(Destination::Kafka { servers, topic: topic.to_owned(), access });
    }
    let uri: hyper::Uri = text.parse().map_err(|_| DestinationError::Http)?;
    match uri.host() {
        Some(host) if !host.is_empty() => Ok(Destination::Http(text.to_owned())),
        _ => Err(DestinationError::Http),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_names_one_place_and_comes_back_as_it_was() {
        let files = |path: &str| Ok(Destination::Files(PathBuf::from(path)));
        let http = |address: &str| Ok(Destination::Http(address.to_owned()));
        let cases = [
            ("/records", files("/records")),
            ("file:/records", files("/records")),
            ("/syslog", files("/syslog")), // a directory of that name
            ("file_separate_dirs:/r", Ok(Destination::SeparateFiles(PathBuf::from("/r")))),
            ("syslog", Ok(Destination::Syslog(PathBuf::from("/dev/log")))),
            ("syslog:/run/log", Ok(Destination::Syslog(PathBuf::from("/run/log")))),
            ("logger", Ok(Destination::Logger)),
            ("none", Ok(Destination::Nowhere)),
            ("http://a:80/x?y", http("http://a:80/x?y")),
            ("https://a", http("https://a")),
            ("http://", Err(DestinationError::Http)),
            ("http:///x", Err(DestinationError::Http)),
            ("https://a b", Err(DestinationError::Http)),
            ("kafka:a:1/b", Err(DestinationError::Kafka)), // no slashes
            ("kafka://a/b", Err(DestinationError::Kafka)), // no port
            ("kafka://a:1", Err(DestinationError::Kafka)), // no topic
            ("kafka://a:1,:2/b", Err(DestinationError::Kafka)), // no host
            ("kafka://a:1/b?password=c", Err(DestinationError::Kafka)), // never here
            ("kafka://a:1/b?access=", Err(DestinationError::Kafka)), // no file
        ];
        for (text, expected) in cases {
            let read = Destination::parse(OsStr::new(text));
            assert_eq!(read, expected, "{text}");
            if let Ok(read) = read {
                assert_eq!(Destination::parse(&read.to_text()), Ok(read), "{text}");
            }
        }
        let odd = OsStr::from_bytes(b"/r\xff");
        assert_eq!(Destination::parse(odd).unwrap().to_text().as_bytes(), b"file:/r\xff");
        for text in ["kafka://a:1,b:2/records", "kafka://a:1/records?access=/etc/site/kafka.toml"] {
            let kafka = Destination::parse(OsStr::new(text));
            match cfg!(feature = "kafka") {
                true => assert_eq!(kafka.unwrap().to_text(), text),
                false => assert_eq!(kafka, Err(DestinationError::NoKafka)),
            }
        }
    }
}
