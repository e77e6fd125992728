//! Whatever a peer sends, nothing panics, and what is taken keeps the promises of `wire`.
//!
//! The first byte chooses the decoder. `cargo test` runs the same decoders over bounded random bytes.
//!
//! Not here: HTTP and TLS, which their own projects fuzz.

#![no_main]

use std::time::Instant;

use hyper::Request;
use hyper::header::{IF_MATCH, RANGE};
use libfuzzer_sys::fuzz_target;
use spinney::file::{BlockIndex, FilePath, Version, ViewId};
use spinney::wire::codec;
use spinney::wire::frames::Frames;
use spinney::wire::head::{AHEAD, Asked, FROM, TO};

fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, bytes)) = bytes.split_first() else { return };
    match choice % 7 {
        0 => drop(codec::decode_hello(bytes)),
        1 => drop(codec::decode_entry(bytes, Instant::now())),
        2 => drop(codec::decode_usage(bytes)),
        3 => drop(codec::decode_error(bytes, Instant::now())),
        4 => listing(bytes),
        5 => frames(bytes),
        _ => head(bytes),
    }
});

fn listing(bytes: &[u8]) {
    let path = FilePath::from_relative(ViewId::new(0), b"lib");
    let Ok((listing, riding)) = codec::decode_listing(&path, bytes, Instant::now()) else { return };
    for name in riding.iter().flat_map(|(_, below)| below.iter()).chain(listing.iter()).map(|row| &row.name) {
        assert!(!name.is_empty() && !name.contains(&b'/') && !name.contains(&0));
    }
    assert!(riding.iter().all(|(below, _)| below.relative().starts_with(b"lib/")));
}

/// The first bytes say how large the file is and in which pieces the rest arrives.
fn frames(bytes: &[u8]) {
    let [size, high, piece, bytes @ ..] = bytes else { return };
    let version = Version { size: u64::from(*size) | u64::from(*high) << 13, ..Version::default() };
    let directory = FilePath::from_relative(ViewId::new(0), b"lib");
    let mut frames = Frames::expecting(version, BlockIndex(0), 3).with_files_of(directory);
    for mut piece in bytes.chunks(usize::from(*piece).max(1)) {
        loop {
            match frames.next(&mut piece) {
                Ok(Some(block)) => assert!(block.len() as u64 <= version.size),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
    drop(frames.outcome());
}

/// Target and headers, parted by line breaks.
fn head(bytes: &[u8]) {
    let mut parts = bytes.split(|byte| *byte == b'\n');
    let mut request = Request::builder().uri(parts.next().unwrap_or_default());
    for (name, value) in [FROM, TO, IF_MATCH, RANGE, AHEAD].into_iter().zip(parts) {
        request = request.header(name, value);
    }
    let Ok(request) = request.body(()) else { return };
    let Ok(asked) = Asked::of(&request) else { return };
    // What was understood can be said again, and then means the same.
    let again = asked.request(()).expect("it is within the limits");
    assert_eq!(format!("{:?}", Asked::of(&again).expect("our own words")), format!("{asked:?}"));
}
