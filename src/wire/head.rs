//! Questions in the head of an HTTP request and back: paths, versions, ranges.
//!
//! `GET /v1/entry/VIEW/PATH`, `/v1/listing/VIEW/PATH`, `/v1/blocks/VIEW/PATH`, `/v1/usage/VIEW`, `/v1/hello`,
//! `/v1/heartbeat`, `POST /v1/record` and `POST /v1/order`. Bytes of a path that are no letters, digits or `-._~/` are written `%XX`.
//!
//! Invariant: what comes out of a head is within the limits, and a path has no empty part, `.`, `..` or NUL.
//! Anything that is not understood is refused.
//!
//! Not here: bodies (`codec`, `frames`), whether a view exists (`server`).

use std::fmt::Write;

use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, RANGE};
use hyper::{Method, Request};

use super::codec::is_relative_path;
use super::limits::{BLOCKS_PER_QUESTION_MAX, PATH_BYTES_MAX};
use super::question::{BlockRange, Question, Refusal};
use crate::cluster::NodeRank;
use crate::file::{BlockIndex, FilePath, Timestamp, Urgency, Version, ViewId};

/// What every target begins with. The version of the wire stands here and nowhere else: a copy of the program with another
/// digit in this text is one of another version, as tests make it.
const PREFIX: &str = "/v1/";

/// Version of the wire.
pub fn wire_version() -> u32 {
    // Read out of the text that is sent, however clever the compiler is.
    let digits = std::hint::black_box(PREFIX).trim_matches(['/', 'v']);
    digits.parse().expect("a number")
}

/// Rank of the node that asks.
pub const FROM: HeaderName = HeaderName::from_static("spinney-from");
/// Rank of the node that is meant.
pub const TO: HeaderName = HeaderName::from_static("spinney-to");
/// There if nobody waits for the answer.
pub const AHEAD: HeaderName = HeaderName::from_static("spinney-ahead");
/// Version of the wire that a refusing node speaks.
pub const WIRE: HeaderName = HeaderName::from_static("spinney-wire");

/// What the head of a request asks for.
#[derive(Debug, Clone)]
pub enum Head {
    /// Who are you?
    Hello,
    /// Send something each second.
    Heartbeat,
    /// Any question with one answer but a block.
    Question(Question),
    /// Some blocks of one file.
    Blocks(BlockRange),
    /// A record follows.
    Record,
    /// A recording follows.
    Recording,
    /// What is to be done follows.
    Order,
}

/// A request and who asks whom.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The node that asks.
    pub from: NodeRank,
    /// The node that is meant; `None` for a hello, since it asks who is there.
    pub to: Option<NodeRank>,
    /// What it asks.
    pub head: Head,
}

impl Asked {
    /// The head of `request`, taken apart.
    ///
    /// # Errors
    /// Whatever is not understood.
    pub fn of<B>(request: &Request<B>) -> Result<Self, Refusal> {
        let target = request.uri().path();
        if request.uri().query().is_some() {
            return Err(Refusal::NotUnderstood);
        }
        let target = target.strip_prefix(PREFIX).ok_or(Refusal::NotUnderstood)?;
        let (what, about) = target.split_once('/').unwrap_or((target, ""));
        let headers = request.headers();
        let urgency = if headers.contains_key(AHEAD) { Urgency::Ahead } else { Urgency::Demand };
        let head = match (request.method(), what) {
            (&Method::GET, "hello") if about.is_empty() => Head::Hello,
            (&Method::GET, "heartbeat") if about.is_empty() => Head::Heartbeat,
            (&Method::POST, "record") if about.is_empty() => Head::Record,
            (&Method::POST, "recording") if about.is_empty() => Head::Recording,
            (&Method::GET, "entry") if headers.contains_key(IF_NONE_MATCH) => {
                let stale = headers[IF_NONE_MATCH].to_str().ok().and_then(version_of);
                let stale = stale.ok_or(Refusal::NotUnderstood)?;
                Head::Question(Question::EntryAfter { path: path_of(about)?, stale })
            }
            (&Method::POST, "order") if about.is_empty() => Head::Order,
            (&Method::GET, "entry") => Head::Question(Question::Entry { path: path_of(about)?, urgency }),
            (&Method::GET, "listing") => Head::Question(Question::Listing { path: path_of(about)?, urgency }),
            (&Method::GET, "usage") => Head::Question(Question::Usage(view_of(about)?)),
            (&Method::GET, "blocks") => Head::Blocks(blocks_of(path_of(about)?, headers, urgency)?),
            _ => return Err(Refusal::NotUnderstood),
        };
        let from = rank(headers, &FROM)?.ok_or(Refusal::NotUnderstood)?;
        let to = rank(headers, &TO)?;
        if to.is_none() && !matches!(head, Head::Hello) {
            return Err(Refusal::NotUnderstood);
        }
        Ok(Asked { from, to, head })
    }

