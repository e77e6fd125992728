//! Bodies of answers in bytes and back: entries, listings, figures, errors, in postcard.
//!
//! What travels are structures of this file, not the nouns themselves, so a change of a noun does not change the
//! wire unnoticed, and everything is checked before it becomes one: names, paths, that nothing is left over.
//!
//! Invariant: no bytes make it panic or hold more memory than a small multiple of their number.
//!
//! Not here: blocks (`frames`), paths and versions in a request's head (`head`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::limits::{LISTING_BYTES_MAX, NAME_BYTES_MAX, PATH_BYTES_MAX};
use crate::file::{
    AsOf, Attributes, Entry, FetchError, FilePath, FileSystemUsage, Listing, ListingEntry, Origin, Timestamp,
};

/// Bytes that are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("bytes that cannot be understood")]
pub struct Malformed;

/// What a node says of itself first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Version of the wire.
    pub wire: u32,
    /// Job.
    pub job: String,
    /// Rank of the node that speaks.
    pub rank: u32,
}

/// A listing and those that ride along, by their path beneath it.
pub type Listings = (Arc<Listing>, Vec<(FilePath, Arc<Listing>)>);

/// `hello` in bytes.
pub fn encode_hello(hello: &Hello) -> Vec<u8> {
    encode(hello)
}

/// Undoes [`encode_hello`].
///
/// # Errors
/// Other bytes.
pub fn decode_hello(bytes: &[u8]) -> Result<Hello, Malformed> {
    decode(bytes)
}

/// `entry` in bytes.
pub fn encode_entry(entry: &Entry) -> Vec<u8> {
    encode(&WireEntry::of(entry))
}

/// Undoes [`encode_entry`] for the answer to a question that was sent at `asked`.
///
/// # Errors
/// Other bytes.
pub fn decode_entry(bytes: &[u8], asked: Instant) -> Result<Entry, Malformed> {
    decode::<WireEntry>(bytes)?.entry(asked)
}

/// `usage` in bytes.
pub fn encode_usage(usage: &FileSystemUsage) -> Vec<u8> {
    encode(&WireUsage {
        block_bytes: usage.block_bytes,
        blocks: usage.blocks,
        blocks_free: usage.blocks_free,
        blocks_available: usage.blocks_available,
        files: usage.files,
        files_free: usage.files_free,
        name_bytes_max: usage.name_bytes_max,
    })
}

/// Undoes [`encode_usage`].
///
/// # Errors
/// Other bytes.
pub fn decode_usage(bytes: &[u8]) -> Result<FileSystemUsage, Malformed> {
    let usage = decode::<WireUsage>(bytes)?;
    Ok(FileSystemUsage {
        block_bytes: usage.block_bytes,
        blocks: usage.blocks,
        blocks_free: usage.blocks_free,
        blocks_available: usage.blocks_available,
        files: usage.files,
        files_free: usage.files_free,
        name_bytes_max: usage.name_bytes_max,
    })
}

/// What storage said, in bytes.
pub fn encode_error(error: &FetchError) -> Vec<u8> {
    encode(&match error {
        FetchError::Absent { proven, as_of, .. } => {
            WireError::Absent { proven: *proven, age: WireAge::of(*as_of) }
        }
        FetchError::Storage { errno } => WireError::Storage { errno: *errno },
        FetchError::Stale => WireError::Stale,
        FetchError::NotListed { errno } => WireError::NotListed { errno: *errno },
        FetchError::Full => WireError::Full,
    })
}

/// Undoes [`encode_error`] for the answer to a question that was sent at `asked`.
///
/// # Errors
/// Other bytes. An errno that no Linux has is among them: a task would be told it.
pub fn decode_error(bytes: &[u8], asked: Instant) -> Result<FetchError, Malformed> {
    let known = |errno: i32| if (1..4096).contains(&errno) { Ok(errno) } else { Err(Malformed) };
    Ok(match decode(bytes)? {
        WireError::Absent { proven, age } => {
            FetchError::Absent { proven, as_of: age.when(asked), origin: Origin::Parent }
        }
        // ENOENT has a variant of its own, which says how long it holds.
        WireError::Storage { errno: libc::ENOENT } => return Err(Malformed),
        WireError::Storage { errno } => FetchError::Storage { errno: known(errno)? },
        WireError::Stale => FetchError::Stale,
        WireError::NotListed { errno } => FetchError::NotListed { errno: errno.map(known).transpose()? },
        WireError::Full => FetchError::Full,
    })
}

