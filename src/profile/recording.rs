//! The file that tells what a run touched (docs/PROFILING.md): lines of JSON, the first of which is the header.
//!
//! The one definition of it, for whoever writes and whoever reads.
//!
//! Not here: what is recorded (`recorder::events`), reading it (`reading`), sums over recordings (`totals`).

pub mod parts;
mod reading;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use self::reading::{Fault, Trouble, UNFINISHED, files, node_of, salvage, unfinished};
use super::recorder::event::{AnsweredBy, Mode, Operation, Outcome};
use crate::text::as_text;

/// Version of the layout. It changes when a field changes its meaning or goes; new fields and kinds of lines may come.
pub const SCHEMA: u32 = 1;

/// What stands in the header as its kind.
const KIND: &str = "recording";

/// What may stand in the header as mode.
const MODES: &[&str] = &["full", "top", "aggregate"];

/// The recording of a run, as far as it is in one file.
pub const WHOLE: &str = "recording.jsonl";

/// What the names of the files of single nodes begin with; the number follows.
pub const PART: &str = "recording-node-";

/// Latest end of a piece of time: 2^50 us, some 35 years, which is more than a job lasts and can be told in nanoseconds.
const TIME_US_MAX: u64 = 1 << 50;

/// The first line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`SCHEMA`].
    pub schema: u32,
    /// `recording`.
    pub kind: String,
    /// `full`, `top` or `aggregate`.
    pub mode: String,
    /// N of `top=N`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top: Option<u32>,
    /// Whether every access was seen: the kernel's memory was off.
    #[serde(default)]
    pub observed: bool,
    /// Name of the job.
    pub job: String,
    /// The command as it may be shown.
    pub command: Vec<String>,
    /// What was shown, as far as it is UTF-8.
    pub views: Vec<String>,
    /// The bytes of what else was shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub views_bytes: Vec<Vec<u8>>,
    /// How many nodes there were.
    pub n_nodes: u32,
    /// Of which of them nothing is here.
    pub missing_nodes: Vec<u32>,
    /// Of which of them only a snapshot is here, while others have come to their end: they run on, or were lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unfinished_nodes: Vec<u32>,
    /// Why it was written.
    pub tag: String,
    /// When, microseconds since 1970.
    pub unix_us: u64,
    /// Whether it was read from a part that waited to be put together, which was not done.
    #[serde(skip)]
    pub is_waiting: bool,
}

impl Header {
    /// With these views.
    pub fn showing(mut self, views: &[PathBuf]) -> Self {
        for view in views {
            match path_fields(view.as_os_str().as_bytes()) {
                (_, Some(bytes)) => self.views_bytes.push(bytes),
                (text, None) => self.views.push(text.into_owned()),
            }
        }
        self
    }

    /// What was shown.
    pub fn all_views(&self) -> impl Iterator<Item = PathBuf> {
        let bytes = self.views_bytes.iter().map(|bytes| PathBuf::from(OsStr::from_bytes(bytes)));
        self.views.iter().map(PathBuf::from).chain(bytes)
    }

    /// Whether every access was seen, on the nodes that are here.
    pub fn is_full(&self) -> bool {
        self.mode == "full" && self.observed
    }

    /// Whether it tells paths.
    pub fn has_paths(&self) -> bool {
        self.mode != Mode::Aggregate.name()
    }

    /// The mode as `--profile` has it.
    pub fn mode_flag(&self) -> String {
        self.top.map_or_else(|| self.mode.clone(), |n| format!("top={n}"))
    }

    /// Of a recording in this `mode` that is written now; what is known of the job is left to the caller.
    pub fn now(mode: Mode, tag: &str, unix_us: u64) -> Self {
        Header {
            schema: SCHEMA,
            kind: KIND.to_owned(),
            mode: mode.name().to_owned(),
            top: if let Mode::Top(n) = mode { Some(n) } else { None },
            observed: false,
            job: String::new(),
            command: Vec::new(),
            views: Vec::new(),
            views_bytes: Vec::new(),
            n_nodes: 1,
            missing_nodes: Vec::new(),
            unfinished_nodes: Vec::new(),
            tag: tag.to_owned(),
            unix_us,
            is_waiting: false,
        }
    }
}

/// How often one node was asked one thing about a path, with one outcome, and who answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PathLine<'a> {
    /// Which node.
    pub node: u32,
    /// The absolute path; empty, and then not written, if it is not UTF-8.
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    pub path: Cow<'a, str>,
    /// Its bytes, if it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_bytes: Option<Vec<u8>>,
    /// What was asked.
    pub operation: Operation,
    /// What was answered.
    pub outcome: Outcome,
    /// Who answered.
    pub source: AnsweredBy,
    /// How often.
    pub calls: u64,
    /// Bytes of content.
    #[serde(default)]
    pub bytes: u64,
    /// How long tasks waited, added up.
    #[serde(default)]
    pub nanoseconds: u64,
    /// By how much `calls` may be too high (`top=N` only).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub error: u64,
}

