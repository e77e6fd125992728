//! A large file that all nodes read, down the trees.
//!
//! Not here: the same over links of a limited speed (`links`) and without readers (`hops`).

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::path::Path;

use serde_json::json;

use crate::ground::rows::{Figure, quantile};
use crate::ground::{Ground, run, run_report, text};
use crate::hosts::NODES;

/// Size of the large file.
pub const LARGE_BYTES: u64 = 1 << 30;

/// A shape of the tree and what each node may keep.
pub struct Arrangement {
    /// The rows of bytes and speed.
    rows: [&'static str; 2],
    fan_out: &'static str,
    cache: &'static [&'static str],
}

/// A cache that holds the file.
const KEEPS_ALL: &[&str] = &["--cache-bytes", "1200MiB"];

/// Each node has one child.
pub const CHAIN: Arrangement = Arrangement { rows: ["chain_bytes", "chain_speed"], fan_out: "1", cache: &[] };
/// Each node has two.
pub const TREE: Arrangement = Arrangement { rows: ["tree_bytes", "tree_speed"], fan_out: "2", cache: &[] };
/// As [`CHAIN`], and the file fits.
pub const CHAIN_KEPT: Arrangement =
    Arrangement { rows: ["chain_kept_bytes", "chain_kept_speed"], fan_out: "1", cache: KEEPS_ALL };
/// As [`TREE`], and the file fits.
pub const TREE_KEPT: Arrangement =
    Arrangement { rows: ["tree_kept_bytes", "tree_kept_speed"], fan_out: "2", cache: KEEPS_ALL };

/// 1 GiB read by every node, from memory behind the root.
pub fn large(ground: &Ground, arrangement: &Arrangement) -> anyhow::Result<Vec<Figure>> {
    let directory = tempfile::Builder::new().prefix("many-nodes.").tempdir_in("/dev/shm")?;
    let file = directory.path().join("content");
    write_large(&file, LARGE_BYTES)?;
    let scratch = ground.scratch()?;
    let (mut bytes, mut speeds, mut seconds, mut pressed) = (vec![], vec![], vec![], vec![]);
    for turn in 0..ground.pairs.min(3) {
        let report = text(scratch.path().join(format!("report{turn}")));
        let nodes = NODES.to_string();
        let flags =
            ["--local-nodes", &nodes, "--shards", "1", "--fan-out", arrangement.fan_out, "--report", &report];
        let read = vec!["cksum".to_owned(), text(&file)];
        let flags = [&flags, arrangement.cache].concat();
        let run = run(&ground.with_spinney(directory.path(), &flags, &read))?;
        let sums: HashSet<_> = run.output.stdout.split(|byte| *byte == b'\n').collect();
        anyhow::ensure!(sums.len() <= 2, "the nodes read different bytes");
        let report = run_report(report.as_ref())?;
        let total = |group: &str, name: &str| report["totals"][group][name].as_f64().unwrap_or(f64::NAN);
        bytes.push(total("storage", "bytes_read") / LARGE_BYTES as f64);
        // A node that is short of memory gives up half of its cache, whatever it was allowed.
        pressed.push(total("memory", "pressed"));
        speeds.push((NODES - 1) as f64 * LARGE_BYTES as f64 / 1e9 / run.seconds);
        seconds.push(run.seconds);
    }
    let beside = json!({
        "whole_command_seconds": quantile(&seconds, 0.5),
        "times_short_of_memory": quantile(&pressed, 1.0),
    });
    let [bytes_row, speed_row] = arrangement.rows;
    Ok(vec![
        Figure { row: bytes_row, samples: bytes, beside: beside.clone() },
        Figure { row: speed_row, samples: speeds, beside },
    ])
}

/// Writes a file whose MiBs all differ, `bytes` long, and waits until it is trusted.
pub fn write_large(file: &Path, bytes: u64) -> anyhow::Result<()> {
    let mut writer = fs::File::create(file)?;
    let piece: Vec<u8> = (0..1u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for number in 0..bytes >> 20 {
        writer.write_all(&number.to_le_bytes())?;
        writer.write_all(&piece[8..])?;
    }
    drop(writer);
    // A file younger than the clock's grain of 2 s is not trusted.
    std::thread::sleep(std::time::Duration::from_secs(3));
    Ok(())
}
