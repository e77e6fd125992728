//! The report as one page.
//!
//! Not here: what stands in it (`sections`), how a page looks (`page`).

use super::sections::Section;
use super::{Cell, Report};
use crate::page::{self, Page};

/// Rows that a page has of a table at most: the course of a long run has thousands, which the picture and the CSV have.
const ROWS_MAX: usize = 200;

/// The page.
pub(super) fn page(report: &Report) -> String {
    page::page(&Page {
        title: plain(&report.title),
        remarks: report.remarks.iter().map(|remark| plain(remark)).collect(),
        sections: report.sections.iter().map(section).collect(),
    })
}

fn section(section: &Section) -> page::Section {
    let is_long = section.rows.len() > ROWS_MAX;
    let cell =
        |cell: &Cell| page::Cell { shown: cell.shown(), plain: cell.plain(), is_number: cell.is_number() };
    page::Section {
        name: section.name,
        title: section.title,
        about: plain(&section.about),
        picture: section.chart.as_ref().map(|chart| chart.svg(section.title)),
        columns: section.columns.iter().map(|name| (*name).to_owned()).collect(),
        rows: section.rows.iter().map(|row| row.iter().map(cell).collect()).collect(),
        instead: is_long.then(|| format!("{} rows: see {}.csv", section.rows.len(), section.name)),
    }
}

/// Without the marks of Markdown.
fn plain(text: &str) -> String {
    text.replace("**", "").replace('`', "")
}
