//! The page about the model: table, checks, what is assumed and what is left out.

use std::fmt::Write;

use crate::figures::{FAST, LARGE, MICRO, MILLI, SLOW, Setting};
use crate::published::PUBLISHED;
use crate::{Checks, NODES, Run};

const HEAD: &str = "\
# Many nodes: a model

Written by `make scale`. **Nothing on this page but the columns marked as published and measured was measured.** It is a
simulation in virtual time, fed with what was measured on one and two nodes, and it says what those figures amount to if
nothing else gets in the way.

![Import time over nodes](scale.svg)

Seconds from the start of the first node until the slowest node has imported, everything cold. W is
`import numpy, scipy, scipy.stats, pandas`; torch was not run through Spinney, its figures are W's, scaled by counts.
";

const TAIL: &str = "
## How it works

Up to 4,096 nodes every node is there, with the product's own `tree::Shape` and `tree::Upstream`: it starts, connects to its
parents and asks along its routes. Beyond that one node stands for each level of each tree, with the real shape's parents,
and its questions weigh as much as those of all who are alike; storage and daemons still serve each of them in turn. \"Everyone
asks storage\" is, above 4,096 nodes, one client that stands for all. An import is 128 equal portions, one after another, each in the shard of a
directory of its own; torch also has 39 large files whose stripes go their own ways.

Every constant stands with its source in `benches/scale/figures.rs`. Those that are not measurements:

- **Assumed:** 15 µs and 100 Gbit/s between nodes; all nodes start within 100 ms; bandwidth of the large storage.
- **Fitted:** six calls under way at storage (first table above). Latency and service of the large storage, to one published
  figure each (25 s for torch on one node of Frontier's, 1,020 s on 8,192 of Aurora's). So \"everyone asks storage\" agrees
  there by construction, and only what lies between is a test of it.
- **At most:** each further root opens all directories again, so that storage gets 29 % more calls from 65 nodes on.

## What it leaves out

- Launchers, which need seconds for thousands of processes; deaths and silence (`tests/sim` has those); other jobs on
  storage and links; congestion and topology of the fabric; nodes that are slower than others.
- More than one task a node. Published figures have 8 or 12, on other machines and with other versions of torch.
- Connections beyond the first to a parent, limits of a daemon on questions and memory, lost guesses of what to fetch ahead.
- Storage that gets worse under load, as real metadata servers do, and its clients' own caches and read-ahead.
- Its figures come from one and two nodes: the part of the tree rests on the cost of one question and one byte. What eight
  nodes that share a machine took is in [many-nodes.md](many-nodes.md); two cores for all of them say little of the trees.

## Repeat it

`make scale` needs no network and no root, takes some 20 s on two slow cores, and gives the same bytes each time.
";

/// The whole page.
pub fn written(runs: &[Run], checks: &Checks) -> String {
    let mut page = String::from(HEAD);
    settings(&mut page);
    table(&mut page, runs);
    published(&mut page, runs);
    calibration(&mut page, checks);
    validation(&mut page, checks);
    page.push_str(TAIL);
    page
}

fn settings(page: &mut String) {
    line(page, "");
    line(page, "| storage | each call takes | of one metadata server | all bytes share | what it is |");
    line(page, "|---|---|---|---|---|");
    let what = ["the stand-in, slow", "the stand-in, fast", "fitted to published figures, see below"];
    for (Setting { name, latency, service, bytes_per_s }, what) in [SLOW, FAST, LARGE].into_iter().zip(what) {
        let latency = latency as f64 / MILLI as f64;
        let service = service as f64 / MICRO as f64;
        let bandwidth = bytes_per_s / 1e9;
        line(page, &format!("| {name} | {latency} ms | {service} µs | {bandwidth} GB/s | {what} |"));
    }
}

