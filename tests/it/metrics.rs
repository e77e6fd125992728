//! The figures for Prometheus: on standard output, and on a port of the loopback interface.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::scene::{Lines, Scene, eventually, finish, kill, output, scenes, text};

const READING: &str = "cat $0 > /dev/null; echo read; until [ -e gate ]; do sleep 0.01; done";

/// A run that stays until the gate is there.
fn start(scene: &Scene, flags: &[&str], tasks: usize) -> Child {
    let flags = [&["-q", "--require"], flags].concat();
    let mut run = scene.run(&flags, &["sh", "-c", READING, &scene.shown("file")]);
    let mut run = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = Lines::of(run.stdout.take().unwrap());
    (0..tasks).for_each(|_| assert_eq!(lines.next().as_deref(), Some("read")));
    run
}

fn end(scene: &Scene, run: Child) {
    fs::write(scene.home.join("gate"), "").unwrap();
    assert!(finish(run).status.success());
    scene.assert_nothing_left();
}

/// So many ports in a row that nobody has, but for somebody who comes just now.
fn ports(count: u16) -> u16 {
    let bound = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    loop {
        let first = bound(0).unwrap().local_addr().unwrap().port();
        let free = |more: u16| first.checked_add(more).is_some_and(|port| bound(port).is_ok());
        if (0..count).all(free) {
            return first;
        }
    }
}

/// Sends `bytes` and returns all that comes back.
fn told(port: u16, bytes: &[u8]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    // Whoever is refused may find the connection closed before all is sent.
    let _ = stream.write_all(bytes);
    let mut all = Vec::new();
    let read = stream.read_to_end(&mut all);
    if all.is_empty() { read.map(|_| String::new()) } else { Ok(text(&all)) }
}

