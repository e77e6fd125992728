//! Blocks in the body of an answer: each with its length and checksum, one after the other.
//!
//! A frame is `kind (1 byte), zero (3), length (4), checksum (8), bytes`, numbers big-endian. Kind 0 is a block, kind 3 one
//! whose version was not settled, kind 1 what storage said instead; nothing follows that. Kind 2 is a whole small file of the same directory, after the last
//! block: its bytes are preceded by `checksum of name and version (8), length of the name (2), length of the version (2),
//! name, version`, which the checksum in the frame's head does not cover. The checksum is XXH3 of the bytes, 64 bits; a block's is
//! the one made where storage was read.
//!
//! Invariant: a block is handed out only with exactly the length that file and version give it, and if its
//! checksum matches.
//!
//! Not here: asking for them (`client`), reading them (`server`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use xxhash_rust::xxh3::xxh3_64;

use super::codec::{decode_error, encode_error, is_name};
use super::head::{version_of, version_tag};
use super::limits::{NAME_BYTES_MAX, SMALL_FILES_BYTES_MAX};
use super::question::AskError;
use crate::file::{BLOCK_BYTES, Block, BlockIndex, FetchError, FilePath, SmallFile, Version};

/// Bytes before a frame's own.
pub const FRAME_HEAD_BYTES: usize = 16;

const BLOCK: u8 = 0;
const ERROR: u8 = 1;
const RIDING: u8 = 2;
const UNSETTLED_BLOCK: u8 = 3;

/// Bytes of an error in a frame at most.
const ERROR_BYTES_MAX: usize = 64;

/// What comes before the bytes of `block`.
pub fn head_of_block(block: &Block) -> [u8; FRAME_HEAD_BYTES] {
    let kind = if block.is_settled() { BLOCK } else { UNSETTLED_BLOCK };
    head(kind, block.len(), block.checksum())
}

/// A whole frame that ends the answer with what storage said.
pub fn error_frame(error: &FetchError) -> Vec<u8> {
    let body = encode_error(error);
    [&head(ERROR, body.len(), xxh3_64(&body))[..], &body].concat()
}

/// What comes before the bytes of `file`, which rides along.
pub fn head_of_file(name: &[u8], file: &SmallFile) -> Vec<u8> {
    let tag = version_tag(&file.version);
    let about = [name, tag.as_bytes()].concat();
    let length =
        |bytes: &[u8]| u16::try_from(bytes.len()).expect("names and versions are short").to_be_bytes();
    let prefix =
        [&xxh3_64(&about).to_be_bytes()[..], &length(name), &length(tag.as_bytes()), &about].concat();
    let head = head(RIDING, prefix.len() + file.block.len(), file.block.checksum());
    [&head[..], &prefix].concat()
}

/// Undoes [`head_of_file`] for a file in `directory`; `body` begins after the frame's head.
fn file_of(directory: &FilePath, body: &[u8], checksum: u64) -> Option<SmallFile> {
    let (about_checksum, rest) = body.split_first_chunk::<8>()?;
    let (name_length, rest) = rest.split_first_chunk::<2>()?;
    let (tag_length, rest) = rest.split_first_chunk::<2>()?;
    let name_length = usize::from(u16::from_be_bytes(*name_length));
    let about_length = name_length + usize::from(u16::from_be_bytes(*tag_length));
    let (about, content) = rest.split_at_checked(about_length)?;
    let (name, tag) = about.split_at(name_length);
    let version = version_of(std::str::from_utf8(tag).ok()?)?;
    let is_whole = version.size == content.len() as u64 && version.size <= BLOCK_BYTES;
    if xxh3_64(about) != u64::from_be_bytes(*about_checksum) || !is_name(name) || !is_whole {
        return None;
    }
    let block = Arc::new(Block::received(content.to_vec(), checksum)?);
    Some(SmallFile { path: directory.join(name), version, block })
}

