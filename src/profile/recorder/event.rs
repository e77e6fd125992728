//! What is recorded of one answer to a task, and how much of it: the nouns of a recording.
//!
//! Not here: where it is kept (`events`), how it is written down (`profile::recording`).

use std::time::Duration;

use serde::{Deserialize, Serialize};

macro_rules! named {
    ($(#[doc = $about:literal])+ $kind:ident { $($(#[doc = $meaning:literal])+ $variant:ident = $name:literal,)+ }) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        #[repr(u8)]
        pub enum $kind { $($(#[doc = $meaning])+ $variant,)+ }

        impl $kind {
            /// All of them, in order.
            pub const ALL: &'static [$kind] = &[$($kind::$variant,)+];

            /// As in a recording.
            pub fn name(self) -> &'static str {
                match self { $($kind::$variant => $name,)+ }
            }
        }
    };
}

named! {
    /// What a task wanted to know.
    Operation {
        /// Where a name leads.
        Lookup = "lookup",
        /// Size, times, owner, mode.
        Attributes = "attributes",
        /// Where a symlink points to.
        Readlink = "readlink",
        /// That it opens a file. Seen only while the kernel's memory is off.
        Open = "open",
        /// Content of a file.
        Read = "read",
        /// Names of a directory.
        List = "list",
    }
}

named! {
    /// What it was told.
    Outcome {
        /// What it asked for.
        Found = "found",
        /// That there is no such name.
        Absent = "absent",
        /// Another error.
        Error = "error",
    }
}

named! {
    /// Who knew the answer.
    AnsweredBy {
        /// This node.
        Cache = "cache",
        /// The node above, which is not the root of its tree.
        Parent = "parent",
        /// The root of the tree.
        Root = "root",
        /// Storage, asked by this node.
        Storage = "storage",
    }
}

/// How much is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Nothing.
    Off,
    /// Latencies, the course of time, tasks; no paths.
    Aggregate,
    /// And the N rows of paths that were asked for most, with a bounded error.
    Top(u32),
    /// And every path.
    Full,
}

impl Mode {
    /// As in a recording.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Off => "off",
            Mode::Aggregate => "aggregate",
            Mode::Top(_) => "top",
            Mode::Full => "full",
        }
    }
}

/// What `--profile`, `--observe` and `--snapshot-every` ask for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profiling {
    /// How much is recorded.
    pub mode: Mode,
    /// Whether the kernel must ask every question anew, so that all are seen.
    pub observe: bool,
    /// Between two snapshots; `None`: one at the end.
    pub snapshot_every: Option<Duration>,
}

impl Profiling {
    /// Nothing is recorded.
    pub const OFF: Profiling = Profiling { mode: Mode::Off, observe: false, snapshot_every: None };
}

/// When a question began; 0 if nothing is recorded.
#[derive(Debug, Clone, Copy)]
pub struct Began(pub(super) u64);

/// One answer.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// Number of the view.
    pub view: u16,
    /// The path beneath it.
    pub relative: &'a [u8],
    /// What was asked.
    pub operation: Operation,
    /// What was answered.
    pub outcome: Outcome,
    /// By whom.
    pub by: AnsweredBy,
    /// Bytes of content.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_serde_writes() {
        let written = |value: serde_json::Value| value.as_str().map(str::to_owned);
        for operation in Operation::ALL {
            assert_eq!(written(serde_json::json!(operation)).as_deref(), Some(operation.name()));
        }
        for outcome in Outcome::ALL {
            assert_eq!(written(serde_json::json!(outcome)).as_deref(), Some(outcome.name()));
        }
        for by in AnsweredBy::ALL {
            assert_eq!(written(serde_json::json!(by)).as_deref(), Some(by.name()));
        }
    }
}