fn request(line: &str) -> Vec<u8> {
    format!("{line} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

/// The body of a scrape.
fn scraped(port: u16) -> String {
    let answer = told(port, &request("GET /metrics")).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
    body.to_owned()
}

/// Labels of a sample, by their names.
type Labels = BTreeMap<String, String>;

/// Samples by the name of the metric; a reader of the format as its description has it, and no more.
fn parse(body: &str) -> BTreeMap<String, Vec<(Labels, f64)>> {
    assert!(body.ends_with('\n'), "the last line has no end");
    let mut types: BTreeMap<String, String> = BTreeMap::new();
    let mut helped = BTreeSet::new();
    let mut samples: BTreeMap<String, Vec<(Labels, f64)>> = BTreeMap::new();
    let mut current = String::new();
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(helped.insert(name.to_owned()) && !help.is_empty(), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
            assert!(helped.contains(name) && !samples.contains_key(name), "{line}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
            current = name.to_owned();
        } else {
            let (name, labels, value) = sample(line);
            let of_histogram = |name: &str| types[name] == "histogram";
            let suffixes = if of_histogram(&current) { &["_bucket", "_sum", "_count"][..] } else { &[""] };
            let fits = |suffix: &&str| name.strip_suffix(suffix) == Some(&current);
            assert!(suffixes.iter().any(fits), "samples of a metric stand together: {line}");
            let rows = samples.entry(name).or_default();
            assert!(rows.iter().all(|(other, _)| *other != labels), "twice: {line}");
            rows.push((labels, value));
        }
    }
    samples
}

/// Durations by operation, source and node: the upper bounds with the answers up to each, from `parse`d samples. Checked
/// for all that the format demands of them.
fn histograms(
    samples: &BTreeMap<String, Vec<(Labels, f64)>>,
    name: &str,
) -> BTreeMap<Labels, Vec<(f64, f64)>> {
    let mut all: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for (labels, count) in samples.get(&format!("{name}_bucket")).into_iter().flatten() {
        let mut labels = labels.clone();
        let bound = labels.remove("le").expect("a bucket has a bound");
        all.entry(labels).or_default().push((bound.parse().unwrap(), *count));
    }
    let one = |suffix: &str, of: &Labels| {
        let rows = samples[&format!("{name}_{suffix}")].iter().filter(|(labels, _)| labels == of);
        let values: Vec<f64> = rows.map(|(_, value)| *value).collect();
        assert_eq!(values.len(), 1, "{suffix} {of:?}");
        values[0]
    };
    for (labels, buckets) in &all {
        assert!(buckets.is_sorted_by(|one, next| one.0 < next.0 && one.1 <= next.1), "{buckets:?}");
        let (last, count) = buckets[buckets.len() - 1];
        assert!(last == f64::INFINITY && count == one("count", labels), "{buckets:?}");
        // Each answer took at least as long as the bound before, and at most as long as its own.
        let pairs = std::iter::once((0.0, 0.0)).chain(buckets.iter().copied()).zip(buckets);
        let least: f64 = pairs.map(|(before, bucket)| before.0 * (bucket.1 - before.1)).sum();
        assert!(one("sum", labels) >= least && one("sum", labels) > 0.0, "{buckets:?}");
    }
    all
}

/// `name{label="value",...} number`
fn sample(line: &str) -> (String, Labels, f64) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let end = line.find(|c| !is_name(c)).unwrap();
    let (name, mut rest) = line.split_at(end);
    assert!(!name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()), "{line}");
    let mut labels = Labels::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, value) = rest.split_once("=\"").unwrap();
            assert!(label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{line}");
            let mut read = String::new();
            let mut letters = value.char_indices();
            let close = loop {
                match letters.next().unwrap_or_else(|| panic!("no end: {line}")) {
                    (at, '"') => break at,
                    (_, '\\') => read.push(match letters.next().unwrap().1 {
                        'n' => '\n',
                        c @ ('\\' | '"') => c,
                        c => panic!("`\\{c}` in {line}"),
                    }),
                    (_, c) => read.push(c),
                }
            };
            assert!(labels.insert(label.to_owned(), read).is_none(), "{line}");
            rest = &value[close + 1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').unwrap().parse().unwrap_or_else(|_| panic!("no number: {line}"));
    (name.to_owned(), labels, value)
}

#[test]
fn every_node_is_told_with_all_counters_and_no_path() {
    for scene in scenes() {
        // A name that needs every escape there is.
        let job = format!("metrics \"{}\" \\ \n", scene.home.display());
        let port = ports(2);
        let number = port.to_string();
        let flags = ["--job", &job, "--local-nodes", "2", "--metrics-port", &number];
        let run = start(&scene, &flags, 2);
        let printed = output(&mut scene.spinney(&["status", "--prometheus", "--job", &job]));
        assert!(printed.status.success(), "{}", text(&printed.stderr));
        let printed = text(&printed.stdout);
        let of_all = parse(&printed);
        let of_one = parse(&scraped(port));
        let of_other = parse(&scraped(port + 1));
        assert_eq!(of_all.keys().collect::<Vec<_>>(), of_one.keys().collect::<Vec<_>>());
        let joined = |samples: &BTreeMap<String, Vec<(Labels, f64)>>| {
            let rows = samples["spinney_tasks_joined_total"].clone();
            rows.into_iter().map(|(labels, value)| (labels["node"].clone(), value)).collect::<Vec<_>>()
        };
        let json = output(&mut scene.spinney(&["status", "--json", "--job", &job]));
        let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
        let told =
            |node: usize| (node.to_string(), json["services"][node]["tasks"]["joined"].as_f64().unwrap());
        assert_eq!((joined(&of_one), joined(&of_other)), (vec![told(0)], vec![told(1)]));
        assert_eq!(joined(&of_all), [told(0), told(1)]);
        assert!(
            of_all["spinney_fuse_lookup_total"]
                .iter()
                .all(|(labels, value)| *value > 0.0 && labels["job"] == job)
        );
        assert!(of_all["spinney_memory_resident_bytes"].iter().all(|(_, value)| *value > 100_000.0));
        assert_eq!(of_one["spinney_tasks_present"][0].1, 1.0);
        for body in [&printed, &scraped(port)] {
            assert!(!body.contains(scene.env.to_str().unwrap()), "a path is told");
        }
        end(&scene, run);
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err(), "somebody still listens");
    }
}

