//! What recordings say, for people and for programs: the same sections as Markdown, HTML, CSV, JSON and Parquet.
//!
//! Not here: adding up (`totals`), the sections themselves (`sections`).

mod cell;
mod charts;
mod course;
mod html;
mod parquet;
pub mod sections;

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

pub use self::cell::Cell;
use self::sections::Section;
use crate::text::csv;

/// Version of the JSON; it changes when a field changes its meaning or goes.
const SCHEMA: u32 = 1;

/// All sections, about one run or several.
#[derive(Debug)]
pub struct Report {
    /// What it is about.
    pub title: String,
    /// What is to be known before reading on, such as what is missing.
    pub remarks: Vec<String>,
    /// In the order of reading.
    pub sections: Vec<Section>,
}

impl Report {
    /// As Markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!("# {}\n\n", self.title);
        for remark in &self.remarks {
            let _ = writeln!(text, "- {remark}");
        }
        for section in &self.sections {
            let _ = writeln!(text, "\n## {}", section.title);
            if !section.about.is_empty() {
                let _ = write!(text, "\n{}\n", section.about);
            }
            if !section.shown_rows().is_empty() {
                text.push('\n');
                markdown_table(&mut text, section);
            }
        }
        text
    }

    /// As one object: the rows of each section by the names of the columns.
    pub fn json(&self) -> Value {
        let row = |section: &Section, row: &Vec<Cell>| -> Value {
            let fields = section.columns.iter().zip(row).map(|(name, cell)| (field_name(name), cell.json()));
            fields.collect::<Map<_, _>>().into()
        };
        let rows =
            |section: &Section| -> Value { section.rows.iter().map(|one| row(section, one)).collect() };
        let sections: Map<String, Value> =
            self.sections.iter().map(|section| (section.name.replace('-', "_"), rows(section))).collect();
        json!({ "schema": SCHEMA, "kind": "profile", "title": self.title, "remarks": self.remarks, "sections": sections })
    }

    /// The sections that are tables.
    pub fn tables(&self) -> impl Iterator<Item = &Section> {
        self.sections.iter().filter(|section| !section.rows.is_empty())
    }

    /// As one page that needs nothing else.
    pub fn html(&self) -> String {
        html::page(self)
    }
}

fn markdown_table(text: &mut String, section: &Section) {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    text.push_str(&line(section.columns.iter().map(|name| (*name).to_owned()).collect()));
    let numeric = |column: usize| section.shown_rows().iter().all(|row| row[column].is_number());
    let rule = |column| if numeric(column) { "---:" } else { "---" };
    text.push_str(&line((0..section.columns.len()).map(|column| rule(column).to_owned()).collect()));
    for row in section.shown_rows() {
        text.push_str(&line(row.iter().map(Cell::marked).collect()));
    }
}

impl Section {
    /// As comma-separated values.
    pub fn csv(&self) -> String {
        let names = csv::record(self.columns.iter().map(|name| field_name(name)));
        let rows = self.rows.iter().map(|row| csv::record(row.iter().map(Cell::plain)));
        [names].into_iter().chain(rows).map(|line| line + "\n").collect()
    }

    /// As a Parquet file.
    ///
    /// # Errors
    /// The writer minds something.
    pub fn parquet(&self) -> anyhow::Result<Vec<u8>> {
        Ok(parquet::file(self)?)
    }
}

fn field_name(column: &str) -> String {
    column.replace([' ', '-'], "_").replace('%', "percent")
}
