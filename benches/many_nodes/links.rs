//! A file down a chain whose every link is limited: how much of the last one is used.

use anyhow::ensure;
use serde_json::json;
use spinney::tree::{Shape, Shard};

use crate::content::write_large;
use crate::ground::rows::Figure;
use crate::ground::{Ground, Job, text, wait_for};
use crate::hosts::{Hosts, NODES};

/// Size of the file: 256 MiB, which takes a link 2.7 s.
const FILE_BYTES: u64 = 256 << 20;

/// What a link carries, for `tc` and in bytes per second. The headers of Ethernet, IP and TCP are part of it: 4 to 5 %.
const RATE: (&str, f64) = ("800mbit", 100e6);

/// What may leave a host at once: 1 MiB. At 100 MB/s the kernel's ticks of up to 10 ms need as much.
const BURST: &str = "1mb";

/// Who reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Readers {
    /// The last of the chain; the others only pass on.
    Last,
    All,
}

/// The last node alone reads, since eight readers behind the kernel take more of the processors than the links let them.
/// What comes of it when all of them read stands beside it, and what without limits.
pub fn throughput(ground: &Ground) -> anyhow::Result<Vec<Figure>> {
    let directory = tempfile::Builder::new().prefix("many-nodes.").tempdir_in("/dev/shm")?;
    let storage = directory.path().join("storage");
    std::fs::create_dir(&storage)?;
    write_large(&storage.join("content"), FILE_BYTES)?;
    let hosts = Hosts::make(directory.path())?;
    (0..NODES).try_for_each(|host| hosts.bind(host, &storage))?;
    let unlimited = FILE_BYTES as f64 / 1e6 / seconds_of_last(ground, &hosts, Readers::Last)?;
    (0..NODES).try_for_each(|host| hosts.network.limit(host, RATE.0, BURST))?;
    let share = |seconds: f64| FILE_BYTES as f64 / seconds / RATE.1;
    let mut shares = Vec::new();
    for _ in 0..ground.pairs.min(3) {
        shares.push(share(seconds_of_last(ground, &hosts, Readers::Last)?));
    }
    let all = share(seconds_of_last(ground, &hosts, Readers::All)?);
    let beside = json!({ "unlimited_mb_per_second": unlimited, "when_all_nodes_read": all });
    Ok(vec![Figure { row: "links", samples: shares, beside }])
}

/// What reading took the last node of the chain, by its own clock.
fn seconds_of_last(ground: &Ground, hosts: &Hosts, readers: Readers) -> anyhow::Result<f64> {
    let scratch = ground.scratch()?;
    let out = scratch.path();
    let shape = Shape::chosen(NODES as u32, Some(1), Some(1));
    let last = shape.at(Shard::new(0), NODES as u32 - 1).get() as usize;
    let file = text(hosts.view.join("content"));
    let command = |host: usize| {
        let role = if host == last || readers == Readers::All { "read" } else { "stay" };
        ground.inside(&[role, &text(out), &host.to_string(), &file], &[])
    };
    let lines = hosts.job(ground, &["--shards", "1", "--fan-out", "1"], command);
    let mut jobs = lines.iter().map(|line| Job::start(line)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut wait_until = |what: &str, is_so: &dyn Fn() -> bool| {
        wait_for(what, 120, || (jobs.iter_mut().any(Job::is_over) || is_so()).then_some(()))
    };
    wait_until("all hosts", &|| (0..NODES).all(|host| out.join(format!("ready{host}")).exists()))?;
    std::fs::write(out.join("go"), "")?;
    let seconds = out.join(format!("seconds{last}"));
    wait_until("the last reader", &|| seconds.exists())?;
    std::fs::write(out.join("end"), "")?;
    for job in jobs {
        let output = job.end()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(std::fs::read_to_string(seconds)?.parse()?)
}
