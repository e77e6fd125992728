//! Durations on the command line: `500ms`, `2s`, `10min`, `1h 30min`.

use std::time::Duration;

/// The least: 100 ms. Below it an answer would be too old by the time it has come through a few nodes, so each would be
/// asked for again and again.
const LEAST: Duration = Duration::from_millis(100);

/// Reads a duration with its units.
///
/// # Errors
/// In words, for the user.
pub fn parse(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|_| "expected a duration such as `500ms`, `2s` or `10min`".to_owned())?;
    if duration < LEAST { Err("at least `100ms`".to_owned()) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_are_not_too_short() {
        let cases = [
            ("2s", Some(2000)),
            ("100ms", Some(100)),
            ("1h 30min", Some(5_400_000)),
            ("99ms", None), // too short
            ("0", None),
            ("2", None), // of what?
            ("-2s", None),
            ("99999999999999999999s", None),
            ("", None),
        ];
        for (text, want) in cases {
            assert_eq!(parse(text).ok(), want.map(Duration::from_millis), "{text}");
        }
    }
}
