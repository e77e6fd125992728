//! A whole cluster on this machine: `--local-nodes`. All nodes are on loopback and differ by their ports.

use std::net::{IpAddr, Ipv4Addr};

use super::{Cluster, NodeAddress, NodeRank};

/// What COMMAND finds its node by, `0..n_nodes`.
pub const NODE_VARIABLE: &str = "SPINNEY_NODE";

/// What COMMAND finds its own number by, `0..n_tasks`; those of one node follow each other.
pub const TASK_VARIABLE: &str = "SPINNEY_TASK";

impl Cluster {
    /// `n_nodes` nodes on this machine, seen from `own`.
    pub fn local(job: &str, own: NodeRank, n_nodes: u32) -> Self {
        let here = IpAddr::from(Ipv4Addr::LOCALHOST);
        let node = |_| NodeAddress { host: "localhost".to_owned(), addresses: vec![here] };
        Cluster {
            job: job.to_owned(),
            own,
            nodes: (0..n_nodes).map(node).collect(),
            listen: vec![here],
            networks: Vec::new(),
            nodes_here: n_nodes,
        }
    }
}
