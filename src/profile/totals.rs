//! Sums over recordings: of all nodes, and of several runs.
//!
//! Invariant: memory grows with the number of different paths and of nodes, not with the number of lines.
//!
//! Invariant: no count is too large: sums stop at the largest number there is.
//!
//! Invariant: a recording that cannot be read in full is told ([`Totals::unread`]) and costs nothing but what is missing of it.
//!
//! Not here: the lines (`recording`), what is said about the sums (`report`).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::num::NonZero;
use std::ops::AddAssign;
use std::path::{Path, PathBuf};
use std::thread;

use super::recorder::event::{AnsweredBy, Operation, Outcome};
use super::recording::{
    self, Header, LatencyLine, Line, NodeLine, OtherLine, PathLine, TaskLine, TimeLine, Trouble,
};

/// Threads that read at most: 8. Each has sums of its own, so memory grows with them.
const THREADS_MAX: usize = 8;

/// Files for each thread at least: 64, so that starting one is worth it.
const FILES_MIN: usize = 64;

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
        add(&mut self.calls, other.calls);
        add(&mut self.bytes, other.bytes);
        add(&mut self.nanoseconds, other.nanoseconds);
    }
}

/// Adds `more`, as far as that goes.
pub(super) fn add(sum: &mut u64, more: u64) {
    *sum = sum.saturating_add(more);
}

