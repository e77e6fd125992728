//! Has the nodes of jobs write what they have recorded so far, through one service of each cluster.
//!
//! Not here: what they write (`daemon::recording`).

use std::time::Duration;

use serde_json::Value;

use super::{ask, by_cluster, missed};
use crate::holder::messages::Wish;

/// How long it may take: 60 s. A node that does not do it takes 20 s of it.
const SNAPSHOT_MAX: Duration = Duration::from_secs(60);

/// Has it done in the services of `job`, or in all of this user on this machine. Returns where it was written, and what
/// went wrong, in words.
pub fn snapshot(job: Option<&str>) -> (Vec<String>, Vec<String>) {
    let (mut written, mut troubles) = (Vec::new(), Vec::new());
    for services in by_cluster(job) {
        match services.iter().find_map(|name| ask(name, &Wish::Snapshot, SNAPSHOT_MAX).ok()) {
            Some(answer) => {
                written.extend(answer["directory"].as_str().map(str::to_owned));
                troubles.extend(troubles_of(&answer));
            }
            None => troubles.push("a service did not answer".to_owned()),
        }
    }
    if written.is_empty() && troubles.is_empty() {
        troubles.push("no service of yours on this machine records anything".to_owned());
    }
    (written, troubles)
}

fn troubles_of(answer: &Value) -> Vec<String> {
    answer["error"].as_str().map(str::to_owned).into_iter().chain(missed(answer)).collect()
}
