//! The figures of nodes as Prometheus reads them: its text format, version 0.0.4.
//!
//! Told are counters and gauges, and for each the job, the number of the node and its host; no paths and no commands, so
//! that other users may read it.
//!
//! Not here: where the figures come from (`daemon::status`), the port (`daemon::metrics`).

use prometheus::proto::{Counter as Counted, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Error, TEXT_FORMAT, TextEncoder};
use serde_json::Value;

use super::recorder::Counter;

/// What the text is, for HTTP.
pub const CONTENT_TYPE: &str = TEXT_FORMAT;

/// What stands in a row beside the counters, as path in it, name here, and meaning.
const GAUGES: [(&str, &str, &str); 4] = [
    ("/memory/rss_bytes", "memory_resident_bytes", "Resident memory of the daemon."),
    ("/memory/budget_bytes", "memory_budget_bytes", "Memory that the cache may hold."),
    ("/tasks/present", "tasks_present", "Tasks that are inside the view."),
    ("/seconds", "age_seconds", "Time since the service was founded."),
];

/// The text about `nodes`, rows as `spinney status --json` has them (docs/STATUS.md).
///
/// # Errors
/// None that is known: names and values are all well-formed.
pub fn text(nodes: &[Value]) -> Result<String, Error> {
    if nodes.is_empty() {
        return Ok(String::new());
    }
    let counters = Counter::ALL.iter().map(|counter| of_counter(*counter, nodes));
    let gauges = GAUGES.iter().map(|(path, name, meaning)| {
        let value = |node: &Value| node.pointer(path).and_then(Value::as_f64);
        family(&format!("spinney_{name}"), meaning, MetricType::GAUGE, nodes, value)
    });
    let families: Vec<MetricFamily> =
        counters.chain(gauges).filter(|family| !family.get_metric().is_empty()).collect();
    TextEncoder::new().encode_to_string(&families)
}

fn of_counter(counter: Counter, nodes: &[Value]) -> MetricFamily {
    let (group, name) = counter.name().split_once('.').unwrap_or(("", counter.name()));
    let path = if group == "fuse" { format!("/fuse/by_kind/{name}") } else { format!("/{group}/{name}") };
    let value = |node: &Value| node.pointer(&path).and_then(Value::as_f64);
    // These two are set, not only added to.
    let (kind, suffix) = match counter {
        Counter::MemoryCached | Counter::MemoryPeakRss => (MetricType::GAUGE, ""),
        _ => (MetricType::COUNTER, "_total"),
    };
    family(&format!("spinney_{group}_{name}{suffix}"), counter.meaning(), kind, nodes, value)
}

/// One metric of all `nodes` that have it.
fn family(
    name: &str,
    meaning: &str,
    kind: MetricType,
    nodes: &[Value],
    value: impl Fn(&Value) -> Option<f64>,
) -> MetricFamily {
    let metric = |node: &Value| {
        let value = value(node)?;
        let mut metric = Metric::from_label(labels(node));
        if kind == MetricType::COUNTER {
            let mut counted = Counted::default();
            counted.set_value(value);
            metric.set_counter(counted);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        Some(metric)
    };
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(meaning.to_owned());
    family.set_field_type(kind);
    family.set_metric(nodes.iter().filter_map(metric).collect());
    family
}

fn labels(node: &Value) -> Vec<LabelPair> {
    let text = |field: &str| node[field].as_str().unwrap_or_default().to_owned();
    let rank = node["rank"].as_u64().unwrap_or(0).to_string();
    [("job", text("job")), ("node", rank), ("host", text("host"))]
        .map(|(name, value)| {
            let mut label = LabelPair::default();
            label.set_name(name.to_owned());
            label.set_value(value);
            label
        })
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_metric_is_told_once_with_a_line_for_each_node() {
        let node = |rank: u32, job: &str| json!({ "rank": rank, "job": job, "host": "h", "seconds": 1.5, "answers": { "cache": 7 + rank } });
        let text = text(&[node(0, "a\"b\\c\nd"), node(1, "j")]).unwrap();
        let want = "# HELP spinney_answers_cache_total Answers that came from this node's own cache.\n\
                    # TYPE spinney_answers_cache_total counter\n\
                    spinney_answers_cache_total{job=\"a\\\"b\\\\c\\nd\",node=\"0\",host=\"h\"} 7\n\
                    spinney_answers_cache_total{job=\"j\",node=\"1\",host=\"h\"} 8\n\
                    # HELP spinney_age_seconds Time since the service was founded.\n\
                    # TYPE spinney_age_seconds gauge\n\
                    spinney_age_seconds{job=\"a\\\"b\\\\c\\nd\",node=\"0\",host=\"h\"} 1.5\n\
                    spinney_age_seconds{job=\"j\",node=\"1\",host=\"h\"} 1.5\n";
        assert_eq!(text, want);
    }

    #[test]
    fn of_no_node_nothing_is_told() {
        assert_eq!(text(&[]).unwrap(), "");
    }
}