/// All of `counts` together, as far as that goes.
pub(super) fn added_up(counts: impl IntoIterator<Item = u64>) -> u64 {
    counts.into_iter().fold(0, u64::saturating_add)
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

    fn add(&mut self, what: What, sum: Sum, nodes: u32) {
        match self.0.iter_mut().find(|(known, ..)| *known == what) {
            Some((_, known, had)) => {
                *known += sum;
                *had = had.saturating_add(nodes);
            }
            None => self.0.push((what, sum, nodes)),
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

impl OfNode {
    /// All answers together.
    pub fn sum(&self) -> Sum {
        let mut sum = Sum::default();
        self.by.values().for_each(|part| sum += *part);
        sum
    }

    /// Adds what other files say of the node.
    fn absorb(&mut self, other: OfNode) {
        if !other.host.is_empty() {
            let OfNode { host, process, lost, counters, .. } = other;
            *self = OfNode { host, process, lost, counters, by: std::mem::take(&mut self.by) };
        }
        for (by, sum) in other.by {
            *self.by.entry(by).or_default() += sum;
        }
    }
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
    /// How long these took, added up.
    pub waited: BTreeMap<(Operation, AnsweredBy), u64>,
    /// By the name of the program: processes, calls, nanoseconds.
    pub commands: BTreeMap<String, (u64, Sum)>,
    /// By the number that a launcher gave.
    pub tasks: BTreeMap<u64, Sum>,
    /// Answers by who gave them, and nanoseconds, by the beginning and end of a piece of time in microseconds.
    pub times: BTreeMap<(u64, u64), ([u64; 4], u64)>,
    missing: BTreeSet<(u32, u32)>,
    /// What could not be read, by run.
    unread: Vec<(u32, Trouble)>,
    /// Runs of which there is a recording that could be read in full.
    with_whole: BTreeSet<u32>,
    tally: Tally,
}

/// Sums of one node, by [`What`], that are yet to be added to those of the node and of all: lines of one node follow each
/// other. They are those of its paths, or of its latencies where paths were not recorded.
#[derive(Debug, Default)]
struct Tally {
    of: Option<(u32, u32)>,
    sums: [[[Sum; AnsweredBy::ALL.len()]; Outcome::ALL.len()]; Operation::ALL.len()],
}

impl Totals {
    /// Of the recordings in `directories`; each is a run. What can be read of a broken one counts.
    ///
    /// # Errors
    /// One of `directories` has no recording that can be read in full.
    pub fn read(directories: &[impl AsRef<Path>]) -> Result<Self, Trouble> {
        let mut files = Vec::new();
        for (run, directory) in directories.iter().enumerate() {
            let found = recording::files(directory.as_ref())?.into_iter();
            files.extend(found.map(|file| (run as u32, file)));
        }
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let threads = (files.len() / FILES_MIN).clamp(1, processors.min(THREADS_MAX));
        let share = files.len().div_ceil(threads).max(1);
        let parts: Vec<_> = thread::scope(|scope| {
            let begun: Vec<_> = files.chunks(share).map(|files| scope.spawn(|| Totals::of(files))).collect();
            begun.into_iter().map(|part| part.join().expect("reading does not panic")).collect()
        });
        let mut parts = parts.into_iter();
        let mut totals = parts.next().unwrap_or_default();
        parts.for_each(|part| totals.absorb(part));
        totals.with_one_whole()
    }

    fn of(files: &[(u32, PathBuf)]) -> Self {
        let mut totals = Totals::default();
        files.iter().for_each(|(run, file)| _ = totals.add(*run, file, |_, _| {}));
        totals
    }

    /// Of all recordings of `directory`, and of each node in them by itself. Takes as much memory as they have lines.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_by_node(directory: &Path) -> Result<(Totals, BTreeMap<u32, Totals>), Trouble> {
        let (mut whole, mut all) = (Totals::default(), BTreeMap::<u32, Totals>::new());
        for file in recording::files(directory)? {
            let mut here = BTreeSet::new();
            let header = whole.add(0, &file, |header, line| {
                if let Some(node) = line.node() {
                    here.insert(node);
                    all.entry(node).or_default().add_line(0, header, line);
                }
            });
            for (_, totals) in all.iter_mut().filter(|(node, _)| here.contains(node)) {
                totals.settle();
                totals.headers.extend(header.clone());
            }
        }
        Ok((whole.with_one_whole()?, all))
    }

    /// An error if there is a run of which nothing could be read in full.
    fn with_one_whole(mut self) -> Result<Self, Trouble> {
        match self.unread.iter().position(|(run, _)| !self.with_whole.contains(run)) {
            Some(worst) => Err(self.unread.swap_remove(worst).1),
            None => Ok(self),
        }
    }

    /// Adds one file, whose lines `also` gets too, and returns its header.
    fn add(&mut self, run: u32, file: &Path, mut also: impl FnMut(&Header, &Line<'_>)) -> Option<Header> {
        let (header, troubles) = recording::salvage(file, |header, line| {
            also(header, &line);
            self.add_line(run, header, &line);
        });
        self.settle();
        if troubles.is_empty() {
            self.with_whole.insert(run);
        } else {
            // It counts as missing unless something of it is here.
            self.missing.extend(recording::node_of(file).map(|node| (run, node)));
        }
        self.unread.extend(troubles.into_iter().map(|trouble| (run, trouble)));
        if let Some(header) = &header {
            self.missing.extend(header.missing_nodes.iter().map(|node| (run, *node)));
            self.headers.push(header.clone());
        }
        header
    }

    /// How many runs these are.
    pub fn runs(&self) -> usize {
        self.with_whole.len()
    }

    /// What could not be read.
    pub fn unread(&self) -> impl Iterator<Item = &Trouble> {
        self.unread.iter().map(|(_, trouble)| trouble)
    }

    /// The same, when nothing else is needed any more.
    pub fn into_unread(self) -> Vec<Trouble> {
        self.unread.into_iter().map(|(_, trouble)| trouble).collect()
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
            && self.unread.is_empty()
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
                buckets.iter().for_each(|(longest, count)| add(all.entry(*longest).or_default(), *count));
            }
        }
        all
    }

    /// How long tasks waited for the answers that `wanted` picks, added up.
    pub fn waited(&self, wanted: impl Fn(Operation, AnsweredBy) -> bool) -> u64 {
        added_up(self.waited.iter().filter(|((of, by), _)| wanted(*of, *by)).map(|(_, waited)| *waited))
    }

    /// Adds the sums of the last node to the others.
    fn settle(&mut self) {
        let Tally { of: Some(of), sums } = std::mem::take(&mut self.tally) else { return };
        let node = self.nodes.entry(of).or_default();
        for operation in Operation::ALL {
            for outcome in Outcome::ALL {
                for by in AnsweredBy::ALL {
                    let sum = sums[*operation as usize][*outcome as usize][*by as usize];
                    if sum != Sum::default() {
                        *self.answers.entry((*operation, *outcome, *by)).or_default() += sum;
                        *node.by.entry(*by).or_default() += sum;
                    }
                }
            }
        }
    }

    /// Adds the sums of other files.
    fn absorb(&mut self, other: Totals) {
        self.headers.extend(other.headers);
        self.missing.extend(other.missing);
        self.unread.extend(other.unread);
        self.with_whole.extend(other.with_whole);
        for (what, sum) in other.answers {
            *self.answers.entry(what).or_default() += sum;
        }
        for (at, node) in other.nodes {
            self.nodes.entry(at).or_default().absorb(node);
        }
        for (path, of_path) in other.paths {
            let known = self.paths.entry(path).or_default();
            of_path.0.into_iter().for_each(|(what, sum, nodes)| known.add(what, sum, nodes));
        }
        for (kind, buckets) in other.latencies {
            let known = self.latencies.entry(kind).or_default();
            buckets.into_iter().for_each(|(longest, count)| add(known.entry(longest).or_default(), count));
        }
        for (kind, waited) in other.waited {
            add(self.waited.entry(kind).or_default(), waited);
        }
        for (command, (processes, sum)) in other.commands {
            let known = self.commands.entry(command).or_default();
            add(&mut known.0, processes);
            known.1 += sum;
        }
        for (task, sum) in other.tasks {
            *self.tasks.entry(task).or_default() += sum;
        }
        for (piece, (answers, waited)) in other.times {
            let known = self.times.entry(piece).or_default();
            known.0.iter_mut().zip(answers).for_each(|(known, more)| add(known, more));
            add(&mut known.1, waited);
        }
    }

    fn add_line(&mut self, run: u32, header: &Header, line: &Line<'_>) {
        match line {
            Line::Path(line) => self.add_path(run, line),
            Line::Other(line) => {
                if let OtherLine::Latency(line) = line
                    && !header.has_paths()
                {
                    self.add_without_paths(run, line);
                }
                self.add_other(run, line);
            }
        }
    }

    /// The sums of a node whose `run` was recorded without paths.
    fn add_without_paths(&mut self, run: u32, line: &LatencyLine) {
        let LatencyLine { node, operation, source, bytes, nanoseconds, absences, errors, .. } = *line;
        let calls = added_up(line.buckets.iter().map(|(_, count)| *count));
        let found = calls.saturating_sub(absences).saturating_sub(errors);
        // How long each outcome took is not known; together it is right.
        self.add_to_tally(
            (run, node),
            (operation, Outcome::Found, source),
            Sum { calls: found, bytes, nanoseconds },
        );
        for (outcome, calls) in [(Outcome::Absent, absences), (Outcome::Error, errors)] {
            self.add_to_tally((run, node), (operation, outcome, source), Sum { calls, ..Sum::default() });
        }
    }

    fn add_to_tally(&mut self, node: (u32, u32), (operation, outcome, by): What, sum: Sum) {
        if self.tally.of != Some(node) {
            self.settle();
            self.tally.of = Some(node);
        }
        self.tally.sums[operation as usize][outcome as usize][by as usize] += sum;
    }

    fn add_path(&mut self, run: u32, line: &PathLine<'_>) {
        let what = (line.operation, line.outcome, line.source);
        let sum = Sum { calls: line.calls, bytes: line.bytes, nanoseconds: line.nanoseconds };
        self.add_to_tally((run, line.node), what, sum);
        let path: Cow<'_, str> = line.shown();
        match self.paths.get_mut(&*path) {
            Some(of_path) => of_path.add(what, sum, 1),
            None => self.paths.entry(path.into()).or_default().add(what, sum, 1),
        }
    }

    fn add_other(&mut self, run: u32, line: &OtherLine) {
        match line {
            OtherLine::Node(NodeLine { node, host, process, lost, counters, .. }) => {
                let of_node = self.nodes.entry((run, *node)).or_default();
                let (host, counters) = (host.clone(), counters.clone());
                *of_node =
                    OfNode { host, process: *process, lost: *lost, counters, ..std::mem::take(of_node) };
            }
            OtherLine::Latency(LatencyLine { operation, source, buckets, nanoseconds, .. }) => {
                let kind = (*operation, *source);
                let known = self.latencies.entry(kind).or_default();
                buckets.iter().for_each(|(longest, count)| add(known.entry(*longest).or_default(), *count));
                add(self.waited.entry(kind).or_default(), *nanoseconds);
            }
            OtherLine::Task(TaskLine { task, command, calls, nanoseconds, .. }) => {
                let sum = Sum { calls: *calls, bytes: 0, nanoseconds: *nanoseconds };
                let (processes, known) = self.commands.entry(command.clone()).or_default();
                add(processes, 1);
                *known += sum;
                if let Some(task) = task {
                    *self.tasks.entry(*task).or_default() += sum;
                }
            }
            OtherLine::Time(TimeLine { from_us, until_us, answers, nanoseconds, .. }) => {
                let (known, waited) = self.times.entry((*from_us, *until_us)).or_default();
                known.iter_mut().zip(answers).for_each(|(known, more)| add(known, *more));
                add(waited, *nanoseconds);
            }
            OtherLine::End { .. } | OtherLine::Unknown => {}
        }
    }
}

/// The duration that `share` of the answers did not exceed, at most one bucket too high; `None` if there are none.
pub fn quantile(durations: &BTreeMap<u64, u64>, share: f64) -> Option<u64> {
    let all = added_up(durations.values().copied());
    let wanted = ((all as f64 * share).ceil() as u64).max(1);
    let mut seen: u64 = 0;
    for (longest, count) in durations {
        add(&mut seen, *count);
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
    use std::fs;

    use super::*;
    use crate::profile::recorder::event::Mode;
    use crate::profile::recording::Writing;

    #[test]
    fn many_files_that_several_threads_read_are_added_up_as_one_after_the_other() {
        let directory = tempfile::tempdir().unwrap();
        for node in 0..4 * FILES_MIN as u32 {
            let mut writing = Writing::begin(&Header::now(Mode::Full, "pre-destroy", u64::from(node)));
            for (number, operation) in Operation::ALL.iter().enumerate() {
                for path in [format!("/e/{number}"), format!("/e/of-{node}")] {
                    writing.add(&PathLine {
                        node,
                        path: path.into(),
                        path_bytes: None,
                        operation: *operation,
                        outcome: Outcome::ALL[(node % 3) as usize],
                        source: AnsweredBy::ALL[(node % 4) as usize],
                        calls: 1 + u64::from(node),
                        bytes: 7,
                        nanoseconds: 3,
                        error: 0,
                    });
                }
            }
            let (latency, time) = (
                r#"{"kind":"latency","node":0,"operation":"read","source":"root","buckets":[[7,2],[9,1]]}"#,
                r#"{"kind":"time","node":0,"from_us":0,"until_us":10,"answers":[1,2,3,4],"nanoseconds":5}"#,
            );
            let told = format!(
                r#"{{"kind":"node","node":{node},"host":"h{node}","began_unix_us":1,"counters":{{"fuse.read":{node}}}}}"#
            );
            let task =
                r#"{"kind":"task","node":0,"process":1,"task":3,"command":"sh","calls":2,"nanoseconds":4}"#;
            [latency, time, &told, task].iter().for_each(|line| writing.add_raw(line.as_bytes()));
            fs::write(directory.path().join(format!("recording-node-{node:06}.jsonl")), writing.end())
                .unwrap();
        }
        let files = recording::files(directory.path()).unwrap();
        let one_by_one = Totals::of(&files.into_iter().map(|file| (0, file)).collect::<Vec<_>>());
        let together = Totals::read(&[directory.path()]).unwrap();
        let shown = |totals: &Totals| {
            let mut paths: Vec<_> = totals
                .paths
                .iter()
                .map(|(path, of_path)| {
                    let mut parts: Vec<_> = of_path.parts().collect();
                    parts.sort_by_key(|(what, ..)| *what);
                    (path.clone(), parts)
                })
                .collect();
            paths.sort_by(|one, other| one.0.cmp(&other.0));
            let Totals { headers, nodes, answers, latencies, commands, tasks, times, .. } = totals;
            format!(
                "{headers:?} {nodes:?} {answers:?} {latencies:?} {commands:?} {tasks:?} {times:?} {paths:?}"
            )
        };
        assert!(shown(&together) == shown(&one_by_one));
        assert_eq!(together.nodes.len(), 4 * FILES_MIN);
        assert_eq!(
            together.answers.values().map(|sum| sum.bytes).sum::<u64>(),
            4 * FILES_MIN as u64 * 12 * 7
        );
    }

    /// A whole recording of one path on `node` of four, with the node's own line.
    fn of_node(node: u32) -> String {
        let missing_nodes = (0..4).filter(|other| *other != node).collect();
        let header =
            Header { n_nodes: 4, missing_nodes, ..Header::now(Mode::Full, "pre-destroy", u64::from(node)) };
        let mut writing = Writing::begin(&header);
        writing.add_raw(
            format!(r#"{{"kind":"node","node":{node},"host":"h","began_unix_us":1,"counters":{{}}}}"#)
                .as_bytes(),
        );
        writing.add(&PathLine::of(node, "/e/a", Operation::Lookup, Outcome::Found, AnsweredBy::Cache, 3));
        String::from_utf8(writing.end()).unwrap()
    }

    #[test]
    fn a_broken_recording_costs_no_other_nodes_and_is_named() {
        let of_2 = of_node(2);
        let lines = |n: usize| of_2.lines().take(n).map(|line| format!("{line}\n")).collect::<String>();
        // What the file of node 2 of four holds, what is said of it, calls that are read, nodes that are missing.
        let cases = [
            (of_2.clone(), "", 9, vec![3]),
            (of_2[..of_2.len() - 5].to_owned(), ":4: is cut short within", 9, vec![3]), // half-written
            (lines(2), ": is cut short: it has no last line", 6, vec![3]), // its own line and no more
            (lines(1), ": is cut short: it has no last line", 6, vec![2, 3]), // nothing of it
            (String::new(), ": is not a recording of Spinney", 6, vec![2, 3]),
            ("PAR1\0".to_owned(), ":1: is not a recording of Spinney", 6, vec![2, 3]),
            (of_2.replacen("\"schema\":1", "\"schema\":9", 1), ":1: has layout 9", 6, vec![2, 3]), // newer
            (of_2.replacen(":3,", ":-3,", 1), ":3: is no line of a recording: ", 6, vec![3]),
        ];
        for (broken, said, calls, missing) in cases {
            let directory = tempfile::tempdir().unwrap();
            let at = |node: u32| directory.path().join(format!("recording-node-{node:06}.jsonl"));
            fs::write(at(0), of_node(0)).unwrap();
            fs::write(at(1), of_node(1)).unwrap();
            fs::write(at(2), broken).unwrap();
            let totals = Totals::read(&[directory.path()]).unwrap();
            let told: Vec<String> = totals.unread().map(ToString::to_string).collect();
            assert_eq!(told.len(), usize::from(!said.is_empty()), "{told:?}");
            let file = at(2).display().to_string();
            assert!(told.iter().all(|told| told.starts_with(&format!("{file}{said}"))), "{said}: {told:?}");
            assert_eq!(totals.sum(|_| true).calls, calls, "{said}");
            let not_here: Vec<u32> = totals.missing_nodes().into_iter().map(|(_, node)| node).collect();
            assert_eq!(not_here, missing, "{said}");
            assert!(!totals.is_complete());
            let (_, by_node) = Totals::read_by_node(directory.path()).unwrap();
            assert!([0, 1].iter().all(|node| by_node[node].sum(|_| true).calls == 3), "{said}");
        }
    }

    /// A recording of these lines.
    fn of_lines(mode: Mode, lines: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let mut writing = Writing::begin(&Header::now(mode, "pre-destroy", 1));
        lines.iter().for_each(|line| writing.add_raw(line.as_bytes()));
        fs::write(directory.path().join("recording.jsonl"), writing.end()).unwrap();
        directory
    }

    #[test]
    fn sums_stop_at_the_largest_number() {
        const PATH: &str = r#"{"node":0,"path":"/e","operation":"read","outcome":"found","source":"cache","calls":18446744073709551615,"bytes":18446744073709551615,"nanoseconds":18446744073709551615}"#;
        const LATENCY: &str = r#"{"kind":"latency","node":0,"operation":"read","source":"cache","buckets":[[18446744073709551615,18446744073709551615],[5,18446744073709551615]],"nanoseconds":18446744073709551615,"absences":18446744073709551615,"errors":9}"#;
        const TIME: &str = r#"{"kind":"time","node":0,"from_us":0,"until_us":1125899906842624,"answers":[18446744073709551615,1,1,1],"nanoseconds":18446744073709551615}"#;
        const TASK: &str = r#"{"kind":"task","node":0,"process":1,"task":3,"command":"c","calls":18446744073709551615,"nanoseconds":18446744073709551615}"#;
        const NODES: [&str; 2] = [
            r#"{"kind":"node","node":0,"host":"h","began_unix_us":1,"lost":18446744073709551615,"counters":{"memory.cached_bytes":18446744073709551615}}"#,
            r#"{"kind":"node","node":1,"host":"h","began_unix_us":1,"lost":18446744073709551615,"counters":{"memory.cached_bytes":18446744073709551615}}"#,
        ];
        for mode in [Mode::Full, Mode::Aggregate] {
            let lines = [PATH, PATH, LATENCY, LATENCY, TIME, TIME, TASK, TASK, NODES[0], NODES[1]];
            let lines = if mode == Mode::Full { &lines[..] } else { &lines[2..] };
            let (one, other) = (of_lines(mode, lines), of_lines(mode, lines));
            let places = [one.path(), other.path()];
            let totals = Totals::read(&places).unwrap();
            assert_eq!(totals.sum(|_| true).calls, u64::MAX, "{mode:?}");
            assert_eq!(totals.tasks[&3].calls, u64::MAX);
            let mut absorbed = Totals::read(&places[..1]).unwrap();
            absorbed.absorb(totals);
            let report = crate::profile::report::sections::report(&absorbed);
            assert!(report.markdown().contains("18,446,744,073,709,551,615") && !report.html().is_empty());
            let none = Totals::default();
            let gone = crate::profile::compare::report(&absorbed, &none).markdown();
            assert!(gone.contains(&format!("−{}", crate::text::grouped(i64::MAX as u64))), "{gone}");
            let out = tempfile::tempdir().unwrap();
            crate::profile::copper::export(one.path(), out.path(), &[]).unwrap();
        }
    }

    #[test]
    fn times_that_no_clock_tells_are_no_lines_of_a_recording() {
        let time = |from: u64, until: u64| {
            format!(
                r#"{{"kind":"time","node":0,"from_us":{from},"until_us":{until},"answers":[1,1,1,1],"nanoseconds":5}}"#
            )
        };
        for (from, until, is_sound) in [
            (0, 10_000, true),
            (5, 5, false),        // takes no time
            (10_000, 0, false),   // ends before it begins
            (0, u64::MAX, false), // cannot be told in nanoseconds
        ] {
            let directory = of_lines(Mode::Full, &[&time(0, 10_000), &time(from, until)]);
            match Totals::read(&[directory.path()]) {
                Ok(totals) => assert!(is_sound && totals.times[&(0, 10_000)].1 == 10, "{from} {until}"),
                Err(trouble) => assert!(
                    !is_sound
                        && trouble.to_string().contains(":3: is no line of a recording: a piece of time"),
                    "{trouble}"
                ),
            }
        }
    }

    #[test]
    fn without_paths_a_node_has_the_sums_of_its_latencies() {
        const LATENCY: &str = r#"{"kind":"latency","node":0,"operation":"lookup","source":"storage","buckets":[[7,2],[9,8]],"nanoseconds":70,"bytes":5,"absences":3,"errors":1}"#;
        let directory = of_lines(Mode::Aggregate, &[LATENCY]);
        let totals = Totals::read(&[directory.path()]).unwrap();
        let by = |outcome| totals.sum(|what| what == (Operation::Lookup, outcome, AnsweredBy::Storage)).calls;
        assert_eq!([by(Outcome::Found), by(Outcome::Absent), by(Outcome::Error)], [6, 3, 1]);
        let sum = Sum { calls: 10, bytes: 5, nanoseconds: 70 };
        assert_eq!((totals.sum(|_| true), totals.nodes[&(0, 0)].sum()), (sum, sum));
        assert_eq!(totals.waited(|_, _| true), 70);
        let (whole, by_node) = Totals::read_by_node(directory.path()).unwrap();
        assert_eq!(whole.sum(|_| true), sum);
        assert_eq!(by_node[&0].sum(|_| true), sum);
        // Paths tell the same once more.
        let lines = [
            LATENCY,
            r#"{"node":0,"path":"/e","operation":"read","outcome":"found","source":"cache","calls":4}"#,
        ];
        let totals = Totals::read(&[of_lines(Mode::Full, &lines).path()]).unwrap();
        assert_eq!(totals.sum(|_| true).calls, 4);
    }

    #[test]
    fn each_directory_needs_one_whole_recording() {
        let (good, bad) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let whole = of_node(0);
        fs::write(good.path().join("recording.jsonl"), &whole).unwrap();
        fs::write(bad.path().join("recording-node-000000.jsonl"), &whole[..whole.len() - 5]).unwrap();
        fs::write(bad.path().join("recording-node-000001.jsonl"), "nonsense").unwrap();
        let refused = Totals::read(&[good.path(), bad.path()]).unwrap_err().to_string();
        assert!(refused.contains("recording-node-000000.jsonl:4: is cut short"), "{refused}");
        fs::write(bad.path().join("recording-node-000002.jsonl"), &whole).unwrap();
        assert_eq!(Totals::read(&[good.path(), bad.path()]).unwrap().unread().count(), 2);
    }

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
