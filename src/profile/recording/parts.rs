//! Recordings of nodes that wait, packed, at the node at the top until they are put together.
//!
//! They lie beside the report, in a directory for each tag. If the node at the top is lost they stay, and are read in place
//! of what was not put together.
//!
//! Not here: how they come there and go (`daemon::collecting`), the lines (`reading`).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Header, WHOLE};

/// What the name of their directory begins with.
const PLACE: &str = ".recordings-";

/// Letters of a job's name in it: 100, so that the name is none too long.
const JOB_LETTERS_MAX: usize = 100;

/// Bytes of a recording that is packed: 512 MiB. A node's tables hold 524,288 rows and 64 MiB of paths, which in the worst
/// case, all control characters, are 480 MiB of lines.
pub const UNPACKED_BYTES_MAX: usize = 512 << 20;

/// The directory of the tag after which a node has no more to say.
const LAST: &str = "pre-destroy";

/// The name of the directory for parts of `job`.
pub fn place_of(job: &str) -> String {
    let letters = job.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' });
    PLACE.chars().chain(letters.take(JOB_LETTERS_MAX)).collect()
}

/// The name of the file with the part of `node`.
pub fn name_of(node: u32) -> String {
    format!("{node:06}")
}

/// A recording as it travels and waits.
pub fn pack(recording: &[u8]) -> Vec<u8> {
    lz4_flex::compress_prepend_size(recording)
}

/// The recording; `None` if it is no packed one.
pub fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let (length, _) = lz4_flex::block::uncompressed_size(packed).ok()?;
    if length > UNPACKED_BYTES_MAX {
        return None;
    }
    lz4_flex::decompress_size_prepended(packed).ok()
}

/// The node whose part `file` is, if it is one, and whether it is that node's last.
pub(super) fn told_by(file: &Path) -> Option<(u32, bool)> {
    let tag = file.parent()?;
    let place = tag.parent()?.file_name()?;
    let is_part = place.as_encoded_bytes().starts_with(PLACE.as_bytes());
    let node = file.file_name()?.to_str()?.parse().ok()?;
    is_part.then_some((node, tag.file_name() == Some(OsStr::new(LAST))))
}

/// Replaces, among the recordings of `directory`, what was put together by newer parts that wait there. `whole` is the
/// header of what was put together.
pub(super) fn add_waiting(directory: &Path, whole: Option<&Header>, files: &mut Vec<PathBuf>) {
    let Some(mut waiting) = Waiting::newest_in(directory) else { return };
    if let Some(whole) = whole {
        let is_there = |node: &u32| *node < whole.n_nodes && !whole.missing_nodes.contains(node);
        let known = waiting.nodes.keys().filter(|node| is_there(node)).count();
        if waiting.place != place_of(&whole.job) {
            if waiting.made <= UNIX_EPOCH + Duration::from_micros(whole.unix_us) {
                return; // of an earlier job, which was killed
            }
            files.clear();
        } else if known + whole.missing_nodes.len() >= whole.n_nodes as usize {
            files.retain(|file| !file.ends_with(WHOLE)); // it was made of no newer ones
        } else {
            waiting.nodes.retain(|node, _| !is_there(node));
        }
    }
    files.extend(waiting.nodes.into_values().map(|(_, file)| file));
}

/// The parts of one job.
struct Waiting {
    place: String,
    /// The newest of each node.
    nodes: BTreeMap<u32, (SystemTime, PathBuf)>,
    /// When the newest of all was made.
    made: SystemTime,
}

impl Waiting {
    /// Of the job that handed up last.
    fn newest_in(directory: &Path) -> Option<Self> {
        let places = fs::read_dir(directory).ok()?.flatten();
        let places = places.filter_map(|entry| entry.file_name().into_string().ok());
        let places = places.filter(|name| name.starts_with(PLACE));
        places.filter_map(|place| Waiting::of(directory, place)).max_by_key(|waiting| waiting.made)
    }