/// The listing of `path` in bytes, with those of `riding` that lie beneath `path`; `None` if it is too large
/// to travel.
pub fn encode_listing(
    path: &FilePath,
    listing: &Listing,
    riding: &[(FilePath, Arc<Listing>)],
) -> Option<Vec<u8>> {
    let beneath = riding
        .iter()
        .filter_map(|(below, listing)| Some((Raw(suffix(path, below)?), WireListing::of(listing))));
    let body = encode(&WireListings { listing: WireListing::of(listing), riding: beneath.collect() });
    (body.len() <= LISTING_BYTES_MAX).then_some(body)
}

/// Undoes [`encode_listing`] for the same `path`, asked for at `asked`.
///
/// # Errors
/// Other bytes; names that cannot be; a riding listing that is not settled, and so cannot prove anything.
pub fn decode_listing(path: &FilePath, bytes: &[u8], asked: Instant) -> Result<Listings, Malformed> {
    let listings = decode::<WireListings>(bytes)?;
    let mut riding = Vec::with_capacity(listings.riding.len().min(1024));
    for (beneath, listing) in listings.riding {
        if !is_relative_path(beneath.0) || beneath.0.is_empty() || !listing.settled {
            return Err(Malformed);
        }
        riding.push((path.join(beneath.0), Arc::new(listing.listing(asked)?)));
    }
    Ok((Arc::new(listings.listing.listing(asked)?), riding))
}

/// Whether these bytes can be the path of a file beneath a view's root; empty for the root itself.
pub fn is_relative_path(bytes: &[u8]) -> bool {
    bytes.len() <= PATH_BYTES_MAX && (bytes.is_empty() || bytes.split(|byte| *byte == b'/').all(is_name))
}

/// Whether these bytes can be a name within a directory, `.` and `..` left out.
pub(super) fn is_name(bytes: &[u8]) -> bool {
    let length = (1..=NAME_BYTES_MAX).contains(&bytes.len());
    length && bytes != b"." && bytes != b".." && !bytes.iter().any(|byte| matches!(byte, 0 | b'/'))
}

/// What leads from `path` to `below`, if it lies beneath.
fn suffix<'a>(path: &FilePath, below: &'a FilePath) -> Option<&'a [u8]> {
    if path.view() != below.view() {
        return None;
    }
    let rest = below.relative().strip_prefix(path.relative())?;
    if path.relative().is_empty() { Some(rest) } else { rest.strip_prefix(b"/") }
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).expect("all lengths are known and memory grows")
}

fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Malformed> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(Malformed),
    }
}

/// Bytes as they are; serde alone would take them one by one.
struct Raw<'a>(&'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrowed;
        impl<'de> Visitor<'de> for Borrowed {
            type Value = &'de [u8];

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "bytes")
            }

            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<&'de [u8], E> {
                Ok(bytes)
            }
        }
        deserializer.deserialize_bytes(Borrowed).map(Raw)
    }
}

#[derive(Serialize, Deserialize)]
struct WireTime(i64, u32);

impl WireTime {
    fn of(time: Timestamp) -> Self {
        WireTime(time.seconds, time.nanoseconds)
    }

    fn time(self) -> Timestamp {
        Timestamp { seconds: self.0, nanoseconds: self.1 }
    }
}

/// How old something is when it is sent, in milliseconds, rounded up: nobody may take it for newer than it is.
#[derive(Serialize, Deserialize)]
struct WireAge(u64);

impl WireAge {
    fn of(as_of: AsOf) -> Self {
        WireAge(u64::try_from(as_of.age().as_micros().div_ceil(1000)).unwrap_or(u64::MAX))
    }

    fn when(self, asked: Instant) -> AsOf {
        AsOf::told(asked, Duration::from_millis(self.0))
    }
}

#[derive(Serialize, Deserialize)]
struct WireEntry<'a> {
    inode: u64,
    mode: u32,
    links: u32,
    uid: u32,
    gid: u32,
    device: u32,
    block_size: u32,
    size: u64,
    blocks: u64,
    accessed: WireTime,
    modified: WireTime,
    changed: WireTime,
    #[serde(borrow)]
    target: Option<Raw<'a>>,
    settled: bool,
    age: WireAge,
}

impl<'a> WireEntry<'a> {
    fn of(entry: &'a Entry) -> Self {
        let attributes = &entry.attributes;
        WireEntry {
            inode: attributes.inode,
            mode: attributes.mode,
            links: attributes.links,
            uid: attributes.uid,
            gid: attributes.gid,
            device: attributes.device,
            block_size: attributes.block_size,
            size: attributes.size,
            blocks: attributes.blocks,
            accessed: WireTime::of(attributes.accessed),
            modified: WireTime::of(attributes.modified),
            changed: WireTime::of(attributes.changed),
            target: entry.target.as_deref().map(Raw),
            settled: entry.settled,
            age: WireAge::of(entry.as_of),
        }
    }

