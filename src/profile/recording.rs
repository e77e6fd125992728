//! The file that tells what a run touched (docs/PROFILING.md): lines of JSON, the first of which is the header.
//!
//! Invariant: a file that is cut short, of another kind or of a newer layout is refused, in one line.
//!
//! Not here: what is recorded (`recorder::events`), sums over recordings (`totals`).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::recorder::event::{AnsweredBy, Mode, Operation, Outcome};

/// Version of the layout. It changes when a field changes its meaning or goes; new fields and kinds of lines may come.
pub const SCHEMA: u32 = 1;

/// What stands in the header as its kind.
const KIND: &str = "recording";

/// Longest line that is read: 1 MiB. A path has at most 4 KiB.
const LINE_BYTES_MAX: usize = 1 << 20;

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
    /// What was shown.
    pub views: Vec<String>,
    /// How many nodes there were.
    pub n_nodes: u32,
    /// Of which of them nothing is here.
    pub missing_nodes: Vec<u32>,
    /// Why it was written.
    pub tag: String,
    /// When, microseconds since 1970.
    pub unix_us: u64,
}

impl Header {
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
            n_nodes: 1,
            missing_nodes: Vec::new(),
            tag: tag.to_owned(),
            unix_us,
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
    /// The path for people: what is not UTF-8 is replaced.
    pub fn shown(&self) -> Cow<'_, str> {
        match &self.path_bytes {
            None => Cow::Borrowed(&self.path),
            Some(bytes) => String::from_utf8_lossy(bytes),
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

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The machine says so.
    #[error("`{}`: {cause}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it says.
        #[source]
        cause: io::Error,
    },
    /// It is something else.
    #[error("`{}` is not a recording of Spinney", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// A later version of Spinney has written it.
    #[error("`{}` has layout {schema}; this program knows {SCHEMA} and older; use the program that wrote it", path.display())]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its layout.
        schema: u32,
    },
    /// It lacks its end.
    #[error("`{}` is cut short: it has no last line", path.display())]
    Truncated {
        /// Which file.
        path: PathBuf,
    },
    /// A line makes no sense.
    #[error("`{}`: line {line} is not that of a recording", path.display())]
    Broken {
        /// Which file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: u64,
    },
    /// There is none.
    #[error("no recording in `{}`; `spinney run --report DIR --profile full` writes one", directory.display())]
    None {
        /// Where it was looked for.
        directory: PathBuf,
    },
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

