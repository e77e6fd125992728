//! An import cut into portions that a task needs one after another, each in the shards that the real shape gives it.
//!
//! A portion is a directory's worth of questions; where the import has large files, every few portions one of them
//! comes along, a part for each stripe. All portions of a kind are equal: real imports are not that even.

use spinney::file::{BLOCK_BYTES, BlockIndex, FilePath, ViewId};
use spinney::tree::{STRIPE_BLOCKS, Shape, Shard};

use crate::figures::{CALLS_UNDER_WAY, DIRECTORIES, Import, Nanos, PER_REQUEST};

/// What is asked for and passed on as one.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    pub shard: Shard,
    /// At storage.
    pub calls: f64,
    pub bytes: f64,
    /// Calls under way at the same time.
    pub under_way: f64,
    /// Between nodes.
    pub questions: f64,
    pub waited_for: f64,
    pub wire_bytes: f64,
}

pub struct Workload {
    pub parts: Vec<Part>,
    /// For each portion its first part and the one after its last.
    pub portions: Vec<(usize, usize)>,
    /// What task, kernel and daemon need for one portion that is there.
    pub task: Nanos,
}

impl Workload {
    /// The import as each node does it when all ask storage.
    pub fn direct(import: &Import, n_portions: usize) -> Self {
        let share = 1.0 / n_portions as f64;
        let part = Part {
            shard: Shard::new(0),
            calls: import.direct_calls * share,
            bytes: import.direct_bytes * share,
            under_way: 1.0,
            questions: 0.0,
            waited_for: 0.0,
            wire_bytes: 0.0,
        };
        Workload {
            parts: vec![part; n_portions],
            portions: (0..n_portions).map(|number| (number, number + 1)).collect(),
            task: import.task / n_portions as u64,
        }
    }

    /// The import as each node does it through Spinney.
    pub fn shared(import: &Import, shape: &Shape, n_portions: usize) -> Self {
        let share = 1.0 / n_portions as f64;
        let further_roots = shape.shards().count() as f64 - 1.0;
        let directories = DIRECTORIES * (import.calls / crate::figures::W.calls);
        let task = (import.task + (import.requests * PER_REQUEST as f64) as u64) / n_portions as u64;
        let mut workload = Workload { parts: Vec::new(), portions: Vec::new(), task };
        for number in 0..n_portions {
            let first = workload.parts.len();
            let path = format!("lib/python3.11/site-packages/package{number}");
            let directory = FilePath::from_relative(ViewId::new(0), path.as_bytes());
            workload.parts.push(Part {
                shard: shape.shard_of_names(&directory),
                calls: (import.calls + further_roots * directories) * share,
                bytes: import.bytes * (1.0 - import.large_share) * share,
                under_way: CALLS_UNDER_WAY,
                questions: import.questions * share,
                waited_for: import.waited_for * share,
                wire_bytes: import.wire_bytes * (1.0 - import.large_share) * share,
            });
            // Evenly spread: the portion in which the next large file becomes due.
            let due = |number: usize| number * import.large_files / n_portions;
            (due(number)..due(number + 1)).for_each(|_| workload.add_large(import, shape, &directory));
            workload.portions.push((first, workload.parts.len()));
        }
        workload
    }

    /// Adds a large file, stripe by stripe. Its questions are among those of its directory.
    fn add_large(&mut self, import: &Import, shape: &Shape, directory: &FilePath) {
        let file = directory.join(b"library.so");
        let share = import.large_share / import.large_files as f64;
        let stripe = (STRIPE_BLOCKS * BLOCK_BYTES) as f64;
        let stripes = (import.wire_bytes * share / stripe).ceil().max(1.0);
        for number in 0..stripes as u64 {
            self.parts.push(Part {
                shard: shape.shard_of_block(&file, BlockIndex(number * STRIPE_BLOCKS)),
                calls: 1.0,
                bytes: import.bytes * share / stripes,
                under_way: 1.0,
                questions: 1.0,
                waited_for: 1.0,
                wire_bytes: import.wire_bytes * share / stripes,
            });
        }
    }
}