    fn of(directory: &Path, place: String) -> Option<Self> {
        let mut nodes: BTreeMap<u32, (SystemTime, PathBuf)> = BTreeMap::new();
        let tags = fs::read_dir(directory.join(&place)).ok()?.flatten();
        for entry in tags.flat_map(|tag| fs::read_dir(tag.path())).flatten().flatten() {
            let Some((node, _)) = told_by(&entry.path()) else { continue };
            let Ok(made) = entry.metadata().and_then(|about| about.modified()) else { continue };
            if nodes.get(&node).is_none_or(|(known, _)| *known <= made) {
                nodes.insert(node, (made, entry.path()));
            }
        }
        let made = nodes.values().map(|(made, _)| *made).max()?;
        Some(Waiting { place, nodes, made })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::recorder::event::Mode;
    use crate::profile::recording::{Writing, files, salvage};

    fn header(job: &str, unix_us: u64, missing_nodes: &[u32]) -> Header {
        let missing_nodes = missing_nodes.to_vec();
        Header { job: job.into(), n_nodes: 4, missing_nodes, ..Header::now(Mode::Full, LAST, unix_us) }
    }

    fn put(directory: &Path, file: &str, made: u64, content: &[u8]) {
        let path = directory.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let made = UNIX_EPOCH + Duration::from_micros(made);
        fs::File::options().write(true).open(path).unwrap().set_modified(made).unwrap();
    }

    #[test]
    fn what_is_packed_by_nobody_is_not_unpacked() {
        let packed = pack(b"a recording");
        assert_eq!(unpack(&packed).as_deref(), Some(&b"a recording"[..]));
        let large = [&u32::MAX.to_le_bytes()[..], &packed[4..]].concat();
        for broken in [&packed[..packed.len() - 2], b"", b"abc", &large] {
            assert_eq!(unpack(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn parts_that_wait_are_read_where_what_was_put_together_lacks_them() {
        let part = pack(&Writing::begin(&header("j/7", 5, &[])).end());
        // What was put together, and what is then read.
        for (whole, want, why) in [
            (None, &["pre-destroy/000002", "runtime-snapshot/000001"][..], "nothing was"),
            (Some(header("j/7", 3, &[0, 3])), &["pre-destroy/000002", "runtime-snapshot/000001"], "older"),
            (Some(header("j/7", 3, &[1, 3])), &["recording.jsonl", "runtime-snapshot/000001"], "with more"),
            (Some(header("k", 3, &[])), &["pre-destroy/000002", "runtime-snapshot/000001"], "an earlier job"),
            (Some(header("k", 9, &[])), &["recording.jsonl"], "a later job"),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let at = |name: &str| format!(".recordings-j_7/{name}");
            put(directory.path(), &at("on-demand/000001"), 4, b"an older one");
            put(directory.path(), &at("runtime-snapshot/000001"), 5, &part);
            put(directory.path(), &at("pre-destroy/000002"), 6, &part);
            put(directory.path(), &at("pre-destroy/.000003.6.0"), 7, b"a piece");
            put(directory.path(), ".recordings-h/pre-destroy/000001", 1, b"of an earlier job");
            if let Some(whole) = &whole {
                put(directory.path(), "recording.jsonl", 9, &Writing::begin(whole).end());
            }
            let mut found = files(directory.path()).unwrap();
            found.sort_by_key(|file| file.file_name().map(ToOwned::to_owned));
            let mut want: Vec<PathBuf> = want
                .iter()
                .map(|name| if *name == WHOLE { WHOLE.into() } else { at(name).into() })
                .map(|name: PathBuf| directory.path().join(name))
                .collect();
            want.sort_by_key(|file| file.file_name().map(ToOwned::to_owned));
            assert_eq!(found, want, "{why}");
            for file in found.iter().filter(|file| !file.ends_with(WHOLE)) {
                let header = salvage(file, |_, _| {}).0.unwrap();
                let unfinished: &[u32] = if file.ends_with("000001") { &[1] } else { &[] };
                assert!(header.is_waiting && header.unfinished_nodes == unfinished, "{header:?}");
            }
        }
    }
}
