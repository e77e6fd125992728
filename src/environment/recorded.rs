//! Recordings added up: for each path what all nodes and jobs together asked of it.
//!
//! Counts are honest about what they are: [`Recorded::notes`] says when they are a lower bound, and why. Every report
//! over recordings prints these notes.
//!
//! Not here: the format of a recording (`recording`), what paths mean (`classes`, `coverage`, `check`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::recording::{self, Header, Mode, Operation, Outcome, Row};
use crate::text::counted;

/// What was asked of one path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Calls of all kinds.
    pub calls: u64,
    /// Those that found it.
    pub found: u64,
    /// Those that found nothing.
    pub absent: u64,
    /// Those that storage answered with an error.
    pub errors: u64,
    /// Those that opened it or read from it.
    pub reads: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Time until the answers were there, summed.
    pub nanoseconds: u64,
}

impl Usage {
    /// Adds what is known of another path, or of the same from elsewhere. Counts stop at the largest number there is.
    pub fn add(&mut self, other: &Usage) {
        let sum = |mine: &mut u64, theirs: u64| *mine = mine.saturating_add(theirs);
        sum(&mut self.calls, other.calls);
        sum(&mut self.found, other.found);
        sum(&mut self.absent, other.absent);
        sum(&mut self.errors, other.errors);
        sum(&mut self.reads, other.reads);
        sum(&mut self.bytes, other.bytes);
        sum(&mut self.nanoseconds, other.nanoseconds);
    }

    /// Whether it was asked for and never there.
    pub fn is_probe(&self) -> bool {
        self.found == 0 && self.absent > 0
    }

    fn of(row: &Row) -> Self {
        let if_outcome = |outcome| if row.outcome == outcome { row.calls } else { 0 };
        let is_read = matches!(row.operation, Operation::Open | Operation::Read);
        Self {
            calls: row.calls,
            found: if_outcome(Outcome::Found),
            absent: if_outcome(Outcome::Absent),
            errors: if_outcome(Outcome::Error),
            reads: if is_read { if_outcome(Outcome::Found) } else { 0 },
            bytes: row.bytes,
            nanoseconds: row.nanoseconds,
        }
    }
}

/// The sum of some recordings.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    /// What was asked of each path, in the order of their bytes.
    pub paths: BTreeMap<PathBuf, Usage>,
    /// The views of all jobs.
    pub views: BTreeSet<PathBuf>,
    /// Where the numbers come from.
    pub headers: Vec<Header>,
    /// What could not be read; each one clear line.
    pub troubles: Vec<String>,
}

impl Recorded {
    /// Reads and adds up. What cannot be read stands in [`Recorded::troubles`].
    ///
    /// # Cost
    /// One pass over the files; memory for each path once, whatever the number of nodes.
    pub fn read(places: &[PathBuf]) -> Self {
        let mut recorded = Self::default();
        let reading = recording::read(places, &mut |row| {
            let usage = Usage::of(&row);
            recorded.paths.entry(row.path).or_default().add(&usage);
        });
        recorded.views = reading.headers.iter().flat_map(|header| header.views.clone()).collect();
        recorded.headers = reading.headers;
        recorded.troubles = reading.troubles.iter().map(ToString::to_string).collect();
        recorded
    }

    /// Whether every access of every node was seen and read.
    pub fn is_full(&self) -> bool {
        let full = |header: &Header| header.mode == Mode::Full && header.missing_nodes.is_empty();
        self.troubles.is_empty() && !self.headers.is_empty() && self.headers.iter().all(full)
    }

    /// Where the numbers come from, in words: `1 recording, job 7, 4 nodes`.
    pub fn source(&self) -> String {
        let jobs: BTreeSet<&str> =
            self.headers.iter().map(|header| header.job.as_str()).filter(|job| !job.is_empty()).collect();
        let nodes = self.headers.iter().map(|header| header.n_nodes).max().unwrap_or(0);
        let mut words = vec![counted(self.headers.len() as u64, "recording")];
        match jobs.len() {
            0 => {}
            1 => words.extend(jobs.first().map(|job| format!("job {job}"))),
            n => words.push(format!("{n} jobs")),
        }
        if nodes > 0 {
            words.push(counted(nodes.into(), "node"));
        }
        words.join(", ")
    }

    /// What a reader must know before he believes a number; empty if there is nothing.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let lesser: BTreeSet<&str> = self.headers.iter().filter_map(|header| lesser(header.mode)).collect();
        if !lesser.is_empty() {
            let modes = lesser.into_iter().collect::<Vec<_>>().join("`, `");
            notes.push(format!(
                "lower bound: recorded with mode `{modes}`, so not every access was seen; use mode `full` to see all"
            ));
        }
        let missing: usize = self.headers.iter().map(|header| header.missing_nodes.len()).sum();
        if missing > 0 {
            notes.push(format!("lower bound: nothing was heard of {}", counted(missing as u64, "node")));
        }
        if !self.troubles.is_empty() {
            notes.push(format!(
                "lower bound: {} could not be read in full",
                counted(self.troubles.len() as u64, "place")
            ));
        }
        notes.extend(self.snapshots());
        notes
    }

    /// Snapshots of one job hold the same calls again, as far as they had happened.
    fn snapshots(&self) -> Option<String> {
        let mut tags: BTreeMap<&str, BTreeSet<Option<&str>>> = BTreeMap::new();
        for header in self.headers.iter().filter(|header| !header.job.is_empty()) {
            tags.entry(&header.job).or_default().insert(header.tag.as_deref());
        }
        let (job, tags) = tags.into_iter().find(|(_, tags)| tags.len() > 1)?;
        Some(format!(
            "{} of job {job}: calls in more than one count again",
            counted(tags.len() as u64, "snapshot")
        ))
    }
}

/// The name of a mode that does not see every access.
fn lesser(mode: Mode) -> Option<&'static str> {
    match mode {
        Mode::Full => None,
        Mode::Top => Some("top"),
        Mode::Aggregate => Some("aggregate"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(mode: Mode, tag: &str) -> Header {
        let header = serde_json::json!({
            "schema": 1, "kind": "recording", "mode": mode, "job": "7", "n_nodes": 1200, "tag": tag
        });
        serde_json::from_value(header).unwrap()
    }

    #[test]
    fn a_lower_bound_is_called_one() {
        let mut recorded = Recorded { headers: vec![header(Mode::Full, "")], ..Recorded::default() };
        assert!(recorded.is_full() && recorded.notes().is_empty());
        assert_eq!(recorded.source(), "1 recording, job 7, 1,200 nodes");
        recorded.headers[0].missing_nodes = vec![3];
        assert_eq!(recorded.notes(), ["lower bound: nothing was heard of 1 node"]);
        recorded.headers = vec![header(Mode::Top, "a"), header(Mode::Top, "b")];
        recorded.troubles = vec!["x:1: cut".to_owned()];
        let notes = recorded.notes();
        assert!(!recorded.is_full() && notes[0].contains("mode `top`"), "{notes:?}");
        assert!(notes[1].contains("1 place could not") && notes[2].starts_with("2 snapshots"), "{notes:?}");
    }

    #[test]
    fn counts_stop_at_the_largest_number() {
        let most = Usage { calls: u64::MAX, ..Usage::default() };
        let mut sum = most;
        sum.add(&most);
        assert_eq!(sum.calls, u64::MAX);
    }
}