fn head(kind: u8, length: usize, checksum: u64) -> [u8; FRAME_HEAD_BYTES] {
    let mut head = [0; FRAME_HEAD_BYTES];
    head[0] = kind;
    let length = u32::try_from(length).expect("a block is small");
    head[4..8].copy_from_slice(&length.to_be_bytes());
    head[8..].copy_from_slice(&checksum.to_be_bytes());
    head
}

/// Takes the bytes of an answer as they come and gives its blocks.
pub struct Frames {
    /// Lengths of the blocks that are still to come.
    expected: VecDeque<usize>,
    head: [u8; FRAME_HEAD_BYTES],
    head_filled: usize,
    /// Of the frame whose head is complete: kind, length, checksum.
    frame: Option<(u8, usize, u64)>,
    body: Vec<u8>,
    /// What storage said instead of the rest.
    said: Option<FetchError>,
    /// Where the files that ride along are; `None` if none may.
    beside: Option<FilePath>,
    riding: Vec<SmallFile>,
    riding_bytes: usize,
}

/// Bytes of a riding file's frame beyond its content: name, version and their lengths.
const FILE_HEAD_BYTES_MAX: usize = 12 + NAME_BYTES_MAX + 128;

impl Frames {
    /// Takes files of `directory` too, after the blocks.
    pub fn with_files_of(mut self, directory: FilePath) -> Self {
        self.beside = Some(directory);
        self
    }

    /// The files that came along.
    pub fn into_riding(self) -> Vec<SmallFile> {
        self.riding
    }

    /// For `count` blocks from `first` of a file of this version.
    pub fn expecting(version: Version, first: BlockIndex, count: u32) -> Self {
        let length = |offset: u32| {
            let range = BlockIndex(first.0.saturating_add(u64::from(offset))).range(version.size);
            usize::try_from(range.end - range.start).expect("a block is small")
        };
        Frames {
            expected: (0..count).map(length).collect(),
            head: [0; FRAME_HEAD_BYTES],
            head_filled: 0,
            frame: None,
            body: Vec::new(),
            said: None,
            beside: None,
            riding: Vec::new(),
            riding_bytes: 0,
        }
    }

