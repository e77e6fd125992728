//! What a benchmark consists of: measurements, the rows they fill, what each row must reach.
//!
//! Not here: which there are (`rows` of each benchmark), how results are written (`report`).

use std::process::ExitCode;

use serde_json::Value;

use super::Ground;

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

/// A program of measurements with one table.
pub struct Benchmark {
    /// What it is called.
    pub name: &'static str,
    /// A line for people.
    pub about: &'static str,
    /// Every measurement, in the order in which they are made.
    pub measurements: &'static [Measurement],
    /// How often the two that are compared take turns, unless it is said.
    pub pairs: usize,
    /// What runs within a view: this program with `inside` and these words.
    pub inside: fn(&[String]) -> anyhow::Result<ExitCode>,
    /// What its files are called, without their endings.
    pub file: &'static str,
    /// What stands above the table.
    pub introduction: fn(&Value) -> String,
    /// Its rows, in order.
    pub rows: &'static [Row],
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

/// A row without the field names, so that a table of them reads as one.
pub const fn row(
    (measurement, id): (&'static str, &'static str),
    what: &'static str,
    unit: &'static str,
    wanted: Wanted,
    statistic: Statistic,
) -> Row {
    Row { id, measurement, what, unit, wanted, statistic }
}

impl Statistic {
    /// The sample that counts; `samples` must not be empty.
    pub fn of(self, samples: &[f64]) -> f64 {
        match self {
            Statistic::Median => quantile(samples, 0.5),
            Statistic::P25 => quantile(samples, 0.25),
            Statistic::Max => quantile(samples, 1.0),
        }
    }

    /// Its name in the results.
    pub fn name(self) -> &'static str {
        match self {
            Statistic::Median => "median",
            Statistic::P25 => "p25",
            Statistic::Max => "max",
        }
    }
}

impl Wanted {
    /// `stretch`, `must` or `missed`; `-` where nothing is wanted.
    pub fn verdict(&self, value: f64) -> &'static str {
        match *self {
            Wanted::AtMost(_, Some(stretch)) if value <= stretch => "stretch",
            Wanted::AtMost(must, _) if value <= must => "must",
            Wanted::AtLeast(must) if value >= must => "must",
            Wanted::Nothing => "-",
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
