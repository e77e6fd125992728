//! What is measured and what it must reach: the table of the benchmark, in the order in which it is printed.
//!
//! Not here: how it is measured (`import`, `content`, `resources`), what cannot be measured without links of a limited
//! speed and without daemons that have no mount.

use crate::ground::rows::Statistic::{Max, Median, P25};
use crate::ground::rows::Wanted::{AtMost, Nothing};
use crate::ground::rows::{Benchmark, Measurement, Row, row};
use crate::{content, import, inside, libraries, resources};

/// Nodes of each cluster.
pub const NODES: usize = 8;

/// Every measurement, cheap ones first.
const MEASUREMENTS: &[Measurement] = &[
    Measurement { name: "memory", what: "memory of daemons", measure: resources::memory },
    Measurement { name: "cpu", what: "CPU time of the daemons, storage warm", measure: resources::cpu },
    Measurement { name: "latency", what: "a listing over more and more levels", measure: content::latency },
    Measurement {
        name: "chain",
        what: "1 GiB down a chain of 8",
        measure: |ground| content::large(ground, &content::CHAIN),
    },
    Measurement {
        name: "tree",
        what: "1 GiB down a tree of 8",
        measure: |ground| content::large(ground, &content::TREE),
    },
    Measurement {
        name: "fast",
        what: "W on 8 nodes, fast stand-in",
        measure: |ground| import::cold(ground, &import::FAST),
    },
    Measurement {
        name: "slow",
        what: "W on 8 nodes, slow stand-in",
        measure: |ground| import::cold(ground, &import::SLOW),
    },
    Measurement { name: "libraries", what: "500 shared libraries on 8 nodes", measure: libraries::import },
    Measurement { name: "kills", what: "daemons killed during W on 8 nodes", measure: resources::kills },
];

/// Every row.
#[rustfmt::skip] // One row takes two lines: where it comes from and what it says, what is wanted.
const ROWS: &[Row] = &[
    row(("slow", "calls_slow"), "metadata calls that reach storage, 8 nodes against 1, slow",
        "ratio", AtMost(1.02, Some(1.0)), Median),
    row(("slow", "bytes_slow"), "bytes out of storage, 8 nodes against 1, slow",
        "ratio", AtMost(1.02, Some(1.0)), Median),
    row(("fast", "calls_fast"), "metadata calls that reach storage, 8 nodes against 1, fast",
        "ratio", AtMost(1.02, Some(1.0)), Median),
    row(("fast", "bytes_fast"), "bytes out of storage, 8 nodes against 1, fast",
        "ratio", AtMost(1.02, Some(1.0)), Median),
    row(("slow", "slowest_slow"), "slowest of 8 nodes against 8 processes on storage, slow",
        "ratio", AtMost(0.4, Some(0.2)), Median),
    row(("fast", "slowest_fast"), "slowest of 8 nodes against 8 processes on storage, fast",
        "ratio", AtMost(1.2, Some(0.9)), Median),
    row(("cpu", "cpu"), "CPU time of all daemons against the tasks' own",
        "ratio", AtMost(0.5, Some(0.25)), Median),
    row(("chain", "chain_bytes"), "1 GiB to 8 nodes in a chain: bytes out of storage",
        "times the file", AtMost(1.0, None), Max),
    row(("chain", "chain_speed"), "the same: throughput summed over all hops",
        "GB/s", Nothing, Median),
    row(("tree", "tree_bytes"), "1 GiB to 8 nodes in a tree: bytes out of storage",
        "times the file", AtMost(1.0, None), Max),
    row(("tree", "tree_speed"), "the same: throughput summed over all hops",
        "GB/s", Nothing, Median),
    row(("latency", "latency"), "added latency per level, cached listing",
        "µs", AtMost(150.0, Some(60.0)), Median),
    row(("memory", "memory_idle"), "resident memory of an idle daemon",
        "MB", AtMost(12.0, Some(6.0)), Max),
    row(("memory", "memory_import"), "resident memory of a daemon after W, 16 MiB of cache",
        "MB", AtMost(50.0, Some(30.0)), Max),
    row(("libraries", "libraries"), "500 libraries: slowest of 8 nodes against 8 processes, slow",
        "ratio", Nothing, Median),
    row(("libraries", "libraries_time"), "the same: module import time of the slowest node",
        "s", Nothing, P25),
    row(("kills", "kills_wrong"), "daemons killed -9 during W: runs that failed",
        "runs", AtMost(0.0, Some(0.0)), Max),
    row(("kills", "kills_slowest"), "the same: the longest run, the usual one beside it",
        "s", Nothing, Max),
];

/// The table.
pub const BENCHMARK: Benchmark = Benchmark {
    name: "many_nodes",
    about: "Measure Spinney on many nodes of this machine",
    measurements: MEASUREMENTS,
    pairs: 3,
    inside: inside::run,
    file: "many-nodes",
    introduction: |machine| {
        format!(
            "# Many nodes\n\nWritten by `make bench`; samples and the machine of each row are in \
             [many-nodes.json](many-nodes.json).\nW is `{}`. Nodes are `--local-nodes` of one machine with {} \
             processors, and all of them and what is compared with them use these. Slow storage: 2 ms a call, 1 ms of one \
             metadata server, 500 MB/s; fast: 500 µs, 50 µs, 2 GB/s.\nNot measured here: links of a limited speed, and \
             512 daemons without mounts, for which there is no such mode.\n\n",
            machine["import"].as_str().unwrap_or_default(),
            machine["cpus"],
        )
    },
    rows: ROWS,
};