/// The recordings in `directory`, or the one file that it is.
///
/// # Errors
/// There is none, or the directory cannot be read.
pub fn files(directory: &Path) -> Result<Vec<PathBuf>, RecordingError> {
    let failed = |cause| RecordingError::Io { path: directory.to_owned(), cause };
    if fs::metadata(directory).map_err(failed)?.is_file() {
        return Ok(vec![directory.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let text = name.to_string_lossy();
        if text.starts_with("recording") && text.ends_with(".jsonl") {
            files.push(directory.join(&name));
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(RecordingError::None { directory: directory.to_owned() });
    }
    Ok(files)
}

/// Reads the recording at `path`: the header is given to `begin` (which may do without the rest), then `each` gets the
/// other lines.
///
/// # Errors
/// It is not a whole recording that this program understands. Lines before the fault have been given to `each`.
pub fn read(path: &Path, mut each: impl FnMut(&Header, Line<'_>)) -> Result<Header, RecordingError> {
    let failed = |cause| RecordingError::Io { path: path.to_owned(), cause };
    let mut reader = BufReader::with_capacity(1 << 18, File::open(path).map_err(failed)?);
    let mut bytes = Vec::new();
    let mut line = 0;
    next_line(&mut reader, &mut bytes).map_err(failed)?;
    let header = header(path, &bytes)?;
    loop {
        line += 1;
        bytes.clear();
        let whole = next_line(&mut reader, &mut bytes).map_err(failed)?;
        if !whole {
            return Err(RecordingError::Truncated { path: path.to_owned() });
        }
        match parse(&bytes) {
            Some(Line::Other(OtherLine::End { lines })) if lines == line => return Ok(header),
            Some(Line::Other(OtherLine::Unknown)) => {}
            Some(Line::Other(OtherLine::End { .. })) | None => {
                return Err(RecordingError::Broken { path: path.to_owned(), line: line + 1 });
            }
            Some(line) => each(&header, line),
        }
    }
}

/// False if the file ends before the line does.
fn next_line(reader: &mut impl BufRead, into: &mut Vec<u8>) -> io::Result<bool> {
    let mut limited = io::Read::take(reader, LINE_BYTES_MAX as u64);
    limited.read_until(b'\n', into)?;
    Ok(into.pop_if(|last| *last == b'\n').is_some())
}

fn header(path: &Path, bytes: &[u8]) -> Result<Header, RecordingError> {
    #[derive(Deserialize)]
    struct Kind {
        schema: u32,
        kind: String,
    }
    let foreign = || RecordingError::Foreign { path: path.to_owned() };
    let kind: Kind = serde_json::from_slice(bytes).map_err(|_| foreign())?;
    if kind.kind != KIND {
        return Err(foreign());
    }
    if kind.schema > SCHEMA {
        return Err(RecordingError::Newer { path: path.to_owned(), schema: kind.schema });
    }
    serde_json::from_slice(bytes).map_err(|_| RecordingError::Broken { path: path.to_owned(), line: 1 })
}

fn parse(bytes: &[u8]) -> Option<Line<'_>> {
    // All that this program writes have their kind first.
    if bytes.starts_with(b"{\"kind\":") {
        return serde_json::from_slice(bytes).ok().map(Line::Other);
    }
    match serde_json::from_slice(bytes) {
        Ok(line) => Some(Line::Path(line)),
        Err(_) => serde_json::from_slice(bytes).ok().map(Line::Other),
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

    fn whole() -> Vec<u8> {
        let mut writing = Writing::begin(&Header::now(Mode::Full, "pre-destroy", 5));
        writing.add(&line(b"/env/a \"b\"\n"));
        writing.add(&line(b"/env/\xff"));
        writing.add_raw(br#"{"kind":"from the future","x":[1]}"#);
        writing.end()
    }

    fn read_bytes(bytes: &[u8]) -> Result<Vec<String>, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("recording.jsonl");
        fs::write(&path, bytes).unwrap();
        let mut paths = Vec::new();
        let read = read(&path, |_, line| {
            if let Line::Path(line) = line {
                paths.push(line.shown().into_owned());
            }
        });
        let place = format!("{}/", directory.path().display());
        read.map(|_| paths).map_err(|error| error.to_string().replace(&place, ""))
    }

    #[test]
    fn what_was_written_is_read_and_what_came_later_passed_by() {
        assert_eq!(read_bytes(&whole()).unwrap(), ["/env/a \"b\"\n", "/env/\u{fffd}"]);
    }

    #[test]
    fn what_is_no_whole_recording_is_refused_in_one_line() {
        let text = String::from_utf8(whole()).unwrap();
        let cases = [
            (text[..text.len() - 5].to_owned(), "is cut short"), // within the last line
            (text.lines().take(2).map(|line| format!("{line}\n")).collect(), "is cut short"), // between lines
            (String::new(), "is not a recording"),
            ("PAR1\0\0".to_owned(), "is not a recording"), // another format
            (r#"{"schema":1,"kind":"pack"}"#.to_owned(), "is not a recording"),
            (text.replacen("\"schema\":1", "\"schema\":2", 1), "has layout 2"),
            (text.replacen("\"calls\":2", "\"calls\":-2", 1), "line 2 is not"),
            (text.replacen("\"lines\":4", "\"lines\":9", 1), "line 5 is not"), // lines were lost
        ];
        for (bytes, said) in cases {
            let error = read_bytes(bytes.as_bytes()).unwrap_err();
            assert!(error.contains(said) && !error.contains('\n'), "{bytes}: {error}");
        }
    }
}
