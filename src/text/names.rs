//! Names that come from elsewhere, made harmless for a line of text.

use std::ffi::OsStr;
use std::fmt::Write;

/// A name on one line: control characters and bytes that are not UTF-8 are escaped.
pub fn plain(name: impl AsRef<OsStr>) -> String {
    let mut text = String::new();
    for chunk in name.as_ref().as_encoded_bytes().utf8_chunks() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn names_stay_on_their_line() {
        assert_eq!(plain(OsStr::from_bytes(b"/a\n\xff\xc3\xa9")), "/a\\n\\xffé");
        assert_eq!(plain("a\u{1b}[31m"), "a\\u{1b}[31m"); // no colours for the terminal
    }
}
