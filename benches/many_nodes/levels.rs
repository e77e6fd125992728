//! What each level of the tree adds to a question: daemons without mounts in a chain, listings that the root alone has.
//!
//! Each place of the chain is asked for directories of its own, so that nobody on the way has them, in turns, so that a
//! noisy moment meets all places alike.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::json;
use spinney::file::Urgency;
use spinney::wire::{Question, Reply};

use crate::daemons::{Client, Daemons, in_view};
use crate::ground::Ground;
use crate::ground::rows::{Figure, quantile};
use crate::hosts::NODES;

/// Directories that each place is asked for: 500, so that five are above the 99th percentile.
const DIRECTORIES: usize = 500;

/// Names in each of them.
const NAMES: usize = 20;

/// From the root to the last of the chain.
const LEVELS: usize = NODES - 1;

/// The median and the 99th percentile of what a level adds.
pub fn latency(ground: &Ground) -> anyhow::Result<Vec<Figure>> {
    let directory = tempfile::Builder::new().prefix("many-nodes.").tempdir_in("/dev/shm")?;
    make(directory.path())?;
    let flags = ["--shards", "1", "--fan-out", "1"];
    let (mut medians, mut tails, mut last) = (vec![], vec![], vec![]);
    for _ in 0..ground.pairs {
        let daemons = Daemons::start(ground, NODES as u32, directory.path(), &flags)?;
        last = times(&daemons.client()?)?;
        let added = |share: f64| (quantile(&last[LEVELS], share) - quantile(&last[0], share)) / LEVELS as f64;
        medians.push(added(0.5));
        tails.push(added(0.99));
    }
    let of_places = |share: f64| last.iter().map(|of_place| quantile(of_place, share)).collect::<Vec<_>>();
    let beside = |share: f64| json!({ "root_us": of_places(share)[0], "last_us": of_places(share)[LEVELS] });
    Ok(vec![
        Figure { row: "latency", samples: medians, beside: beside(0.5) },
        Figure { row: "latency_p99", samples: tails, beside: beside(0.99) },
    ])
}

fn make(view: &Path) -> anyhow::Result<()> {
    for place in 0..NODES {
        for number in 0..=DIRECTORIES {
            let listed = view.join(name(place, number));
            fs::create_dir_all(&listed)?;
            (0..NAMES).try_for_each(|file| fs::write(listed.join(format!("module{file}.py")), ""))?;
        }
    }
    // What is younger than the clock's grain of 2 s is not trusted.
    std::thread::sleep(Duration::from_secs(3));
    Ok(())
}

fn name(place: usize, number: usize) -> String {
    format!("place{place}/directory{number}")
}

/// Microseconds of each question, by place.
fn times(client: &Client) -> anyhow::Result<Vec<Vec<f64>>> {
    let peers = (0..NODES as u32).map(|place| client.at(place)).collect::<anyhow::Result<Vec<_>>>()?;
    let ask = |place: usize, name: &str| -> anyhow::Result<f64> {
        let question = Question::Listing { path: in_view(name), urgency: Urgency::Demand };
        let started = Instant::now();
        let reply = client.ask(&peers[place], question)?;
        let elapsed = started.elapsed();
        let Reply::Listing { listing, .. } = reply else { anyhow::bail!("another answer") };
        ensure!(listing.len() == NAMES, "{name} has {} names", listing.len());
        Ok(elapsed.as_secs_f64() * 1e6)
    };
    for place in 0..NODES {
        (0..=DIRECTORIES).try_for_each(|number| ask(0, &name(place, number)).map(drop))?;
    }
    let mut times = vec![Vec::new(); NODES];
    for number in 0..=DIRECTORIES {
        for (place, times) in times.iter_mut().enumerate() {
            let microseconds = ask(place, &name(place, number))?;
            // The first question makes connections and compares the view with the root's.
            if number > 0 {
                times.push(microseconds);
            }
        }
    }
    Ok(times)
}
