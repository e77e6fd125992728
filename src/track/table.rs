//! A table of a report, and how it is written: text for people, CSV for spreadsheets, JSON for programs.
//!
//! Invariant: a name from a record cannot leave its cell: not a line of the text, not a field of the CSV, not a
//! control sequence of the terminal.

use serde_json::{Map, Value, json};

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
            Cell::Text(text) => text.chars().flat_map(visible).collect(),
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
        let shown: Vec<Vec<String>> =
            self.rows.iter().map(|row| row.iter().map(Cell::shown).collect()).collect();
        let width = |at: usize| {
            let cells = shown.iter().map(|row| row[at].chars().count());
            cells.chain([self.columns[at].len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let is_text = |at: usize| self.rows.first().is_none_or(|row| matches!(row[at], Cell::Text(_)));
        let line = |cells: &[String]| {
            let padded = cells.iter().enumerate().map(|(at, cell)| match is_text(at) {
                true => format!("{cell:<0$}", widths[at]),
                false => format!("{cell:>0$}", widths[at]),
            });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        };
        let head: Vec<String> = self.columns.iter().map(|&name| name.to_owned()).collect();
        std::iter::once(line(&head)).chain(shown.iter().map(|row| line(row))).collect()
    }

    /// As RFC 4180 has it.
    pub fn csv(&self) -> String {
        let quoted = |text: &str| match text.contains(['"', ',', '\n', '\r']) {
            true => format!("\"{}\"", text.replace('"', "\"\"")),
            false => text.to_owned(),
        };
        // A spreadsheet takes what begins so for a formula.
        let field = |cell: &Cell| match cell {
            Cell::Text(text) if text.starts_with(['=', '+', '-', '@', '\t', '\r']) => {
                quoted(&format!("'{text}"))
            }
            Cell::Text(text) => quoted(text),
            number => number.shown(),
        };
        let lines = self.rows.iter().map(|row| row.iter().map(field).collect::<Vec<_>>().join(","));
        std::iter::once(self.columns.join(",")).chain(lines).map(|line| line + "\r\n").collect()
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

/// `character`, or how it is written if it would not be seen as itself.
fn visible(character: char) -> Vec<char> {
    match character.is_control() {
        true => character.escape_default().collect(),
        false => vec![character],
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
        assert_eq!(table.csv(), "package,runs\r\n\"a,\"\"b\"\"\n\u{1b}[31m\",2\r\n");
        assert_eq!(table.json()[0]["package"], name);
    }

    #[test]
    fn a_name_is_no_formula() {
        let table = Table { columns: vec!["package"], rows: vec![vec![Cell::text("=cmd()")]] };
        assert_eq!(table.csv(), "package\r\n'=cmd()\r\n");
    }
}