impl PathLine<'_> {
    /// What was answered so often, with no bytes and in no time, for tests.
    #[cfg(test)]
    pub fn of(
        node: u32,
        path: &str,
        operation: Operation,
        outcome: Outcome,
        source: AnsweredBy,
        calls: u64,
    ) -> PathLine<'_> {
        let (path, path_bytes) = (path.into(), None);
        PathLine {
            node,
            path,
            path_bytes,
            operation,
            outcome,
            source,
            calls,
            bytes: 0,
            nanoseconds: 0,
            error: 0,
        }
    }

    /// The path as it is.
    pub fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.path_bytes.as_deref().unwrap_or(self.path.as_bytes())))
    }

    /// An error if no system can have such a path.
    fn is_sound(&self) -> Result<(), String> {
        if self.path_bytes.is_some() != self.path.is_empty() {
            return Err("either `path` or `path_bytes` is needed".to_owned());
        }
        if !self.path().is_absolute() || self.path().as_os_str().as_bytes().contains(&0) {
            return Err("not an absolute path".to_owned());
        }
        Ok(())
    }

    /// The path as text: bytes that are not UTF-8 are escaped, so that two paths stay two.
    pub fn shown(&self) -> Cow<'_, str> {
        match &self.path_bytes {
            None => Cow::Borrowed(&self.path),
            Some(_) => Cow::Owned(as_text(self.path())),
        }
    }
}

/// Lines of other kinds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum OtherLine {
    /// A node of which there is something.
    Node(NodeLine),
    /// How long answers took.
    Latency(LatencyLine),
    /// Who asked.
    Task(TaskLine),
    /// What happened when.
    Time(TimeLine),
    /// The last line: how many came before.
    End {
        /// Lines before this one, the header included.
        lines: u64,
    },
    /// A kind that came later: to be passed by.
    #[serde(other)]
    Unknown,
}

impl Line<'_> {
    /// The node that it is about.
    pub fn node(&self) -> Option<u32> {
        match self {
            Line::Path(line) => Some(line.node),
            Line::Other(OtherLine::Node(line)) => Some(line.node),
            Line::Other(OtherLine::Latency(line)) => Some(line.node),
            Line::Other(OtherLine::Task(line)) => Some(line.node),
            Line::Other(OtherLine::Time(line)) => Some(line.node),
            Line::Other(OtherLine::End { .. } | OtherLine::Unknown) => None,
        }
    }
}

/// A node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeLine {
    /// Its number.
    pub node: u32,
    /// Its name.
    pub host: String,
    /// Number of the daemon's process.
    #[serde(default)]
    pub process: u32,
    /// When recording began there, microseconds since 1970.
    pub began_unix_us: u64,
    /// Answers whose path is not here, since a limit was hit.
    #[serde(default)]
    pub lost: u64,
    /// The counters, as in `run.json`.
    #[serde(default)]
    pub counters: BTreeMap<String, u64>,
}

/// How long answers to one operation from one source took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LatencyLine {
    /// Which node.
    pub node: u32,
    /// What was asked.
    pub operation: Operation,
    /// Who answered.
    pub source: AnsweredBy,
    /// The longest duration of a bucket in nanoseconds, and how many answers took up to that and longer than the one before.
    pub buckets: Vec<(u64, u64)>,
    /// How long tasks waited for all of them, added up.
    #[serde(default)]
    pub nanoseconds: u64,
    /// Bytes of content.
    #[serde(default)]
    pub bytes: u64,
    /// How many of them said that there is no such name.
    #[serde(default)]
    pub absences: u64,
    /// How many of them were another error.
    #[serde(default)]
    pub errors: u64,
}

/// What one process asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskLine {
    /// Which node.
    pub node: u32,
    /// Number of the process; 0: the kernel, reading ahead.
    pub process: u32,
    /// The number that a launcher gave it.
    #[serde(default)]
    pub task: Option<u64>,
    /// Name of its program.
    pub command: String,
    /// Answers.
    pub calls: u64,
    /// How long it waited, added up.
    pub nanoseconds: u64,
}

/// What happened in a piece of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimeLine {
    /// Which node.
    pub node: u32,
    /// From so many microseconds after recording began on the node.
    pub from_us: u64,
    /// Until then.
    pub until_us: u64,
    /// Answers by who gave them: cache, parent, root, storage.
    pub answers: [u64; 4],
    /// How long tasks waited for them, added up.
    pub nanoseconds: u64,
}

