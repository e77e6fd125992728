//! A file down a chain whose every link is limited: how much of the last one is used.

use std::path::Path;

use anyhow::Context;
use serde_json::json;
use spinney::tree::{Shape, Shard};

use crate::content::write_large;
use crate::ground::rows::Figure;
use crate::ground::{Ground, Job, text, wait_for};
use crate::hosts::Hosts;
use crate::rows::NODES;

/// Size of the file: 256 MiB, which takes a link 2.7 s.
const FILE_BYTES: u64 = 256 << 20;

/// What a link carries, for `tc` and in bytes per second. The headers of Ethernet, IP and TCP are part of it: 4 to 5 %.
const RATE: (&str, f64) = ("800mbit", 100e6);

/// What may leave a host at once: 1 MiB. At 100 MB/s the kernel's ticks of up to 10 ms need as much.
const BURST: &str = "1mb";

/// All nodes read at the same time; the last one's clock counts.
pub fn throughput(ground: &Ground) -> anyhow::Result<Vec<Figure>> {
    let directory = tempfile::Builder::new().prefix("many-nodes.").tempdir_in("/dev/shm")?;
    let storage = directory.path().join("storage");
    std::fs::create_dir(&storage)?;
    write_large(&storage.join("content"), FILE_BYTES)?;
    let hosts = Hosts::make(directory.path())?;
    for host in 0..NODES {
        hosts.bind(host, &storage)?;
        hosts.network.limit(host, RATE.0, BURST)?;
    }
    let (mut shares, mut last) = (vec![], vec![]);
    for turn in 0..ground.pairs.min(3) {
        let out = directory.path().join(format!("turn{turn}"));
        std::fs::create_dir(&out)?;
        last = seconds(ground, &hosts, &out)?;
        let end = last.last().context("there are hosts")?;
        shares.push(FILE_BYTES as f64 / end / RATE.1);
    }
    let beside = json!({ "seconds_along_the_chain": last.iter().map(|s| format!("{s:.1}")).collect::<Vec<_>>().join(" ") });
    Ok(vec![Figure { row: "links", samples: shares, beside }])
}

/// What reading took each node, in the order of the chain.
fn seconds(ground: &Ground, hosts: &Hosts, out: &Path) -> anyhow::Result<Vec<f64>> {
    let file = text(hosts.view.join("content"));
    let command = |host: usize| ground.inside(&["read", &text(out), &host.to_string(), &file], &[]);
    let lines = hosts.job(ground, &["--shards", "1", "--fan-out", "1"], command);
    let mut jobs = lines.iter().map(|line| Job::start(line)).collect::<anyhow::Result<Vec<_>>>()?;
    let is_ready = |host: usize| out.join(format!("ready{host}")).exists();
    wait_for("all hosts", 60, || {
        (jobs.iter_mut().any(Job::is_over) || (0..NODES).all(is_ready)).then_some(())
    })?;
    std::fs::write(out.join("go"), "")?;
    for job in jobs {
        let output = job.end()?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let shape = Shape::chosen(NODES as u32, Some(1), Some(1));
    let of_place = |place: u32| -> anyhow::Result<f64> {
        let host = shape.at(Shard::new(0), place);
        Ok(std::fs::read_to_string(out.join(format!("seconds{host}")))?.parse()?)
    };
    (0..NODES as u32).map(of_place).collect()
}
