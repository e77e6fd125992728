//! What keeps nodes from sharing, in lines for the user: which node, what is wrong, and the remedy.
//!
//! Not here: when it is worth a line (`tree`), how it gets to the user (`line`).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::line::Line;
use crate::cluster::{Cluster, NodeRank};
use crate::tree::Complain;
use crate::wire::{ConnectError, wire_version};

/// Tells the user on `line` of each kind of trouble once: what keeps this node from one often keeps it from all.
pub(super) fn teller(cluster: Arc<Cluster>, line: Line) -> Complain {
    let told: [AtomicBool; 3] = Default::default();
    Arc::new(move |error| {
        let Some((kind, trouble)) = trouble(&cluster, error) else { return };
        if !told[kind].swap(true, Ordering::Relaxed) {
            line.complain(trouble);
        }
    })
}

/// There is no key to meet others with.
pub(super) fn no_key(cluster: &Cluster, error: &io::Error) -> String {
    let why = error.to_string().replace("\nhint: ", "; ");
    format!("node `{}`: {why}; until then it reads from storage itself", host(cluster, cluster.own))
}

/// Which kind it is, and the line.
fn trouble(cluster: &Cluster, error: &ConnectError) -> Option<(usize, String)> {
    let own = host(cluster, cluster.own);
    let line = |rank, what: String| format!("node `{own}`: node `{}` {what}", host(cluster, rank));
    match error {
        ConnectError::Unreachable { .. } | ConnectError::NobodyThere { .. } => None,
        ConnectError::Unknown { rank, cause } => {
            let what =
                format!("has no address ({cause}), so it is passed by; name addresses with `--address-book`");
            Some((0, line(*rank, what)))
        }
        ConnectError::NotOurs { rank } => {
            let what = "has another key, version, list of views or `--freshness`, so they do not share; start the same \
                        `spinney run` on all nodes, with one `SPINNEY_KEY` where homes are not shared";
            Some((1, line(*rank, what.to_owned())))
        }
        ConnectError::OtherVersion { rank, theirs } => {
            let here = wire_version();
            let what = format!(
                "runs another version of Spinney (its wire is {theirs}, here {here}), so they do not share; \
                 install one version on all nodes"
            );
            Some((2, line(*rank, what)))
        }
    }
}

fn host(cluster: &Cluster, rank: NodeRank) -> &str {
    cluster.node(rank).map_or("?", |node| &node.host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trouble_is_one_line_with_both_nodes_and_a_remedy() {
        let (own, rank) = (NodeRank::new(0), NodeRank::new(1));
        let mut cluster = Cluster::local("job", own, 2);
        for (node, host) in cluster.nodes.iter_mut().zip(["a1", "a2"]) {
            node.host = host.to_owned();
        }
        let cause = "failed to lookup address information".to_owned();
        for (error, words) in [
            (ConnectError::Unknown { rank, cause }, "has no address (failed to lookup address information)"),
            (ConnectError::NotOurs { rank }, "`SPINNEY_KEY`"),
            (ConnectError::OtherVersion { rank, theirs: 7 }, "its wire is 7"),
        ] {
            let (_, line) = trouble(&cluster, &error).unwrap();
            assert!(line.starts_with("node `a1`: node `a2` ") && line.contains(words), "{line}");
            assert!(line.contains("; ") && !line.contains('\n'), "{line}");
        }
        let common = ConnectError::Unreachable { rank, cause: String::new() };
        assert!(trouble(&cluster, &common).is_none(), "nodes start one after the other");
        let line = no_key(&cluster, &io::Error::other("no key\nhint: set one"));
        assert_eq!(line, "node `a1`: no key; set one; until then it reads from storage itself");
    }
}
