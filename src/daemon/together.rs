//! Recordings of single nodes, put together into one file.
//!
//! Line by line, so that memory does not grow with the number of nodes. What is no whole recording is left out, with a
//! warning, and its node is named as missing.
//!
//! Invariant: the file is whole, and replaces an older one at once.
//!
//! Not here: how the parts come here (`collecting`), the layout (`profile::recording`).

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::recording::{Tag, part_name};
use super::report::replace_with;
use crate::cluster::NodeRank;
use crate::profile::recording::{Header, OtherLine, PART, WHOLE};

/// The recording of one node.
pub(super) struct Part {
    /// Which node.
    pub(super) node: u32,
    /// Where it is.
    pub(super) path: PathBuf,
    /// Whether the node has handed up its last. One that follows, for a snapshot, is no later than that.
    pub(super) is_of_the_end: bool,
    /// How its bytes are found in the file.
    pub(super) unpack: fn(Vec<u8>) -> Option<Vec<u8>>,
}

impl Part {
    /// The header and the lines that follow it but for the last; `None` if it is not whole.
    fn read(&self) -> Option<(Header, Vec<u8>)> {
        let bytes = (self.unpack)(fs::read(&self.path).ok()?)?;
        let first = bytes.iter().position(|byte| *byte == b'\n')? + 1;
        let header = serde_json::from_slice(&bytes[..first]).ok()?;
        let body = bytes[first..].strip_suffix(b"\n")?;
        let last = body.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let end: OtherLine = serde_json::from_slice(&body[last..]).ok()?;
        let lines = 1 + body[..last].iter().filter(|byte| **byte == b'\n').count() as u64;
        let is_whole = matches!(end, OtherLine::End { lines: told } if told == lines);
        is_whole.then(|| (header, body[..last].to_vec()))
    }
}

/// Puts the files of the nodes of one machine together into one, and takes them away.
///
/// # Errors
/// A file cannot be read or written; those of the nodes then stay.
pub fn gather(directory: &Path, n_nodes: u32) -> anyhow::Result<()> {
    let part = |node| {
        let path = directory.join(part_name(NodeRank::new(node)));
        Part { node, path, is_of_the_end: false, unpack: Some }
    };
    let parts: Vec<Part> = (0..n_nodes).map(part).filter(|part| part.path.exists()).collect();
    put_together(directory, &parts, n_nodes, None)?;
    for entry in fs::read_dir(directory)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PART) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Writes `recording.jsonl` of `parts` and, for nodes that are not among them, of what is in the recording `before`.
///
/// # Errors
/// It cannot be written; an older one is then unchanged.
pub(super) fn put_together(
    directory: &Path,
    parts: &[Part],
    n_nodes: u32,
    before: Option<&Path>,
) -> anyhow::Result<()> {
    let mut newest: Option<Header> = None;
    let (mut whole, mut ended) = (BTreeSet::new(), BTreeSet::new());
    for part in parts {
        let Some((header, _)) = part.read() else {
            tracing::warn!(path = %part.path.display(), "no whole recording; it is left out");
            continue;
        };
        whole.insert(part.node);
        if part.is_of_the_end || header.tag == Tag::PreDestroy.name() {
            ended.insert(part.node);
        }
        if newest.as_ref().is_none_or(|newest| newest.unix_us < header.unix_us) {
            newest = Some(header);
        }
    }
    let Some(newest) = newest else { return Ok(()) };
    let (told_before, ended_before) = before.map(|before| nodes_in(before, &newest.job)).unwrap_or_default();
    ended.extend(ended_before.difference(&whole));
    let is_there = |node: &u32| whole.contains(node) || told_before.contains(node);
    let (here, missing_nodes): (Vec<u32>, _) = (0..n_nodes).partition(is_there);
    let is_left = |node: &u32| !ended.is_empty() && !ended.contains(node);
    let unfinished_nodes = here.into_iter().filter(is_left).collect();
    let before = before.filter(|_| !told_before.is_subset(&whole));
    replace_with(directory, WHOLE, |file| {
        let mut joining = Joining { into: BufWriter::with_capacity(1 << 18, file), lines: 0 };
        joining.add(&serde_json::to_vec(&Header { missing_nodes, unfinished_nodes, ..newest })?)?;
        for part in parts.iter().filter(|part| whole.contains(&part.node)) {
            if let Some((_, lines)) = part.read() {
                lines
                    .split(|byte| *byte == b'\n')
                    .filter(|line| !line.is_empty())
                    .try_for_each(|line| joining.add(line))?;
            }
        }
        if let Some(before) = before {
            let mut lines = lines_of(before)?.skip(1);
            lines.try_for_each(|line| match line {
                Ok(line) if node_of(&line).is_some_and(|node| !whole.contains(&node)) => joining.add(&line),
                Ok(_) => Ok(()),
                Err(error) => Err(error),
            })?;
        }
        joining.end()
    })
}

