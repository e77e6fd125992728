//! The nouns that all layers of the data path share.
//!
//! A path within a view, attributes and version of a file, a listing, a block, and [`Source`]: whoever can
//! answer questions about them. Each layer is a `Source` over another and does not name it.
//!
//! Not here: how anything is fetched (`storage`), kept (`cache`) or shown (`view`).

mod attributes;
mod block;
mod error;
mod freshness;
mod listing;
mod path;
mod source;
pub mod task;
mod usual_time;

pub use attributes::{Attributes, Entry, FileKind, Timestamp, Version};
pub use block::{BLOCK_BYTES, Block, BlockIndex, Passing};
pub use error::FetchError;
pub use freshness::{AsOf, Freshness};
pub use listing::{Listing, ListingEntry, NAMES_MAX};
pub use path::{FilePath, NAME_BYTES_MAX, ViewId};
pub use source::{
    Answer, Change, Changes, Fetch, FileSystemUsage, Origin, SmallFile, Source, Urgency, ready,
};
pub use usual_time::UsualTime;