#[test]
fn durations_are_told_where_they_are_recorded() {
    for scene in scenes() {
        let port = ports(2);
        let (number, report) = (port.to_string(), scene.home.join("report").to_str().unwrap().to_owned());
        let flags =
            ["--local-nodes", "2", "--metrics-port", &number, "--profile", "aggregate", "--report", &report];
        let run = start(&scene, &flags, 2);
        let of = |port: u16| histograms(&parse(&scraped(port)), "spinney_answer_seconds");
        let told = [of(port), of(port + 1)];
        let json = output(&mut scene.spinney(&["status", "--json"]));
        let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
        for (node, histograms) in told.iter().enumerate() {
            let lookups: Vec<_> =
                histograms.keys().filter(|labels| labels["operation"] == "lookup").collect();
            assert!(!lookups.is_empty() && lookups.iter().all(|labels| labels["node"] == node.to_string()));
            let counted: f64 = histograms.values().map(|buckets| buckets[buckets.len() - 1].1).sum();
            let answers = &json["services"][node]["answers"];
            let all = ["cache", "parent", "storage", "errors"].map(|by| answers[by].as_f64().unwrap());
            assert!(counted >= 1.0 && counted <= all.iter().sum(), "{counted} {answers}");
        }
        end(&scene, run);
    }
}

#[test]
fn nonsense_and_idlers_are_borne_and_a_successor_tells_on() {
    for scene in scenes() {
        let port = ports(1);
        let run = start(&scene, &["--metrics-port", &port.to_string()], 1);
        let long = [b"GET /metrics HTTP/1.1\r\nx: ".to_vec(), vec![b'a'; 1 << 20]].concat();
        let cases: [(Vec<u8>, &str); 7] = [
            (request("GET /"), "HTTP/1.1 404"),
            (request("GET /../../etc/passwd"), "HTTP/1.1 404"),
            (request("POST /metrics"), "HTTP/1.1 405"),
            (b"\x00\xff\x16\x03\x01 nonsense\r\n\r\n".to_vec(), "HTTP/1.1 400"),
            (b"GET /metrics HTTP/9.9\r\n\r\n".to_vec(), "HTTP/1.1 400"),
            (long, ""),                                  // refused with or without a word
            (b"GET /metrics HTTP/1.1\r\n".to_vec(), ""), // never goes on
        ];
        for (bytes, begins) in cases {
            let said = told(port, &bytes).unwrap_or_default();
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
            assert!(said.starts_with(begins), "{shown:?}: {said}");
            assert!(!said.contains("spinney_"), "{shown:?}: {said}");
        }
        let idle: Vec<TcpStream> =
            (0..12).map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap()).collect();
        let restarts = |body: &str| parse(body)["spinney_faults_daemon_restarts_total"][0].1;
        assert_eq!(restarts(&scraped(port)), 0.0, "nothing of this ended the daemon");
        drop(idle);
        kill(scene.process("daemon-process"), libc::SIGKILL);
        eventually("the successor tells", || {
            let answer = told(port, &request("GET /metrics")).unwrap_or_default();
            let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
            body.is_some_and(|body| !body.is_empty() && restarts(body) == 1.0)
        });
        end(&scene, run);
    }
}

#[test]
fn a_port_that_somebody_has_costs_one_line_and_not_the_job() {
    for scene in scenes() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let flags = ["--require", "--metrics-port", &port.to_string()];
        let ran = output(&mut scene.run(&flags, &["cat", &scene.shown("file")]));
        assert_eq!((ran.status.code(), text(&ran.stdout).as_str()), (Some(0), crate::scene::CONTENT));
        let said = text(&ran.stderr);
        assert_eq!(said.matches(&format!("no metrics on port {port} of this machine")).count(), 1, "{said}");
        assert_eq!(said.lines().count(), 2, "one line, and the summary: {said}");
        let refused = output(&mut scene.run(&["--metrics-port", "65535", "--local-nodes", "2"], &["true"]));
        assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
    }
}
