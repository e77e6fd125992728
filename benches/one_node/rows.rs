//! What is measured and what it must reach: the table of the benchmark, in the order in which it is printed.
//!
//! Not here: how it is measured (`speed`, `calls`, `memory`, `faults`).

use serde_json::Value;

use crate::ground::Ground;
use crate::{calls, faults, memory, speed};

/// Several rows that are measured together.
pub struct Measurement {
    /// What it is chosen by.
    pub name: &'static str,
    /// A line for people.
    pub what: &'static str,
    /// Does it; an error fails all its rows.
    pub measure: fn(&Ground) -> anyhow::Result<Vec<Figure>>,
}

/// The result of one row.
pub struct Figure {
    /// Which row.
    pub row: &'static str,
    /// Each measured value, in the unit of the row.
    pub samples: Vec<f64>,
    /// What native did meanwhile, and other figures worth having beside it.
    pub beside: Value,
}

/// One row of the table.
pub struct Row {
    /// Its name in the JSON.
    pub id: &'static str,
    /// The measurement it comes from.
    pub measurement: &'static str,
    /// What it says.
    pub what: &'static str,
    /// What its values are.
    pub unit: &'static str,
    /// What is asked of it.
    pub wanted: Wanted,
    /// Which of its samples are held against that.
    pub statistic: Statistic,
}

/// What a row must reach and what it should.
pub enum Wanted {
    /// Small is good: must, stretch.
    AtMost(f64, Option<f64>),
    /// Large is good: must.
    AtLeast(f64),
    /// Shown only.
    Nothing,
}

/// Which of the samples counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistic {
    /// The middle one.
    Median,
    /// The value below which a quarter lies: noise only ever makes a run slower.
    P25,
    /// The worst, for what must never happen.
    Max,
}

use Statistic::{Max, Median, P25};
use Wanted::{AtLeast, AtMost, Nothing};

/// Every measurement, cheap ones first.
pub const MEASUREMENTS: &[Measurement] = &[
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
    Measurement { name: "kill-w", what: "daemon killed during W", measure: faults::during_workload },
    Measurement {
        name: "kill-sums",
        what: "daemon killed during whole-tree checksums",
        measure: faults::during_checksums,
    },
];

/// A row without the field names, so that the table below reads as one.
const fn row(
    (measurement, id): (&'static str, &'static str),
    what: &'static str,
    unit: &'static str,
    wanted: Wanted,
    statistic: Statistic,
) -> Row {
    Row { id, measurement, what, unit, wanted, statistic }
}

/// Every row.
#[rustfmt::skip] // One row takes two lines: where it comes from and what it says, what is wanted.
pub const ROWS: &[Row] = &[
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
    row(("kill-w", "kill_w_wrong"), "killed -9 twenty times during W: runs that went otherwise than natively",
        "runs", AtMost(0.0, Some(0.0)), Max),
    row(("kill-w", "kill_w_stall"), "longest stall during those",
        "s", AtMost(1.0, Some(0.2)), Max),
    row(("kill-sums", "kill_sums_wrong"), "killed -9 twenty times during whole-tree checksums: wrong sums, errors",
        "files", AtMost(0.0, Some(0.0)), Max),
    row(("kill-sums", "kill_sums_stall"), "longest stall during those",
        "s", AtMost(1.0, Some(0.2)), Max),
];

impl Statistic {
    /// The sample that counts; `samples` must not be empty.
    pub fn of(self, samples: &[f64]) -> f64 {
        match self {
            Median => quantile(samples, 0.5),
            P25 => quantile(samples, 0.25),
            Max => quantile(samples, 1.0),
        }
    }

    /// Its name in the results.
    pub fn name(self) -> &'static str {
        match self {
            Median => "median",
            P25 => "p25",
            Max => "max",
        }
    }
}

impl Wanted {
    /// `stretch`, `must` or `missed`; `-` where nothing is wanted.
    pub fn verdict(&self, value: f64) -> &'static str {
        match *self {
            AtMost(_, Some(stretch)) if value <= stretch => "stretch",
            AtMost(must, _) if value <= must => "must",
            AtLeast(must) if value >= must => "must",
            Nothing => "-",
            _ => "missed",
        }
    }
}

/// The value below which `share` of the samples lie, between two samples by their distance.
pub fn quantile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}
