//! Where a store is, as a user names it: `sqlite:FILE`, `postgresql://...`, or just a file.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A place.
#[derive(Clone)]
pub enum Place {
    /// A SQLite file.
    File(PathBuf),
    /// A PostgreSQL database.
    Server(Box<postgres::Config>),
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
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        if ["postgresql://", "postgres://"].iter().any(|scheme| text.starts_with(scheme)) {
            return text.parse().map(|config| Place::Server(Box::new(config))).map_err(PlaceError::Address);
        }
        match text.strip_prefix("sqlite:").unwrap_or(text) {
            "" => Err(PlaceError::NoFile),
            file => Ok(Place::File(file.into())),
        }
    }
}

impl fmt::Display for Place {
    /// Never with a password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        use postgres::config::Host;
        match self {
            Place::File(file) => write!(formatter, "{}", file.display()),
            Place::Server(config) => {
                let host = match config.get_hosts().first() {
                    Some(Host::Tcp(name)) => name.clone(),
                    Some(Host::Unix(directory)) => directory.display().to_string(),
                    None => String::new(),
                };
                write!(formatter, "postgresql://{host}/{}", config.get_dbname().unwrap_or_default())
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
}
