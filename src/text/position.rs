//! Where something stands in a text that people wrote.

/// Line and column of the byte `at`, both from 1; the column counts letters.
pub fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_counted_and_lines_begin_anew() {
        let text = "a\né = x";
        let x = text.find('x').unwrap();
        assert_eq!((line_and_column(text, 0), line_and_column(text, x)), ((1, 1), (2, 5)));
        assert_eq!(line_and_column(text, text.len() + 9), (2, 6), "behind the end");
    }
}