    /// A request with this head.
    ///
    /// # Errors
    /// A path over the limit.
    pub fn request<B>(&self, body: B) -> Result<Request<B>, Refusal> {
        let mut request = Request::new(body);
        *request.uri_mut() = self.target()?.try_into().map_err(|_| Refusal::TooLarge)?;
        let headers = request.headers_mut();
        // HTTP/1.1 demands one; nodes have no name that matters.
        headers.insert(HOST, HeaderValue::from_static("spinney"));
        headers.insert(FROM, HeaderValue::from(self.from.get()));
        if let Some(to) = self.to {
            headers.insert(TO, HeaderValue::from(to.get()));
        }
        let urgency = match &self.head {
            Head::Question(Question::Entry { urgency, .. } | Question::Listing { urgency, .. }) => *urgency,
            Head::Question(Question::EntryAfter { stale, .. }) => {
                headers.insert(IF_NONE_MATCH, text(version_tag(stale)));
                Urgency::Demand
            }
            Head::Blocks(range) => {
                let last = range.first.0.saturating_add(u64::from(range.count.saturating_sub(1)));
                headers.insert(IF_MATCH, text(version_tag(&range.version)));
                headers.insert(RANGE, text(format!("blocks={}-{last}", range.first.0)));
                range.urgency
            }
            _ => Urgency::Demand,
        };
        if urgency == Urgency::Ahead {
            headers.insert(AHEAD, HeaderValue::from_static("1"));
        }
        if let Head::Record | Head::Recording | Head::Order = self.head {
            *request.method_mut() = Method::POST;
        }
        Ok(request)
    }

    fn target(&self) -> Result<String, Refusal> {
        Ok(match &self.head {
            Head::Hello => format!("{PREFIX}hello"),
            Head::Heartbeat => format!("{PREFIX}heartbeat"),
            Head::Record | Head::Question(Question::Record(_)) => format!("{PREFIX}record"),
            Head::Recording | Head::Question(Question::Recording(_)) => format!("{PREFIX}recording"),
            Head::Order | Head::Question(Question::Order(_)) => format!("{PREFIX}order"),
            Head::Question(Question::Usage(view)) => format!("{PREFIX}usage/{}", view.position()),
            Head::Question(Question::Entry { path, .. } | Question::EntryAfter { path, .. }) => {
                target("entry", path)?
            }
            Head::Question(Question::Listing { path, .. }) => target("listing", path)?,
            Head::Question(Question::Block { path, .. }) => target("blocks", path)?,
            Head::Blocks(range) => target("blocks", &range.path)?,
        })
    }
}

fn text(value: String) -> HeaderValue {
    HeaderValue::try_from(value).expect("digits and punctuation")
}

fn target(what: &str, path: &FilePath) -> Result<String, Refusal> {
    if path.relative().len() > PATH_BYTES_MAX {
        return Err(Refusal::TooLarge);
    }
    let mut target = format!("{PREFIX}{what}/{}/", path.view().position());
    for &byte in path.relative() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                target.push(char::from(byte));
            }
            _ => write!(target, "%{byte:02X}").expect("a string takes everything"),
        }
    }
    Ok(target)
}

fn view_of(text: &str) -> Result<ViewId, Refusal> {
    number(text).and_then(ViewId::from_position).ok_or(Refusal::NotUnderstood)
}

fn path_of(about: &str) -> Result<FilePath, Refusal> {
    let (view, path) = about.split_once('/').ok_or(Refusal::NotUnderstood)?;
    let view = view_of(view)?;
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, after @ ..] = rest {
        match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16).ok_or(Refusal::NotUnderstood);
                bytes.push(u8::try_from(digit(high)? * 16 + digit(low)?).expect("two digits"));
                rest = after;
            }
            (b'%', _) => return Err(Refusal::NotUnderstood),
            (byte, after) => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    match is_relative_path(&bytes) {
        true => Ok(FilePath::from_relative(view, &bytes)),
        false => Err(Refusal::NotUnderstood),
    }
}

