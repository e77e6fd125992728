//! Numbers as people read them: grouped digits, sizes, times, parts of a whole.
//!
//! Sizes and times have two digits at least, and their unit: more would be noise in what is measured once.

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

/// `1 node`, `2,000 nodes`.
pub fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// Some of many numbers or names, at most 20: `3, 5, 8 and 2 more`.
pub fn some_of(all: &[impl ToString]) -> String {
    const SHOWN: usize = 20;
    let some: Vec<String> = all.iter().take(SHOWN).map(ToString::to_string).collect();
    match all.len().saturating_sub(SHOWN) {
        0 => some.join(", "),
        more => format!("{} and {} more", some.join(", "), grouped(more as u64)),
    }
}

/// A number of bytes, `4.7 MB`: powers of 1000, as storage is sold and as `ls --si` has it.
pub fn size(bytes: u64) -> String {
    scaled(bytes, &["B", "kB", "MB", "GB", "TB", "PB"])
}

/// A time: `1.3 s`, `830 ms`.
pub fn time(nanoseconds: u64) -> String {
    scaled(nanoseconds, &["ns", "µs", "ms", "s"])
}

/// A part of 1 in per cent: `4.7 %`.
pub fn share(part: f64) -> String {
    format!("{:.1} %", 100.0 * part)
}

/// A part of a whole in per cent: `4.7 %`; `-` of nothing.
pub fn part_of(part: u64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { share(part as f64 / whole as f64) }
}

/// In the largest unit of which there is one, each being a thousand of the one before.
fn scaled(number: u64, units: &[&str]) -> String {
    let mut value = number as f64;
    let mut at = 0;
    // What would be rounded to 1000 is one of the next.
    while value >= 999.5 && at + 1 < units.len() {
        value /= 1000.0;
        at += 1;
    }
    let value = if at > 0 && value < 9.95 { format!("{value:.1}") } else { grouped(value.round() as u64) };
    format!("{value} {}", units[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_numbers_do_not_fill_a_page() {
        assert_eq!(some_of(&[3, 1]), "3, 1");
        assert!(some_of(&[7; 1022]).ends_with("7, 7 and 1,002 more"));
    }

    #[test]
    fn numbers_are_as_people_read_them() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (u64::MAX, "18,446,744,073,709,551,615")]
        {
            assert_eq!(grouped(number), text);
        }
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (9_949, "9.9 kB"),
            (9_960, "10 kB"),
            (999_600, "1.0 MB"),
            (34_400_000, "34 MB"),
            (u64::MAX, "18,447 PB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        for (ns, text) in [
            (0, "0 ns"),
            (1_500, "1.5 µs"),
            (12_345, "12 µs"),
            (830_000_000, "830 ms"),
            (3_600_000_000_000, "3,600 s"),
        ] {
            assert_eq!(time(ns), text);
        }
        assert_eq!(
            (share(0.125), part_of(1982, 42028), part_of(0, 0)),
            ("12.5 %".into(), "4.7 %".into(), "-".into())
        );
        assert_eq!((counted(1, "node"), counted(2000, "node")), ("1 node".into(), "2,000 nodes".into()));
    }
}
