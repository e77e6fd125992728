//! How long `spinney up` takes in an allocation, until all nodes are ready.
//!
//! Not here: what a run in such a service takes.

use anyhow::{Context, ensure};
use serde_json::json;

use crate::cluster::{Cluster, NODES};
use crate::ground::Ground;
use crate::ground::rows::{Figure, quantile};

/// Many hosts on a small machine.
const MANY: usize = 64;

/// What the script writes, in the user's home.
const SAID: &str = "said";

/// On as many hosts as everything else here.
pub fn on_8(ground: &Ground) -> anyhow::Result<Vec<Figure>> {
    up(ground, NODES, ["up_8", "down_8"])
}

/// On many.
pub fn on_64(ground: &Ground) -> anyhow::Result<Vec<Figure>> {
    up(ground, MANY, ["up_64", "down_64"])
}

/// A script of an allocation says how many ns each of three took: a step of Slurm alone, `up`, `down`.
fn up(ground: &Ground, nodes: usize, [up_row, down_row]: [&'static str; 2]) -> anyhow::Result<Vec<Figure>> {
    let cluster = Cluster::start(ground, nodes)?;
    (1..=nodes).try_for_each(|number| cluster.bind(number, &ground.tree))?;
    let (n, up) = (format!("-N{nodes}"), cluster.spinney("up", &["-q"]).join(" "));
    let down = format!("{} down", up.split(' ').next().context("a program")?);
    let script = format!(
        "set -e; now() {{ date +%s%N; }}\n\
         a=$(now); srun -Q --overlap -N{nodes} -n{nodes} true; b=$(now)\n\
         {up}; c=$(now)\n{down} >/dev/null; d=$(now)\n\
         echo $((b - a)) $((c - b)) $((d - c))"
    );
    let (mut alone, mut ups, mut downs) = (vec![], vec![], vec![]);
    for _ in 0..ground.pairs {
        cluster.run(&["sbatch", "-Q", "-W", &n, "-o", SAID, "--wrap", &script])?;
        let said = cluster.read(SAID)?;
        // Before the last line, Slurm may say what its configuration lacks.
        let last = said.lines().last().unwrap_or_default();
        let times: Result<Vec<f64>, _> = last.split_whitespace().map(str::parse).collect();
        let times = times.with_context(|| said.clone())?;
        ensure!(times.len() == 3, "not three times but {said}");
        for (list, time) in [&mut alone, &mut ups, &mut downs].into_iter().zip(times) {
            list.push(time / 1e9);
        }
    }
    let beside = json!({ "step_of_true_seconds": quantile(&alone, 0.5) });
    Ok(vec![
        Figure { row: up_row, samples: ups, beside: beside.clone() },
        Figure { row: down_row, samples: downs, beside },
    ])
}
