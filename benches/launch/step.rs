//! What `spinney run --` adds to a step that does nothing.
//!
//! Not here: a step that reads storage (`import`).

use serde_json::json;

use crate::cluster::{Cluster, NODES, STEP};
use crate::ground::Ground;
use crate::ground::rows::{Figure, quantile};

/// A step with a view, one that finds none, and one without Spinney take turns.
pub fn launch(ground: &Ground) -> anyhow::Result<Vec<Figure>> {
    let cluster = Cluster::start(ground, NODES)?;
    (1..=NODES).try_for_each(|number| cluster.bind(number, &ground.tree))?;
    let command = ["true"];
    // Once before: the program is to be in memory, and the key of the user made.
    cluster.srun_with(&STEP, &command)?;
    let (mut direct, mut with, mut bare) = (vec![], vec![], vec![]);
    for _ in 0..ground.pairs {
        let alone = cluster.srun(&STEP, &command)?.seconds;
        direct.push(alone);
        with.push(cluster.srun_with(&STEP, &command)?.seconds - alone);
        bare.push(cluster.srun_bare(&STEP, &command)?.seconds - alone);
    }
    let beside = json!({ "direct_seconds": quantile(&direct, 0.5) });
    Ok(vec![
        Figure { row: "step", samples: with, beside: beside.clone() },
        Figure { row: "step_bare", samples: bare, beside },
    ])
}