struct Joining<W: Write> {
    into: BufWriter<W>,
    lines: u64,
}

impl<W: Write> Joining<W> {
    fn add(&mut self, line: &[u8]) -> io::Result<()> {
        self.lines += 1;
        self.into.write_all(line)?;
        self.into.write_all(b"\n")
    }

    fn end(mut self) -> io::Result<()> {
        let end = serde_json::to_vec(&OtherLine::End { lines: self.lines })?;
        self.add(&end)?;
        self.into.flush()
    }
}

fn lines_of(path: &Path) -> io::Result<impl Iterator<Item = io::Result<Vec<u8>>>> {
    Ok(BufReader::with_capacity(1 << 18, File::open(path)?).split(b'\n'))
}

/// The nodes that the recording at `path` has something of, if it is one of this `job`, and those of them that had ended.
fn nodes_in(path: &Path, job: &str) -> (BTreeSet<u32>, BTreeSet<u32>) {
    let none = <(BTreeSet<u32>, BTreeSet<u32>)>::default();
    let Ok(mut lines) = lines_of(path) else { return none };
    let header = lines.next().and_then(|line| serde_json::from_slice::<Header>(&line.ok()?).ok());
    let Some(header) = header.filter(|header| header.job == job) else { return none };
    let of_nodes = lines.map_while(Result::ok).filter(|line| line.starts_with(b"{\"kind\":\"node\""));
    let all: BTreeSet<u32> = of_nodes.filter_map(|line| node_of(&line)).collect();
    let has_ends = header.tag == Tag::PreDestroy.name() || !header.unfinished_nodes.is_empty();
    let ended = all.iter().filter(|node| has_ends && !header.unfinished_nodes.contains(node));
    let ended = ended.copied().collect();
    (all, ended)
}

