//! Lists of hosts as schedulers write them: `a[01-16,20],b3,c[1-2]-d[1-2]`.
//!
//! Hosts are separated by commas or blanks. Brackets hold numbers and ranges of numbers; several brackets in one
//! name give every combination, the last counting fastest. A number keeps its leading zeroes: `[08-11]` is 08, 09,
//! 10, 11. The order is that of the text, since it decides which node is which.
//!
//! Invariant: a hostile list costs no more than an honest one of [`HOSTS_MAX`] hosts: what it would expand to is
//! counted before it is expanded.
//!
//! Not here: whether the hosts exist, or differ (`cluster::identity`).

/// Hosts of a job at most: 100,000, ten times the largest machine of today.
pub const HOSTS_MAX: usize = 100_000;

/// Bytes of one name at most: 253, as RFC 1035 has it for the text of a name.
pub const HOST_BYTES_MAX: usize = 253;

/// Digits of one number at most: 9, so that it fits 32 bits.
const DIGITS_MAX: usize = 9;

/// Why a text is no list of hosts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostListError {
    /// There is nothing in it.
    #[error("it names no host")]
    Empty,
    /// More than [`HOSTS_MAX`].
    #[error("it names more than {HOSTS_MAX} hosts")]
    TooMany,
    /// Longer than [`HOST_BYTES_MAX`].
    #[error("a name in it is longer than {HOST_BYTES_MAX} bytes")]
    TooLong,
    /// A character that no host name has.
    #[error("`{0}` has no place in a host name")]
    Character(char),
    /// `[` without `]`, or the other way round, or one inside another.
    #[error("its brackets do not match")]
    Brackets,
    /// What stands in brackets is no number and no range.
    #[error("`[{0}]` is no list of numbers such as `[01-16,20]`")]
    Numbers(String),
}

/// The hosts that `text` names, in order.
///
/// # Errors
/// See [`HostListError`].
/// # Cost
/// Proportional to the text and to what it names, which is bounded.
pub fn parse(text: &str) -> Result<Vec<String>, HostListError> {
    let mut names = Vec::new();
    let mut count = 0_usize;
    for word in words(text)? {
        let name = Name::parse(word)?;
        count = count.saturating_add(name.count());
        if count > HOSTS_MAX {
            return Err(HostListError::TooMany);
        }
        names.push(name);
    }
    let mut hosts = Vec::with_capacity(count);
    for name in names {
        name.expand_into(&mut hosts);
    }
    if hosts.is_empty() { Err(HostListError::Empty) } else { Ok(hosts) }
}

/// The parts between commas and blanks that are not in brackets.
fn words(text: &str) -> Result<Vec<&str>, HostListError> {
    let mut words = Vec::new();
    let (mut inside, mut start) = (false, 0);
    for (at, character) in text.char_indices() {
        match character {
            '[' if inside => return Err(HostListError::Brackets),
            '[' => inside = true,
            ']' if !inside => return Err(HostListError::Brackets),
            ']' => inside = false,
            _ if !inside && (character == ',' || character.is_whitespace()) => {
                words.extend(Some(&text[start..at]).filter(|word| !word.is_empty()));
                start = at + character.len_utf8();
            }
            _ => {}
        }
        if words.len() > HOSTS_MAX {
            return Err(HostListError::TooMany);
        }
    }
    if inside {
        return Err(HostListError::Brackets);
    }
    words.extend(Some(&text[start..]).filter(|word| !word.is_empty()));
    Ok(words)
}

/// One word of the list: a name, or a pattern of names.
struct Name<'a> {
    parts: Vec<Part<'a>>,
}

enum Part<'a> {
    Text(&'a str),
    Numbers(Vec<Range>),
}

/// Numbers from `first` to `last`, written with at least `width` digits.
#[derive(Debug, Clone, Copy)]
struct Range {
    first: u32,
    last: u32,
    width: usize,
}

impl<'a> Name<'a> {
    fn parse(word: &'a str) -> Result<Self, HostListError> {
        let mut parts = Vec::new();
        let mut bytes = 0;
        let mut rest = word;
        while !rest.is_empty() {
            let part;
            (part, rest) = match rest.strip_prefix('[') {
                Some(after) => {
                    let (inner, after) = after.split_once(']').ok_or(HostListError::Brackets)?;
                    (Part::Numbers(ranges(inner)?), after)
                }
                None => {
                    let end = rest.find('[').unwrap_or(rest.len());
                    (Part::Text(checked(&rest[..end])?), &rest[end..])
                }
            };
            bytes += part.bytes_max();
            if bytes > HOST_BYTES_MAX {
                return Err(HostListError::TooLong);
            }
            parts.push(part);
        }
        Ok(Name { parts })
    }

    /// How many hosts it names; as many as can be counted if it is more.
    fn count(&self) -> usize {
        self.parts.iter().fold(1, |count, part| count.saturating_mul(part.count()))
    }

    fn expand_into(&self, hosts: &mut Vec<String>) {
        let mut names = vec![String::new()];
        for part in &self.parts {
            match part {
                Part::Text(text) => names.iter_mut().for_each(|name| name.push_str(text)),
                Part::Numbers(ranges) => {
                    let longer = |name: &String| {
                        let numbers = ranges.iter().flat_map(|range| range.written());
                        numbers.map(|number| format!("{name}{number}")).collect::<Vec<_>>()
                    };
                    names = names.iter().flat_map(longer).collect();
                }
            }
        }
        hosts.append(&mut names);
    }
}