fn blocks_of(path: FilePath, headers: &HeaderMap, urgency: Urgency) -> Result<BlockRange, Refusal> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).ok_or(Refusal::NotUnderstood);
    let version = version_of(header(IF_MATCH)?).ok_or(Refusal::NotUnderstood)?;
    let range = header(RANGE)?.strip_prefix("blocks=").and_then(|range| range.split_once('-'));
    let (first, last) = range.ok_or(Refusal::NotUnderstood)?;
    let (first, last) = number(first).zip(number(last)).ok_or(Refusal::NotUnderstood)?;
    let count = last.checked_sub(first).ok_or(Refusal::NotUnderstood)?.saturating_add(1);
    let count = u32::try_from(count).ok().filter(|count| *count <= BLOCKS_PER_QUESTION_MAX);
    Ok(BlockRange {
        path,
        version,
        first: BlockIndex(first),
        count: count.ok_or(Refusal::TooLarge)?,
        urgency,
    })
}

fn rank(headers: &HeaderMap, name: &HeaderName) -> Result<Option<NodeRank>, Refusal> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let rank = value.to_str().ok().and_then(number).and_then(|rank| u32::try_from(rank).ok());
    rank.map(|rank| Some(NodeRank::new(rank))).ok_or(Refusal::NotUnderstood)
}

