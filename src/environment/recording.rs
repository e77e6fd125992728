//! A recording: which paths the tasks of a job asked for, how often, and what came of it.
//!
//! A file of JSON lines: a [`Header`], then a [`Row`] for each node, path, operation, outcome and source. A path that is
//! not UTF-8 stands as an array of its bytes in `path_bytes` instead of `path`; lines of other kinds are passed by. [`read`] hands rows on one by one, so a
//! recording may be larger than memory.
//!
//! Invariant: what cannot be read is told with file and line, and costs nothing but itself: the other lines of the file
//! and all other files count.
//!
//! Not here: adding rows up (`environment::recorded`).

use std::collections::HashSet;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The version of the format that this reads; it changes when a field changes its meaning or goes.
pub const SCHEMA: u32 = 1;

/// Bytes of a line at most: 256 KiB.
///
/// A path of 4,096 bytes (PATH_MAX) as an array of numbers takes 16 KiB; the rest is for the views and the command of a
/// header. A line that is longer is of no recording and must not fill memory.
pub const LINE_BYTES_MAX: u64 = 256 << 10;

/// How complete a recording is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Every access was seen.
    Full,
    /// Only the busiest paths were kept.
    Top,
    /// What the kernel remembered was not seen.
    Aggregate,
}

/// The first line of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`SCHEMA`].
    pub schema: u32,
    /// `recording`.
    pub kind: String,
    /// How complete it is.
    pub mode: Mode,
    /// The job's name.
    #[serde(default)]
    pub job: String,
    /// What was run.
    #[serde(default)]
    pub command: Vec<String>,
    /// The directories that were shown.
    #[serde(default)]
    pub views: Vec<PathBuf>,
    /// Nodes of the job.
    #[serde(default)]
    pub n_nodes: u32,
    /// Those that were not heard of.
    #[serde(default)]
    pub missing_nodes: Vec<u32>,
    /// Which snapshot of the job this is; empty for the last.
    #[serde(default)]
    pub tag: Option<String>,
    /// When it was written, in µs since 1970.
    #[serde(default)]
    pub unix_us: u64,
}

/// What was asked of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Is there such a name?
    Lookup,
    /// Its attributes.
    Attributes,
    /// The target of a link.
    Readlink,
    /// Opening it.
    Open,
    /// Its content.
    Read,
    /// The names in it.
    List,
    /// One that this version does not know.
    #[serde(other)]
    Other,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is there.
    Found,
    /// It is not there.
    Absent,
    /// Storage answered with an error.
    Error,
}

/// Who answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// This node's memory.
    Cache,
    /// Another node.
    Parent,
    /// The root of the tree.
    Root,
    /// The shared file system.
    Storage,
    /// One that this version does not know.
    #[serde(other)]
    Other,
}

/// One line: what one node saw of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The node.
    pub node: u32,
    /// The path as tasks see it, absolute.
    pub path: PathBuf,
    /// What was asked.
    pub operation: Operation,
    /// What came of it.
    pub outcome: Outcome,
    /// Who answered.
    pub origin: Origin,
    /// How often.
    pub calls: u64,
    /// Bytes handed out.
    pub bytes: u64,
    /// Time until the answers were there, summed.
    pub nanoseconds: u64,
}

/// A row as it is written.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    node: u32,
    path: Option<String>,
    path_bytes: Option<Vec<u8>>,
    operation: Operation,
    outcome: Outcome,
    #[serde(rename = "source")]
    origin: Origin,
    calls: u64,
    #[serde(default)]
    bytes: u64,
    #[serde(default)]
    nanoseconds: u64,
}

/// What could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; none if there is none to blame.
    pub line: Option<u64>,
    /// What is wrong, and what follows.
    pub what: String,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A name with a line break must not make two lines of one.
        let file = self.file.display().to_string().replace(char::is_control, "?");
        match self.line {
            Some(line) => write!(f, "{file}:{line}: {}", self.what),
            None => write!(f, "{file}: {}", self.what),
        }
    }
}

