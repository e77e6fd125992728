//! What passes through the trees: a large file to all nodes, and a listing over more and more levels.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use serde_json::json;

use crate::ground::rows::{Figure, quantile};
use crate::ground::{Ground, run, run_report, text};
use crate::rows::NODES;

/// Size of the large file.
const LARGE_BYTES: u64 = 1 << 30;

/// Directories that are listed over each number of levels: 200, so that one in a hundred can be told.
const DIRECTORIES: usize = 200;

/// A shape of the tree.
pub struct Arrangement {
    /// The rows of bytes and speed.
    rows: [&'static str; 2],
    fan_out: &'static str,
}

/// Each node has one child.
pub const CHAIN: Arrangement = Arrangement { rows: ["chain_bytes", "chain_speed"], fan_out: "1" };
/// Each node has two.
pub const TREE: Arrangement = Arrangement { rows: ["tree_bytes", "tree_speed"], fan_out: "2" };

/// 1 GiB read by every node, from memory behind the root.
pub fn large(ground: &Ground, arrangement: &Arrangement) -> anyhow::Result<Vec<Figure>> {
    let directory = tempfile::Builder::new().prefix("many-nodes.").tempdir_in("/dev/shm")?;
    let file = directory.path().join("content");
    write_large(&file)?;
    let scratch = ground.scratch()?;
    let (mut bytes, mut speeds, mut seconds) = (vec![], vec![], vec![]);
    for turn in 0..ground.pairs.min(3) {
        let report = text(scratch.path().join(format!("report{turn}")));
        let nodes = NODES.to_string();
        let flags =
            ["--local-nodes", &nodes, "--shards", "1", "--fan-out", arrangement.fan_out, "--report", &report];
        let read = vec!["cksum".to_owned(), text(&file)];
        let run = run(&ground.with_spinney(directory.path(), &flags, &read))?;
        let sums: std::collections::HashSet<_> = run.output.stdout.split(|byte| *byte == b'\n').collect();
        anyhow::ensure!(sums.len() <= 2, "the nodes read different bytes");
        let read =
            run_report(report.as_ref())?["totals"]["storage"]["bytes_read"].as_f64().unwrap_or(f64::NAN);
        bytes.push(read / LARGE_BYTES as f64);
        speeds.push((NODES - 1) as f64 * LARGE_BYTES as f64 / 1e9 / run.seconds);
        seconds.push(run.seconds);
    }
    let beside = json!({ "whole_command_seconds": quantile(&seconds, 0.5) });
    let [bytes_row, speed_row] = arrangement.rows;
    Ok(vec![
        Figure { row: bytes_row, samples: bytes, beside: beside.clone() },
        Figure { row: speed_row, samples: speeds, beside },
    ])
}

fn write_large(file: &PathBuf) -> anyhow::Result<()> {
    let mut writer = fs::File::create(file)?;
    let piece: Vec<u8> = (0..1u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for number in 0..LARGE_BYTES >> 20 {
        writer.write_all(&number.to_le_bytes())?;
        writer.write_all(&piece[8..])?;
    }
    drop(writer);
    // A file younger than the clock's grain of 2 s is not trusted.
    std::thread::sleep(std::time::Duration::from_secs(3));
    Ok(())
}

/// The nodes of a chain list, one after the other from the root, directories that the node above has listed just before:
/// each a level away from one who knows them. The root's own time with them in its memory is what is not the level's.
pub fn latency(ground: &Ground) -> anyhow::Result<Vec<Figure>> {
    let directory = ground.scratch()?;
    let view = directory.path().join("view");
    for number in 0..DIRECTORIES {
        let listed = view.join(format!("group{}/directory{number}", number % 10));
        fs::create_dir_all(&listed)?;
        (0..20).try_for_each(|file| fs::write(listed.join(format!("module{file}.py")), "").map(drop))?;
    }
    std::thread::sleep(std::time::Duration::from_secs(3));
    let (mut medians, mut tails) = (vec![], vec![]);
    for turn in 0..ground.pairs {
        let out = directory.path().join(format!("turn{turn}"));
        fs::create_dir(&out)?;
        let command = ground.inside(&["levels", &text(&out), &NODES.to_string(), &text(&view)], &[]);
        let flags = ["--local-nodes", &NODES.to_string(), "--shards", "1", "--fan-out", "1"];
        run(&ground.with_spinney(&view, &flags, &command))?;
        let times = |place: usize| -> anyhow::Result<Vec<f64>> {
            Ok(serde_json::from_slice(&fs::read(out.join(format!("times{place}")))?)?)
        };
        let own = quantile(&times(0)?, 0.5);
        for place in 1..NODES {
            let times = times(place)?;
            medians.push((quantile(&times, 0.5) - own) * 1e6);
            tails.push((quantile(&times, 0.99) - own) * 1e6);
        }
    }
    let beside = json!({ "p99_us": quantile(&tails, 0.5) });
    Ok(vec![Figure { row: "latency", samples: medians, beside }])
}
