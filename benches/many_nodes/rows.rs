//! What is measured and what it must reach: the table of the benchmark, in the order in which it is printed.
//!
//! Not here: how it is measured.

use crate::ground::rows::Statistic::{Max, Median, P25};
use crate::ground::rows::Wanted::{AtLeast, AtMost, Nothing};
use crate::ground::rows::{Benchmark, Measurement, Row, row};
use crate::{content, daemons, faults, hops, import, inside, levels, libraries, links, resources};

/// Every measurement, cheap ones first.
const MEASUREMENTS: &[Measurement] = &[
    Measurement { name: "memory", what: "memory of daemons", measure: resources::memory },
    Measurement { name: "cpu", what: "CPU time of the daemons, storage warm", measure: resources::cpu },
    Measurement { name: "latency", what: "a listing over more and more levels", measure: levels::latency },
    Measurement { name: "connect", what: "512 daemons find each other", measure: daemons::connect },
    Measurement { name: "hops", what: "1 GiB down a chain of 8 daemons", measure: hops::throughput },
    Measurement { name: "links", what: "256 MiB over links of 100 MB/s", measure: links::throughput },
    Measurement {
        name: "chain",
        what: "1 GiB down a chain of 8",
        measure: |ground| content::large(ground, &content::CHAIN),
    },
    Measurement {
        name: "chain-kept",
        what: "1 GiB down a chain of 8 that can keep it",
        measure: |ground| content::large(ground, &content::CHAIN_KEPT),
    },
    Measurement {
        name: "tree",
        what: "1 GiB down a tree of 8",
        measure: |ground| content::large(ground, &content::TREE),
    },
    Measurement {
        name: "tree-kept",
        what: "1 GiB down a tree of 8 that can keep it",
        measure: |ground| content::large(ground, &content::TREE_KEPT),
    },
    Measurement {
        name: "fast",
        what: "W on 8 nodes and on one, fast stand-in",
        measure: |ground| import::cold(ground, &import::W_FAST),
    },
    Measurement {
        name: "slow",
        what: "W on 8 nodes and on one, slow stand-in",
        measure: |ground| import::cold(ground, &import::W_SLOW),
    },
    Measurement { name: "libraries", what: "500 shared libraries on 8 nodes", measure: libraries::import },
    Measurement {
        name: "torch",
        what: "import torch on 8 nodes and on one, slow stand-in",
        measure: |ground| import::cold(ground, &import::TORCH),
    },
    Measurement {
        name: "kills",
        what: "daemons killed during W on 8 nodes",
        measure: faults::during_workload,
    },
    Measurement {
        name: "kill-imports",
        what: "daemons killed during 200 random imports on 4 nodes",
        measure: faults::during_imports,
    },
    Measurement {
        name: "kill-sums",
        what: "daemons killed during whole-tree checksums on 4 nodes",
        measure: faults::during_checksums,
    },
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
    row(("slow", "one_slow"), "one node against one process on storage, slow",
        "ratio", AtMost(0.9, None), Median),
    row(("fast", "one_fast"), "one node against one process on storage, fast",
        "ratio", AtMost(1.0, None), Median),
    row(("torch", "torch_calls"), "`import torch`: metadata calls that reach storage, 8 nodes against 1, slow",
        "ratio", Nothing, Median),
    row(("torch", "torch_bytes"), "the same: bytes out of storage",
        "ratio", Nothing, Median),
    row(("torch", "torch_slowest"), "the same: slowest of 8 nodes against 8 processes on storage",
        "ratio", Nothing, Median),
    row(("torch", "torch_one"), "the same: one node against one process on storage",
        "ratio", Nothing, Median),
    row(("cpu", "cpu"), "CPU time of all daemons against the tasks' own",
        "ratio", AtMost(0.5, Some(0.25)), Median),
    row(("chain", "chain_bytes"), "1 GiB to 8 nodes in a chain: bytes out of storage",
        "times the file", AtMost(1.0, None), Max),
    row(("chain", "chain_speed"), "the same: throughput summed over all hops",
        "GB/s", Nothing, Median),
    row(("chain-kept", "chain_kept_bytes"), "1 GiB to 8 nodes in a chain, each with a cache of 1,200 MiB: bytes out of storage",
        "times the file", AtMost(1.0, None), Max),
    row(("chain-kept", "chain_kept_speed"), "the same: throughput summed over all hops",
        "GB/s", Nothing, Median),
    row(("tree", "tree_bytes"), "1 GiB to 8 nodes in a tree: bytes out of storage",
        "times the file", AtMost(1.0, None), Max),
    row(("tree", "tree_speed"), "the same: throughput summed over all hops",
        "GB/s", Nothing, Median),
    row(("tree-kept", "tree_kept_bytes"), "1 GiB to 8 nodes in a tree, each with a cache of 1,200 MiB: bytes out of storage",
        "times the file", AtMost(1.0, None), Max),
    row(("tree-kept", "tree_kept_speed"), "the same: throughput summed over all hops",
        "GB/s", Nothing, Median),
    row(("hops", "hops"), "1 GiB down a chain of 8 daemons to a client: throughput summed over all hops, against one TLS stream",
        "ratio of speeds", AtLeast(0.7), Median),
    row(("links", "links"), "256 MiB down a chain of 8 hosts to a reader on the last, links of 100 MB/s: throughput against the link",
        "ratio of speeds", AtLeast(0.85), Median),
    row(("connect", "connected"), "512 daemons: from the first start until the root has counted all, over proven connections",
        "s", AtMost(10.0, None), Max),
    row(("latency", "latency"), "added latency per level, listing cached at the root alone, median",
        "µs", AtMost(150.0, Some(60.0)), Median),
    row(("latency", "latency_p99"), "the same, 99th percentile",
        "µs", AtMost(1000.0, None), Median),
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
    row(("kill-imports", "kill_imports_wrong"), "killed -9 at random during 200 imports on 4 nodes: wrong results, errors",
        "lines", AtMost(0.0, Some(0.0)), Max),
    row(("kill-imports", "kill_imports_stall"), "longest stall of a reader during those",
        "s", Nothing, Max),
    row(("kill-sums", "kill_sums_wrong"), "killed -9 at random during whole-tree checksums on 4 nodes: wrong sums, errors",
        "files", AtMost(0.0, Some(0.0)), Max),
    row(("kill-sums", "kill_sums_stall"), "longest stall of a reader during those",
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
             [many-nodes.json](many-nodes.json).\nW is `{}`. All nodes and what is compared with \
             them share one machine with {} processors.\nSlow storage: 2 ms a call, 1 ms of one metadata server, 500 MB/s; \
             fast: 500 µs, 50 µs, 2 GB/s. Where an import meets storage each node, and each process that is compared with \
             it, has a mount of its own with a kernel cache of its own, so nothing is warm for one because of another.\n\
             The chain of 8 daemons has no mounts and so no readers: a ninth process asks the last daemon, and all nine share the processors, as the two ends of the TLS stream do. Hosts \
             with limited links are network namespaces (`tc` with tbf); a link's figure includes headers, 4 to 5 %.\n\
             `import torch` is torch 2.15.0 of PyPI with all it needs, 5 GB with the libraries for graphics \
             cards that its packages ask for.\n\n",
            machine["import"].as_str().unwrap_or_default(),
            machine["cpus"],
        )
    },
    rows: ROWS,
};