/// The node of a line that this program has written: its number stands before any text of others.
fn node_of(line: &[u8]) -> Option<u32> {
    const FIELD: &[u8] = b"\"node\":";
    let head = &line[..line.len().min(64)];
    let at = head.windows(FIELD.len()).position(|window| window == FIELD)? + FIELD.len();
    let digits: Cow<'_, str> = String::from_utf8_lossy(&line[at..]);
    digits.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::recorder::event::Mode;
    use crate::profile::recording::Writing;

    fn recorded(node: u32, unix_us: u64, path: &str) -> Vec<u8> {
        let header = Header { job: "j".into(), ..Header::now(Mode::Full, "pre-destroy", unix_us) };
        let mut writing = Writing::begin(&header);
        writing.add_raw(
            format!("{{\"kind\":\"node\",\"node\":{node},\"host\":\"h\",\"began_unix_us\":0}}").as_bytes(),
        );
        writing.add_raw(format!("{{\"node\":{node},\"path\":\"{path}\"}}").as_bytes());
        writing.end()
    }

    fn parts(directory: &Path, of: &[(u32, &[u8])]) -> Vec<Part> {
        let part = |(node, bytes): &(u32, &[u8])| {
            let path = directory.join(format!("part{node}"));
            fs::write(&path, bytes).unwrap();
            Part { node: *node, path, is_of_the_end: false, unpack: Some }
        };
        of.iter().map(part).collect()
    }

    fn told(directory: &Path) -> (Vec<u32>, Vec<String>) {
        let text = fs::read_to_string(directory.join(WHOLE)).unwrap();
        let header: Header = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert!(
            text.ends_with(&format!("{{\"kind\":\"end\",\"lines\":{}}}\n", text.lines().count() - 1)),
            "{text}"
        );
        let paths = text.lines().filter(|line| line.contains("\"path\""));
        (header.missing_nodes, paths.map(str::to_owned).collect())
    }

    #[test]
    fn a_broken_part_costs_its_own_node_and_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let (whole, other) = (recorded(0, 1, "/a"), recorded(2, 5, "/c"));
        for broken in [&whole[..whole.len() - 3], b"", b"{}", b"\xff\xff\n\n", &whole[..whole.len() / 2]] {
            let parts = parts(directory.path(), &[(0, &whole), (1, broken), (2, &other)]);
            put_together(directory.path(), &parts, 4, None).unwrap();
            let (missing, paths) = told(directory.path());
            assert_eq!((missing, paths.len()), (vec![1, 3], 2), "{broken:?}");
        }
    }

    #[test]
    fn nodes_that_have_not_ended_are_told_once_others_have() {
        let directory = tempfile::tempdir().unwrap();
        let unfinished = || {
            let text = fs::read_to_string(directory.path().join(WHOLE)).unwrap();
            serde_json::from_str::<Header>(text.lines().next().unwrap()).unwrap().unfinished_nodes
        };
        let snapshot = |node, at| {
            let text = String::from_utf8(recorded(node, at, "/s")).unwrap();
            text.replacen("pre-destroy", "runtime-snapshot", 1).into_bytes()
        };
        let whole = directory.path().join(WHOLE);
        // The newest of nodes that are handed up together, and which are then known to be left.
        for (of, left) in [
            (vec![(0, snapshot(0, 1)), (1, snapshot(1, 1))], vec![]), // the job runs
            (vec![(1, recorded(1, 2, "/e"))], vec![0]),               // the first end
            (vec![(2, snapshot(2, 3))], vec![0, 2]),                  // the newest is no end
            (vec![(0, recorded(0, 4, "/e"))], vec![2]),
            (vec![(2, recorded(2, 5, "/e"))], vec![]),
        ] {
            let of: Vec<(u32, &[u8])> = of.iter().map(|(node, bytes)| (*node, &bytes[..])).collect();
            put_together(directory.path(), &parts(directory.path(), &of), 4, Some(&whole)).unwrap();
            assert_eq!(unfinished(), left);
        }
    }

    #[test]
    fn what_was_told_before_stays_for_nodes_of_which_nothing_newer_is_here() {
        let directory = tempfile::tempdir().unwrap();
        let before = parts(directory.path(), &[(0, &recorded(0, 1, "/old")), (1, &recorded(1, 1, "/old"))]);
        put_together(directory.path(), &before, 3, None).unwrap();
        let now = parts(directory.path(), &[(1, &recorded(1, 9, "/new"))]);
        let whole = directory.path().join(WHOLE);
        put_together(directory.path(), &now, 3, Some(&whole)).unwrap();
        let (missing, mut paths) = told(directory.path());
        paths.sort();
        assert_eq!(missing, [2]);
        assert_eq!(paths, [r#"{"node":0,"path":"/old"}"#, r#"{"node":1,"path":"/new"}"#]);
        let text = fs::read_to_string(&whole).unwrap().replacen("\"job\":\"j\"", "\"job\":\"k\"", 1);
        fs::write(&whole, text).unwrap();
        put_together(directory.path(), &now, 3, Some(&whole)).unwrap();
        assert_eq!(told(directory.path()).0, [0, 2], "that was another job");
    }
}