impl OtherLine {
    /// An error if no clock can have told such a thing.
    fn is_sound(&self) -> Result<(), String> {
        match self {
            OtherLine::Time(TimeLine { from_us, until_us, .. })
                if from_us >= until_us || *until_us > TIME_US_MAX =>
            {
                Err("a piece of time that does not end, or begins after it".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// One line after the header.
#[derive(Debug)]
pub enum Line<'a> {
    /// Of a path.
    Path(PathLine<'a>),
    /// Anything else.
    Other(OtherLine),
}

/// A recording being put together.
#[derive(Debug)]
pub struct Writing {
    bytes: Vec<u8>,
    lines: u64,
}

impl Writing {
    /// Begins with the header.
    pub fn begin(header: &Header) -> Self {
        let mut writing = Writing { bytes: Vec::new(), lines: 0 };
        writing.add(header);
        writing
    }

    /// Adds a [`PathLine`] or an [`OtherLine`].
    pub fn add(&mut self, line: &impl Serialize) {
        serde_json::to_writer(&mut self.bytes, line).expect("memory takes it, and keys are text");
        self.bytes.push(b'\n');
        self.lines += 1;
    }

    /// Adds a line that is one already.
    pub fn add_raw(&mut self, line: &[u8]) {
        self.bytes.extend_from_slice(line);
        self.bytes.push(b'\n');
        self.lines += 1;
    }

    /// The whole file.
    pub fn end(mut self) -> Vec<u8> {
        self.add(&OtherLine::End { lines: self.lines });
        self.bytes
    }
}

/// A path as the two fields it is written in.
pub fn path_fields(path: &[u8]) -> (Cow<'_, str>, Option<Vec<u8>>) {
    match std::str::from_utf8(path) {
        Ok(text) => (Cow::Borrowed(text), None),
        Err(_) => (Cow::Borrowed(""), Some(path.to_vec())),
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn line(path: &[u8]) -> PathLine<'_> {
        let (path, path_bytes) = path_fields(path);
        let (operation, outcome, source) = (Operation::Lookup, Outcome::Absent, AnsweredBy::Root);
        PathLine {
            node: 3,
            path,
            path_bytes,
            operation,
            outcome,
            source,
            calls: 2,
            bytes: 0,
            nanoseconds: 9,
            error: 0,
        }
    }

    /// Names of every kind, a line that came later, and the number of lines before the end: 7.
    const NAMES: [&[u8]; 5] =
        [b"/env/a \"b\"\n", b"/env/c,d", "/env/é".as_bytes(), b"/env/\xff\xfe", b"/env/-x"];

    fn whole() -> String {
        let mut writing = Writing::begin(&Header::now(Mode::Full, "pre-destroy", 5));
        NAMES.iter().for_each(|name| writing.add(&line(name)));
        writing.add_raw(br#"{"kind":"from the future","x":[1]}"#);
        String::from_utf8(writing.end()).unwrap()
    }

    /// How many paths are read of `text`, and what is said.
    fn paths(text: &[u8]) -> (usize, Vec<String>) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("recording.jsonl");
        fs::write(&file, text).unwrap();
        let said = |trouble: &Trouble| {
            trouble.to_string().strip_prefix(directory.path().to_str().unwrap()).unwrap()[1..].to_owned()
        };
        let mut found = 0;
        let (header, troubles) =
            salvage(&file, |_, line| found += usize::from(matches!(line, Line::Path(_))));
        assert!(header.is_some() || (found == 0 && troubles.len() == 1), "{troubles:?}");
        (found, troubles.iter().map(said).collect())
    }

    #[test]
    fn names_of_every_kind_arrive_as_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("recording.jsonl");
        fs::write(&file, whole()).unwrap();
        let mut names = Vec::new();
        let (_, troubles) = salvage(&file, |_, line| {
            if let Line::Path(line) = line {
                names.push(line.path().as_os_str().as_bytes().to_vec());
            }
        });
        assert!(troubles.is_empty(), "{troubles:?}");
        assert_eq!(names, NAMES);
    }

    #[test]
    fn of_what_is_no_whole_recording_there_is_what_can_be_read_and_one_line_tells() {
        let text = whole();
        let (cut, later) = (&text[..text.len() - 5], text.replace("\"node\":3", "\"rack\":7,\"node\":3"));
        let lines = |n: usize| text.lines().take(n).map(|line| format!("{line}\n")).collect::<String>();
        // The text, how many of the five paths are read, what is said, why.
        let cases = [
            (later, 5, "", "fields that came later"),
            (text.replace('\n', "\n\n"), 5, "", "blank lines"),
            (cut.to_owned(), 5, ":8: is cut short within", "half-written"),
            (lines(7), 5, ": is cut short: it has no last line", "half-written, between lines"),
            (lines(1), 0, ": is cut short: it has no last line", "half-written, no path yet"),
            (text[..30].to_owned(), 0, ":1: is not a recording", "a cut header"),
            (String::new(), 0, ": is not a recording", "empty"),
            ("PAR1\0\0".to_owned(), 0, ":1: is not a recording", "another format"),
            ("path,calls\n/a,3\n".to_owned(), 0, ":1: is not a recording", "foreign"),
            (r#"{"schema":1,"kind":"pack"}"#.to_owned() + "\n", 0, ":1: is not a recording", "another kind"),
            (text.replacen("\"schema\":1", "\"schema\":2", 1), 0, ":1: has layout 2", "newer"),
            (text.replacen("\"full\"", "\"most\"", 1), 0, ":1: the header is not", "an unknown mode"),
            (text.replacen("\"job\"", "\"jab\"", 1), 0, ":1: the header is not", "no job"),
            (text.replacen("\"calls\":2", "\"calls\":-2", 1), 4, ":2: is no line", "a wrong number"),
            (text.replacen("lookup", "statfs", 1), 4, ":2: is no line", "an operation that is not known"),
            (text.replacen("/env/c", "env/c", 1), 4, ":3: is no line of a recording: not an abs", "relative"),
            (
                text.replacen("/env/c", "/env/\\u0000", 1),
                4,
                ":3: is no line of a recording: not an",
                "a zero byte",
            ),
            (text.replacen("\"path\"", "\"x\"", 1), 4, ":2: is no line of a recording: either", "no path"),
            (text.replacen("\"lines\":7", "\"lines\":9", 1), 5, ":8: says that 9 lines", "lines were lost"),
            (text.clone() + &text, 5, ":9: follows the last line", "two in one file"),
            (
                lines(7) + &"x".repeat(reading::LINE_BYTES_MAX + 1),
                5,
                ":8: the line is too long",
                "no end of line",
            ),
        ];
        for (text, n_paths, said, why) in cases {
            let (found, troubles) = paths(text.as_bytes());
            assert_eq!(
                (found, troubles.len()),
                (n_paths, usize::from(!said.is_empty())),
                "{why}: {troubles:?}"
            );
            let said = format!("recording.jsonl{said}");
            let is_told = |line: &String| line.starts_with(&said) && !line.contains('\n');
            assert!(troubles.iter().all(is_told), "{why}: {troubles:?}");
        }
    }

    #[test]
    fn a_pipe_that_nobody_writes_to_is_an_empty_file() {
        let directory = tempfile::tempdir().unwrap();
        let (pipe, mode) = (directory.path().join("recording.jsonl"), rustix::fs::Mode::RWXU);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let found = files(directory.path()).unwrap();
        let (header, troubles) = salvage(&found[0], |_, _| panic!("nothing is written there"));
        assert!(header.is_none());
        assert_eq!(troubles.len(), 1, "{troubles:?}");
    }

    #[test]
    fn a_file_of_one_node_counts_until_the_whole_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let put = |name: &str, unix_us, missing: &[u32]| {
            let header = Header {
                n_nodes: 3,
                missing_nodes: missing.to_vec(),
                ..Header::now(Mode::Full, "pre-destroy", unix_us)
            };
            fs::write(directory.path().join(name), Writing::begin(&header).end()).unwrap();
        };
        let names = || -> Vec<String> {
            let files = files(directory.path()).unwrap();
            files.iter().map(|file| file.file_name().unwrap().to_str().unwrap().to_owned()).collect()
        };
        assert!(files(directory.path()).unwrap_err().to_string().contains("has no recording"));
        fs::write(directory.path().join(".recording.jsonl.77"), "half").unwrap(); // being written
        fs::write(directory.path().join("other.jsonl"), "{}").unwrap();
        put("recording-node-000000.jsonl", 5, &[1, 2]);
        put("recording-node-000001.jsonl", 7, &[0, 2]);
        put("recording-host-a-b.jsonl", 1, &[]); // whoever copied it here meant it
        let parts =
            ["recording-host-a-b.jsonl", "recording-node-000000.jsonl", "recording-node-000001.jsonl"];
        assert_eq!(names(), parts);
        put(WHOLE, 7, &[2]); // put together; the others are about to go
        assert_eq!(names(), ["recording-host-a-b.jsonl", WHOLE]);
        put("recording-node-000001.jsonl", 9, &[0, 2]); // and written anew by another run
        assert_eq!(names(), ["recording-host-a-b.jsonl", "recording-node-000001.jsonl", WHOLE]);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic_or_lose_the_lines_before(
            garbage in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)
        ) {
            let text = whole();
            let before = text.lines().take(4).map(|line| format!("{line}\n")).collect::<String>();
            let (found, troubles) = paths(&[before.as_bytes(), &garbage, b"\n", text.as_bytes()].concat());
            proptest::prop_assert!(found >= 3 && !troubles.is_empty(), "{troubles:?}");
            let _ = paths(&garbage); // need only return
        }
    }
}
