//! What the wrappers of a launcher have told: figures added up, lines each told once.

use std::collections::HashSet;

use crate::daemon::record::Record;
use crate::holder::messages::Summary;

/// Different lines that are remembered, to be told once each: 1,024. Later ones are told as often as they come.
const LINES_MAX: usize = 1024;

/// All of it.
#[derive(Debug, Default)]
pub struct Figures {
    lines: HashSet<String>,
    summaries: Vec<Summary>,
    records: Vec<Record>,
}

impl Figures {
    /// Whether nobody has said `line` before.
    pub fn is_news(&mut self, line: &str) -> bool {
        if self.lines.len() >= LINES_MAX {
            return !self.lines.contains(line);
        }
        self.lines.insert(line.to_owned())
    }

    /// Adds the figures of a node.
    pub fn add(&mut self, summary: Summary) {
        self.summaries.push(summary);
    }

    /// Adds the record of a node; what is none is left out, and the node named as missing.
    pub fn add_record(&mut self, record: serde_json::Value) {
        self.records.extend(serde_json::from_value::<Record>(record));
    }

    /// The records.
    pub fn take_records(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.records)
    }

    /// The sum over all nodes; none if none had a view. A node that had one after the other counts as often.
    pub fn summary(&self) -> Option<Summary> {
        self.summaries.iter().cloned().reduce(|sum, next| Summary {
            views: sum.views,
            requests: sum.requests + next.requests,
            from_memory: sum.from_memory + next.from_memory,
            answers: sum.answers + next.answers,
            storage_calls: sum.storage_calls + next.storage_calls,
            storage_bytes: sum.storage_bytes + next.storage_bytes,
            // The view was ready when the last node's was.
            ready_seconds: sum.ready_seconds.into_iter().chain(next.ready_seconds).reduce(f64::max),
            nodes: sum.nodes + next.nodes,
            tasks: sum.tasks + next.tasks,
            restarts: sum.restarts + next.restarts,
            asked_by_others: sum.asked_by_others + next.asked_by_others,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_add_up_and_the_slowest_decides_when_the_view_was_ready() {
        let mut figures = Figures::default();
        assert_eq!(figures.summary(), None);
        for (requests, ready_seconds) in [(5, 0.25), (7, 0.5), (1, 0.125)] {
            let ready_seconds = Some(ready_seconds);
            figures.add(Summary { requests, ready_seconds, nodes: 1, tasks: 2, ..Summary::default() });
        }
        let sum = figures.summary().unwrap();
        assert_eq!((sum.requests, sum.ready_seconds, sum.nodes, sum.tasks), (13, Some(0.5), 3, 6));
    }

    #[test]
    fn equal_lines_are_news_once() {
        let mut figures = Figures::default();
        assert!(figures.is_news("a") && figures.is_news("b") && !figures.is_news("a"));
    }
}
