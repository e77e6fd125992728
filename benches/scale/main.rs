//! What an import costs on 1 to 100,000 nodes: a simulation in virtual time that runs the product's own trees.
//!
//! `make scale` writes docs/benchmarks/scale.md and scale.svg. The same bytes each time; the numbers it rests on stand
//! in `figures` with their sources.
//!
//! Not here: measuring (`benches/one_node`), faults (`tests/sim`).

mod cast;
mod figures;
mod job;
mod page;
mod picture;
mod published;
mod workload;

use std::path::Path;

use cast::{PORTIONS, WHOLE_MAX};
use figures::{FAST, Import, LARGE, MICRO, MILLI, SLOW, Setting, TORCH, W};
use job::seconds;

/// Sizes of jobs.
const NODES: [u32; 11] = [1, 2, 8, 64, 512, 1_024, 2_048, 4_096, 8_192, 16_384, 100_000];

/// What the model says of one size, in seconds.
struct Run {
    import: &'static str,
    setting: &'static str,
    spinney: f64,
    direct: f64,
}

/// One node, measured and modelled, in seconds.
struct Calibration {
    name: &'static str,
    native: (f64, f64),
    spinney: (f64, f64),
}

/// Every node and the short way, in seconds.
struct Validation {
    name: String,
    nodes: u32,
    spinney: (f64, f64),
    direct: (f64, f64),
}

/// What the model is held against.
struct Checks {
    calibration: Vec<Calibration>,
    validation: Vec<Validation>,
    /// Portions of an import, and seconds.
    portions: Vec<(usize, f64)>,
}

/// The short way has to be as near as this to the whole: 3 %. Otherwise the table beyond [`WHOLE_MAX`] means nothing.
const APART_MAX: f64 = 0.03;

fn main() -> anyhow::Result<()> {
    let runs = runs();
    let checks = Checks {
        calibration: calibration(),
        validation: validation(),
        portions: [32, 128, 512].map(|n| (n, seconds(cast::spinney_whole(&W, FAST, 512, n).slowest))).into(),
    };
    let page = page::written(&runs, &checks);
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/benchmarks");
    std::fs::write(directory.join("scale.md"), &page)?;
    picture::draw(&directory.join("scale.svg"), &runs)?;
    print!("{page}");
    for Validation { name, nodes, spinney: (whole, short), .. } in &checks.validation {
        let apart = (short / whole - 1.0).abs();
        anyhow::ensure!(
            apart <= APART_MAX,
            "{name}, {nodes} nodes: one node for each level says {short:.2} s, all {whole:.2}"
        );
    }
    Ok(())
}

/// Import by import, setting by setting, in the order of [`NODES`].
fn runs() -> Vec<Run> {
    let mut runs = Vec::new();
    for import in [W, TORCH] {
        for setting in [SLOW, FAST, LARGE] {
            runs.extend(NODES.iter().map(|nodes| Run {
                import: import.name,
                setting: setting.name,
                spinney: seconds(cast::spinney(&import, setting, *nodes).slowest),
                direct: seconds(cast::direct(&import, setting, *nodes).slowest),
            }));
        }
    }
    runs
}

/// The cold rows of docs/benchmarks/one-node.md: the stand-in had no limit on bytes there.
fn calibration() -> Vec<Calibration> {
    let rows = [
        ("200 µs a call", 200 * MICRO, 0, 2.447, 1.817),
        ("2 ms a call", 2 * MILLI, 0, 13.659, 4.429),
        ("2 ms and a queue of 1 ms", 2 * MILLI, MILLI, 19.312, 9.704),
    ];
    rows.map(|(name, latency, service, native, spinney)| {
        let setting = Setting { name, latency, service, bytes_per_s: f64::INFINITY };
        let importing = |time| seconds(time - figures::START_SPREAD);
        Calibration {
            name,
            native: (native, importing(cast::direct(&W, setting, 1).slowest)),
            spinney: (spinney, importing(cast::spinney(&W, setting, 1).slowest)),
        }
    })
    .into()
}

fn validation() -> Vec<Validation> {
    let mut rows = Vec::new();
    for (import, setting) in [(W, SLOW), (W, FAST), (TORCH, LARGE)] {
        rows.extend([64, 512, WHOLE_MAX].map(|nodes| validated(&import, setting, nodes)));
    }
    rows
}

fn validated(import: &Import, setting: Setting, nodes: u32) -> Validation {
    let whole = cast::spinney_whole(import, setting, nodes, PORTIONS);
    let short = cast::spinney_by_level(import, setting, nodes);
    let direct = cast::direct_whole(import, setting, nodes);
    Validation {
        name: format!("{}, {}", import.name, setting.name),
        nodes,
        spinney: (seconds(whole.slowest), seconds(short.slowest)),
        direct: (seconds(direct.slowest), seconds(cast::direct_as_one(import, setting, nodes).slowest)),
    }
}
