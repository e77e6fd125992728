//! Sums over recordings: of all nodes, and of several runs.
//!
//! Invariant: memory grows with the number of different paths and of nodes, not with the number of lines.
//!
//! Not here: the lines (`recording`), what is said about the sums (`report`).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::AddAssign;
use std::path::Path;

use super::recorder::event::{AnsweredBy, Operation, Outcome};
use super::recording::{
    self, Header, LatencyLine, Line, NodeLine, OtherLine, PathLine, TaskLine, TimeLine, Trouble,
};

/// Calls and what they cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// How often.
    pub calls: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// How long tasks waited, added up.
    pub nanoseconds: u64,
}

impl AddAssign for Sum {
    fn add_assign(&mut self, other: Sum) {
        self.calls += other.calls;
        self.bytes += other.bytes;
        self.nanoseconds += other.nanoseconds;
    }
}

/// What was asked, answered, and by whom.
pub type What = (Operation, Outcome, AnsweredBy);

/// What one path was asked.
#[derive(Debug, Clone, Default)]
pub struct OfPath(Vec<(What, Sum, u32)>);

impl OfPath {
    /// Each kind of answer with its sum and the number of nodes that had it.
    pub fn parts(&self) -> impl Iterator<Item = (What, Sum, u32)> + '_ {
        self.0.iter().copied()
    }

    /// The sum of the kinds of answers that `wanted` picks.
    pub fn sum(&self, wanted: impl Fn(What) -> bool) -> Sum {
        let mut sum = Sum::default();
        self.parts().filter(|(what, ..)| wanted(*what)).for_each(|(_, part, _)| sum += part);
        sum
    }

    fn add(&mut self, what: What, sum: Sum) {
        match self.0.iter_mut().find(|(known, ..)| *known == what) {
            Some((_, known, nodes)) => {
                *known += sum;
                *nodes += 1;
            }
            None => self.0.push((what, sum, 1)),
        }
    }
}

/// One node of one run.
#[derive(Debug, Clone, Default)]
pub struct OfNode {
    /// Its name.
    pub host: String,
    /// Number of its daemon's process.
    pub process: u32,
    /// All answers, by who gave them.
    pub by: BTreeMap<AnsweredBy, Sum>,
    /// Answers that a limit kept from being told by path.
    pub lost: u64,
    /// The counters of `run.json`.
    pub counters: BTreeMap<String, u64>,
}

type Paths = HashMap<Box<str>, OfPath, BuildHasherDefault<OneShot>>;

/// All of it.
#[derive(Debug, Default)]
pub struct Totals {
    /// The headers, one of each file.
    pub headers: Vec<Header>,
    /// By run (its number in the order of reading) and node.
    pub nodes: BTreeMap<(u32, u32), OfNode>,
    /// What was asked, over all paths.
    pub answers: BTreeMap<What, Sum>,
    /// By path.
    pub paths: Paths,
    /// Answers by the longest duration of their bucket, in nanoseconds.
    pub latencies: BTreeMap<(Operation, AnsweredBy), BTreeMap<u64, u64>>,
    /// By the name of the program: processes, calls, nanoseconds.
    pub commands: BTreeMap<String, (u64, Sum)>,
    /// By the number that a launcher gave.
    pub tasks: BTreeMap<u64, Sum>,
    /// Answers by who gave them, and nanoseconds, by the beginning and end of a piece of time in microseconds.
    pub times: BTreeMap<(u64, u64), ([u64; 4], u64)>,
    missing: BTreeSet<(u32, u32)>,
}

impl Totals {
    /// Of the recordings in `directories`; each is a run.
    ///
    /// # Errors
    /// There are none, or one is not to be read.
    pub fn read(directories: &[impl AsRef<Path>]) -> Result<Self, Trouble> {
        let mut totals = Totals::default();
        for (run, directory) in directories.iter().enumerate() {
            for file in recording::files(directory.as_ref())? {
                totals.add(run as u32, &file)?;
            }
        }
        Ok(totals)
    }

