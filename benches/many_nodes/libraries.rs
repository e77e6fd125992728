//! 500 generated shared libraries that call each other, loaded by a driver that prints its figure of merit: what large
//! Python applications with many extension modules do to a file system.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::json;

use crate::ground::rows::{Figure, quantile};
use crate::ground::storage::{SLOW, begin};
use crate::ground::{Ground, run, text};
use crate::hosts::{Hosts, NODES};
use crate::import;

/// How many.
const LIBRARIES: &str = "500";

/// The driver on 8 nodes against 8 drivers that ask storage directly.
pub fn import(ground: &Ground) -> anyhow::Result<Vec<Figure>> {
    let tree = made(ground)?;
    let mut stand_in = SLOW.start(&tree, NODES)?;
    let mounts = stand_in.mounts.clone();
    let directory = ground.scratch()?;
    let hosts = Hosts::make(directory.path())?;
    mounts.iter().enumerate().try_for_each(|(host, mount)| hosts.bind(host, mount))?;
    let driver = |mount: &Path| vec![text(ground.tree.join("bin/python3")), text(mount.join("driver.py"))];
    run(&driver(&mounts[0]))?;
    SLOW.slow_down(&mut stand_in);
    let (mut ratios, mut times, mut walls) = (vec![], vec![], vec![]);
    for _ in 0..ground.pairs.min(3) {
        begin(&mut stand_in);
        let direct = import::at_once(&mounts.iter().map(|mount| driver(mount)).collect::<Vec<_>>())?;
        begin(&mut stand_in);
        let (nodes, said) = import::outputs_at_once(&hosts.job(ground, &[], |_| driver(&hosts.view)))?;
        times.push(slowest(&said.concat())?);
        ratios.push(nodes / direct);
        walls.push(direct);
    }
    let beside = json!({ "direct_seconds": quantile(&walls, 0.5) });
    Ok(vec![
        Figure { row: "libraries", samples: ratios, beside: beside.clone() },
        Figure { row: "libraries_time", samples: times, beside },
    ])
}

fn made(ground: &Ground) -> anyhow::Result<PathBuf> {
    let tree = ground.tree.with_file_name("libraries");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/generate_libraries.py");
    let python = ground.tree.join("bin/python3");
    let status = Command::new(python).args([script, LIBRARIES]).arg(&tree).status()?;
    ensure!(status.success(), "the libraries were not made");
    Ok(tree)
}

/// The largest of the `module import time = X secs`.
fn slowest(said: &str) -> anyhow::Result<f64> {
    let times = said.lines().filter_map(|line| {
        let seconds = line.split_once("module import time = ")?.1;
        seconds.strip_suffix(" secs")?.parse::<f64>().ok()
    });
    times.reduce(f64::max).context("no driver said how long it took")
}