/// What was read beside the rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// The headers of the files that count, in order.
    pub headers: Vec<Header>,
    /// What could not be read.
    pub troubles: Vec<Trouble>,
}

/// Reads the recordings at `places`, files or directories, and hands each row to `take`.
///
/// In a directory every `recording*.jsonl` counts. A file that is named twice counts once.
///
/// # Cost
/// One pass; memory for one line.
pub fn read(places: &[PathBuf], take: &mut dyn FnMut(Row)) -> Reading {
    let mut reading = Reading::default();
    let mut seen = HashSet::new();
    let files: Vec<PathBuf> = places.iter().flat_map(|place| files(place, &mut reading.troubles)).collect();
    for file in files {
        let real = std::fs::canonicalize(&file).unwrap_or_else(|_| file.clone());
        if seen.insert(real) {
            read_file(&file, &mut reading, take);
        }
    }
    reading
}

/// The files that `place` stands for.
fn files(place: &Path, troubles: &mut Vec<Trouble>) -> Vec<PathBuf> {
    if !place.is_dir() {
        return vec![place.to_owned()];
    }
    let is_recording = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        name.starts_with(b"recording") && name.ends_with(b".jsonl")
    };
    let entries = match std::fs::read_dir(place) {
        Ok(entries) => entries,
        Err(error) => {
            troubles.push(Trouble { file: place.to_owned(), line: None, what: error.to_string() });
            return Vec::new();
        }
    };
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_recording).collect();
    if found.is_empty() {
        let what = "no `recording*.jsonl` in this directory".to_owned();
        troubles.push(Trouble { file: place.to_owned(), line: None, what });
    }
    found.sort();
    found
}

