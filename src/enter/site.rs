//! What the site's staff decided for everybody on this machine: `/etc/spinney.toml`.
//!
//! A key that is not known is reported and skipped, so that one file serves several versions. A file that
//! cannot be read as TOML is an error: its limits would silently not hold.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Where the file is.
pub const SITE_FILE: &str = "/etc/spinney.toml";

/// The decisions.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Site {
    /// The most that `--cache-bytes` may ask for, and what holds without it.
    pub cache_bytes: Option<u64>,
    /// Directories that must not be shown, neither they nor what is beneath nor what contains them.
    #[serde(default)]
    pub denied: Vec<PathBuf>,
}

/// Why the site's file does not count.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// It exists and cannot be read.
    #[error("`{}`: cannot be read", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// It is not TOML, or a value has the wrong type.
    #[error("`{}`: {cause}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// Line and reason.
        #[source]
        cause: Box<toml::de::Error>,
    },
}

impl Site {
    /// Reads `file`; what it does not say holds no limit. Also returns a line for each unknown key.
    ///
    /// # Errors
    /// The file exists but cannot be understood.
    pub fn load(file: &Path) -> Result<(Self, Vec<String>), SiteError> {
        match std::fs::read_to_string(file) {
            Ok(text) => Site::parse(&text)
                .map_err(|cause| SiteError::Malformed { file: file.into(), cause: Box::new(cause) }),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(Default::default()),
            Err(cause) => Err(SiteError::Unreadable { file: file.into(), cause }),
        }
    }

    /// The least of what the user asked for and what the site allows, which the `nodes_here` on this machine share.
    pub fn cap_cache(&self, asked: Option<u64>, nodes_here: u32) -> Option<u64> {
        let allowed = self.cache_bytes.map(|bytes| bytes / u64::from(nodes_here.max(1)));
        asked.into_iter().chain(allowed).min()
    }

    /// The denied directory that forbids showing `view`, if one does.
    pub fn denies(&self, view: &Path) -> Option<&Path> {
        let meets = |denied: &&PathBuf| view.starts_with(denied) || denied.starts_with(view);
        self.denied.iter().find(meets).map(PathBuf::as_path)
    }

    fn parse(text: &str) -> Result<(Self, Vec<String>), toml::de::Error> {
        const KNOWN: &[&str] = &["cache_bytes", "denied"];
        let table: toml::Table = toml::from_str(text)?;
        let unknown = table.keys().filter(|key| !KNOWN.contains(&key.as_str()));
        let notes = unknown.map(|key| format!("`{SITE_FILE}`: unknown key `{key}` is ignored")).collect();
        Ok((toml::from_str(text)?, notes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_named_and_the_known_ones_hold() {
        let (site, notes) = Site::parse("cache_bytes = 1000\ndenied = ['/secret']\nfan_out = 8").unwrap();
        assert_eq!(site, Site { cache_bytes: Some(1000), denied: vec!["/secret".into()] });
        assert_eq!(notes, ["`/etc/spinney.toml`: unknown key `fan_out` is ignored"]);
    }

    #[test]
    fn a_limit_that_cannot_be_read_is_not_taken_for_no_limit() {
        for text in ["cache_bytes = 'much'", "cache_bytes = -1", "denied = '/secret'", "cache_bytes"] {
            assert!(Site::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_denied_directory_forbids_itself_what_is_beneath_and_what_contains_it() {
        let site = Site { denied: vec!["/a/secret".into()], ..Site::default() };
        for (view, denied) in
            [("/a/secret", true), ("/a/secret/x", true), ("/a", true), ("/a/secrets", false), ("/b", false)]
        {
            assert_eq!(site.denies(Path::new(view)).is_some(), denied, "{view}");
        }
    }

    #[test]
    fn the_site_caps_what_the_user_asks_for() {
        let site = |cache_bytes| Site { cache_bytes, ..Site::default() };
        for (cap, asked, nodes, want) in [
            (None, None, 1, None),           // the daemon decides
            (None, Some(9), 4, Some(9)),     // no cap; what is asked for is per node
            (Some(5), None, 1, Some(5)),     // the cap is also the default
            (Some(5), Some(9), 1, Some(5)),  // capped
            (Some(5), Some(3), 1, Some(3)),  // below the cap
            (Some(20), Some(9), 4, Some(5)), // four nodes share what the machine may give
        ] {
            assert_eq!(site(cap).cap_cache(asked, nodes), want);
        }
    }
}
