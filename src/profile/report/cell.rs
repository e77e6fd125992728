//! One value of a table: raw for programs, readable for people.

use serde_json::{Value, json};

use crate::text::{grouped, plain, share, size, time};

/// A value and what it is.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A path, whose letters mean nothing to a reader of Markdown.
    Path(String),
    /// How many.
    Count(u64),
    /// Bytes.
    Bytes(u64),
    /// Nanoseconds.
    Time(u64),
    /// A part of a whole, 0 to 1.
    Share(f64),
    /// An average, with a tenth.
    Average(f64),
    /// A difference.
    Change(i64),
    /// A difference in nanoseconds.
    TimeChange(i64),
}

impl Cell {
    /// For people.
    pub fn shown(&self) -> String {
        match self {
            Cell::Text(text) | Cell::Path(text) => plain(text),
            Cell::Count(n) => grouped(*n),
            Cell::Bytes(n) => size(*n),
            Cell::Time(nanoseconds) => time(*nanoseconds),
            Cell::Share(part) => share(*part),
            Cell::Average(n) => format!("{n:.1}"),
            Cell::Change(n) => format!("{}{}", sign(*n), grouped(n.unsigned_abs())),
            Cell::TimeChange(n) => format!("{}{}", sign(*n), time(n.unsigned_abs())),
        }
    }

    /// For people, in a table of Markdown.
    pub(super) fn marked(&self) -> String {
        // A vertical bar would end the cell, even one in a code span.
        let text = self.shown().replace('|', "\\|");
        match self {
            // A tick in a path would end the span, unless two begin it.
            Cell::Path(_) if text.contains('`') => format!("`` {text} ``"),
            Cell::Path(_) => format!("`{text}`"),
            _ => text.replace('<', "\\<"),
        }
    }

    /// For programs, as text.
    pub fn plain(&self) -> String {
        match self {
            Cell::Text(text) | Cell::Path(text) => text.clone(),
            other => other.json().to_string(),
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        match self {
            Cell::Text(text) | Cell::Path(text) => json!(text),
            Cell::Count(n) | Cell::Bytes(n) | Cell::Time(n) => json!(n),
            Cell::Share(share) => json!((share * 10_000.0).round() / 10_000.0),
            Cell::Average(n) => json!((n * 1000.0).round() / 1000.0),
            Cell::Change(n) | Cell::TimeChange(n) => json!(n),
        }
    }

    /// Whether it is to stand at the right.
    pub fn is_number(&self) -> bool {
        !matches!(self, Cell::Text(_) | Cell::Path(_))
    }
}

fn sign(n: i64) -> &'static str {
    match n {
        0 => "",
        1.. => "+",
        _ => "−",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_markdown_is_the_path() {
        let cases = [
            (Cell::Path("/a/__init__.py".to_owned()), "`/a/__init__.py`"), // not the word in bold
            (Cell::Path("/a|<b>".to_owned()), r"`/a\|<b>`"),
            (Cell::Path("/a`b".to_owned()), "`` /a`b ``"),
            (Cell::Path("/a\nb".to_owned()), r"`/a\nb`"),
            (Cell::Text("`x` <b>|".to_owned()), r"`x` \<b>\|"),
            (Cell::Count(1000), "1,000"),
        ];
        for (cell, marked) in cases {
            assert_eq!(cell.marked(), marked);
        }
    }

    #[test]
    fn values_are_readable() {
        let cases = [
            (Cell::Text("a\u{1b}[31m\nb".to_owned()), r"a\u{1b}[31m\nb"),
            (Cell::Count(0), "0"),
            (Cell::Count(1_234_567), "1,234,567"),
            (Cell::Bytes(999), "999 B"),
            (Cell::Bytes(1_500), "1.5 kB"),
            (Cell::Time(12_345), "12 µs"),
            (Cell::Time(3_600_000_000_000), "3,600 s"),
            (Cell::Share(0.125), "12.5 %"),
            (Cell::Change(-1000), "−1,000"),
            (Cell::Change(5), "+5"),
        ];
        for (cell, shown) in cases {
            assert_eq!(cell.shown(), shown);
        }
    }
}
