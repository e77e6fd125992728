//! Where a store is, as a user names it: `sqlite:FILE`, `postgresql://...`, or just a file.
//!
//! Of an address of PostgreSQL the parts about encryption are read here: the client library knows fewer words for
//! them than PostgreSQL's own clients, and what it does not know it must not pass by.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use postgres::config::SslMode;

use crate::track::trust::Trust;

/// A place.
#[derive(Clone)]
pub enum Place {
    /// A SQLite file.
    File(PathBuf),
    /// A PostgreSQL database.
    Server(Box<Server>),
}

/// A database, and how the way to it is protected.
#[derive(Clone)]
pub struct Server {
    /// Where and as whom.
    pub(super) config: postgres::Config,
    /// With whom encryption is agreed on; `None`: with nobody.
    pub(super) trust: Option<Trust>,
}

/// Why something is no place.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// Not even a file.
    #[error("`sqlite:` needs the name of a file")]
    NoFile,
    /// No address that PostgreSQL's clients understand.
    #[error("{}", super::in_one_line(.0))]
    Address(#[source] postgres::Error),
    /// A word that PostgreSQL's clients do not have.
    #[error("`sslmode` is `disable`, `prefer`, `require` or `verify-full`")]
    Encryption,
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        if ["postgresql://", "postgres://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Ok(Place::Server(Box::new(Server::parse(text, &|name| std::env::var(name).ok())?)));
        }
        match text.strip_prefix("sqlite:").unwrap_or(text) {
            "" => Err(PlaceError::NoFile),
            file => Ok(Place::File(file.into())),
        }
    }
}

impl Server {
    fn parse(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, PlaceError> {
        let (address, parameters) = text.split_once('?').unwrap_or((text, ""));
        let (mut mode, mut file) = (variable("PGSSLMODE"), variable("PGSSLROOTCERT"));
        let mut others = Vec::new();
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("sslmode", value)) => mode = Some(decoded(value)),
                Some(("sslrootcert", value)) => file = Some(decoded(value)),
                _ => others.push(parameter),
            }
        }
        let address =
            if others.is_empty() { address.to_owned() } else { format!("{address}?{}", others.join("&")) };
        let mut config: postgres::Config = address.parse().map_err(PlaceError::Address)?;
        // `system` is PostgreSQL's word for the machine's own list.
        let file = file.filter(|file| !file.is_empty() && file != "system").map(PathBuf::from);
        let (asked, trust) = match mode.as_deref().unwrap_or_default() {
            "disable" => (SslMode::Disable, None),
            "" | "allow" | "prefer" => (SslMode::Prefer, Some(Trust::Anybody)),
            // Who cannot be recognized can be anybody, so whoever asks for encryption gets both.
            "require" | "verify-ca" | "verify-full" => (SslMode::Require, Some(Trust::Authorities(file))),
            _ => return Err(PlaceError::Encryption),
        };
        config.ssl_mode(asked);
        Ok(Server { config, trust })
    }
}

/// `%41` is an A.
fn decoded(value: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(value.len()), value.as_bytes());
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match hex.filter(|_| *first == b'%').and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl fmt::Display for Place {
    /// Never with a password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        use postgres::config::Host;
        match self {
            Place::File(file) => write!(formatter, "{}", file.display()),
            Place::Server(server) => {
                let host = match server.config.get_hosts().first() {
                    Some(Host::Tcp(name)) => name.clone(),
                    Some(Host::Unix(directory)) => directory.display().to_string(),
                    None => String::new(),
                };
                write!(formatter, "postgresql://{host}/{}", server.config.get_dbname().unwrap_or_default())
            }
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Place({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_told_without_its_password() {
        let cases = [
            ("track.db", "track.db"),
            ("sqlite:/a/b.db", "/a/b.db"),
            ("postgresql://u:secret@db.site:5433/track", "postgresql://db.site/track"),
            ("postgres:///track?host=/run/pg&user=u&password=secret", "postgresql:///run/pg/track"),
        ];
        for (text, told) in cases {
            let place: Place = text.parse().unwrap();
            assert_eq!(place.to_string(), told);
            assert!(!format!("{place:?}").contains("secret"));
        }
        for bad in ["", "sqlite:", "postgresql://h/d?colour=red", "postgresql://h:port/"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }

    #[test]
    fn whoever_asks_for_encryption_gets_it_and_knows_with_whom() {
        let whom = |file: Option<&str>| Some(Trust::Authorities(file.map(PathBuf::from)));
        let cases = [
            ("postgresql://h/d", &[][..], SslMode::Prefer, Some(Trust::Anybody)), // as PostgreSQL's own clients
            ("postgresql://h/d?sslmode=disable", &[], SslMode::Disable, None),
            ("postgresql://h/d?user=u&sslmode=require", &[], SslMode::Require, whom(None)),
            ("postgresql://h/d?sslmode=verify-full&sslrootcert=system", &[], SslMode::Require, whom(None)),
            (
                "postgresql://h/d?sslrootcert=%2fa%20b.pem&sslmode=verify-ca",
                &[],
                SslMode::Require,
                whom(Some("/a b.pem")),
            ),
            ("postgresql://h/d", &[("PGSSLMODE", "verify-full")], SslMode::Require, whom(None)), // from the environment
            ("postgresql://h/d?sslmode=disable", &[("PGSSLMODE", "require")], SslMode::Disable, None), // the address decides
            (
                "postgresql://h/d?sslmode=require",
                &[("PGSSLROOTCERT", "/ca.pem")],
                SslMode::Require,
                whom(Some("/ca.pem")),
            ),
        ];
        for (text, variables, mode, trust) in cases {
            let variable = |name: &str| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            let server = Server::parse(text, &variable).unwrap();
            assert_eq!((server.config.get_ssl_mode(), server.trust), (mode, trust), "{text}");
        }
        for bad in ["sslmode=yes", "sslmode=Require", "sslcert=/c", "sslmode"] {
            assert!(Server::parse(&format!("postgresql://h/d?{bad}"), &|_| None).is_err(), "{bad}");
        }
    }
}
