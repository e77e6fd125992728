//! How much passes through a chain of daemons, against one TLS stream between two processes in the same turn.
//!
//! The daemons have no mounts and this process reads at the end of the chain, so that no reader behind the kernel takes
//! part: what is compared is only what a hop adds to TLS (HTTP, checksums, the cache, switches between processes).

use std::time::Instant;

use anyhow::{Context, bail, ensure};
use serde_json::json;
use spinney::file::{BlockIndex, Urgency};
use spinney::wire::limits::BLOCKS_PER_QUESTION_MAX;
use spinney::wire::{BlockRange, Question, Reply};

use crate::content::{LARGE_BYTES, write_large};
use crate::daemons::{Client, Daemons, in_view};
use crate::ground::Ground;
use crate::ground::rows::{Figure, quantile};
use crate::hosts::NODES;
use crate::tls;

/// 1 GiB down a chain of 8 daemons to a ninth process: as many hops as daemons.
pub fn throughput(ground: &Ground) -> anyhow::Result<Vec<Figure>> {
    let directory = tempfile::Builder::new().prefix("many-nodes.").tempdir_in("/dev/shm")?;
    write_large(&directory.path().join("content"), LARGE_BYTES)?;
    let flags = ["--shards", "1", "--fan-out", "1", "--cache-bytes", "512MiB"];
    let (mut ratios, mut chains, mut streams) = (vec![], vec![], vec![]);
    for _ in 0..ground.pairs.min(3) {
        let stream = tls::speed(ground, LARGE_BYTES)?;
        let daemons = Daemons::start(ground, NODES as u32, directory.path(), &flags)?;
        let client = daemons.client()?;
        let started = Instant::now();
        read(&client)?;
        let chain = NODES as f64 * LARGE_BYTES as f64 / started.elapsed().as_secs_f64();
        ratios.push(chain / stream);
        chains.push(chain / 1e9);
        streams.push(stream / 1e9);
    }
    let beside = json!({
        "all_hops_gb_per_second": quantile(&chains, 0.5),
        "tls_gb_per_second": quantile(&streams, 0.5),
    });
    Ok(vec![Figure { row: "hops", samples: ratios, beside }])
}

/// Reads the whole file from the last daemon, the next question on its way before the blocks of one are all here.
fn read(client: &Client) -> anyhow::Result<()> {
    let last = client.at(NODES as u32 - 1)?;
    let path = in_view("content");
    let question = Question::Entry { path: path.clone(), urgency: Urgency::Demand };
    let Reply::Entry(entry) = client.ask(&last, question)? else { bail!("another answer") };
    let version = entry.attributes.version();
    let blocks = LARGE_BYTES / spinney::file::BLOCK_BYTES;
    let ask = |first: u64| {
        let count = u32::try_from(blocks - first).unwrap_or(u32::MAX).min(BLOCKS_PER_QUESTION_MAX);
        let range = BlockRange {
            path: path.clone(),
            version,
            first: BlockIndex(first),
            count,
            urgency: Urgency::Demand,
        };
        (last.ask_blocks(range), u64::from(count))
    };
    let mut bytes = 0;
    let (mut now, mut first) = (ask(0), 0);
    loop {
        first += now.1;
        let next = (first < blocks).then(|| ask(first));
        for _ in 0..now.1 {
            bytes += client.wait(now.0.next()).context("the blocks ended")??.len() as u64;
        }
        let Some(next) = next else { break };
        now = next;
    }
    ensure!(bytes == LARGE_BYTES, "{bytes} bytes came");
    Ok(())
}
