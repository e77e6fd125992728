//! A directory with recordings, for the tests of `spinney env`.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::scene::{Scene, ordinary, output};

/// A line of a recording.
pub fn row(path: &str, operation: &str, outcome: &str, calls: u64, bytes: u64) -> String {
    let row = serde_json::json!({
        "node": 0, "path": path, "operation": operation, "outcome": outcome, "source": "storage",
        "calls": calls, "bytes": bytes, "nanoseconds": calls * 25_000
    });
    row.to_string()
}

/// An ordinary user in a directory for recordings.
pub struct RecordingScene(Scene);

impl RecordingScene {
    pub fn new() -> Self {
        Self(ordinary())
    }

    /// Where the user is, and where the recordings are.
    pub fn home(&self) -> &Path {
        &self.0.home
    }

    /// Writes a recording of four nodes whose view is `/opt/env`.
    pub fn write(&self, name: &str, mode: &str, rows: &[String]) {
        let header = serde_json::json!({
            "schema": 1, "kind": "recording", "mode": mode, "job": "7", "command": ["python3"],
            "views": ["/opt/env", self.home()], "n_nodes": 4, "missing_nodes": [], "observed": mode == "full",
            "tag": "", "unix_us": 5
        });
        let end = serde_json::json!({ "kind": "end", "lines": 1 + rows.len() });
        let lines = [&[header.to_string()], rows, &[end.to_string()]].concat();
        fs::write(self.home().join(name), lines.join("\n") + "\n").unwrap();
    }

    /// Runs `spinney env WORDS` with no variables but HOME.
    pub fn env(&self, words: &[&str]) -> Output {
        self.env_with(&[], words)
    }

    /// The same with these variables.
    pub fn env_with(&self, variables: &[(&str, &str)], words: &[&str]) -> Output {
        let words = [&["env"], words].concat();
        let mut command = self.0.spinney(&words);
        command.env_clear().env("HOME", self.home()).envs(variables.iter().copied());
        output(&mut command)
    }
}
