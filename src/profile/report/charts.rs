//! Pictures of tables: SVG that is readable without colours, since every series has a pattern of its own in words and
//! greys of its own.
//!
//! Not here: the tables (`sections`), bars and the page around (`page`).

use maud::{Markup, html};

use super::Cell;
use crate::page::bars;
use crate::profile::totals::Totals;
use crate::text::time;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 220.0;
/// Room for the words at the left of a chart.
const LEFT: f64 = 90.0;
const BOTTOM: f64 = 28.0;

/// Greys that can be told apart, from the nearest source to the farthest.
const GREYS: [&str; 4] = ["#c8c8c8", "#969696", "#5a5a5a", "#111111"];

/// Steps that a course is drawn with at most.
const STEPS_MAX: usize = 240;

/// A picture.
#[derive(Debug)]
pub enum Chart {
    /// One bar for each label.
    Bars(Vec<(String, u64, String)>),
    /// Columns of several series, one upon the other; and the names of the series.
    Stacks {
        /// Label of each column, and its parts.
        columns: Vec<(String, Vec<u64>)>,
        /// Names of the parts.
        series: Vec<&'static str>,
        /// What the width of the columns means.
        axis: &'static str,
    },
}

impl Chart {
    /// The column `value` of `rows` by the column `label`; `None` if there is nothing to compare.
    pub(super) fn bars(rows: &[Vec<Cell>], label: usize, value: usize) -> Option<Self> {
        let number = |cell: &Cell| match cell {
            Cell::Count(n) | Cell::Bytes(n) | Cell::Time(n) => *n,
            _ => 0,
        };
        let bar = |row: &Vec<Cell>| (row[label].shown(), number(&row[value]), row[value].shown());
        (rows.len() > 1).then(|| Chart::Bars(rows.iter().map(bar).collect()))
    }

    /// The first column of `rows` as labels, the others as `series`.
    pub(super) fn stacks(rows: &[Vec<Cell>], series: &[&'static str]) -> Option<Self> {
        let part = |cell: &Cell| if let Cell::Count(n) = cell { *n } else { 0 };
        let column = |row: &Vec<Cell>| (row[0].shown(), row[1..].iter().map(part).collect());
        let columns = rows.iter().map(column).collect();
        let axis = "longest duration";
        (rows.len() > 1).then(|| Chart::Stacks { columns, series: series.to_vec(), axis })
    }

    /// Answers over time, in steps of equal length.
    pub(super) fn course(totals: &Totals) -> Option<Self> {
        let end = totals.times.keys().map(|(_, until)| *until).max()?;
        // The finest bins reach 10 s; what follows is coarser, and a step must not be finer.
        let widest = totals.times.keys().map(|(from, until)| until - from).max()?;
        let step = widest.max(end.div_ceil(STEPS_MAX as u64)).div_ceil(widest) * widest;
        let steps = end.div_ceil(step) as usize;
        let mut columns: Vec<(String, Vec<u64>)> =
            (0..steps).map(|n| (time(n as u64 * step * 1000), vec![0; 4])).collect();
        for ((from, _), (answers, _)) in &totals.times {
            let (_, parts) = &mut columns[((from / step) as usize).min(steps - 1)];
            parts.iter_mut().zip(answers).for_each(|(part, more)| *part += more);
        }
        let series = vec!["cache", "parent", "root", "storage"];
        (steps > 1).then_some(Chart::Stacks { columns, series, axis: "since recording began" })
    }

    /// As SVG.
    pub(super) fn svg(&self, title: &str) -> Markup {
        match self {
            Chart::Bars(all) => {
                let bar = |(label, value, shown): &(String, u64, String)| {
                    (label.clone(), *value as f64, shown.clone())
                };
                bars(&all.iter().map(bar).collect::<Vec<_>>(), title, "")
            }
            Chart::Stacks { columns, series, axis } => draw_stacks(columns, series, axis, title),
        }
    }
}

fn draw_stacks(columns: &[(String, Vec<u64>)], series: &[&'static str], axis: &str, title: &str) -> Markup {
    let most = columns.iter().map(|(_, parts)| parts.iter().sum::<u64>()).max().unwrap_or(1).max(1);
    let width = (WIDTH - LEFT) / columns.len() as f64;
    let every = columns.len().div_ceil(8);
    let used: Vec<usize> =
        (0..series.len()).filter(|n| columns.iter().any(|(_, parts)| parts[*n] > 0)).collect();
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {}", HEIGHT + BOTTOM + 24.0)) role="img" aria-label=(title) {
            text x=(LEFT - 6.0) y="12" text-anchor="end" { (Cell::Count(most).shown()) }
            text x=(LEFT - 6.0) y=(HEIGHT) text-anchor="end" { "0" }
            line x1=(LEFT) y1=(HEIGHT) x2=(WIDTH) y2=(HEIGHT) class="axis" {}
            @for (place, (label, parts)) in columns.iter().enumerate() {
                @let x = LEFT + width * place as f64;
                @for (n, (y, height)) in stacked(parts, most).into_iter().enumerate() {
                    @if height > 0.0 {
                        rect x=(format!("{x:.1}")) y=(format!("{y:.1}")) width=(format!("{:.1}", (width - 0.5).max(0.5)))
                            height=(format!("{height:.1}")) fill=(GREYS[n]) {}
                    }
                }
                @if place % every == 0 {
                    text x=(format!("{x:.1}")) y=(HEIGHT + 16.0) { (label) }
                }
            }
            text x=(WIDTH) y=(HEIGHT + BOTTOM + 14.0) text-anchor="end" { (axis) }
            @for (place, n) in used.iter().enumerate() {
                @let x = LEFT + 110.0 * place as f64;
                rect x=(x) y=(HEIGHT + BOTTOM + 3.0) width="12" height="12" fill=(GREYS[*n]) class="key" {}
                text x=(x + 18.0) y=(HEIGHT + BOTTOM + 14.0) { (series[*n]) }
            }
        }
    }
}

/// Upper edge and height of each part.
fn stacked(parts: &[u64], most: u64) -> Vec<(f64, f64)> {
    let mut top = HEIGHT;
    let place = |part: &u64| {
        let height = (HEIGHT - 14.0) * *part as f64 / most as f64;
        top -= height;
        (top, height)
    };
    parts.iter().map(place).collect()
}
