//! Has the nodes of jobs forget, through one service of each job.
//!
//! Not here: how they forget (`daemon::refresh`).

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::{ask, by_cluster, missed};
use crate::holder::messages::Wish;

/// How long refreshing may take: 120 s. Nodes that do not answer take 40 s of it, storage that hangs the rest.
const REFRESH_MAX: Duration = Duration::from_secs(120);

/// Refreshes `paths` (everything, if there are none) in the services of `job`, or in all of this user on this machine.
/// Returns what went wrong, in words.
pub fn refresh(job: Option<&str>, paths: Vec<PathBuf>) -> Vec<String> {
    let asked = by_cluster(job);
    if asked.is_empty() {
        return vec!["no service of yours runs on this machine".to_owned()];
    }
    let wish = Wish::Refresh { paths };
    let mut troubles = Vec::new();
    for services in &asked {
        let answer = services.iter().find_map(|name| ask(name, &wish, REFRESH_MAX).ok());
        match answer {
            Some(answer) => troubles.extend(troubles_of(&answer)),
            None => troubles.push("a service did not answer".to_owned()),
        }
    }
    troubles.dedup();
    troubles
}

fn troubles_of(answer: &Value) -> Vec<String> {
    let list = |field: &str| answer[field].as_array().cloned().unwrap_or_default();
    let outside = list("outside").into_iter().map(|path| format!("{path} is in no view"));
    outside.chain(missed(answer)).collect()
}
