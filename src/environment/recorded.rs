//! Recordings added up: for each path what all nodes and jobs together asked of it.
//!
//! Counts are honest about what they are: [`Recorded::notes`] says when they are a lower bound, and why. Every report
//! over recordings prints these notes.
//!
//! Invariant: what cannot be read is told, and costs nothing but itself: the other lines of the file and all other files
//! count.
//!
//! Not here: the format of a recording (`profile::recording`), what paths mean (`classes`, `coverage`, `check`).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use crate::profile::recorder::event::{Operation, Outcome};
use crate::profile::recording::{self, Header, Line, OtherLine, PathLine};
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

    fn of(line: &PathLine<'_>) -> Self {
        let if_outcome = |outcome| if line.outcome == outcome { line.calls } else { 0 };
        let is_read = matches!(line.operation, Operation::Open | Operation::Read);
        Self {
            calls: line.calls,
            found: if_outcome(Outcome::Found),
            absent: if_outcome(Outcome::Absent),
            errors: if_outcome(Outcome::Error),
            reads: if is_read { if_outcome(Outcome::Found) } else { 0 },
            bytes: line.bytes,
            nanoseconds: line.nanoseconds,
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
    /// Nodes of which nothing is here.
    pub missing_nodes: usize,
    /// Answers that are not told by path, since a limit was hit.
    pub lost: u64,
    /// What could not be read; each one clear line.
    pub troubles: Vec<String>,
}

impl Recorded {
    /// Reads and adds up the recordings at `places`, files or directories. What cannot be read stands in
    /// [`Recorded::troubles`]. A file that is named twice counts once.
    ///
    /// # Cost
    /// One pass over the files; memory for each path once, whatever the number of nodes.
    pub fn read(places: &[PathBuf]) -> Self {
        let mut recorded = Self::default();
        let mut seen = HashSet::new();
        for place in places {
            let files = recording::files(place).unwrap_or_else(|trouble| {
                recorded.troubles.push(trouble.to_string());
                Vec::new()
            });
            let mut missing = BTreeSet::new();
            let mut here = HashSet::new();
            for file in files {
                let real = std::fs::canonicalize(&file).unwrap_or_else(|_| file.clone());
                if seen.insert(real) {
                    recorded.read_file(&file, &mut missing, &mut here);
                }
            }
            // A file of one node misses all others, which have files of their own beside it.
            recorded.missing_nodes += missing.difference(&here.into_iter().collect()).count();
        }
        recorded.views = recorded.headers.iter().flat_map(Header::all_views).collect();
        recorded
    }

    /// Adds a file; `missing` are nodes that it lacks and `here` those it has, with the names of their jobs.
    fn read_file(
        &mut self,
        file: &Path,
        missing: &mut BTreeSet<(String, u32)>,
        here: &mut HashSet<(String, u32)>,
    ) {
        let Self { paths, lost, troubles, .. } = self;
        let each = |header: &Header, line: Line<'_>| match line {
            Line::Path(line) => add(paths, &line),
            Line::Other(OtherLine::Node(node)) => {
                *lost = lost.saturating_add(node.lost);
                here.insert((header.job.clone(), node.node));
            }
            Line::Other(_) => {}
        };
        let (header, wrong) = recording::salvage(file, each);
        troubles.extend(wrong.iter().map(ToString::to_string));
        if let Some(header) = header {
            missing.extend(header.missing_nodes.iter().map(|node| (header.job.clone(), *node)));
            self.headers.push(header);
        }
    }

    /// Whether every access of every node was seen and read.
    pub fn is_full(&self) -> bool {
        !self.headers.is_empty() && self.bounds().is_empty()
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
        let is_waiting = self.headers.iter().any(|header| header.is_waiting);
        let waiting = is_waiting.then(|| recording::UNFINISHED.to_owned());
        self.bounds().into_iter().chain(self.snapshots()).chain(waiting).collect()
    }

    /// Why the numbers are a lower bound; empty if they are not.
    pub fn bounds(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let lesser: BTreeSet<&str> = self
            .headers
            .iter()
            .filter(|header| !header.is_full())
            .map(|header| header.mode.as_str())
            .collect();
        if self.headers.iter().any(|header| !header.has_paths()) {
            notes.push(
                "lower bound: recorded with mode `aggregate`, which tells of no path; use mode `full` to see all"
                    .to_owned(),
            );
        } else if !lesser.is_empty() {
            let modes = lesser.into_iter().collect::<Vec<_>>().join("`, `");
            notes.push(format!(
                "lower bound: recorded with mode `{modes}`, so not every access was seen; use mode `full` to see all"
            ));
        }
        if self.missing_nodes > 0 {
            let nodes = counted(self.missing_nodes as u64, "node");
            notes.push(format!("lower bound: nothing was heard of {nodes}"));
        }
        let unfinished: usize = self.headers.iter().map(|header| header.unfinished_nodes.len()).sum();
        if unfinished > 0 {
            let nodes = counted(unfinished as u64, "node");
            notes.push(format!("lower bound: of {nodes} there is only a snapshot"));
        }
        if self.lost > 0 {
            let answers = counted(self.lost, "answer");
            notes.push(format!(
                "lower bound: the path of {answers} is not told, since the table of paths was full"
            ));
        }
        if !self.troubles.is_empty() {
            notes.push(format!(
                "lower bound: {} could not be read in full",
                counted(self.troubles.len() as u64, "place")
            ));
        }
        notes
    }

    /// Snapshots of one job hold the same calls again, as far as they had happened.
    fn snapshots(&self) -> Option<String> {
        let mut tags: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let whole = self.headers.iter().filter(|header| !header.is_waiting);
        for header in whole.filter(|header| !header.job.is_empty()) {
            tags.entry(&header.job).or_default().insert(&header.tag);
        }
        let (job, tags) = tags.into_iter().find(|(_, tags)| tags.len() > 1)?;
        Some(format!(
            "{} of job {job}: calls in more than one count again",
            counted(tags.len() as u64, "snapshot")
        ))
    }
}

