//! A table of a report, and how it is written: text for people, CSV for spreadsheets, JSON for programs.
//!
//! Invariant: a name from a record cannot leave its cell: not a line of the text, not a field of the CSV, not a
//! control sequence of the terminal.

use serde_json::{Map, Value, json};

use crate::text::{Side, aligned, csv, grouped, plain};

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// A name.
    Text(String),
    /// A count, which sampling may have made an estimate.
    Count(f64),
    /// A quantity that is no whole number.
    Quantity(f64),
}

/// Columns and rows, the most important row first.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Names of the columns, units last.
    pub columns: Vec<&'static str>,
    /// As many cells each as there are columns.
    pub rows: Vec<Vec<Cell>>,
}

impl Cell {
    /// A name.
    pub fn text(text: impl Into<String>) -> Self {
        Cell::Text(text.into())
    }

    /// Whether it is to stand at the right.
    pub fn is_number(&self) -> bool {
        !matches!(self, Cell::Text(_))
    }

    /// The number; 0 for a name.
    pub fn number(&self) -> f64 {
        match self {
            Cell::Text(_) => 0.0,
            Cell::Count(number) | Cell::Quantity(number) => *number,
        }
    }

    /// For people.
    pub fn shown(&self) -> String {
        match self {
            Cell::Text(text) => plain(text),
            Cell::Count(count) => grouped(count.round() as u64),
            Cell::Quantity(quantity) => {
                let thousandths = (quantity.max(0.0) * 1000.0).round() as u64;
                format!("{}.{:03}", grouped(thousandths / 1000), thousandths % 1000)
            }
        }
    }

    fn raw(&self) -> String {
        match self {
            Cell::Text(text) => text.clone(),
            Cell::Count(count) => format!("{count:.0}"),
            Cell::Quantity(quantity) => format!("{quantity:.3}"),
        }
    }

    fn json(&self) -> Value {
        match self {
            Cell::Text(text) => json!(text),
            Cell::Count(count) => json!(count.round() as i64),
            Cell::Quantity(quantity) => json!((quantity * 1e6).round() / 1e6),
        }
    }
}

impl Table {
    /// Aligned columns: names to the left, numbers to the right.
    pub fn text(&self) -> String {
        let is_text = |at: usize| self.rows.first().is_none_or(|row| matches!(row[at], Cell::Text(_)));
        let sides: Vec<Side> =
            (0..self.columns.len()).map(|at| if is_text(at) { Side::Left } else { Side::Right }).collect();
        let head = self.columns.iter().map(|&name| name.to_owned()).collect();
        let rows = self.rows.iter().map(|row| row.iter().map(Cell::shown).collect());
        let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
        aligned(&sides, &rows).into_iter().map(|line| line + "\n").collect()
    }

    /// Comma-separated values.
    pub fn csv(&self) -> String {
        let rows = self.rows.iter().map(|row| csv::record(row.iter().map(Cell::raw)));
        std::iter::once(csv::record(&self.columns)).chain(rows).map(|line| line + "\n").collect()
    }

    /// A list of objects.
    pub fn json(&self) -> Value {
        let object = |row: &Vec<Cell>| {
            let names = self.columns.iter().map(|name| (*name).to_owned());
            Value::Object(names.zip(row.iter().map(Cell::json)).collect::<Map<_, _>>())
        };
        Value::Array(self.rows.iter().map(object).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_stays_in_its_cell() {
        let name = "a,\"b\"\n\u{1b}[31m";
        let table =
            Table { columns: vec!["package", "runs"], rows: vec![vec![Cell::text(name), Cell::Count(2.0)]] };
        assert_eq!(table.text().lines().count(), 2);
        assert!(!table.text().contains('\u{1b}'));
        assert_eq!(table.csv(), "package,runs\n\"a,\"\"b\"\"\n\u{1b}[31m\",2\n");
        assert_eq!(table.json()[0]["package"], name);
    }

    #[test]
    fn people_see_thousands_and_programs_see_numbers() {
        let (hours, count) = (Cell::Quantity(43_036_649.198_4), Cell::Count(1_427_977.2));
        assert_eq!([hours.shown(), count.shown()], ["43,036,649.198", "1,427,977"]);
        assert_eq!([hours.raw(), count.raw()], ["43036649.198", "1427977"]);
        assert_eq!(
            [0.0, 0.0496, 999.9996].map(|it| Cell::Quantity(it).shown()),
            ["0.000", "0.050", "1,000.000"]
        );
    }

    #[test]
    fn a_name_is_no_formula() {
        let table = Table { columns: vec!["package"], rows: vec![vec![Cell::text("=cmd()")]] };
        assert_eq!(table.csv(), "package\n'=cmd()\n");
    }
}
