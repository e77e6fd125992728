//! Pictures of tables: SVG that is readable without colours, since every series has a pattern of its own in words and
//! greys of its own.
//!
//! Not here: the tables (`sections`), bars and the page around (`page`).

use maud::{Markup, html};

use super::Cell;
use super::course::Step;
use crate::page::{WIDTH, bars};
use crate::profile::recorder::event::AnsweredBy;
use crate::profile::totals::{OfNode, Sum, Totals, added_up};
use crate::text::time;

/// Heights of the highest column.
const HIGH: f64 = 200.0;
const LOW: f64 = 90.0;
/// Room for words above the columns.
const TOP: f64 = 20.0;
/// Room for the words at the left of a chart.
const LEFT: f64 = 90.0;
const BOTTOM: f64 = 28.0;

/// Greys that can be told apart, from the nearest source to the farthest.
const GREYS: [&str; 4] = ["#c8c8c8", "#969696", "#5a5a5a", "#111111"];

/// Width of a letter at most.
const LETTER: f64 = 8.0;

/// Columns of a picture at most.
const STEPS_MAX: usize = 240;

/// Parts of a column.
const SOURCES: usize = AnsweredBy::ALL.len();

/// A picture.
#[derive(Debug)]
pub enum Chart {
    /// One bar for each label.
    Bars {
        /// Label, value, and the value for people.
        bars: Vec<(String, u64, String)>,
        /// What the length of the bars means.
        axis: &'static str,
    },
    /// Columns of several series, one upon the other.
    Stacks(Stacks),
}

/// Columns.
#[derive(Debug)]
pub struct Stacks {
    /// Label of each column, and its parts: one for each source, as [`AnsweredBy::ALL`].
    columns: Vec<(String, Vec<u64>)>,
    /// What the columns stand beside each other for.
    axis: &'static str,
    /// What their height means.
    means: &'static str,
    /// The height for people.
    unit: fn(u64) -> Cell,
    /// Height of the highest, in units of the picture.
    height: f64,
}

impl Chart {
    /// The column `value` of `rows` by the column `label`; `None` if there is nothing to compare.
    pub(super) fn bars(rows: &[Vec<Cell>], label: usize, value: usize, axis: &'static str) -> Option<Self> {
        let number = |cell: &Cell| match cell {
            Cell::Count(n) | Cell::Bytes(n) | Cell::Time(n) => *n,
            _ => 0,
        };
        let bar = |row: &Vec<Cell>| (row[label].shown(), number(&row[value]), row[value].shown());
        (rows.len() > 1).then(|| Chart::Bars { bars: rows.iter().map(bar).collect(), axis })
    }

    /// A picture for each source, since few of its answers may be as many as all of another's: the first column of `rows`
    /// as labels, the others as counts.
    pub(super) fn by_source(rows: &[Vec<Cell>]) -> Vec<Self> {
        let part = |cell: &Cell| if let Cell::Count(n) = cell { *n } else { 0 };
        let of_source = |source: usize| {
            let parts = |row: &Vec<Cell>| {
                (0..SOURCES).map(|n| if n == source { part(&row[n + 1]) } else { 0 }).collect::<Vec<u64>>()
            };
            let columns: Vec<_> = rows.iter().map(|row| (row[0].shown(), parts(row))).collect();
            let any = columns.iter().any(|(_, parts)| parts[source] > 0);
            let (axis, means) = ("longest duration", "answers");
            (any && rows.len() > 1).then_some(Chart::Stacks(Stacks {
                columns,
                axis,
                means,
                unit: Cell::Count,
                height: LOW,
            }))
        };
        (0..SOURCES).filter_map(of_source).collect()
    }

    /// Answers over time, and how long tasks waited meanwhile.
    pub(super) fn course(steps: &[Step]) -> Vec<Self> {
        if steps.len() < 2 {
            return Vec::new();
        }
        let column = |parts: fn(&Step) -> Vec<u64>| {
            steps.iter().map(|step| (time(step.from_us * 1000), parts(step))).collect()
        };
        let axis = "since recording began";
        let answers = column(|step| step.answers.to_vec());
        // Waited for by anybody: drawn as what is farthest.
        let waited = column(|step| vec![0, 0, 0, step.waited_ns]);
        vec![
            Chart::Stacks(Stacks {
                columns: answers,
                axis,
                means: "answers",
                unit: Cell::Count,
                height: HIGH,
            }),
            Chart::Stacks(Stacks { columns: waited, axis, means: "waited", unit: Cell::Time, height: LOW }),
        ]
    }

