//! What docs/SEMANTICS.md promises, paragraph by paragraph: each test here is named there, and the other way round.
//!
//! | module | knows |
//! |---|---|
//! | `tree` | a tree with one of everything |
//! | `observed` | that tree seen from outside and from inside |
//! | `showing` | what is shown: attributes, names, links, listings, access |

mod observed;
mod showing;
mod tree;
