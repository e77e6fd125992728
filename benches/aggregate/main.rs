//! What adding up the recordings of a large job costs: `cargo bench --bench aggregate -- [NODES]`.
//!
//! Each of 10,000 nodes, or so many, has a file of 3,000 paths, as a full recording of an import has them: mostly the same
//! on all nodes, some of its own. They are written to the directory of temporary files first, 5 GB, and taken away. Told
//! are the time from the first file to the whole table, the processor's time, and the most memory.
//!
//! Not here: what recording costs (`benches/recorder`).

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use rustix::time::{ClockId, clock_gettime};
use spinney::profile::recorder::event::{AnsweredBy, Mode, Operation, Outcome};
use spinney::profile::recording::{Header, NodeLine, OtherLine, PathLine, Writing};
use spinney::profile::tell;

const NODES: u32 = 10_000;
const PATHS: u32 = 3000;
/// Paths that a node has for itself: files of its task's number.
const OWN_PATHS: u32 = 3;

fn main() -> anyhow::Result<()> {
    let nodes = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(NODES);
    let directory = tempfile::tempdir()?;
    let mut bytes = 0;
    for node in 0..nodes {
        let recording = recording(node, nodes);
        bytes += recording.len();
        fs::write(directory.path().join(format!("recording-node-{node:06}.jsonl")), recording)?;
    }
    println!("{nodes} recordings of {PATHS} paths, {:.2} GB", bytes as f64 / 1e9);
    let before = (Instant::now(), processor_seconds());
    let table = tell::aggregate(&[directory.path().to_owned()])?.text;
    let (wall, processor) = (before.0.elapsed().as_secs_f64(), processor_seconds() - before.1);
    let peak = peak_bytes().context("this machine does not tell")?;
    println!("| seconds | processor seconds | peak memory | rows |\n|---:|---:|---:|---:|");
    println!("| {wall:.1} | {processor:.1} | {:.0} MB | {} |", peak as f64 / 1e6, table.lines().count() - 1);
    Ok(())
}

/// What one node writes at its end.
fn recording(node: u32, n_nodes: u32) -> Vec<u8> {
    let header =
        Header { observed: true, n_nodes, job: "job".into(), ..Header::now(Mode::Full, "pre-destroy", 1) };
    let mut writing = Writing::begin(&header);
    writing.add(&OtherLine::Node(NodeLine {
        node,
        host: format!("nid{node:06}"),
        process: 4711,
        began_unix_us: 1,
        lost: 0,
        counters: Default::default(),
    }));
    for number in 0..PATHS {
        let own = if number < OWN_PATHS { format!("-of-{node}") } else { String::new() };
        let path = format!(
            "/lus/project/environments/py311/lib/python3.11/site-packages/package{:03}/module{number:04}{own}.py",
            number % 97
        );
        let is_absent = number % 4 == 0;
        writing.add(&PathLine {
            node,
            path: path.into(),
            path_bytes: None,
            operation: if number % 3 == 0 && !is_absent { Operation::Read } else { Operation::Lookup },
            outcome: if is_absent { Outcome::Absent } else { Outcome::Found },
            source: if node == 0 { AnsweredBy::Storage } else { AnsweredBy::Parent },
            calls: u64::from(1 + number % 7),
            bytes: u64::from(number) * 100,
            nanoseconds: u64::from(number) * 1000 + u64::from(node),
            error: 0,
        });
    }
    writing.end()
}

/// Of all threads.
fn processor_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The most memory that this process has had.
fn peak_bytes() -> Option<u64> {
    let status = fs::read_to_string(Path::new("/proc/self/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}