    /// What each node was told and how long its tasks waited, by source, the highest first; of many nodes some, evenly
    /// chosen.
    pub(super) fn spread(totals: &Totals) -> Vec<Self> {
        let by = |value: fn(&Sum) -> u64| {
            let parts = |node: &OfNode| -> Vec<u64> {
                AnsweredBy::ALL.iter().map(|by| node.by.get(by).map_or(0, value)).collect()
            };
            let mut columns: Vec<_> =
                totals.nodes.iter().map(|((_, rank), node)| (rank.to_string(), parts(node))).collect();
            columns.sort_by_key(|(_, parts)| std::cmp::Reverse(added_up(parts.iter().copied())));
            let every = columns.len().div_ceil(STEPS_MAX).max(1);
            columns.into_iter().step_by(every).collect::<Vec<_>>()
        };
        let axis = "number of the node";
        let (answers, waited) = (by(|sum| sum.calls), by(|sum| sum.nanoseconds));
        let any = answers.iter().flat_map(|(_, parts)| parts).any(|part| *part > 0);
        if answers.len() < 2 || !any {
            return Vec::new();
        }
        vec![
            Chart::Stacks(Stacks {
                columns: answers,
                axis,
                means: "answers",
                unit: Cell::Count,
                height: LOW,
            }),
            Chart::Stacks(Stacks { columns: waited, axis, means: "waited", unit: Cell::Time, height: LOW }),
        ]
    }

    /// As SVG.
    pub(super) fn svg(&self, title: &str) -> Markup {
        match self {
            Chart::Bars { bars: all, axis } => {
                let bar = |(label, value, shown): &(String, u64, String)| {
                    (label.clone(), *value as f64, shown.clone())
                };
                bars(&all.iter().map(bar).collect::<Vec<_>>(), title, axis)
            }
            Chart::Stacks(stacks) => draw_stacks(stacks, title),
        }
    }
}

fn draw_stacks(stacks: &Stacks, title: &str) -> Markup {
    let Stacks { columns, axis, means, unit, height } = stacks;
    let foot = TOP + height;
    let most = columns.iter().map(|(_, parts)| added_up(parts.iter().copied())).max().unwrap_or(1).max(1);
    let width = (WIDTH - LEFT) / columns.len() as f64;
    let every = columns.len().div_ceil(8);
    let used: Vec<usize> = (0..SOURCES).filter(|n| columns.iter().any(|(_, parts)| parts[*n] > 0)).collect();
    // Waiting is nobody's answer, so it has no key.
    let keys = if *means == "waited" && used == [SOURCES - 1] { &[][..] } else { &used[..] };
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {}", foot + BOTTOM + 24.0)) role="img" aria-label=(format!("{title}: {means}")) {
            text x=(LEFT) y="12" { (means) }
            text x=(LEFT - 6.0) y=(TOP + 10.0) text-anchor="end" { (unit(most).shown()) }
            text x=(LEFT - 6.0) y=(foot) text-anchor="end" { "0" }
            line x1=(LEFT) y1=(foot) x2=(WIDTH) y2=(foot) class="axis" {}
            line x1=(LEFT) y1=(TOP) x2=(WIDTH) y2=(TOP) class="grid" {}
            line x1=(LEFT) y1=(TOP + height / 2.0) x2=(WIDTH) y2=(TOP + height / 2.0) class="grid" {}
            @for (place, (label, parts)) in columns.iter().enumerate() {
                @let x = LEFT + width * place as f64;
                @for (n, (y, tall)) in stacked(parts, most, *height).into_iter().enumerate() {
                    @if tall > 0.0 {
                        rect x=(format!("{x:.1}")) y=(format!("{y:.1}")) width=(format!("{:.1}", (width - 0.5).max(0.5)))
                            height=(format!("{tall:.1}")) fill=(GREYS[n]) {}
                    }
                }
                @let (at, half) = (x + width / 2.0, LETTER / 2.0 * label.chars().count() as f64);
                @if place % every == 0 && at + half <= WIDTH {
                    text x=(format!("{at:.1}")) y=(foot + 16.0) text-anchor="middle" { (label) }
                }
            }
            text x=(WIDTH) y=(foot + BOTTOM + 14.0) text-anchor="end" { (axis) }
            @for (place, n) in keys.iter().enumerate() {
                @let x = LEFT + 110.0 * place as f64;
                rect x=(x) y=(foot + BOTTOM + 3.0) width="12" height="12" fill=(GREYS[*n]) class="key" {}
                text x=(x + 18.0) y=(foot + BOTTOM + 14.0) { (AnsweredBy::ALL[*n].name()) }
            }
        }
    }
}

/// Upper edge and height of each part.
fn stacked(parts: &[u64], most: u64, height: f64) -> Vec<(f64, f64)> {
    let mut top = TOP + height;
    let place = |part: &u64| {
        let tall = height * *part as f64 / most as f64;
        top -= tall;
        (top, tall)
    };
    parts.iter().map(place).collect()
}
