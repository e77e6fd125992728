//! Has the nodes of jobs forget, through one service of each job.
//!
//! Not here: how they forget (`daemon::refresh`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::{ask, ask_all, names};
use crate::holder::messages::Wish;

/// How long a service may take to say which job it is of: 5 s.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long refreshing may take: 120 s. Nodes that do not answer take 40 s of it, storage that hangs the rest.
const REFRESH_MAX: Duration = Duration::from_secs(120);

/// Refreshes `paths` (everything, if there are none) in the services of `job`, or in all of this user on this machine.
/// Returns what went wrong, in words.
pub fn refresh(job: Option<&str>, paths: Vec<PathBuf>) -> Vec<String> {
    // Nodes of one cluster tell each other; nodes that are alone are asked each.
    let mut asked: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, status) in ask_all(&names(), &Wish::Status, PATIENCE) {
        let of_job = status["job"].as_str().unwrap_or("").to_owned();
        if job.is_some_and(|job| job != of_job) {
            continue;
        }
        let key = if status["tree"].is_null() { name.clone() } else { format!("job {of_job}") };
        asked.entry(key).or_default().push(name);
    }
    if asked.is_empty() {
        return vec!["no service of yours runs on this machine".to_owned()];
    }
    let wish = Wish::Refresh { paths };
    let mut troubles = Vec::new();
    for services in asked.values() {
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
    let missed = list("missed_nodes").into_iter().map(|rank| format!("node {rank} could not be told"));
    outside.chain(missed).collect()
}