    /// Of each node in the recordings of `directory`, by itself. Takes as much memory as they have lines.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_by_node(directory: &Path) -> Result<BTreeMap<u32, Totals>, Trouble> {
        let mut all: BTreeMap<u32, Totals> = BTreeMap::new();
        for file in recording::files(directory)? {
            let header = recording::read(&file, |_, line| {
                if let Some(node) = line.node() {
                    all.entry(node).or_default().add_line(0, line);
                }
            })?;
            all.values_mut().for_each(|totals| totals.headers.push(header.clone()));
        }
        Ok(all)
    }

    /// Adds one file.
    ///
    /// # Errors
    /// It is no whole recording; the sums are then of no use any more.
    pub fn add(&mut self, run: u32, file: &Path) -> Result<(), Trouble> {
        let header = recording::read(file, |_, line| self.add_line(run, line))?;
        self.missing.extend(header.missing_nodes.iter().map(|node| (run, *node)));
        self.headers.push(header);
        Ok(())
    }

    /// Nodes of which there is nothing, by run.
    pub fn missing_nodes(&self) -> Vec<(u32, u32)> {
        self.missing.iter().filter(|node| !self.nodes.contains_key(node)).copied().collect()
    }

    /// Whether every access was seen, on all nodes of all runs.
    pub fn is_complete(&self) -> bool {
        self.headers.iter().all(Header::is_full)
            && self.nodes.values().all(|node| node.lost == 0)
            && self.missing_nodes().is_empty()
    }

    /// The sum of the kinds of answers that `wanted` picks.
    pub fn sum(&self, wanted: impl Fn(What) -> bool) -> Sum {
        let mut sum = Sum::default();
        self.answers.iter().filter(|(what, _)| wanted(**what)).for_each(|(_, part)| sum += *part);
        sum
    }

    /// How long answers took: those that `wanted` picks, by the longest duration of a bucket.
    pub fn durations(&self, wanted: impl Fn(Operation, AnsweredBy) -> bool) -> BTreeMap<u64, u64> {
        let mut all: BTreeMap<u64, u64> = BTreeMap::new();
        for ((operation, by), buckets) in &self.latencies {
            if wanted(*operation, *by) {
                buckets.iter().for_each(|(longest, count)| *all.entry(*longest).or_default() += count);
            }
        }
        all
    }

    fn add_line(&mut self, run: u32, line: Line<'_>) {
        match line {
            Line::Path(line) => self.add_path(run, &line),
            Line::Other(line) => self.add_other(run, line),
        }
    }

    fn add_path(&mut self, run: u32, line: &PathLine<'_>) {
        let what = (line.operation, line.outcome, line.source);
        let sum = Sum { calls: line.calls, bytes: line.bytes, nanoseconds: line.nanoseconds };
        *self.answers.entry(what).or_default() += sum;
        let node = self.nodes.entry((run, line.node)).or_default();
        *node.by.entry(line.source).or_default() += sum;
        let path: Cow<'_, str> = line.shown();
        match self.paths.get_mut(&*path) {
            Some(of_path) => of_path.add(what, sum),
            None => self.paths.entry(path.into()).or_default().add(what, sum),
        }
    }

    fn add_other(&mut self, run: u32, line: OtherLine) {
        match line {
            OtherLine::Node(NodeLine { node, host, process, lost, counters, .. }) => {
                let of_node = self.nodes.entry((run, node)).or_default();
                *of_node = OfNode { host, process, lost, counters, ..std::mem::take(of_node) };
            }
            OtherLine::Latency(LatencyLine { operation, source, buckets, .. }) => {
                let known = self.latencies.entry((operation, source)).or_default();
                buckets.into_iter().for_each(|(longest, count)| *known.entry(longest).or_default() += count);
            }
            OtherLine::Task(TaskLine { task, command, calls, nanoseconds, .. }) => {
                let sum = Sum { calls, bytes: 0, nanoseconds };
                let (processes, known) = self.commands.entry(command).or_default();
                *processes += 1;
                *known += sum;
                if let Some(task) = task {
                    *self.tasks.entry(task).or_default() += sum;
                }
            }
            OtherLine::Time(TimeLine { from_us, until_us, answers, nanoseconds, .. }) => {
                let (known, waited) = self.times.entry((from_us, until_us)).or_default();
                known.iter_mut().zip(answers).for_each(|(known, more)| *known += more);
                *waited += nanoseconds;
            }
            OtherLine::End { .. } | OtherLine::Unknown => {}
        }
    }
}

/// The duration that `share` of the answers did not exceed, at most one bucket too high; `None` if there are none.
pub fn quantile(durations: &BTreeMap<u64, u64>, share: f64) -> Option<u64> {
    let all: u64 = durations.values().sum();
    let wanted = ((all as f64 * share).ceil() as u64).max(1);
    let mut seen = 0;
    for (longest, count) in durations {
        seen += count;
        if seen >= wanted {
            return Some(*longest);
        }
    }
    None
}

/// XXH3 of a key that is given in one piece, or two.
#[derive(Debug, Default)]
pub struct OneShot(u64);

impl Hasher for OneShot {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxhash_rust::xxh3::xxh3_64_with_seed(bytes, self.0);
    }

    fn write_u8(&mut self, byte: u8) {
        self.0 = self.0.rotate_left(8) ^ u64::from(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_counts() {
        let durations = BTreeMap::from([(10, 50), (20, 40), (1000, 10)]);
        let cases = [(0.0, 10), (0.5, 10), (0.51, 20), (0.9, 20), (0.91, 1000), (1.0, 1000)];
        for (share, longest) in cases {
            assert_eq!(quantile(&durations, share), Some(longest), "{share}");
        }
        assert_eq!(quantile(&BTreeMap::new(), 0.5), None);
    }
}
