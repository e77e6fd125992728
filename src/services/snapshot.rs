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
                written.extend(place(&answer));
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

/// Where it was written: another node may have done that, on a disk that this one does not see.
fn place(answer: &Value) -> Option<String> {
    let directory = answer["directory"].as_str()?;
    Some(match answer["host"].as_str() {
        Some(host) => format!("{directory} on {host}"),
        None => directory.to_owned(),
    })
}

fn troubles_of(answer: &Value) -> Vec<String> {
    answer["error"].as_str().map(str::to_owned).into_iter().chain(missed(answer)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_place_has_the_host_if_another_one_writes() {
        let cases = [
            (json!({ "directory": "/r", "host": null }), Some("/r")),
            (json!({ "directory": "/r", "host": "n1" }), Some("/r on n1")),
            (json!({ "directory": null, "host": "n1" }), None), // nothing is recorded
        ];
        for (answer, want) in cases {
            assert_eq!(place(&answer).as_deref(), want);
        }
    }
}