fn table(page: &mut String, runs: &[Run]) {
    line(page, "\n## What the model says\n");
    line(page, "Spinney / everyone asks storage, in seconds.\n");
    let columns: Vec<&[Run]> = runs.chunks(NODES.len()).collect();
    let names: Vec<String> =
        columns.iter().map(|runs| format!("{}, {}", runs[0].import, runs[0].setting)).collect();
    line(page, &format!("| nodes | {} |", names.join(" | ")));
    line(page, &format!("|---:|{}", "---|".repeat(names.len())));
    for (row, nodes) in NODES.iter().enumerate() {
        let cells: Vec<String> = columns
            .iter()
            .map(|runs| format!("{} / {}", shown(runs[row].spinney), shown(runs[row].direct)))
            .collect();
        line(page, &format!("| {} | {} |", count(*nodes), cells.join(" | ")));
    }
}

fn published(page: &mut String, runs: &[Run]) {
    line(page, "\n## Beside what others published, `import torch`, cold\n");
    let names: Vec<&str> = PUBLISHED.iter().map(|published| published.name).collect();
    line(page, &format!("| nodes | model: Spinney | model: everyone | {} |", names.join(" | ")));
    line(page, &format!("|---:|---|---|{}", "---|".repeat(names.len())));
    let model = runs.chunks(NODES.len()).last().unwrap_or_default();
    for (run, nodes) in model.iter().zip(NODES) {
        let cells: Vec<String> =
            PUBLISHED.iter().map(|published| published.at(nodes).map_or("".into(), shown)).collect();
        let (spinney, direct) = (shown(run.spinney), shown(run.direct));
        line(page, &format!("| {} | {spinney} | {direct} | {} |", count(nodes), cells.join(" | ")));
    }
    line(page, "");
    for published in PUBLISHED {
        line(page, &format!("- {}: {}.", published.name, published.source));
    }
    line(
        page,
        "\nThe model's columns are of the large storage and one task a node. Published rows for \"4 to 8\" nodes stand at 8.",
    );
}

fn calibration(page: &mut String, checks: &Checks) {
    line(page, "\n## Held against what was measured\n");
    line(page, "W on one node, cold, in seconds ([one-node.md](one-node.md)): measured / model.\n");
    line(page, "| storage | native | Spinney |");
    line(page, "|---|---|---|");
    for row in &checks.calibration {
        let pair = |(measured, model): (f64, f64)| {
            format!("{measured:.2} / {model:.2} ({:+.0} %)", (model / measured - 1.0) * 100.0)
        };
        line(page, &format!("| {} | {} | {} |", row.name, pair(row.native), pair(row.spinney)));
    }
}

fn validation(page: &mut String, checks: &Checks) {
    line(page, "\n## Held against itself\n");
    line(
        page,
        "Every node there / one for each level, and everyone asking storage, every client / one for all, seconds.\n",
    );
    line(page, "| import, storage | nodes | Spinney | everyone asks storage |");
    line(page, "|---|---:|---|---|");
    for row in &checks.validation {
        let pair = |(whole, short): (f64, f64)| {
            format!("{whole:.2} / {short:.2} ({:+.1} %)", (short / whole - 1.0) * 100.0)
        };
        let direct = pair(row.direct);
        line(page, &format!("| {} | {} | {} | {direct} |", row.name, count(row.nodes), pair(row.spinney)));
    }
    let portions: Vec<String> =
        checks.portions.iter().map(|(portions, seconds)| format!("{portions}: {seconds:.2} s")).collect();
    line(page, &format!("\nPortions that W is cut into, 512 nodes, fast storage: {}.", portions.join(", ")));
}

fn line(page: &mut String, text: &str) {
    writeln!(page, "{text}").expect("a string takes all");
}

/// Seconds, or hours where seconds say nothing.
fn shown(seconds: f64) -> String {
    match seconds {
        ..100.0 => format!("{seconds:.1}"),
        100.0..20_000.0 => format!("{seconds:.0}"),
        _ => format!("{:.0} h", seconds / 3_600.0),
    }
}

fn count(number: u32) -> String {
    match number / 1_000 {
        0 => number.to_string(),
        thousands => format!("{thousands},{:03}", number % 1_000),
    }
}
