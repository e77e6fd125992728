//! What is measured and what it must reach: the table of the benchmark, in the order in which it is printed.
//!
//! Not here: how it is measured (`speed`, `calls`, `memory`, `profiling`, `faults`).

use crate::ground::rows::Statistic::{Max, Median, P25};
use crate::ground::rows::Wanted::{AtLeast, AtMost, Nothing};
use crate::ground::rows::{Benchmark, Measurement, Row, row};
use crate::{calls, faults, inside, memory, profiling, speed};

/// Every measurement, cheap ones first.
const MEASUREMENTS: &[Measurement] = &[
    Measurement { name: "start", what: "`spinney run -- true` against `true`", measure: speed::start },
    Measurement { name: "requests", what: "FUSE requests for W", measure: calls::requests },
    Measurement {
        name: "requests-32",
        what: "FUSE requests of 32 processes at once",
        measure: calls::requests_at_once,
    },
    Measurement { name: "warm", what: "W, storage warm below", measure: speed::warm },
    Measurement {
        name: "cold-200us",
        what: "W, cold, 200 µs a call",
        measure: |ground| speed::cold(ground, &speed::FAST),
    },
    Measurement {
        name: "cold-2ms",
        what: "W, cold, 2 ms a call",
        measure: |ground| speed::cold(ground, &speed::SLOW),
    },
    Measurement {
        name: "cold-queue",
        what: "W, cold, 2 ms a call and a queue of 1 ms a call",
        measure: |ground| speed::cold(ground, &speed::QUEUED),
    },
    Measurement {
        name: "cold-load",
        what: "the same while others keep the queue full",
        measure: |ground| speed::cold(ground, &speed::LOADED),
    },
    Measurement { name: "sequential", what: "1 GiB read from front to back", measure: speed::sequential },
    Measurement { name: "memory-w", what: "memory after W", measure: memory::after_workload },
    Measurement {
        name: "memory-walk",
        what: "memory after a walk of 200,000 files",
        measure: memory::after_walk,
    },
    Measurement {
        name: "profile",
        what: "processor time of the daemon over W with each mode of recording",
        measure: profiling::cost,
    },
    Measurement { name: "kill-w", what: "daemon killed during W", measure: faults::during_workload },
    Measurement {
        name: "kill-sums",
        what: "daemon killed during whole-tree checksums",
        measure: faults::during_checksums,
    },
];

