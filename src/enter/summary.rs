//! The one line at the end.

use std::path::Path;

use crate::holder::messages::Summary;

/// `/opt/env: 3,749 requests, 96 % answered from memory, 1,021 storage calls, 34 MB read, view ready in 12 ms`.
pub fn line(summary: &Summary) -> String {
    let mut parts = Vec::new();
    if summary.nodes > 1 {
        parts.push(format!("{} nodes", grouped(summary.nodes)));
    }
    parts.push(format!("{} requests", grouped(summary.requests)));
    // Rounded down: 100 % means all.
    if let Some(percent) = (summary.from_memory * 100).checked_div(summary.answers) {
        parts.push(format!("{percent} % answered from memory"));
    }
    parts.push(format!("{} storage calls", grouped(summary.storage_calls)));
    parts.push(format!("{} read", bytes(summary.storage_bytes)));
    if summary.tasks > 1 {
        parts.push(format!("{} tasks", grouped(summary.tasks)));
    }
    parts.extend(summary.ready_seconds.map(|seconds| format!("view ready in {:.0} ms", seconds * 1000.0)));
    if summary.restarts > 0 {
        parts.push(format!("{} restarts", grouped(summary.restarts)));
    }
    format!("{}: {}", shown(summary), parts.join(", "))
}

fn shown(summary: &Summary) -> String {
    let first = summary.views.first().map_or(Path::new("?"), |view| view.as_path()).display();
    match summary.views.len() {
        0 | 1 => first.to_string(),
        n => format!("{first} and {} more", n - 1),
    }
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Decimal units, as storage is sold and as `ls --si` has it.
fn bytes(bytes: u64) -> String {
    const UNITS: &[&str] = &["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && value < 9.95);
    format!("{value:.digits$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_was_saved() {
        let summary = Summary {
            views: vec!["/opt/env".into()],
            requests: 3749,
            from_memory: 961,
            answers: 1000,
            storage_calls: 1021,
            storage_bytes: 34_400_000,
            ready_seconds: Some(0.0123),
            nodes: 1,
            tasks: 1,
            restarts: 0,
        };
        assert_eq!(
            line(&summary),
            "/opt/env: 3,749 requests, 96 % answered from memory, 1,021 storage calls, 34 MB read, view ready in 12 ms"
        );
        let more = Summary {
            views: vec!["/a".into(), "/b".into(), "/c".into()],
            nodes: 4,
            tasks: 32,
            restarts: 2,
            ..summary
        };
        let more = line(&more);
        assert!(
            more.starts_with("/a and 2 more: 4 nodes, ")
                && more.contains("32 tasks")
                && more.ends_with("2 restarts")
        );
    }

    #[test]
    fn numbers_are_grouped_and_bytes_have_two_digits_or_more() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
        for (number, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (9_960, "10 kB"),
            (999_600, "1.0 MB"),
            (34_400_000, "34 MB"),
            (u64::MAX, "18447 PB"),
        ] {
            assert_eq!(bytes(number), text);
        }
    }
}
