//! `spinney mountless-nodes`, a hidden subcommand: daemons without tasks and mounts, for benchmarks and tests.
//!
//! It prints one line of JSON when the nodes have found each other, and ends them when its standard input ends.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::launch::TASKS_MAX;
use crate::launch::mountless::{Nodes, Wanted};

/// Start daemons of one cluster on this machine, without tasks and mounts
#[derive(Debug, Parser)]
#[command(name = "spinney mountless-nodes")]
struct MountlessArgs {
    /// How many
    #[arg(value_parser = clap::value_parser!(u32).range(2..=i64::from(TASKS_MAX)))]
    nodes: u32,
    /// The directory that they read
    view: PathBuf,
    /// Name of the job
    #[arg(long)]
    job: String,
    /// How many trees
    #[arg(long)]
    shards: Option<u16>,
    /// How many nodes ask one node
    #[arg(long)]
    fan_out: Option<u16>,
    /// Memory of each for what was read from storage
    #[arg(long, value_parser = super::bytes::parse)]
    cache_bytes: Option<u64>,
}

/// Starts the nodes that `words` tell of and keeps them until standard input ends.
pub fn run(words: impl Iterator<Item = std::ffi::OsString>) -> ExitCode {
    let name = std::ffi::OsString::from("spinney mountless-nodes");
    let MountlessArgs { nodes, view, job, shards, fan_out, cache_bytes } =
        MountlessArgs::parse_from(std::iter::once(name).chain(words));
    match keep(&Wanted { nodes, job, view, shards, fan_out, cache_bytes }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("spinney: {error}");
            ExitCode::FAILURE
        }
    }
}

fn keep(wanted: &Wanted) -> std::io::Result<()> {
    let nodes = Nodes::start(wanted)?;
    println!("{}", serde_json::to_string(&nodes.find_each_other()?)?);
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
