//! How long things take with Spinney and without, taking turns.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use crate::ground::rows::{Figure, quantile};
use crate::ground::{Ground, requests_total, run, run_report, text};
use crate::stand_in::{StandIn, Start};

/// How the stand-in behaves in a cold row.
pub struct Storage {
    /// The row of the wall time and the row of the calls.
    rows: (&'static str, &'static str),
    latency_us: u64,
    metadata_service_us: u64,
    /// Other clients that each keep a call in the queue.
    load: usize,
    /// Turns at most: a run on slow storage takes half a minute and is hardly noisy.
    pairs_max: usize,
}

/// Counters that do not move for 300 ms stand still; looked at 30 times at most.
const STANDSTILL: Duration = Duration::from_millis(300);
const LOOKS_MAX: usize = 30;

/// A fast, idle file system.
pub const FAST: Storage = Storage {
    rows: ("cold_200us", "calls_200us"),
    latency_us: 200,
    metadata_service_us: 0,
    load: 0,
    pairs_max: 9,
};
/// A slow one.
pub const SLOW: Storage = Storage {
    rows: ("cold_2ms", "calls_2ms"),
    latency_us: 2000,
    metadata_service_us: 0,
    load: 0,
    pairs_max: 5,
};
/// A slow one whose metadata server does 1,000 calls a second.
pub const QUEUED: Storage = Storage {
    rows: ("cold_queue", "calls_queue"),
    latency_us: 2000,
    metadata_service_us: 1000,
    load: 0,
    pairs_max: 3,
};
/// The same, busy: 8 calls of others are under way all the time, of which some 6 stand in the queue.
pub const LOADED: Storage = Storage {
    rows: ("cold_load", "calls_load"),
    latency_us: 2000,
    metadata_service_us: 1000,
    load: 8,
    pairs_max: 3,
};

/// W with the tree on a local disk whose content is in memory.
pub fn warm(ground: &Ground) -> anyhow::Result<Vec<Figure>> {
    let scratch = ground.scratch()?;
    let out = text(scratch.path().join("out"));
    let mut command = vec!["--".to_owned()];
    command.extend(ground.workload(&ground.tree));
    let twice = ground.inside(&["repeat", "2", &out], &command);
    let twice_with = ground.with_spinney(&ground.tree, &[], &twice);
    let once = ground.workload(&ground.tree);
    let once_with = ground.with_spinney(&ground.tree, &[], &once);
    run(&twice)?;
    let (mut whole, mut first, mut second, mut natives) = (vec![], vec![], vec![], vec![]);
    for _ in 0..ground.pairs {
        let native = run(&once)?.seconds;
        whole.push(run(&once_with)?.seconds / native);
        run(&twice)?;
        let native_twice = seconds(&out)?;
        run(&twice_with)?;
        let spinney_twice = seconds(&out)?;
        first.push(spinney_twice[0] / native_twice[0]);
        second.push(spinney_twice[1] / native_twice[1]);
        natives.push(native);
    }
    let beside = json!({ "native_seconds": quantile(&natives, 0.5) });
    Ok(vec![
        Figure { row: "warm_first", samples: whole, beside: beside.clone() },
        Figure { row: "warm_first_inside", samples: first, beside: beside.clone() },
        Figure { row: "warm_second", samples: second, beside },
    ])
}

/// W on the stand-in with nothing in the caches of its kernel, and the calls that reach it.
pub fn cold(ground: &Ground, storage: &Storage) -> anyhow::Result<Vec<Figure>> {
    let mut stand_in = Start::of(&ground.tree).start()?;
    let root = stand_in.mount().to_owned();
    let native = ground.workload(&root);
    let scratch = ground.scratch()?;
    // Once without waiting: the directory behind the stand-in is to be in memory for both.
    run(&native)?;
    stand_in.set_waiting(storage.latency_us, storage.metadata_service_us);
    stand_in.command(&format!("load {}", storage.load));
    let (mut walls, mut calls, mut beside) = (vec![], vec![], Beside::default());
    for turn in 0..ground.pairs.min(storage.pairs_max) {
        let (native_seconds, native_calls) = run_cold(&mut stand_in, &native)?;
        let report = text(scratch.path().join(format!("report{turn}")));
        let with = ground.with_spinney(&root, &["--report", &report], &native);
        let (spinney_seconds, spinney_calls) = run_cold(&mut stand_in, &with)?;
        walls.push(spinney_seconds / native_seconds);
        calls.push(metadata_calls(&spinney_calls)? / metadata_calls(&native_calls)?);
        beside.native_seconds.push(native_seconds);
        beside.spinney_seconds.push(spinney_seconds);
        beside.native_calls = native_calls;
        beside.spinney_calls = spinney_calls;
        beside.requests = run_report(report.as_ref()).and_then(|report| requests_total(&report)).ok();
    }
    Ok(vec![
        Figure { row: storage.rows.0, samples: walls, beside: beside.walls() },
        Figure { row: storage.rows.1, samples: calls, beside: beside.calls() },
    ])
}