/// A plain decimal number; `parse` alone would take a sign.
fn number(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// A version as an entity tag.
pub(super) fn version_tag(version: &Version) -> String {
    let Version { size, modified, changed, inode } = version;
    format!(
        "\"{size}.{}.{}.{}.{}.{inode}\"",
        modified.seconds, modified.nanoseconds, changed.seconds, changed.nanoseconds
    )
}

pub(super) fn version_of(tag: &str) -> Option<Version> {
    let tag = tag.strip_prefix('"')?.strip_suffix('"')?;
    let mut parts = tag.split('.');
    let mut time = || {
        let seconds = parts.next()?;
        Some((seconds, parts.next()?))
    };
    let (size, modified_seconds) = time()?;
    let (modified_nanoseconds, changed_seconds) = time()?;
    let (changed_nanoseconds, inode) = time()?;
    let stamp = |seconds: &str, nanoseconds: &str| {
        let seconds = seconds.strip_prefix('-').map_or_else(
            || number(seconds).and_then(|n| i64::try_from(n).ok()),
            |after| number(after).and_then(|n| 0i64.checked_sub_unsigned(n)),
        )?;
        Some(Timestamp { seconds, nanoseconds: u32::try_from(number(nanoseconds)?).ok()? })
    };
    let version = Version {
        size: number(size)?,
        modified: stamp(modified_seconds, modified_nanoseconds)?,
        changed: stamp(changed_seconds, changed_nanoseconds)?,
        inode: number(inode)?,
    };
    parts.next().is_none().then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ask(target: &str) -> Result<Asked, Refusal> {
        let request = Request::builder().uri(target).header(FROM, "1").header(TO, "0");
        let request = request.header(IF_MATCH, "\"9.1.0.1.0.7\"").header(RANGE, "blocks=0-0");
        Asked::of(&request.body(()).unwrap())
    }

    #[test]
    fn a_path_that_could_lead_out_of_a_view_is_refused() {
        let cases = [
            // target, good
            ("/v1/entry/0/", true),               // the root
            ("/v1/entry/0/lib/a%20b", true),      // any byte, written out
            ("/v1/entry/0/lib/%FF%0A", true),     // names are bytes
            ("/v1/entry/0/..", false),            // out
            ("/v1/entry/0/lib/../../etc", false), // out by a detour
            ("/v1/entry/0/%2e%2e/etc", false),    // out, disguised
            ("/v1/entry/0/lib%2F..%2Fx", false),  // out, with a disguised slash
            ("/v1/entry/0//etc", false),          // an empty part
            ("/v1/entry/0/lib/", false),          // an empty part at the end
            ("/v1/entry/0/./lib", false),         // the kernel never asks that
            ("/v1/entry/0/lib%00", false),        // ends names in system calls
            ("/v1/entry/0/lib%0", false),         // cut short
            ("/v1/entry/0/lib%zz", false),        // no digits
            ("/v1/entry/+1/lib", false),          // no plain number
            ("/v1/entry/65536/lib", false),       // more than there can be
            ("/v1/entry/lib", false),             // no view
            ("/v2/entry/0/lib", false),           // another version
            ("/v1/entry/0/lib?x", false),         // not understood
            ("/v1/evict/0/lib", false),           // not understood
            ("/v1/hello/x", false),               // not understood
            ("/v1/blocks/0/lib", true),
            ("/v1/usage/3", true),
        ];
        for (target, good) in cases {
            assert_eq!(ask(target).is_ok(), good, "{target}: {:?}", ask(target));
        }
        let long = format!("/v1/entry/0/{}", "a/".repeat(PATH_BYTES_MAX / 2) + "a");
        assert!(ask(&long).is_err(), "a path over the limit");
        let long = format!("/v1/entry/0/{}", "a".repeat(1025));
        assert!(ask(&long).is_err(), "a name over the limit");
    }

    #[test]
    fn a_range_that_cannot_be_or_is_too_long_is_refused() {
        let cases = [
            ("blocks=0-63", true),
            ("blocks=0-64", false),                                     // one too many
            ("blocks=5-4", false),                                      // backwards
            ("blocks=18446744073709551615-18446744073709551615", true), // beyond the end: an empty block
            ("blocks=0-18446744073709551615", false),                   // does not wrap to none
            ("bytes=0-100", false),                                     // another unit
            ("blocks=0-", false),
            ("blocks=-1", false),
        ];
        for (range, good) in cases {
            let request = Request::builder().uri("/v1/blocks/0/f").header(FROM, "1").header(TO, "0");
            let request = request.header(IF_MATCH, "\"9.1.0.1.0.7\"").header(RANGE, range);
            assert_eq!(Asked::of(&request.body(()).unwrap()).is_ok(), good, "{range}");
        }
    }

    prop_compose! {
        fn any_path()(view in any::<u16>(), parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6)) -> FilePath {
            let clean = |part: Vec<u8>| -> Vec<u8> {
                let part: Vec<u8> = part.into_iter().filter(|b| !matches!(b, 0 | b'/')).collect();
                if matches!(&part[..], b"" | b"." | b"..") { b"x".to_vec() } else { part }
            };
            let parts: Vec<_> = parts.into_iter().map(clean).collect();
            FilePath::from_relative(ViewId::new(view.into()), &parts.join(&b'/'))
        }
    }

    proptest! {
        #[test]
        fn a_question_survives_its_way_through_a_head(
            path in any_path(), size: u64, inode: u64, seconds: i64, nanoseconds: u32, first in 0..u64::MAX - 64, count in 1..=BLOCKS_PER_QUESTION_MAX,
        ) {
            let time = Timestamp { seconds, nanoseconds };
            let version = Version { size, modified: time, changed: time, inode };
            let range = BlockRange { path: path.clone(), version, first: BlockIndex(first), count, urgency: Urgency::Ahead };
            let asked = Asked { from: NodeRank::new(4), to: Some(NodeRank::new(7)), head: Head::Blocks(range) };
            let back = Asked::of(&asked.request(()).unwrap()).unwrap();
            prop_assert_eq!((back.from, back.to), (asked.from, asked.to));
            let Head::Blocks(back) = back.head else { panic!("another question") };
            prop_assert_eq!((back.path, back.version, back.first, back.count, back.urgency), (path, version, BlockIndex(first), count, Urgency::Ahead));
        }

        #[test]
        fn no_head_makes_it_panic_or_gives_a_path_that_leads_out(target in "/v1/[a-z]{4,7}/[0-9]{1,6}/[a-z./%0-9A-F]{0,60}", tag in "\"[0-9.-]{0,40}\"", range in "[a-z=0-9-]{0,30}") {
            let request = Request::builder().uri(target).header(FROM, "1").header(TO, "2");
            if let Ok(request) = request.header(IF_MATCH, tag).header(RANGE, range).body(())
                && let Ok(asked) = Asked::of(&request)
                && let Head::Question(Question::Entry { path, .. } | Question::Listing { path, .. }) | Head::Blocks(BlockRange { path, .. }) = asked.head
            {
                let parts: Vec<&[u8]> = path.relative().split(|b| *b == b'/').collect();
                prop_assert!(path.relative().is_empty() || parts.iter().all(|part| !matches!(*part, b"" | b"." | b"..")));
            }
        }
    }
}