/// Every row.
#[rustfmt::skip] // One row takes two lines: where it comes from and what it says, what is wanted.
const ROWS: &[Row] = &[
    row(("requests", "requests_first"), "FUSE requests for W, first process",
        "requests", AtMost(4000.0, Some(2500.0)), Max),
    row(("requests", "requests_first_rest"), "the same without the ioctls that Python makes for each file it opens",
        "requests", AtMost(4000.0, Some(2500.0)), Max),
    row(("requests", "requests_second"), "FUSE requests for W, second process",
        "requests", AtMost(0.0, Some(0.0)), Max),
    row(("requests", "requests_second_rest"), "the same without those ioctls",
        "requests", AtMost(0.0, Some(0.0)), Max),
    row(("requests-32", "requests_32"), "FUSE requests, 32 processes at once, cold",
        "requests", AtMost(4200.0, None), Max),
    row(("requests-32", "requests_32_rest"), "the same without those ioctls",
        "requests", AtMost(4200.0, None), Max),
    row(("warm", "warm_first"), "wall of W against native, storage warm below, first process, whole command",
        "ratio", AtMost(1.25, Some(1.10)), P25),
    row(("warm", "warm_first_inside"), "the same, without starting and ending Spinney",
        "ratio", Nothing, P25),
    row(("warm", "warm_second"), "wall of W against native, storage warm below, second process",
        "ratio", AtMost(1.05, Some(1.02)), P25),
    row(("cold-200us", "cold_200us"), "wall of first W, cold stand-in, 200 µs a call",
        "ratio", AtMost(0.85, Some(0.6)), Median),
    row(("cold-2ms", "cold_2ms"), "wall of first W, cold stand-in, 2 ms a call",
        "ratio", AtMost(0.7, Some(0.25)), Median),
    row(("cold-queue", "cold_queue"), "wall of first W, cold stand-in, 2 ms and a queue of 1 ms a call",
        "ratio", AtMost(0.9, Some(0.5)), Median),
    row(("cold-load", "cold_load"), "the same while another client keeps the queue full",
        "ratio", AtMost(1.05, Some(0.9)), Median),
    row(("cold-200us", "calls_200us"), "storage metadata calls for that first W against native's, 200 µs",
        "ratio", AtMost(2.0, Some(1.1)), Max),
    row(("cold-2ms", "calls_2ms"), "storage metadata calls for that first W against native's, 2 ms",
        "ratio", AtMost(2.0, Some(1.1)), Max),
    row(("cold-queue", "calls_queue"), "storage metadata calls for that first W against native's, queue",
        "ratio", AtMost(2.0, Some(1.1)), Max),
    row(("cold-load", "calls_load"), "storage metadata calls for that first W against native's, queue full",
        "ratio", AtMost(2.0, Some(1.1)), Max),
    row(("sequential", "read_first"), "1 GiB sequential read against tmpfs, first touch",
        "ratio of speeds", AtLeast(0.4), Median),
    row(("sequential", "read_second"), "1 GiB sequential read against tmpfs, second touch",
        "ratio of speeds", AtLeast(0.8), Median),
    row(("memory-w", "memory_w"), "resident memory of holder and daemon after W, 16 MiB of cache",
        "MB", AtMost(40.0, None), Max),
    row(("memory-walk", "memory_walk"), "the same after a walk of 200,000 files",
        "MB", AtMost(170.0, None), Max),
    row(("start", "start"), "`spinney run -- true` with a view, more than `true`",
        "ms", AtMost(60.0, Some(15.0)), Median),
    row(("start", "start_no_view"), "the same without naming a view",
        "ms", Nothing, Median),
    row(("profile", "profile_aggregate"), "processor time of the daemon over W, `--profile aggregate` against `off`",
        "ratio", AtMost(1.02, None), Median),
    row(("profile", "profile_top"), "the same with `--profile top=1000`",
        "ratio", AtMost(1.02, None), Median),
    row(("profile", "profile_aggregate_observed"), "the same with `aggregate`, all accesses seen: `--observe` in both",
        "ratio", Nothing, Median),
    row(("profile", "profile_top_observed"), "the same with `top=1000`, all accesses seen",
        "ratio", Nothing, Median),
    row(("profile", "profile_full"), "the same with `full`, against `--observe` alone",
        "ratio", AtMost(1.02, None), Median),
    row(("kill-w", "kill_w_wrong"), "killed -9 twenty times during W: runs that went otherwise than natively",
        "runs", AtMost(0.0, Some(0.0)), Max),
    row(("kill-w", "kill_w_stall"), "longest stall during those",
        "s", AtMost(1.0, Some(0.2)), Max),
    row(("kill-sums", "kill_sums_wrong"), "killed -9 twenty times during whole-tree checksums: wrong sums, errors",
        "files", AtMost(0.0, Some(0.0)), Max),
    row(("kill-sums", "kill_sums_stall"), "longest stall during those",
        "s", AtMost(1.0, Some(0.2)), Max),
];

/// The table.
pub const BENCHMARK: Benchmark = Benchmark {
    name: "one_node",
    about: "Measure Spinney on one node against native",
    measurements: MEASUREMENTS,
    pairs: 9,
    inside: inside::run,
    file: "one-node",
    introduction: |machine| {
        format!(
            "# One node\n\nWritten by `make bench`; samples, calls of each kind and the machine of each row are in \
             [one-node.json](one-node.json).\nW is `{}` from a tree of {} entries that holds its own CPython. Ratios \
             are Spinney's figure by native's, taken in turns.\n\n",
            machine["import"].as_str().unwrap_or_default(),
            machine["entries"],
        )
    },
    rows: ROWS,
};