    fn entry(self, asked: Instant) -> Result<Entry, Malformed> {
        let attributes = Attributes {
            inode: self.inode,
            mode: self.mode,
            links: self.links,
            uid: self.uid,
            gid: self.gid,
            device: self.device,
            block_size: self.block_size,
            size: self.size,
            blocks: self.blocks,
            accessed: self.accessed.time(),
            modified: self.modified.time(),
            changed: self.changed.time(),
        };
        if self.target.as_ref().is_some_and(|target| target.0.len() > PATH_BYTES_MAX || target.0.contains(&0))
        {
            return Err(Malformed);
        }
        let target = self.target.map(|target| target.0.into());
        Ok(Entry { attributes, target, settled: self.settled, as_of: self.age.when(asked) })
    }
}

#[derive(Serialize, Deserialize)]
struct WireRow<'a> {
    #[serde(borrow)]
    name: Raw<'a>,
    inode: u64,
    kind: u8,
    entry: Option<WireEntry<'a>>,
}

#[derive(Serialize, Deserialize)]
struct WireListing<'a> {
    settled: bool,
    #[serde(borrow)]
    rows: Vec<WireRow<'a>>,
    age: WireAge,
}

impl<'a> WireListing<'a> {
    fn of(listing: &'a Listing) -> Self {
        let row = |row: &'a ListingEntry| WireRow {
            name: Raw(&row.name),
            inode: row.inode,
            kind: row.kind,
            entry: row.entry.as_deref().map(WireEntry::of),
        };
        let rows = listing.iter().map(row).collect();
        WireListing { settled: listing.settled, rows, age: WireAge::of(listing.as_of) }
    }

    fn listing(self, asked: Instant) -> Result<Listing, Malformed> {
        let row = |row: WireRow<'_>| {
            if !is_name(row.name.0) {
                return Err(Malformed);
            }
            let entry = row.entry.map(|entry| entry.entry(asked).map(Arc::new)).transpose()?;
            Ok(ListingEntry { name: row.name.0.into(), inode: row.inode, kind: row.kind, entry })
        };
        let rows: Vec<_> = self.rows.into_iter().map(row).collect::<Result<_, _>>()?;
        let count = rows.len();
        let listing = Listing::new(rows, self.settled).dated(self.age.when(asked));
        if listing.len() == count { Ok(listing) } else { Err(Malformed) }
    }
}

#[derive(Serialize, Deserialize)]
struct WireListings<'a> {
    #[serde(borrow)]
    listing: WireListing<'a>,
    riding: Vec<(Raw<'a>, WireListing<'a>)>,
}

#[derive(Serialize, Deserialize)]
struct WireUsage {
    block_bytes: u32,
    blocks: u64,
    blocks_free: u64,
    blocks_available: u64,
    files: u64,
    files_free: u64,
    name_bytes_max: u32,
}

#[derive(Serialize, Deserialize)]
enum WireError {
    Absent { proven: bool, age: WireAge },
    Storage { errno: i32 },
    Stale,
    NotListed { errno: Option<i32> },
    Full,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::ViewId;
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    fn root() -> FilePath {
        FilePath::from_relative(ViewId::new(2), b"lib")
    }

    prop_compose! {
        fn any_entry()(inode: u64, mode: u32, size: u64, seconds: i64, nanoseconds: u32, target in proptest::option::of(vec(1u8.., 1..50)), settled: bool) -> Entry {
            let time = Timestamp { seconds, nanoseconds };
            let attributes = Attributes {
                inode, mode, links: 1, uid: 2, gid: u32::MAX, device: 4, block_size: 5, size, blocks: 6,
                accessed: time, modified: time, changed: time,
            };
            Entry { attributes, target: target.map(Vec::into_boxed_slice), settled, as_of: AsOf::now() }
        }
    }

    prop_compose! {
        fn any_listing()(rows in btree_map(vec(b'0'..=255, 1..30), (any::<u64>(), any::<u8>(), proptest::option::of(any_entry())), 0..40), settled: bool) -> Listing {
            let row = |(name, (inode, kind, entry)): (Vec<u8>, (u64, u8, Option<Entry>))| {
                ListingEntry { name: name.into(), inode, kind, entry: entry.map(Arc::new) }
            };
            Listing::new(rows.into_iter().map(row).collect(), settled)
        }
    }

