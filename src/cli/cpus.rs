//! Lists of processors on the command line, as `taskset -c` and `lscpu` write them: `0-3,8`.

use rustix::thread::CpuSet;

/// Reads numbers and ranges with both ends, separated by commas. Order and repetition do not matter.
///
/// # Errors
/// In words, for the user.
pub fn parse(text: &str) -> Result<Cpus, String> {
    let mut cpus = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first, text)?, number(last, text)?);
        if first > last {
            return Err(format!("`{part}` ends before it begins"));
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    cpus.dedup();
    Ok(Cpus(cpus))
}

/// Processors by number, ascending, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cpus(pub Vec<usize>);

fn number(digits: &str, list: &str) -> Result<usize, String> {
    let only_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = only_digits.then(|| digits.parse().ok()).flatten();
    let number = number.ok_or_else(|| format!("expected a list such as `0-3,8`, not `{list}`"))?;
    if number >= CpuSet::MAX_CPU {
        return Err(format!("`{digits}`: processors are numbered 0 to {}", CpuSet::MAX_CPU - 1));
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_numbers_and_ranges() {
        for (text, cpus) in [
            ("0", Some(vec![0])),
            ("0-3,8", Some(vec![0, 1, 2, 3, 8])),
            ("8, 0-1", Some(vec![0, 1, 8])), // any order, blanks after commas
            ("2,1-3", Some(vec![1, 2, 3])),  // each once
            ("1023", Some(vec![1023])),
            ("1024", None), // more than the kernel's mask has
            ("99999999999999999999", None),
            ("3-1", None),
            ("", None),
            ("1,", None),
            ("-1", None),
            ("1-", None),
            ("+1", None),
            ("all", None),
            ("0x3", None), // a list, no mask
        ] {
            assert_eq!(parse(text).ok().map(|parsed| parsed.0), cpus, "{text}");
        }
    }
}