fn add(paths: &mut BTreeMap<PathBuf, Usage>, line: &PathLine<'_>) {
    let usage = Usage::of(line);
    match paths.get_mut(line.path()) {
        Some(known) => known.add(&usage),
        None => _ = paths.insert(line.path().to_owned(), usage),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::recorder::event::{AnsweredBy, Mode};
    use crate::profile::recording::{NodeLine, Writing};
    use std::fs;

    fn header(mode: Mode, tag: &str) -> Header {
        Header {
            observed: mode == Mode::Full,
            job: "7".to_owned(),
            n_nodes: 1200,
            ..Header::now(mode, tag, 5)
        }
    }

    fn node(node: u32, lost: u64) -> OtherLine {
        let counters = BTreeMap::new();
        OtherLine::Node(NodeLine { node, host: "a-b".into(), process: 1, began_unix_us: 1, lost, counters })
    }

    fn path(path: &str) -> PathLine<'_> {
        let line = PathLine::of(0, path, Operation::Lookup, Outcome::Found, AnsweredBy::Cache, 3);
        PathLine { nanoseconds: 7, ..line }
    }

    fn whole(header: &Header, nodes: &[OtherLine]) -> Vec<u8> {
        let mut writing = Writing::begin(header);
        nodes.iter().for_each(|node| writing.add(node));
        writing.add(&path("/a"));
        writing.end()
    }

    #[test]
    fn a_lower_bound_is_called_one() {
        let mut recorded = Recorded { headers: vec![header(Mode::Full, "")], ..Recorded::default() };
        assert!(recorded.is_full() && recorded.notes().is_empty());
        assert_eq!(recorded.source(), "1 recording, job 7, 1,200 nodes");
        recorded.missing_nodes = 1;
        recorded.lost = 2000;
        recorded.headers[0].unfinished_nodes = vec![3, 4];
        let notes = recorded.notes();
        assert_eq!(notes[0], "lower bound: nothing was heard of 1 node");
        assert_eq!(notes[1], "lower bound: of 2 nodes there is only a snapshot");
        assert!(notes[2].contains("2,000 answers") && !recorded.is_full(), "{notes:?}");
        recorded =
            Recorded { headers: vec![header(Mode::Top(5), "a"), header(Mode::Top(5), "b")], ..recorded };
        recorded.troubles = vec!["x:1: cut".to_owned()];
        let notes = recorded.notes();
        assert!(!recorded.is_full() && notes[0].contains("mode `top`"), "{notes:?}");
        assert!(notes[3].contains("1 place could not") && notes[4].starts_with("2 snapshots"), "{notes:?}");
    }

    #[test]
    fn a_node_is_missing_only_if_no_file_has_it() {
        let directory = tempfile::tempdir().unwrap();
        for (rank, lost) in [(0, 0), (2, 5)] {
            let missing_nodes = (0..4).filter(|node| *node != rank).collect();
            let header = Header { missing_nodes, n_nodes: 4, ..header(Mode::Full, "pre-destroy") };
            let name = directory.path().join(format!("recording-node-{rank:06}.jsonl"));
            fs::write(name, whole(&header, &[node(rank, lost)])).unwrap();
        }
        let recorded = Recorded::read(&[directory.path().to_owned()]);
        assert_eq!((recorded.missing_nodes, recorded.lost, recorded.troubles.len()), (2, 5, 0));
        assert_eq!(recorded.paths[Path::new("/a")].calls, 6);
    }

    #[test]
    fn one_bad_file_or_line_costs_no_other_and_one_named_twice_counts_once() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let good = String::from_utf8(whole(&header(Mode::Full, ""), &[])).unwrap();
        fs::write(at("recording.jsonl"), good.replacen('\n', "\nx\ny\n", 1)).unwrap();
        fs::write(at("recording-2.jsonl"), "nonsense\n").unwrap();
        fs::write(at("other.jsonl"), "not looked at").unwrap();
        let places = [directory.path().to_owned(), at("recording.jsonl"), at("absent.jsonl")];
        let recorded = Recorded::read(&places);
        assert_eq!((recorded.paths[Path::new("/a")].calls, recorded.headers.len()), (3, 1));
        let said = [
            "recording-2.jsonl:1: is not",
            ":5: says that 2 lines",
            "this line and 1 more line left",
            "absent",
        ];
        assert_eq!(recorded.troubles.len(), said.len(), "{:?}", recorded.troubles);
        assert!(
            recorded.troubles.iter().zip(said).all(|(told, said)| told.contains(said)),
            "{:?}",
            recorded.troubles
        );
    }

    #[test]
    fn counts_stop_at_the_largest_number() {
        let most = Usage { calls: u64::MAX, ..Usage::default() };
        let mut sum = most;
        sum.add(&most);
        assert_eq!(sum.calls, u64::MAX);
    }
}
