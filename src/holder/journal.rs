//! The log of holder and daemon, if `--log` asks for one.
//!
//! Both append whole lines to one file, opened close-on-exec and readable by the owner only. Without `--log`
//! nothing is set up, and each log statement costs one load.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Mutex;

use tracing_subscriber::filter::LevelFilter;

use super::estate::Settings;

/// Begins to log for this process, called `role` in each line.
///
/// A file that cannot be opened (the wrapper tried it before) means no log: the service matters more.
pub fn begin(settings: &Settings, role: &'static str) {
    let Some(path) = &settings.log else { return };
    let Ok(file) = OpenOptions::new().append(true).create(true).mode(0o600).open(path) else { return };
    let level = settings.log_level.parse().unwrap_or(LevelFilter::INFO);
    tracing_subscriber::fmt().with_max_level(level).with_writer(Mutex::new(file)).with_ansi(false).init();
    tracing::info!(role, pid = std::process::id(), version = env!("CARGO_PKG_VERSION"), "begins");
}
