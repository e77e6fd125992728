//! Reading recordings: one reader for all.
//!
//! Who reads gets what there is, and is told what is missing.
//!
//! Invariant: no bytes make it panic or fill memory, and every fault is told in one line, with the file and the line.
//!
//! Not here: the layout (`recording`), adding up (`totals`, `environment::recorded`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::Deserialize;

use super::{Header, KIND, Line, MODES, OtherLine, PART, SCHEMA, WHOLE, parts};
use crate::text::{counted, plain};

/// Longest line that is read: 1 MiB.
///
/// A path has at most 4 KiB, as an array of numbers 16 KiB; the rest is for a header that lists 100,000 missing nodes.
pub(super) const LINE_BYTES_MAX: usize = 1 << 20;

/// What cannot be read, and where.
#[derive(Debug, thiserror::Error)]
#[error("{}: {fault}", self.place())]
pub struct Trouble {
    /// The file, or the directory.
    pub file: PathBuf,
    /// The line, from 1; none if there is none to blame.
    pub line: Option<u64>,
    /// What is wrong; told with the place.
    pub fault: Fault,
}

/// What is wrong with a recording.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The machine says so.
    #[error("{0}")]
    Io(io::Error),
    /// It lies where parts wait, and is none.
    #[error("is not a part of a recording, or not a whole one")]
    Packed,
    /// It has gone since its directory was listed.
    #[error("has gone since the directory was listed, so a run is writing there; read it again")]
    Gone,
    /// There is none.
    #[error("has no recording; `spinney run --report DIR --profile full` writes one")]
    None,
    /// It is something else.
    #[error("is not a recording of Spinney")]
    Foreign,
    /// A later version of Spinney has written it.
    #[error("has layout {0}; this program knows {SCHEMA} and older; use the program that wrote it")]
    Newer(u32),
    /// The header lacks something.
    #[error("the header is not that of a recording: {0}")]
    Header(String),
    /// The file ends within a line.
    #[error("is cut short within this line")]
    Half,
    /// The file ends before its last line.
    #[error("is cut short: it has no last line")]
    Truncated,
    /// A line is longer than any.
    #[error("the line is too long for a recording")]
    TooLong,
    /// A line makes no sense.
    #[error("is no line of a recording: {0}")]
    Line(String),
    /// Several lines make no sense.
    #[error("is no line of a recording: {why}; this line{} left out", and_more(*more))]
    Lines {
        /// What the first lacks.
        why: String,
        /// How many there are after it.
        more: u64,
    },
    /// The last line knows of other lines.
    #[error("says that {said} lines come before it, which is not so")]
    Miscounted {
        /// How many lines the last one says there are before it.
        said: u64,
    },
    /// There is more after the last line.
    #[error("follows the last line; is it two recordings in one file?")]
    More,
}

impl Trouble {
    fn place(&self) -> String {
        // A name with a line break must not make two lines of one.
        let file = plain(&self.file);
        self.line.map_or_else(|| file.clone(), |line| format!("{file}:{line}"))
    }
}

fn and_more(lines: u64) -> String {
    if lines == 0 { String::new() } else { format!(" and {}", counted(lines, "more line")) }
}