    proptest! {
        #[test]
        fn entries_and_listings_survive_the_way(entry in any_entry(), listing in any_listing(), mut below in any_listing()) {
            prop_assert_eq!(&decode_entry(&encode_entry(&entry), Instant::now()).unwrap(), &entry);
            below.settled = true;
            let below = Arc::new(below);
            let riding = [
                (root().join(b"a").join(b"b"), below.clone()),
                (FilePath::from_relative(ViewId::new(2), b"libs/a"), below.clone()), // beside it: does not ride
            ];
            let body = encode_listing(&root(), &listing, &riding).unwrap();
            let (back, rode) = decode_listing(&root(), &body, Instant::now()).unwrap();
            prop_assert_eq!(&*back, &listing);
            prop_assert_eq!(rode, &riding[..1]);
        }

        #[test]
        fn a_body_that_is_cut_or_goes_on_is_not_taken(entry in any_entry(), listing in any_listing(), cut in any::<prop::sample::Index>()) {
            // Each by its own decoder: a body does not say what it is, the question does.
            let body = encode_entry(&entry);
            prop_assert!(decode_entry(&body[..cut.index(body.len())], Instant::now()).is_err());
            prop_assert!(decode_entry(&[&body[..], b"\0"].concat(), Instant::now()).is_err());
            let body = encode_listing(&root(), &listing, &[]).unwrap();
            prop_assert!(decode_listing(&root(), &body[..cut.index(body.len())], Instant::now()).is_err());
            prop_assert!(decode_listing(&root(), &[&body[..], b"\0"].concat(), Instant::now()).is_err());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..300), flipped in any_listing(), at in any::<prop::sample::Index>(), with: u8) {
            let mut body = encode_listing(&root(), &flipped, &[]).unwrap();
            let at = at.index(body.len());
            body[at] = with;
            for bytes in [&bytes, &body] {
                let _ = (decode_hello(bytes), decode_entry(bytes, Instant::now()), decode_usage(bytes), decode_error(bytes, Instant::now()));
                if let Ok((listing, riding)) = decode_listing(&root(), bytes, Instant::now()) {
                    let names = riding.iter().flat_map(|(_, listing)| listing.iter()).chain(listing.iter());
                    prop_assert!(names.map(|row| &row.name).all(|name| is_name(name)));
                }
            }
        }
    }

    #[test]
    fn names_that_cannot_be_in_a_directory_are_not_taken() {
        for name in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0", &[b'x'; NAME_BYTES_MAX + 1]] {
            let row = ListingEntry { name: name.into(), inode: 1, kind: 8, entry: None };
            let listing = Listing::new(vec![row], true);
            let body = encode_listing(&root(), &listing, &[]).unwrap();
            assert_eq!(decode_listing(&root(), &body, Instant::now()), Err(Malformed), "{name:?}");
            let fine = Arc::new(Listing::default());
            let riding = [(FilePath::from_relative(ViewId::new(2), &[b"lib/", name].concat()), fine)];
            let body = encode_listing(&root(), &Listing::default(), &riding).unwrap();
            let taken = decode_listing(&root(), &body, Instant::now());
            assert!(taken.is_err() || name == b"a/b", "{name:?}");
        }
    }

    #[test]
    fn an_unsettled_listing_may_not_ride() {
        let riding = [(root().join(b"a"), Arc::new(Listing::new(Vec::new(), false)))];
        let body = encode_listing(&root(), &Listing::default(), &riding).unwrap();
        assert_eq!(decode_listing(&root(), &body, Instant::now()), Err(Malformed));
    }

    #[test]
    fn a_length_that_lies_takes_no_memory() {
        // A settled listing that claims 2^32 rows and ends there.
        assert_eq!(
            decode_listing(&root(), &[1, 0xff, 0xff, 0xff, 0xff, 0x0f], Instant::now()),
            Err(Malformed)
        );
    }

    #[test]
    fn an_age_grows_on_the_way_and_never_shrinks() {
        let (hour, now) = (Duration::from_secs(3600), Instant::now());
        let told = AsOf::told(now, hour);
        let asked = now - Duration::from_secs(60);
        let again = WireAge::of(told).when(asked);
        // As old as it was when it was sent, by the moment it was asked for: when it was sent is not known here.
        assert!(again.age() >= hour + Duration::from_secs(60), "{:?}", again.age());
        assert!(again.age() < hour + Duration::from_secs(90), "{:?}", again.age());
        let unknown = WireAge(u64::MAX).when(asked);
        assert!(unknown.age() >= Duration::from_millis(u64::MAX));
        assert_eq!(WireAge::of(unknown).0, u64::MAX);
    }
}
