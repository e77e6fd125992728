//! The one line at the end.

use std::path::Path;

use crate::holder::messages::Summary;
use crate::text::{grouped, size, time};

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
    parts.push(format!("{} read", size(summary.storage_bytes)));
    if summary.tasks > 1 {
        parts.push(format!("{} tasks", grouped(summary.tasks)));
    }
    parts.extend(
        summary.ready_seconds.map(|seconds| format!("view ready in {}", time((seconds * 1e9) as u64))),
    );
    if summary.restarts > 0 {
        parts.push(format!("{} restarts", grouped(summary.restarts)));
    }
    format!("{}: {}", shown(summary), parts.join(", "))
}

/// `/opt/env: not shown on this node; 812 questions of other nodes answered, 1,021 storage calls, 34 MB read`.
pub fn line_of_direct(summary: &Summary) -> String {
    format!(
        "{}: not shown on this node; {} questions of other nodes answered, {} storage calls, {} read",
        shown(summary),
        grouped(summary.asked_by_others),
        grouped(summary.storage_calls),
        size(summary.storage_bytes),
    )
}

fn shown(summary: &Summary) -> String {
    let first = summary.views.first().map_or(Path::new("?"), |view| view.as_path()).display();
    match summary.views.len() {
        0 | 1 => first.to_string(),
        n => format!("{first} and {} more", n - 1),
    }
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
            asked_by_others: 812,
        };
        assert_eq!(
            line(&summary),
            "/opt/env: 3,749 requests, 96 % answered from memory, 1,021 storage calls, 34 MB read, view ready in 12 ms"
        );
        assert_eq!(
            line_of_direct(&summary),
            "/opt/env: not shown on this node; 812 questions of other nodes answered, 1,021 storage calls, 34 MB read"
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
}