    /// Takes bytes from the front of `bytes` until a block is complete; `None` if there is none yet.
    ///
    /// # Errors
    /// [`AskError::Corrupt`] for anything that is not an answer to the question.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Arc<Block>>, AskError> {
        loop {
            let Some((kind, length, checksum)) = self.frame else {
                if bytes.is_empty() {
                    return Ok(None);
                }
                self.take_head(bytes)?;
                continue;
            };
            let count = (length - self.body.len()).min(bytes.len());
            self.body.extend_from_slice(&bytes[..count]);
            *bytes = &bytes[count..];
            if self.body.len() < length {
                return Ok(None);
            }
            self.frame = None;
            let body = std::mem::take(&mut self.body);
            if kind == ERROR {
                // Of a file's content nothing is told that could be too old.
                match decode_error(&body, Instant::now()) {
                    Ok(error) if xxh3_64(&body) == checksum => self.said = Some(error),
                    _ => return Err(AskError::Corrupt),
                }
                continue;
            }
            if kind == RIDING {
                let directory = self.beside.as_ref().ok_or(AskError::Corrupt)?;
                self.riding.push(file_of(directory, &body, checksum).ok_or(AskError::Corrupt)?);
                continue;
            }
            return Block::received(body, checksum)
                .map(|block| Some(Arc::new(block.settled_if(kind == BLOCK))))
                .ok_or(AskError::Corrupt);
        }
    }

    /// What the answer comes to now that it has ended.
    ///
    /// # Errors
    /// [`AskError::Fetch`] if it ended with what storage said; [`AskError::Corrupt`] if it was cut short.
    pub fn outcome(&self) -> Result<(), AskError> {
        let is_between = self.frame.is_none() && self.head_filled == 0;
        match &self.said {
            Some(error) if is_between => Err(error.clone().into()),
            None if is_between && self.expected.is_empty() => Ok(()),
            _ => Err(AskError::Corrupt),
        }
    }

    fn take_head(&mut self, bytes: &mut &[u8]) -> Result<(), AskError> {
        if self.said.is_some() {
            return Err(AskError::Corrupt);
        }
        let count = (FRAME_HEAD_BYTES - self.head_filled).min(bytes.len());
        self.head[self.head_filled..self.head_filled + count].copy_from_slice(&bytes[..count]);
        self.head_filled += count;
        *bytes = &bytes[count..];
        if self.head_filled < FRAME_HEAD_BYTES {
            return Ok(());
        }
        self.head_filled = 0;
        let [kind, 0, 0, 0, l0, l1, l2, l3, checksum @ ..] = self.head else { return Err(AskError::Corrupt) };
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        if kind == RIDING {
            self.riding_bytes = self.riding_bytes.saturating_add(length);
            let fits = length <= BLOCK_BYTES as usize + FILE_HEAD_BYTES_MAX
                && self.riding_bytes <= 2 * SMALL_FILES_BYTES_MAX;
            if !fits || !self.expected.is_empty() || self.beside.is_none() {
                return Err(AskError::Corrupt);
            }
            self.frame = Some((kind, length, u64::from_be_bytes(checksum)));
            return Ok(());
        }
        // Not more may come than was asked for, not even an error.
        let expected = self.expected.pop_front().ok_or(AskError::Corrupt)?;
        match kind {
            BLOCK | UNSETTLED_BLOCK if length == expected => self.body = Vec::with_capacity(length),
            ERROR if length <= ERROR_BYTES_MAX => {}
            _ => return Err(AskError::Corrupt),
        }
        self.frame = Some((kind, length, u64::from_be_bytes(checksum)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::{BLOCK_BYTES, ViewId};
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn version() -> Version {
        Version { size: BLOCK_BYTES + 100, ..Version::default() }
    }

    /// Takes `bytes` in pieces of these lengths, again and again.
    fn take(bytes: &[u8], pieces: &[usize], count: u32) -> (Vec<Arc<Block>>, Result<(), AskError>) {
        let mut frames = Frames::expecting(version(), BlockIndex(0), count);
        let (mut blocks, mut left) = (Vec::new(), bytes);
        for length in pieces.iter().cycle() {
            let (mut piece, after) = left.split_at((*length).min(left.len()));
            left = after;
            loop {
                match frames.next(&mut piece) {
                    Ok(Some(block)) => blocks.push(block),
                    Ok(None) => break,
                    Err(error) => return (blocks, Err(error)),
                }
            }
            if left.is_empty() {
                break;
            }
        }
        (blocks, frames.outcome())
    }

    fn two_blocks() -> Vec<u8> {
        let frame = |length: usize| {
            let block = Block::new((0..length).map(|i| (i % 253) as u8).collect());
            [&head_of_block(&block)[..], &block].concat()
        };
        [frame(BLOCK_BYTES as usize), frame(100)].concat()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn blocks_come_out_whole_however_their_bytes_arrive(pieces in vec(1usize..40_000, 1..8)) {
            let (blocks, outcome) = take(&two_blocks(), &pieces, 2);
            prop_assert!(outcome.is_ok());
            prop_assert_eq!(blocks.iter().map(|block| block.len()).collect::<Vec<_>>(), [BLOCK_BYTES as usize, 100]);
        }

        #[test]
        fn no_flipped_bit_and_no_cut_gives_another_block(at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let (good, _) = take(&two_blocks(), &[9000], 2);
            let mut bytes = two_blocks();
            let at = at.index(bytes.len());
            for (blocks, outcome) in [take(&bytes[..at], &[9000], 2), {
                bytes[at] ^= 1 << bit;
                take(&bytes, &[9000], 2)
            }] {
                prop_assert!(matches!(outcome, Err(AskError::Corrupt)));
                prop_assert!(blocks.iter().zip(&good).all(|(a, b)| a[..] == b[..]) && blocks.len() < 2);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..200), pieces in vec(1usize..50, 1..4)) {
            let _ = take(&bytes, &pieces, 3);
        }
    }

    /// A question for one block of a file of `version()`, answered by `bytes`, where files of `d` may ride along.
    fn take_with_files(bytes: &[u8]) -> Result<Vec<SmallFile>, AskError> {
        let directory = FilePath::from_relative(ViewId::new(0), b"d");
        let mut frames = Frames::expecting(version(), BlockIndex(0), 1).with_files_of(directory);
        for mut piece in bytes.chunks(7_000) {
            while frames.next(&mut piece)?.is_some() {}
        }
        frames.outcome()?;
        Ok(frames.into_riding())
    }

    fn riding(name: &[u8], content: &[u8], size: u64) -> Vec<u8> {
        let path = FilePath::from_relative(ViewId::new(0), b"d/sent");
        let version = Version { size, ..Version::default() };
        let file = SmallFile { path, version, block: Arc::new(Block::new(content.to_vec())) };
        [&head_of_file(name, &file)[..], content].concat()
    }

    fn one_block() -> Vec<u8> {
        two_blocks()[..FRAME_HEAD_BYTES + BLOCK_BYTES as usize].to_vec()
    }

    #[test]
    fn files_ride_along_whole_and_behind_the_block_only() {
        let (block, file) = (one_block(), riding(b"m.pyc", b"code", 4));
        let came = take_with_files(&[&block[..], &file, &riding(b"empty", b"", 0)].concat()).unwrap();
        let came: Vec<_> = came.iter().map(|f| (f.path.relative(), &f.block[..])).collect();
        assert_eq!(came, [(&b"d/m.pyc"[..], &b"code"[..]), (b"d/empty", b"")]);
        let refused: [(&str, Vec<u8>); 5] = [
            ("before the block", [&file[..], &block].concat()),
            ("it would lead elsewhere", [&block[..], &riding(b"../m.pyc", b"code", 4)].concat()),
            ("not all of the file", [&block[..], &riding(b"m.pyc", b"code", 5)].concat()),
            ("cut short", [&block[..], &file[..file.len() - 1]].concat()),
            ("more than may ride", [block.clone(), riding(b"m", &[7; 100_000], 100_000).repeat(6)].concat()),
        ];
        for (why, bytes) in refused {
            assert!(matches!(take_with_files(&bytes), Err(AskError::Corrupt)), "{why}");
        }
        let unwanted = [&two_blocks()[..], &file].concat();
        assert!(matches!(take(&unwanted, &[9000], 2).1, Err(AskError::Corrupt)), "nobody asked for files");
    }

    #[test]
    fn no_flipped_bit_gives_another_file() {
        let (block, file) = (one_block(), riding(b"m.pyc", b"code", 4));
        for at in 0..file.len() * 8 {
            let mut flipped = file.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            let outcome = take_with_files(&[&block[..], &flipped].concat());
            assert!(matches!(outcome, Err(AskError::Corrupt)), "bit {at}");
        }
    }

    #[test]
    fn what_storage_said_ends_the_answer() {
        let said = error_frame(&FetchError::Stale);
        assert!(matches!(take(&said, &[3], 2).1, Err(AskError::Fetch(FetchError::Stale))));
        let more = [&said[..], &two_blocks()].concat();
        assert!(matches!(take(&more, &[5000], 2).1, Err(AskError::Corrupt)), "something follows");
        assert!(matches!(take(&[], &[1], 1).1, Err(AskError::Corrupt)), "nothing came");
    }

    #[test]
    fn a_block_that_is_not_settled_is_not_settled_for_whoever_gets_it() {
        for settled in [true, false] {
            let block = Block::new(vec![7; BLOCK_BYTES as usize]).settled_if(settled);
            let (blocks, outcome) = take(&[&head_of_block(&block)[..], &block].concat(), &[1000], 1);
            outcome.unwrap();
            assert_eq!(blocks[0].is_settled(), settled);
        }
    }
}
