//! The figures of nodes as Prometheus reads them: its text format, version 0.0.4.
//!
//! Told are counters and gauges, and for each the job, the number of the node and its host; and, where that is recorded,
//! how long answers took, by what was asked and who answered. No paths and no commands, so that other users may read it.
//!
//! Not here: where the figures come from (`daemon::status`), the port (`daemon::metrics`).

use prometheus::proto::{
    Bucket, Counter as Counted, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};
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

/// Bounds of durations: 2^10 - 1 ns to 2^36 - 1 ns, so 1 µs to 69 s, each twice the one before. Ends of doublings, as rows
/// have them, so no answer is counted on the wrong side.
const BOUNDS: std::ops::RangeInclusive<u32> = 10..=36;

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
    let families: Vec<MetricFamily> = counters
        .chain(gauges)
        .chain([of_latencies(nodes)])
        .filter(|family| !family.get_metric().is_empty())
        .collect();
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

/// How long answers took, of all `nodes` that record it.
fn of_latencies(nodes: &[Value]) -> MetricFamily {
    let of_node = |node: &Value| {
        let kinds = node["latencies"].as_array().map(Vec::as_slice).unwrap_or_default();
        let metric = |kind: &Value| {
            let more =
                ["operation", "source"].map(|name| label(name, kind[name].as_str().unwrap_or_default()));
            let mut metric = Metric::from_label([labels(node), more.into()].concat());
            metric.set_histogram(histogram(kind));
            metric
        };
        kinds.iter().map(metric).collect::<Vec<_>>()
    };
    let meaning = "Time until an answer to a task was there.";
    of_metrics("spinney_answer_seconds", meaning, MetricType::HISTOGRAM, nodes.iter().flat_map(of_node))
}

fn histogram(kind: &Value) -> Histogram {
    let pairs = kind["buckets"].as_array().map(Vec::as_slice).unwrap_or_default();
    let pairs: Vec<(u64, u64)> =
        pairs.iter().filter_map(|pair| Some((pair[0].as_u64()?, pair[1].as_u64()?))).collect();
    let up_to =
        |bound: u64| pairs.iter().filter(|(longest, _)| *longest <= bound).map(|(_, count)| count).sum();
    let bucket = |power: u32| {
        let bound = (1 << power) - 1;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(seconds(bound));
        bucket.set_cumulative_count(up_to(bound));
        bucket
    };
    let mut histogram = Histogram::default();
    histogram.set_bucket(BOUNDS.map(bucket).collect());
    histogram.set_sample_count(up_to(u64::MAX));
    histogram.set_sample_sum(seconds(kind["nanoseconds"].as_u64().unwrap_or(0)));
    histogram
}

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
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
    of_metrics(name, meaning, kind, nodes.iter().filter_map(metric))
}

fn of_metrics(
    name: &str,
    meaning: &str,
    kind: MetricType,
    metrics: impl Iterator<Item = Metric>,
) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(meaning.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics.collect());
    family
}

fn labels(node: &Value) -> Vec<LabelPair> {
    let text = |field: &str| node[field].as_str().unwrap_or_default().to_owned();
    let rank = node["rank"].as_u64().unwrap_or(0).to_string();
    vec![label("job", &text("job")), label("node", &rank), label("host", &text("host"))]
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value.to_owned());
    label
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
    fn durations_are_told_as_a_histogram_of_each_kind() {
        let lookups = json!({
            "operation": "lookup", "source": "cache", "nanoseconds": 3_000_005_000_u64,
            // Of the last, longer than the last bound, only the sum of all knows.
            "buckets": [[511, 2], [2047, 1], [4095, 3], [(1_u64 << 37) - 1, 1]],
        });
        let node = json!({ "rank": 0, "job": "j", "host": "h", "latencies": [lookups] });
        let text = text(&[node]).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let of = "job=\"j\",node=\"0\",host=\"h\",operation=\"lookup\",source=\"cache\"";
        let bucket =
            |le: &str, count: u32| format!("spinney_answer_seconds_bucket{{{of},le=\"{le}\"}} {count}");
        assert_eq!(
            lines[..2],
            [
                "# HELP spinney_answer_seconds Time until an answer to a task was there.",
                "# TYPE spinney_answer_seconds histogram",
            ]
        );
        assert_eq!(
            lines[2..6],
            [
                bucket("0.000001023", 2),
                bucket("0.000002047", 3),
                bucket("0.000004095", 6),
                bucket("0.000008191", 6)
            ]
        );
        let [last, all, sum, count] = lines[lines.len() - 4..] else { panic!("{text}") };
        assert_eq!((last, all), (&bucket("68.719476735", 6)[..], &bucket("+Inf", 7)[..]));
        assert_eq!(sum, format!("spinney_answer_seconds_sum{{{of}}} 3.000005"));
        assert_eq!(count, format!("spinney_answer_seconds_count{{{of}}} 7"));
        assert_eq!(lines.len(), 2 + 27 + 3);
    }

    #[test]
    fn of_no_node_nothing_is_told() {
        assert_eq!(text(&[]).unwrap(), "");
    }
}
