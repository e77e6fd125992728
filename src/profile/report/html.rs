//! The report as one page.
//!
//! Not here: what stands in it (`sections`), how a page looks (`page`).

use super::sections::Section;
use super::{Cell, Report};
use crate::page::{self, Page};

/// The page.
pub(super) fn page(report: &Report) -> String {
    page::page(&Page {
        title: plain(&report.title),
        remarks: report.remarks.iter().map(|remark| plain(remark)).collect(),
        sections: report.sections.iter().map(section).collect(),
    })
}

fn section(section: &Section) -> page::Section {
    let cell =
        |cell: &Cell| page::Cell { shown: cell.shown(), plain: cell.plain(), is_number: cell.is_number() };
    page::Section {
        name: section.name,
        title: section.title,
        about: plain(&section.about),
        pictures: section.charts.iter().map(|chart| chart.svg(section.title)).collect(),
        columns: section.columns.iter().map(|name| (*name).to_owned()).collect(),
        rows: section.shown_rows().iter().map(|row| row.iter().map(cell).collect()).collect(),
    }
}

/// Without the marks of Markdown.
fn plain(text: &str) -> String {
    text.replace("**", "").replace('`', "")
}
