//! Sizes on the command line: `4096`, `16MiB`, `4GiB`, `500MB`.

/// Reads a number of bytes with an optional unit: B, kB, MB, GB, TB (powers of 1000), KiB, MiB, GiB, TiB
/// (powers of 1024), or K, M, G, T for the latter; case does not matter.
///
/// # Errors
/// In words, for the user.
pub fn parse(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let number: u64 = digits.parse().map_err(|_| "expected a size such as `16MiB` or `4GiB`".to_owned())?;
    let factor = factor(unit.trim()).ok_or_else(|| format!("unknown unit `{}`", unit.trim()))?;
    number.checked_mul(factor).ok_or_else(|| "more bytes than there are".to_owned())
}

fn factor(unit: &str) -> Option<u64> {
    let unit = unit.to_ascii_lowercase();
    let (prefix, base) = match unit.strip_suffix("ib") {
        Some(prefix) => (prefix, 1024),
        None if unit.ends_with('b') => (&unit[..unit.len() - 1], 1000_u64),
        None => (unit.as_str(), 1024),
    };
    let power = match prefix {
        "" if !unit.ends_with("ib") => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return None,
    };
    Some(base.pow(power))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_and_perhaps_a_unit() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("4096", Some(4096)),
            ("4096B", Some(4096)),
            ("16MiB", Some(16 << 20)),
            ("16m", Some(16 << 20)),
            ("4 GiB", Some(4 << 30)),
            ("500MB", Some(500_000_000)),
            ("1tib", Some(1 << 40)),
            ("", None),
            ("MiB", None),
            ("1.5G", None), // whole numbers only: half a gibibyte is 512MiB
            ("-1", None),
            ("3iB", None),
            ("9 bananas", None),
            ("99999999T", None), // does not fit
        ] {
            assert_eq!(parse(text).ok(), bytes, "{text}");
        }
    }
}
