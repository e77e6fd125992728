//! How services are: for people and for programs (docs/STATUS.md).
//!
//! Not here: what a service tells of itself (`daemon::status`).

use std::time::Duration;

use serde_json::{Value, json};

use super::{ask_all, names};
use crate::holder::messages::Wish;
use crate::text::size;

/// Version of the layout; it changes when a field changes its meaning or goes.
const SCHEMA: u32 = 1;

/// How long a service may take to tell: 5 s. It asks nobody, so one that takes longer is just being founded, or
/// stopped.
const PATIENCE: Duration = Duration::from_secs(5);

/// What each service of this user on this machine tells, by job and rank; only those of `job`, if one is named.
pub fn all(job: Option<&str>) -> Vec<Value> {
    let mut services: Vec<Value> =
        ask_all(&names(), &Wish::Status, PATIENCE).into_iter().map(|(_, status)| status).collect();
    services.retain(|service| job.is_none_or(|job| service["job"] == job));
    services.sort_by_key(|service| (text(&service["job"]), service["rank"].as_u64()));
    services
}

/// As `--json` prints it.
pub fn json(services: &[Value]) -> Value {
    json!({ "schema": SCHEMA, "services": services })
}

/// As it is printed for people.
pub fn lines(services: &[Value]) -> Vec<String> {
    let mut lines = Vec::new();
    for of_job in services.chunk_by(|one, other| one["job"] == other["job"]) {
        let views: Vec<String> = of_job[0]["views"].as_array().into_iter().flatten().map(text).collect();
        let n_nodes = of_job[0]["tree"]["n_nodes"].as_u64().unwrap_or(1);
        let here = of_job.len();
        lines.push(format!(
            "job {}: {here} of {n_nodes} nodes here; {}{}",
            text(&of_job[0]["job"]),
            if of_job[0]["kept"] == true { "kept; " } else { "" },
            views.join(", ")
        ));
        lines.push(format!(
            "{:>6}  {:<16} {:>5} {:>9} {:>9} {:>9} {:>9} {:>8}  tree",
            "node", "host", "tasks", "own", "nodes", "storage", "memory", "restarts"
        ));
        for service in of_job {
            let present = number(&service["tasks"]["present"]);
            lines.push(row(service, &present, &health(&service["tree"])));
        }
        let beneath = of_job.iter().flat_map(|service| service["beneath"].as_array().into_iter().flatten());
        lines.extend(beneath.map(|reported| row(reported, "-", "as it has reported")));
    }
    lines
}

fn row(service: &Value, tasks: &str, health: &str) -> String {
    let answers = |from: &str| number(&service["answers"][from]);
    let memory = service["memory"]["rss_bytes"].as_u64().or(service["memory"]["peak_rss_bytes"].as_u64());
    let faults = |what: &str| service["faults"][what].as_u64().unwrap_or(0);
    format!(
        "{:>6}  {:<16} {tasks:>5} {:>9} {:>9} {:>9} {:>9} {:>8}  {health}",
        number(&service["rank"]),
        text(&service["host"]),
        answers("cache"),
        answers("parent"),
        answers("storage"),
        size(memory.unwrap_or(0)),
        faults("daemon_restarts") + faults("holder_restarts"),
    )
}

/// Whom the node asks, and whether it is the one it should ask.
fn health(tree: &Value) -> String {
    let Some(shards) = tree["shards"].as_array() else { return "alone".to_owned() };
    let mut words: Vec<String> = Vec::new();
    for shard in shards {
        let (parent, asks) = (&shard["parent"], &shard["asks"]);
        let said = match (parent.as_u64(), asks.as_u64()) {
            (None, _) => "root".to_owned(),
            (Some(parent), Some(asks)) if parent == asks => format!("asks {asks}"),
            (Some(parent), Some(asks)) => format!("asks {asks} instead of {parent}"),
            (Some(parent), None) if shard["is_top"] == true => format!("asks storage instead of {parent}"),
            (Some(parent), None) => format!("looks for {parent}"),
        };
        if !words.contains(&said) {
            words.push(said);
        }
    }
    let given_up: Vec<String> = tree["given_up"].as_array().into_iter().flatten().map(number).collect();
    if !given_up.is_empty() {
        words.push(format!("has given up {}", given_up.join(", ")));
    }
    words.join("; ")
}

fn number(value: &Value) -> String {
    value.as_u64().unwrap_or(0).to_string()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_not_asked_as_planned_is_named() {
        let shard = |parent: Value, asks: Value, is_top: bool| json!({ "root": 0, "parent": parent, "asks": asks, "is_top": is_top });
        let none = Value::Null;
        for (shards, given_up, said) in [
            (json!([shard(none.clone(), none.clone(), true)]), json!([]), "root"),
            (json!([shard(json!(1), json!(1), false)]), json!([]), "asks 1"),
            (json!([shard(json!(1), json!(0), false)]), json!([1]), "asks 0 instead of 1; has given up 1"),
            (json!([shard(json!(1), none.clone(), true)]), json!([]), "asks storage instead of 1"),
            (json!([shard(json!(1), none.clone(), false)]), json!([]), "looks for 1"),
        ] {
            assert_eq!(health(&json!({ "shards": shards, "given_up": given_up })), said);
        }
        assert_eq!(health(&none), "alone");
    }
}
