//! What runs on the nodes: this program once more, with a word for what to do.
//!
//! | words | does | writes |
//! |---|---|---|
//! | `levels OUT N VIEW` | nodes of a chain list VIEW one after the other | seconds of each directory, as `OUT/timesPLACE` |
//! | `hold OUT -- COMMAND` | runs COMMAND, waits for `OUT/go` | `OUT/readyNODE` |

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::json;
use spinney::cluster::NodeRank;
use spinney::tree::{Shape, Shard};

/// How long one waits for another: 120 s.
const PATIENCE: Duration = Duration::from_secs(120);

/// Does what the words say.
pub fn run(words: &[String]) -> anyhow::Result<ExitCode> {
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let command = words.get(end + 1..).unwrap_or(&[]);
    let words: Vec<&str> = words[..end].iter().map(String::as_str).collect();
    match words[..] {
        ["levels", out, nodes, view] => levels(Path::new(out), nodes.parse()?, Path::new(view))?,
        ["hold", out] => hold(Path::new(out), command)?,
        _ => bail!("`inside` does not know {words:?}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn node() -> anyhow::Result<u32> {
    Ok(std::env::var("SPINNEY_NODE").context("not on a node")?.parse()?)
}

fn levels(out: &Path, nodes: u32, view: &Path) -> anyhow::Result<()> {
    let shape = Shape::chosen(nodes, Some(1), Some(1));
    let place = shape.place(Shard::new(0), NodeRank::new(node()?));
    if place > 0 {
        wait_for(&out.join(format!("times{}", place - 1)))?;
    } else {
        // Once for the cache; what is measured is what its memory answers.
        list_all(view)?;
    }
    let times = list_all(view)?;
    let finished = out.join(format!("times{place}"));
    fs::write(finished.with_extension("new"), json!(times).to_string())?;
    fs::rename(finished.with_extension("new"), &finished)?;
    // A node whose task has ended might leave before those below have asked.
    wait_for(&out.join(format!("times{}", nodes - 1)))
}

/// Seconds for each directory two levels below `view`.
fn list_all(view: &Path) -> anyhow::Result<Vec<f64>> {
    let mut times = Vec::new();
    for group in names(view)? {
        for directory in names(&group)? {
            let started = Instant::now();
            let count = names(&directory)?.len();
            times.push(started.elapsed().as_secs_f64());
            ensure!(count == 20, "{} has {count} names", directory.display());
        }
    }
    Ok(times)
}

fn names(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let rows = fs::read_dir(directory)?;
    Ok(rows.map(|row| row.map(|row| row.path())).collect::<Result<_, _>>()?)
}

fn hold(out: &Path, command: &[String]) -> anyhow::Result<()> {
    if let [program, arguments @ ..] = command {
        let status = Command::new(program).args(arguments).status()?;
        ensure!(status.success(), "`{program}` ended with {status}");
    }
    fs::write(out.join(format!("ready{}", node()?)), "")?;
    wait_for(&out.join("go"))
}

fn wait_for(file: &Path) -> anyhow::Result<()> {
    let patience = Instant::now() + PATIENCE;
    while !file.exists() {
        ensure!(Instant::now() < patience, "waited in vain for {}", file.display());
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
