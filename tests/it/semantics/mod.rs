//! What docs/SEMANTICS.md promises, paragraph by paragraph: each test here is named there, and the other way round.
//!
//! | module | knows |
//! |---|---|
//! | `starved` | little of everything |
//! | `tree` | a tree with one of everything |
//! | `trouble` | storage that fails or hangs, deaths |
//! | `observed` | that tree seen from outside and from inside |
//! | `changing` | files and directories that change on storage |
//! | `document` | that page and these tests belong together |
//! | `listing` | directories of every size |
//! | `model` | the view without FUSE, against a model |
//! | `random` | random trees and operations |
//! | `refusing` | what is refused or local, ways of reading, programs |
//! | `showing` | what is shown: attributes, names, links, listings, access |

mod changing;
mod document;
mod listing;
mod model;
mod observed;
mod random;
mod refusing;
mod showing;
mod starved;
pub mod tree;
mod trouble;
