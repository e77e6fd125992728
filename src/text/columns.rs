//! Text in columns: tables for a terminal, and words that keep within its width.

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

#[cfg(test)]
mod tests {
    use super::*;

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
