//! Names that come from elsewhere, made harmless for a line of text.

use std::ffi::OsStr;
use std::fmt::Write;

/// A name on one line: control characters and bytes that are not UTF-8 are escaped.
pub fn plain(name: impl AsRef<OsStr>) -> String {
    escaped(name.as_ref(), |letter, text| {
        if letter.is_control() { text.extend(letter.escape_default()) } else { text.push(letter) }
    })
}

/// A name as it is but for bytes that are not UTF-8, which are escaped.
pub fn as_text(name: impl AsRef<OsStr>) -> String {
    escaped(name.as_ref(), |letter, text| text.push(letter))
}

fn escaped(name: &OsStr, push: impl Fn(char, &mut String)) -> String {
    let mut text = String::new();
    for chunk in name.as_encoded_bytes().utf8_chunks() {
        chunk.valid().chars().for_each(|letter| push(letter, &mut text));
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn names_stay_on_their_line() {
        assert_eq!(plain(OsStr::from_bytes(b"/a\n\xff\xc3\xa9")), "/a\\n\\xffé");
        assert_eq!(plain("a\u{1b}[31m"), "a\\u{1b}[31m"); // no colours for the terminal
        assert_eq!(as_text(OsStr::from_bytes(b"/a\n\xff\xc3\xa9")), "/a\n\\xffé");
    }
}