#[derive(Default)]
struct Beside {
    native_seconds: Vec<f64>,
    spinney_seconds: Vec<f64>,
    native_calls: Value,
    spinney_calls: Value,
    requests: Option<f64>,
}

impl Beside {
    fn walls(&self) -> Value {
        json!({
            "native_seconds": quantile(&self.native_seconds, 0.5),
            "spinney_seconds": quantile(&self.spinney_seconds, 0.5),
            "native_metadata_calls": self.native_calls["metadata_calls"],
            "spinney_metadata_calls": self.spinney_calls["metadata_calls"],
        })
    }

    fn calls(&self) -> Value {
        json!({ "native": self.native_calls, "spinney": self.spinney_calls, "fuse_requests": self.requests })
    }
}

/// The wall time of one cold run and the calls it made, closing included.
fn run_cold(stand_in: &mut StandIn, command: &[String]) -> anyhow::Result<(f64, Value)> {
    stand_in.drop_caches();
    stand_in.reset();
    let run = run(command)?;
    Ok((run.seconds, settled_calls(stand_in)))
}

/// The counters that are not 0, once they stand still: files that an ending process had open are closed after it.
fn settled_calls(stand_in: &mut StandIn) -> Value {
    let mut calls = stand_in.counters()["total"].clone();
    for _ in 0..LOOKS_MAX {
        std::thread::sleep(STANDSTILL);
        let now = stand_in.counters()["total"].clone();
        if now == calls {
            break;
        }
        calls = now;
    }
    if let Some(calls) = calls.as_object_mut() {
        calls.retain(|_, count| count != 0);
    }
    calls
}

fn metadata_calls(calls: &Value) -> anyhow::Result<f64> {
    calls["metadata_calls"].as_f64().context("no metadata call reached the stand-in")
}

/// 1 GiB read through a view of a tmpfs, against the tmpfs itself.
pub fn sequential(ground: &Ground) -> anyhow::Result<Vec<Figure>> {
    let directory = tempfile::Builder::new().prefix("one-node.").tempdir_in("/dev/shm")?;
    let file = directory.path().join("content");
    let content: Vec<u8> = (0..1u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut writer = fs::File::create(&file)?;
    for _ in 0..1024 {
        std::io::Write::write_all(&mut writer, &content)?;
    }
    drop(writer);
    // A file younger than the clock's grain of 2 s is not trusted, and so read anew each time it is opened.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let scratch = ground.scratch()?;
    let out = text(scratch.path().join("out"));
    let native = ground.inside(&["read", "2", &out, &text(&file)], &[]);
    let with = ground.with_spinney(directory.path(), &[], &native);
    let (mut first, mut second, mut speeds) = (vec![], vec![], vec![]);
    for _ in 0..ground.pairs.min(5) {
        run(&native)?;
        // The file is in memory either way, so natively both touches are alike: the second counts.
        let native_seconds = seconds(&out)?[1];
        run(&with)?;
        let spinney_seconds = seconds(&out)?;
        first.push(native_seconds / spinney_seconds[0]);
        second.push(native_seconds / spinney_seconds[1]);
        speeds.push(1.073_741_824 / native_seconds);
    }
    let beside = json!({ "native_gb_per_second": quantile(&speeds, 0.5) });
    Ok(vec![
        Figure { row: "read_first", samples: first, beside: beside.clone() },
        Figure { row: "read_second", samples: second, beside },
    ])
}

/// What two words in front of a command cost when it does nothing.
pub fn start(ground: &Ground) -> anyhow::Result<Vec<Figure>> {
    let native = vec!["true".to_owned()];
    let with = ground.with_spinney(&ground.tree, &[], &native);
    let without_view: Vec<String> =
        [text(&ground.spinney), "run".into(), "-q".into(), "--".into(), "true".into()].into();
    let (mut view, mut none, mut natives) = (vec![], vec![], vec![]);
    run(&with)?;
    for _ in 0..ground.pairs * 3 {
        let native = run(&native)?.seconds * 1000.0;
        view.push(run(&with)?.seconds * 1000.0 - native);
        none.push(run(&without_view)?.seconds * 1000.0 - native);
        natives.push(native);
    }
    let beside = json!({ "native_ms": quantile(&natives, 0.5) });
    Ok(vec![
        Figure { row: "start", samples: view, beside: beside.clone() },
        Figure { row: "start_no_view", samples: none, beside },
    ])
}

fn seconds(out: impl AsRef<Path>) -> anyhow::Result<Vec<f64>> {
    Ok(serde_json::from_slice(&fs::read(out)?)?)
}
