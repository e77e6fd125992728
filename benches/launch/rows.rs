//! What is measured and what it must reach: the table of the benchmark, in the order in which it is printed.
//!
//! Not here: how it is measured.

use crate::ground::rows::Statistic::Median;
use crate::ground::rows::Wanted::{AtMost, Nothing};
use crate::ground::rows::{Benchmark, Measurement, Row, row};
use crate::{import, service, step};

/// Every measurement, cheap ones first.
const MEASUREMENTS: &[Measurement] = &[
    Measurement { name: "step", what: "`true` in 32 tasks on 8 nodes", measure: step::launch },
    Measurement { name: "up-8", what: "`spinney up` on 8 nodes", measure: service::on_8 },
    Measurement { name: "up-64", what: "`spinney up` on 64 nodes", measure: service::on_64 },
    Measurement { name: "import", what: "W in 32 tasks on 8 nodes, slow stand-in", measure: import::cold },
];

/// Every row.
#[rustfmt::skip] // One row takes two lines: where it comes from and what it says, what is wanted.
const ROWS: &[Row] = &[
    row(("step", "step"), "`srun -N8 -n32 spinney run -- true` with a view, longer than without Spinney by",
        "s", AtMost(0.6, Some(0.2)), Median),
    row(("step", "step_bare"), "the same as it stands, which finds nothing to show",
        "s", AtMost(0.6, Some(0.2)), Median),
    row(("up-8", "up_8"), "`spinney up` in an allocation of 8 nodes until all are ready",
        "s", AtMost(2.0, Some(0.5)), Median),
    row(("up-8", "down_8"), "`spinney down` there",
        "s", Nothing, Median),
    row(("up-64", "up_64"), "`spinney up` in an allocation of 64 nodes until all are ready",
        "s", AtMost(8.0, Some(3.0)), Median),
    row(("up-64", "down_64"), "`spinney down` there",
        "s", Nothing, Median),
    row(("import", "calls"), "W, 32 tasks on 8 nodes against one task on one: metadata calls that reach storage",
        "ratio", AtMost(1.05, Some(1.0)), Median),
    row(("import", "bytes"), "the same: bytes out of storage",
        "ratio", Nothing, Median),
    row(("import", "slowest"), "W, 32 tasks on 8 nodes: until the slowest has ended, against the same without Spinney",
        "ratio", AtMost(0.4, Some(0.2)), Median),
];

/// The table.
pub const BENCHMARK: Benchmark = Benchmark {
    name: "launch",
    about: "Measure Spinney under a Slurm of this machine",
    measurements: MEASUREMENTS,
    pairs: 5,
    inside: |_| anyhow::bail!("nothing of this benchmark runs within a view"),
    file: "launch",
    introduction: |machine| {
        format!(
            "# Launching under Slurm\n\nWritten by `make bench`; samples and the machine of each row are in [launch.json](launch.json).\n\
             Slurm 22.05 with a slurmd on each of 8 hosts of namespaces (64 for one row), which share this machine's {} \
             processors; jobs are an ordinary user's. Steps have four tasks on each host, and what is compared takes turns. \
             W is `{}`; its storage is the slow stand-in: 2 ms a call, 1 ms of one metadata server, 500 MB/s, with a \
             mount and a kernel cache of its own for each host, cold. The machine's load when this began was {}.\n\n",
            machine["cpus"],
            machine["import"].as_str().unwrap_or_default(),
            machine["load"].as_str().and_then(|load| load.split(' ').next()).unwrap_or("not told"),
        )
    },
    rows: ROWS,
};
