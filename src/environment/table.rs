//! Numbers and tables for people: grouped digits, sizes, times, shares, aligned columns; and fields of CSV.
//!
//! Not here: which tables there are (`classes`, `coverage`, `check`).

use std::ffi::OsStr;
use std::fmt::Write;

/// Columns of a terminal that a line keeps to, where its words allow.
pub const WIDTH: usize = 80;

/// Side of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// `1234567` as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes with three digits and its unit, powers of 1000: `4.72 MB`.
pub fn size(bytes: u64) -> String {
    scaled(bytes as f64, &["B", "kB", "MB", "GB", "TB", "PB", "EB"])
}

/// A time with three digits and its unit: `1.25 s`, `830 ms`.
pub fn time(nanoseconds: u64) -> String {
    if nanoseconds >= 1_000_000_000 {
        return format!("{} s", three_digits(nanoseconds as f64 / 1e9));
    }
    scaled(nanoseconds as f64, &["ns", "us", "ms"])
}

/// A part of a whole in per cent: `4.7 %`; `-` of nothing.
pub fn share(part: u64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{:.1} %", 100.0 * part as f64 / whole as f64) }
}

/// A name on one line: control characters and bytes that are not UTF-8 are escaped.
pub fn plain(name: &OsStr) -> String {
    let mut text = String::new();
    for chunk in name.as_encoded_bytes().utf8_chunks() {
        for letter in chunk.valid().chars() {
            if letter.is_control() { text.extend(letter.escape_default()) } else { text.push(letter) }
        }
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Rows with aligned columns, two blanks between them, no blanks at the ends of lines. The first row is the heading.
pub fn aligned(sides: &[Side], rows: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..sides.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).zip(sides).map(|((cell, &width), side)| match side {
            Side::Left => format!("{cell:<width$}"),
            Side::Right => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Words as lines of at most [`WIDTH`] columns where words allow; the first begins with `first`, the others with `indent`.
pub fn wrapped(text: &str, first: &str, indent: &str) -> Vec<String> {
    let mut lines = vec![first.to_owned()];
    let mut is_start = true;
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is a first line");
        if !is_start && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(format!("{indent}{word}"));
            continue;
        }
        if !is_start {
            line.push(' ');
        }
        line.push_str(word);
        is_start = false;
    }
    lines
}

/// `1 node`, `2,000 nodes`.
pub fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// One record of CSV (RFC 4180) without its line break; fields are quoted where they must be.
pub fn csv(fields: &[String]) -> String {
    let quoted = |field: &String| {
        if field.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", field.replace('"', "\"\""))
        } else {
            field.clone()
        }
    };
    fields.iter().map(quoted).collect::<Vec<_>>().join(",")
}

fn scaled(mut number: f64, units: &[&str]) -> String {
    let mut at = 0;
    while number >= 999.5 && at + 1 < units.len() {
        number /= 1000.0;
        at += 1;
    }
    if at == 0 { format!("{number} {}", units[0]) } else { format!("{} {}", three_digits(number), units[at]) }
}

fn three_digits(number: f64) -> String {
    match number {
        n if n < 9.995 => format!("{n:.2}"),
        n if n < 99.95 => format!("{n:.1}"),
        n => grouped(n.round() as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn numbers_are_as_people_read_them() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (u64::MAX, "18,446,744,073,709,551,615")]
        {
            assert_eq!(grouped(number), text);
        }
        for (bytes, text) in
            [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (999_999, "1.00 MB"), (47_210_000, "47.2 MB")]
        {
            assert_eq!(size(bytes), text);
        }
        for (ns, text) in
            [(0, "0 ns"), (1_500, "1.50 us"), (830_000_000, "830 ms"), (3_000_000_000_000, "3,000 s")]
        {
            assert_eq!(time(ns), text);
        }
        assert_eq!((share(1982, 42028), share(0, 0)), ("4.7 %".to_owned(), "-".to_owned()));
    }

    #[test]
    fn names_stay_on_their_line_and_in_their_field() {
        assert_eq!(plain(OsStr::from_bytes(b"/a\n\xff\xc3\xa9")), "/a\\n\\xffé");
        assert_eq!(
            csv(&["a".into(), "b,c".into(), "d\"e".into(), "f\ng".into()]),
            "a,\"b,c\",\"d\"\"e\",\"f\ng\""
        );
    }

    #[test]
    fn columns_are_aligned_and_words_wrapped() {
        let rows = [["name", "calls"], ["x", "1,000"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(aligned(&[Side::Left, Side::Right], &rows), ["name  calls", "x     1,000"]);
        let lines = wrapped("word ".repeat(40).trim_end(), "> ", "  ");
        assert!(
            lines.iter().all(|line| line.len() <= WIDTH)
                && lines[0].starts_with("> word")
                && lines[1].starts_with("  word"),
            "{lines:?}"
        );
    }
}