fn read_file(file: &Path, reading: &mut Reading, take: &mut dyn FnMut(Row)) {
    let Reading { headers, troubles } = reading;
    let mut trouble = |line, what: String| troubles.push(Trouble { file: file.to_owned(), line, what });
    let mut lines = match File::open(file) {
        Ok(opened) => Lines { reader: BufReader::new(opened), number: 0 },
        Err(error) => return trouble(None, error.to_string()),
    };
    let header = match lines.next() {
        Ok(Some(line)) => header(&line),
        Ok(None) => Err("not a recording: the file is empty".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    match header {
        Ok(header) => headers.push(header),
        Err(what) => return trouble(Some(1), what),
    }
    let mut wrong: Option<(u64, String, u64)> = None;
    loop {
        let what = match lines.next() {
            Ok(None) => break,
            Ok(Some(line)) => match row(&line) {
                Ok(row) => {
                    row.into_iter().for_each(&mut *take);
                    continue;
                }
                Err(_) if !line.ends_with(b"\n") => {
                    let what = "the last line is cut; the lines before it count".to_owned();
                    trouble(Some(lines.number), what);
                    break;
                }
                Err(what) => what,
            },
            Err(error) => {
                trouble(Some(lines.number), format!("{error}; the lines before it count"));
                break;
            }
        };
        wrong.get_or_insert((lines.number, what, 0)).2 += 1;
    }
    if let Some((line, what, number)) = wrong {
        let others = if number == 1 { String::new() } else { format!(" and {} more lines", number - 1) };
        trouble(Some(line), format!("{what}; this line{others} left out"));
    }
}

fn header(line: &[u8]) -> Result<Header, String> {
    #[derive(Deserialize)]
    struct Start {
        schema: u32,
        kind: String,
    }
    let start: Start = serde_json::from_slice(line)
        .ok()
        .filter(|start: &Start| start.kind == "recording")
        .ok_or("not a recording: the file is left out")?;
    if start.schema != SCHEMA {
        return Err(format!(
            "a recording of schema {}, this version reads {SCHEMA}: the file is left out",
            start.schema
        ));
    }
    serde_json::from_slice(line).map_err(|error| format!("header: {}: the file is left out", plain(&error)))
}

/// None: a line of another kind.
fn row(line: &[u8]) -> Result<Option<Row>, String> {
    let line: Line = match serde_json::from_slice(line) {
        Ok(line) => line,
        Err(error) => return if is_of_another_kind(line) { Ok(None) } else { Err(plain(&error)) },
    };
    let path = match (line.path, line.path_bytes) {
        (Some(path), None) => PathBuf::from(path),
        (None, Some(bytes)) => PathBuf::from(OsString::from_vec(bytes)),
        _ => return Err("either `path` or `path_bytes` is needed".to_owned()),
    };
    if !path.is_absolute() || path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err("not an absolute path".to_owned());
    }
    let Line { node, operation, outcome, origin, calls, bytes, nanoseconds, .. } = line;
    Ok(Some(Row { node, path, operation, outcome, origin, calls, bytes, nanoseconds }))
}

/// Such as durations, tasks and the end, which are told elsewhere (`profile`).
fn is_of_another_kind(line: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Kind {
        kind: Option<String>,
    }
    serde_json::from_slice(line).is_ok_and(|Kind { kind }| kind.is_some())
}

/// The error without its place: the line is ours to tell.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string().replace(char::is_control, "?");
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

/// Lines of a file that are not blank, of bounded length.
struct Lines {
    reader: BufReader<File>,
    /// Of the line that was read last, from 1.
    number: u64,
}

impl Lines {
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let mut line = Vec::new();
            let length = (&mut self.reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
            if length == 0 {
                return Ok(None);
            }
            self.number += 1;
            if length as u64 == LINE_BYTES_MAX {
                return Err(io::Error::other("the line is too long for a recording"));
            }
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;

    const HEADER: &str = r#"{"schema":1,"kind":"recording","mode":"full","job":"j","command":["python3"],"views":["/opt/env"],"n_nodes":4,"missing_nodes":[],"tag":"pre-destroy","unix_us":5}"#;

    fn line(path: &str) -> String {
        format!(
            r#"{{"node":0,{path},"operation":"lookup","outcome":"found","source":"cache","calls":3,"bytes":0,"nanoseconds":7}}"#
        )
    }

    /// The paths and troubles of one file with this content.
    fn read_text(text: &[u8]) -> (Vec<PathBuf>, Vec<String>, usize) {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("recording.jsonl"), text).unwrap();
        let mut paths = Vec::new();
        let reading = read(&[directory.path().to_owned()], &mut |row| paths.push(row.path));
        let troubles = reading.troubles.iter().map(|trouble| {
            let text = trouble.to_string();
            text.strip_prefix(directory.path().to_str().unwrap()).unwrap().to_owned()
        });
        (paths, troubles.collect(), reading.headers.len())
    }

    #[test]
    fn names_of_every_kind_arrive_as_they_are() {
        for (written, path) in [
            (r#""path":"/opt/env/x.py""#, b"/opt/env/x.py".as_slice()),
            (r#""path":"/a \"b\", c""#, b"/a \"b\", c"), // quotes and commas
            (r#""path":"/a\nb""#, b"/a\nb"),             // a line break in a name
            (r#""path":"/\u00e9""#, "/é".as_bytes()),    // written with escapes
            (r#""path_bytes":[47,255,254]"#, b"/\xff\xfe"), // not UTF-8
        ] {
            let (paths, troubles, _) = read_text(format!("{HEADER}\n{}\n", line(written)).as_bytes());
            assert_eq!(troubles, [""; 0], "{written}");
            assert_eq!(paths[0].as_os_str().as_bytes(), path, "{written}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_and_costs_only_itself() {
        let good = line(r#""path":"/a""#);
        let cut = &good[..good.len() - 9];
        let cases: [(String, usize, &[&str], &str); 14] = [
            (format!("{HEADER}\n{good}\n{good}"), 2, &[], "no line break at the end"),
            (format!("{HEADER}\n\n{good}\n\n"), 1, &[], "blank lines"),
            (HEADER.to_owned(), 0, &[], "nothing was asked for"),
            (format!("{HEADER}\n{good}\n{cut}"), 1, &[":3: the last line is cut"], "half-written"),
            (format!("{HEADER}\n{cut}\n{good}\n"), 1, &[":2: "], "a hole in the middle"),
            (format!("{HEADER}\nx\ny\n{good}\n"), 1, &["this line and 1 more lines left out"], "two of them"),
            (HEADER[..50].to_owned(), 0, &[":1: not a recording"], "a cut header"),
            (String::new(), 0, &[":1: not a recording: the file is empty"], "empty"),
            ("path,calls\n/a,3\n".to_owned(), 0, &[":1: not a recording"], "foreign"),
            (r#"{"schema":1,"kind":"profile"}"#.to_owned(), 0, &[":1: not a recording"], "another kind"),
            (
                HEADER.replace(":1,", ":2,"),
                0,
                &[":1: a recording of schema 2, this version reads 1"],
                "newer",
            ),
            (HEADER.replace("full", "most"), 0, &[":1: header: unknown variant `most`"], "an unknown mode"),
            (format!("{HEADER}\n{}\n{good}", line(r#""path":"a""#)), 1, &[":2: not an absolute"], "relative"),
            (format!("{HEADER}\n{}\n{good}", line(r#""x":1"#)), 1, &[":2: either `path` or"], "no path"),
        ];
        for (text, n_paths, wanted, why) in cases {
            let (paths, troubles, headers) = read_text(text.as_bytes());
            assert_eq!(paths.len(), n_paths, "{why}: {troubles:?}");
            assert_eq!(troubles.len(), wanted.len(), "{why}: {troubles:?}");
            assert!(
                troubles.iter().zip(wanted).all(|(got, want)| got.contains(want) && !got.contains('\n')),
                "{why}: {troubles:?}"
            );
            assert_eq!(headers == 1, text.starts_with(HEADER), "{why}");
        }
    }

    #[test]
    fn one_bad_file_costs_no_other_and_one_named_twice_counts_once() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("recording.jsonl"), format!("{HEADER}\n{}\n", line(r#""path":"/a""#))).unwrap();
        fs::write(at("recording-2.jsonl"), "nonsense").unwrap();
        fs::write(at("other.jsonl"), "not looked at").unwrap();
        let mut calls = 0;
        let places = [directory.path().to_owned(), at("recording.jsonl"), at("absent.jsonl")];
        let reading = read(&places, &mut |row| calls += row.calls);
        assert_eq!((calls, reading.headers.len(), reading.troubles.len()), (3, 1, 2), "{reading:?}");
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over() {
        let known = line(r#""path":"/a""#);
        let later = known.replace("lookup", "statfs").replace("\"node\"", "\"rack\":7,\"node\"");
        let (paths, troubles, _) = read_text(format!("{HEADER}\n{later}\n").as_bytes());
        assert_eq!((paths.len(), troubles.len()), (1, 0));
    }

    #[test]
    fn a_line_without_end_does_not_fill_memory() {
        let text = format!("{HEADER}\n{}", "x".repeat(LINE_BYTES_MAX as usize + 1));
        let (_, troubles, _) = read_text(text.as_bytes());
        assert!(troubles[0].contains(":2: the line is too long"), "{troubles:?}");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic_or_lose_the_lines_before(
            garbage in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)
        ) {
            let good = line(r#""path":"/a""#);
            let text = [format!("{HEADER}\n{good}\n").as_bytes(), &garbage, b"\n", good.as_bytes()].concat();
            let (paths, troubles, headers) = read_text(&text);
            proptest::prop_assert!(headers == 1 && paths.len() >= 2, "{troubles:?}");
            read_text(&garbage); // need only return
        }
    }
}