/// The recordings in `place`, a directory, or the one file that it is.
///
/// Parts that waited for a node at the top that was lost are among them, if nothing newer was put together of them.
///
/// A file of one node is left out if the recording of the whole run stands beside it and has that node: it is about to be
/// taken away.
///
/// # Errors
/// There is none, or the directory cannot be read.
pub fn files(place: &Path) -> Result<Vec<PathBuf>, Trouble> {
    let trouble = |fault| Trouble { file: place.to_owned(), line: None, fault };
    let failed = |error| trouble(Fault::Io(error));
    if !fs::metadata(place).map_err(failed)?.is_dir() {
        return Ok(vec![place.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(place).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let bytes = name.as_encoded_bytes();
        if bytes.starts_with(b"recording") && bytes.ends_with(b".jsonl") {
            files.push(place.join(name));
        }
    }
    files.sort();
    let whole = header_of(&place.join(WHOLE));
    if let Some(whole) = &whole {
        files.retain(|file| !is_part_of(file, whole));
    }
    parts::add_waiting(place, whole.as_ref(), &mut files);
    if files.is_empty() { Err(trouble(Fault::None)) } else { Ok(files) }
}

/// One line about the recordings in `place`, if they were not put together.
pub fn unfinished(place: &Path) -> Option<String> {
    let waiting = files(place).ok()?.iter().filter(|file| parts::told_by(file).is_some()).count();
    let nodes = counted(waiting as u64, "node");
    (waiting > 0).then(|| format!("{}: {UNFINISHED}; read is what had come of {nodes}", plain(place)))
}

/// What is said of it.
pub const UNFINISHED: &str =
    "the gathering was not finished: the node at the top was lost, or the job still runs";

/// The node that `file` is of, by its name; `None` if that tells of none, as where nodes were put together.
pub fn node_of(file: &Path) -> Option<u32> {
    let numbered = || {
        let name = file.file_name()?.to_str()?;
        name.strip_prefix(PART)?.strip_suffix(".jsonl")?.parse().ok()
    };
    parts::told_by(file).map(|(node, _)| node).or_else(numbered)
}

/// Whether `file` is that of one node and `whole` was put together with it.
fn is_part_of(file: &Path, whole: &Header) -> bool {
    let Some(node) = node_of(file) else { return false };
    let has_node = node < whole.n_nodes && !whole.missing_nodes.contains(&node);
    has_node && header_of(file).is_some_and(|part| part.job == whole.job && part.unix_us <= whole.unix_us)
}

/// Opens `file`; a FIFO that nobody writes to is empty, and is not waited for.
fn open(file: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(file)?;
    // Whoever does write to it is waited for.
    rustix::fs::fcntl_setfl(&opened, OFlags::empty())?;
    Ok(opened)
}

/// The header of `file`, if it is a recording.
fn header_of(file: &Path) -> Option<Header> {
    let mut line = Vec::new();
    next_line(&mut BufReader::new(open(file).ok()?), &mut line).ok()?;
    header(&line).ok()
}

/// Reads what can be read of the recording `file`: `each` gets the lines after the header. Returns the header, if there is
/// one that this program understands, and what is wrong. Broken lines are told once for all: there may be as many as the file
/// has.
///
/// # Cost
/// One pass; memory for one line.
pub fn salvage(file: &Path, each: impl FnMut(&Header, Line<'_>)) -> (Option<Header>, Vec<Trouble>) {
    let (mut troubles, mut broken): (Vec<Trouble>, Option<Trouble>) = (Vec::new(), None);
    let scanned = scan(file, each, |trouble| match (&mut broken, trouble) {
        (Some(Trouble { fault: Fault::Lines { more, .. }, .. }), Trouble { fault: Fault::Line(_), .. }) => {
            *more += 1;
        }
        (none, Trouble { fault: Fault::Line(why), file, line }) => {
            *none = Some(Trouble { fault: Fault::Lines { why, more: 0 }, file, line });
        }
        (_, other) => troubles.push(other),
    });
    troubles.extend(broken);
    let header = scanned.map_err(|trouble| troubles.push(trouble)).ok();
    (header, troubles)
}

/// The same, with each fault on its own.
///
/// # Errors
/// It has no header; nothing was given to `each`.
fn scan(
    file: &Path,
    mut each: impl FnMut(&Header, Line<'_>),
    mut wrong: impl FnMut(Trouble),
) -> Result<Header, Trouble> {
    let trouble = |line, fault| Trouble { file: file.to_owned(), line, fault };
    let mut lines = Lines::open(file).map_err(|fault| trouble(None, fault))?;
    let header = match lines.next() {
        Ok(Some((line, _))) => header(line).map_err(|fault| trouble(Some(1), fault))?,
        Ok(None) => return Err(trouble(None, Fault::Foreign)),
        Err(Fault::Half | Fault::TooLong) => return Err(trouble(Some(1), Fault::Foreign)),
        Err(fault) => return Err(trouble(Some(1), fault)),
    };
    let header = as_it_waited(file, header);
    let mut has_end = false;
    loop {
        let fault = match lines.next() {
            Ok(None) if has_end => break,
            Ok(None) => {
                wrong(trouble(None, Fault::Truncated));
                break;
            }
            Ok(Some(_)) if has_end => Fault::More,
            Ok(Some((line, before))) => match parse(line) {
                Ok(Line::Other(OtherLine::End { lines: said })) => {
                    has_end = true;
                    if said == before {
                        continue;
                    }
                    Fault::Miscounted { said }
                }
                Ok(Line::Other(OtherLine::Unknown)) => continue,
                Ok(line) => {
                    each(&header, line);
                    continue;
                }
                Err(why) => Fault::Line(why),
            },
            Err(fault) => fault,
        };
        let goes_on = matches!(fault, Fault::Line(_) | Fault::Miscounted { .. });
        wrong(trouble(Some(lines.number), fault));
        if !goes_on {
            break;
        }
    }
    Ok(header)
}

/// The header of a part says so.
fn as_it_waited(file: &Path, header: Header) -> Header {
    let Some((node, is_last)) = parts::told_by(file) else { return header };
    let unfinished_nodes = if is_last { Vec::new() } else { vec![node] };
    Header { is_waiting: true, unfinished_nodes, ..header }
}

/// The lines of a file that are not blank, without their ends.
struct Lines {
    reader: Box<dyn BufRead>,
    line: Vec<u8>,
    /// Of the line that was read last, from 1.
    number: u64,
    /// Lines that were not blank.
    read: u64,
}

impl Lines {
    fn open(file: &Path) -> Result<Self, Fault> {
        let name = file.file_name().unwrap_or_default().as_encoded_bytes();
        let is_waiting = parts::told_by(file).is_some();
        let opened = match open(file) {
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && (is_waiting || name.starts_with(PART.as_bytes())) =>
            {
                return Err(Fault::Gone);
            }
            opened => opened.map_err(Fault::Io)?,
        };
        let reader: Box<dyn BufRead> = if is_waiting {
            let mut packed = Vec::new();
            BufReader::new(opened).read_to_end(&mut packed).map_err(Fault::Io)?;
            Box::new(Cursor::new(parts::unpack(&packed).ok_or(Fault::Packed)?))
        } else {
            Box::new(BufReader::with_capacity(1 << 18, opened))
        };
        Ok(Lines { reader, line: Vec::new(), number: 0, read: 0 })
    }

    /// The next one, and how many came before it; none at the end of the file.
    fn next(&mut self) -> Result<Option<(&[u8], u64)>, Fault> {
        loop {
            self.line.clear();
            let is_whole = next_line(&mut self.reader, &mut self.line).map_err(Fault::Io)?;
            if !is_whole && self.line.is_empty() {
                return Ok(None);
            }
            self.number += 1;
            if self.line.len() >= LINE_BYTES_MAX {
                return Err(Fault::TooLong);
            }
            if !is_whole {
                return Err(Fault::Half);
            }
            if !self.line.trim_ascii().is_empty() {
                self.read += 1;
                return Ok(Some((&self.line, self.read - 1)));
            }
        }
    }
}

/// False if the file ends before the line does, or the line is too long.
fn next_line(reader: &mut impl BufRead, into: &mut Vec<u8>) -> io::Result<bool> {
    let mut limited = io::Read::take(reader, LINE_BYTES_MAX as u64);
    limited.read_until(b'\n', into)?;
    Ok(into.pop_if(|last| *last == b'\n').is_some())
}

fn header(line: &[u8]) -> Result<Header, Fault> {
    #[derive(Deserialize)]
    struct Start {
        schema: u32,
        kind: String,
    }
    let start: Option<Start> = serde_json::from_slice(line).ok();
    let start = start.filter(|start| start.kind == KIND).ok_or(Fault::Foreign)?;
    if start.schema > SCHEMA {
        return Err(Fault::Newer(start.schema));
    }
    let header: Header = serde_json::from_slice(line).map_err(|error| Fault::Header(why(&error)))?;
    if !MODES.contains(&header.mode.as_str()) {
        return Err(Fault::Header(format!("mode `{}` is not known", plain(&header.mode))));
    }
    Ok(header)
}

fn parse(line: &[u8]) -> Result<Line<'_>, String> {
    // All that this program writes have their kind first.
    let other = |error: Option<serde_json::Error>| {
        let line: OtherLine = serde_json::from_slice(line).map_err(|own| why(&error.unwrap_or(own)))?;
        line.is_sound().map(|()| Line::Other(line))
    };
    if line.starts_with(b"{\"kind\":") {
        return other(None);
    }
    match serde_json::from_slice::<super::PathLine<'_>>(line) {
        Ok(line) => line.is_sound().map(|()| Line::Path(line)),
        Err(error) => other(Some(error)),
    }
}

/// The error without its place: the line is ours to tell.
fn why(error: &serde_json::Error) -> String {
    let text = plain(error.to_string());
    text.split(" at line ").next().unwrap_or_default().to_owned()
}