impl Part<'_> {
    fn count(&self) -> usize {
        match self {
            Part::Text(_) => 1,
            Part::Numbers(ranges) => {
                ranges.iter().fold(0, |count, range| count.saturating_add(range.count()))
            }
        }
    }

    fn bytes_max(&self) -> usize {
        match self {
            Part::Text(text) => text.len(),
            Part::Numbers(ranges) => {
                ranges.iter().map(|range| range.width.max(DIGITS_MAX)).max().unwrap_or(0)
            }
        }
    }
}

impl Range {
    fn count(self) -> usize {
        (self.last - self.first) as usize + 1
    }

    fn written(self) -> impl Iterator<Item = String> {
        (self.first..=self.last).map(move |number| format!("{number:0width$}", width = self.width))
    }
}

fn ranges(inner: &str) -> Result<Vec<Range>, HostListError> {
    inner.split(',').map(|text| range(text).ok_or_else(|| HostListError::Numbers(shortened(inner)))).collect()
}

fn range(text: &str) -> Option<Range> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let width = first.len();
    let range = Range { first: number(first)?, last: number(last)?, width };
    (range.first <= range.last).then_some(range)
}

fn number(digits: &str) -> Option<u32> {
    let fits = (1..=DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    if fits { digits.parse().ok() } else { None }
}

/// Letters, digits and what else names and addresses consist of.
fn checked(text: &str) -> Result<&str, HostListError> {
    match text.chars().find(|c| !c.is_ascii_alphanumeric() && !"-._:".contains(*c)) {
        Some(character) => Err(HostListError::Character(character)),
        None => Ok(text),
    }
}

/// For messages, which are lines.
fn shortened(text: &str) -> String {
    let shown: String = text.chars().filter(|c| !c.is_control()).take(40).collect();
    if shown.len() < text.len() { format!("{shown}...") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_list_names_hosts_in_the_order_of_the_text() {
        for (text, hosts) in [
            ("a1", "a1"),
            ("a1,b2 c3\nd4", "a1 b2 c3 d4"),
            ("a[1-3]", "a1 a2 a3"),
            ("a[9-11]", "a9 a10 a11"), // no zero, no padding
            ("a[08-11]", "a08 a09 a10 a11"),
            ("a[098-101]", "a098 a099 a100 a101"),
            ("a[01-03,20,7]", "a01 a02 a03 a20 a7"),
            ("c[1-2]-d[1-2]", "c1-d1 c1-d2 c2-d1 c2-d2"), // the last counts fastest
            ("a[1-2].site.org", "a1.site.org a2.site.org"),
            ("[1-2]x", "1x 2x"),
            ("10.0.0.[1-2],fe80::1", "10.0.0.1 10.0.0.2 fe80::1"),
            ("b,a,,a", "b a a"), // neither sorted nor made unique here
            ("a[000-001]", "a000 a001"),
        ] {
            assert_eq!(parse(text).unwrap().join(" "), hosts, "{text}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused_with_its_reason() {
        use HostListError::*;
        for (text, error) in [
            ("", Empty),
            (" ,\n", Empty),
            ("a[1-2", Brackets),
            ("a1-2]", Brackets),
            ("a[[1]]", Brackets),
            ("a[]", Numbers(String::new())),
            ("a[2-1]", Numbers("2-1".into())),
            ("a[1-]", Numbers("1-".into())),
            ("a[x]", Numbers("x".into())),
            ("a[1-2-3]", Numbers("1-2-3".into())),
            ("a[1234567890]", Numbers("1234567890".into())), // would not fit 32 bits
            ("a[+1]", Numbers("+1".into())),
            ("a b;c", Character(';')),
            ("a/b", Character('/')),
            ("é", Character('é')),
            ("a[1-100000]", TooMany), // with the next row, just over and just within
            ("a[0-999999999][0-999999999][0-999999999]", TooMany),
        ] {
            let text = if error == TooMany { format!("{text},b") } else { text.to_owned() };
            assert_eq!(parse(&text), Err(error), "{text}");
        }
        assert_eq!(parse("a[1-100000]").unwrap().len(), HOSTS_MAX);
        assert_eq!(parse(&"x".repeat(254)), Err(TooLong));
        assert_eq!(parse(&format!("a{}", "[1]".repeat(200))), Err(TooLong));
        assert_eq!(parse(&"a,".repeat(HOSTS_MAX * 3)), Err(TooMany));
    }

    proptest! {
        #[test]
        fn no_text_costs_more_than_the_longest_list(text in "[a-c0-9,\\[\\]\\- ]{0,60}") {
            if let Ok(hosts) = parse(&text) {
                prop_assert!(!hosts.is_empty() && hosts.len() <= HOSTS_MAX);
                prop_assert!(hosts.iter().all(|host| !host.is_empty() && host.len() <= HOST_BYTES_MAX));
            }
        }

        #[test]
        fn any_text_is_taken_without_a_panic(text in any::<String>()) {
            let _ = parse(&text);
        }

        #[test]
        fn a_range_is_the_numbers_written_one_by_one(first in 0_u32..2000, more in 0_u32..300, width in 1_usize..6) {
            let last = first + more;
            let written: Vec<String> = (first..=last).map(|number| format!("n{number:0width$}")).collect();
            prop_assert_eq!(&parse(&format!("n[{first:0width$}-{last}]")).unwrap(), &written);
            prop_assert_eq!(parse(&written.join(",")).unwrap(), written);
        }
    }
}
