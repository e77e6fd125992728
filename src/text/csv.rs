//! Comma-separated values (RFC 4180), with the line ends of Unix, which its tools want and spreadsheets read too.
//!
//! Invariant: whatever a field holds, it stays a field, and it is no formula for a spreadsheet.

use std::borrow::Cow;

/// One record without its line break.
pub fn record<T: AsRef<str>>(fields: impl IntoIterator<Item = T>) -> String {
    let mut text = String::new();
    for (at, value) in fields.into_iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        text += &field(value.as_ref());
    }
    text
}

/// One field: quoted if it must be.
pub fn field(text: &str) -> Cow<'_, str> {
    let text = if is_formula(text) { Cow::Owned(format!("'{text}")) } else { Cow::Borrowed(text) };
    if text.contains([',', '"', '\n', '\r']) {
        Cow::Owned(format!("\"{}\"", text.replace('"', "\"\"")))
    } else {
        text
    }
}

/// Whether a spreadsheet would compute something out of it: a sign alone is none.
fn is_formula(text: &str) -> bool {
    text.len() > 1 && text.starts_with(['=', '+', '-', '@', '\t', '\r']) && text.parse::<f64>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_stays_a_field() {
        let fields = ["a", "b,c", "d\"e", "f\ng", "", "-5", "=cmd()", "-"];
        assert_eq!(record(fields), "a,\"b,c\",\"d\"\"e\",\"f\ng\",,-5,'=cmd(),-");
    }
}
