//! Who the nodes of a job are, which of them this one is, and where they are found.
//!
//! One file per way to learn it: [`launchers`] and [`detected`] (the environment), [`named`] (`--hosts`,
//! `--address-book`) and [`local`] (`--local-nodes`). The outcome is a [`Cluster`], which says the same on all nodes but
//! for `own`.
//!
//! Invariant: telling the nodes asks nobody but Flux, which tells it in no other way. Names become addresses one by one,
//! when a node is to be called.
//!
//! Not here: who calls whom (`tree`), and how (`wire`).

pub mod address_book;
pub mod addresses;
pub mod detected;
pub mod error;
pub mod host_list;
pub mod identity;
pub mod interfaces;
pub mod job_key;
pub mod launchers;
pub mod local;
pub mod named;
pub mod ports;
pub mod rank;
pub mod resolve;

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

pub use error::ClusterError;
use interfaces::Network;
pub use ports::{PORTS_TRIED, ports_of};
pub use rank::NodeRank;

/// The nodes of a job, seen from one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Name of the job, equal on all nodes: ports and keys follow from it.
    pub job: String,
    /// Which node this is.
    pub own: NodeRank,
    /// All nodes, by rank.
    pub nodes: Vec<NodeAddress>,
    /// This node's addresses to listen on; empty: all it has.
    pub listen: Vec<IpAddr>,
    /// Networks of this node, the best first: of a host's addresses those in the first network that has any are used, if
    /// there are such. With `--interface` its only.
    pub networks: Vec<Network>,
    /// How many of the nodes share this machine, this one included, and so its memory.
    pub nodes_here: u32,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAddress {
    /// Its name, as listed.
    pub host: String,
    /// Its addresses, if they are known; empty: its name tells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
}

impl Cluster {
    /// How many nodes there are; at least one.
    pub fn n_nodes(&self) -> u32 {
        u32::try_from(self.nodes.len()).expect("lists are bounded far below")
    }

    /// The node at `rank`, if there is one.
    pub fn node(&self, rank: NodeRank) -> Option<&NodeAddress> {
        self.nodes.get(usize::try_from(rank.get()).ok()?)
    }

    /// Where the node at `rank` may listen: each of its addresses with its first port, then with its second, and so on.
    ///
    /// # Errors
    /// There is no such node, or nobody knows its name. The latter is worth another try later.
    /// # Cost
    /// Without an address book a question to the name service, which may block for seconds.
    pub fn endpoints(&self, rank: NodeRank) -> io::Result<Vec<SocketAddr>> {
        let node = self.node(rank).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such node"))?;
        let addresses = match node.addresses[..] {
            [] => self.preferred(resolve::addresses_of(&node.host)?),
            _ => node.addresses.clone(),
        };
        let ports = ports_of(&self.job, rank);
        let all =
            ports.iter().flat_map(|port| addresses.iter().map(|address| SocketAddr::new(*address, *port)));
        Ok(all.collect())
    }

    /// What nodes must agree on before they talk: the job and all its nodes, in order.
    ///
    /// Nodes that were told different lists would ask each other in circles.
    pub fn bond(&self) -> String {
        let mut hash = Xxh3::new();
        for node in &self.nodes {
            hash.update(node.host.to_ascii_lowercase().as_bytes());
            hash.update(b" ");
        }
        format!("{} nodes={} {:016x}", self.job, self.nodes.len(), hash.digest())
    }

    /// Those in the best network that has any, or all of them if none has. A host with several in one network gets its
    /// callers at all of them: each begins with another one than its neighbours do.
    fn preferred(&self, addresses: Vec<IpAddr>) -> Vec<IpAddr> {
        let within = |network: &Network| {
            let mut near: Vec<IpAddr> =
                addresses.iter().copied().filter(|one| network.contains(one)).collect();
            near.sort_unstable(); // a name service answers each time in another order
            let turn = self.own.get() as usize % near.len().max(1);
            near.rotate_left(turn);
            Some(near).filter(|near| !near.is_empty())
        };
        self.networks.iter().find_map(within).unwrap_or(addresses)
    }
}

/// What `file` holds, if it is text and no longer than `bytes_max`.
fn bounded_text(file: &Path, bytes_max: u64) -> Result<String, ClusterError> {
    let read = || {
        let mut text = String::new();
        File::open(file)?.take(bytes_max + 1).read_to_string(&mut text)?;
        if text.len() as u64 > bytes_max {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("longer than {bytes_max} bytes"),
            ));
        }
        Ok(text)
    };
    read().map_err(|cause| ClusterError::Unreadable { file: file.to_owned(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_hosts_addresses_those_near_the_interface_are_called() {
        let mut cluster = Cluster::local("job", NodeRank::new(0), 1);
        let addresses: Vec<IpAddr> = ["10.0.0.7", "192.168.0.7"].map(|a| a.parse().unwrap()).to_vec();
        assert_eq!(cluster.preferred(addresses.clone()), addresses, "no interface, no preference");
        cluster.networks = vec![Network { address: "192.168.0.1".parse().unwrap(), prefix_bits: 24 }];
        assert_eq!(cluster.preferred(addresses.clone()), addresses[1..]);
        cluster.networks.insert(0, Network { address: "10.0.0.1".parse().unwrap(), prefix_bits: 24 });
        assert_eq!(cluster.preferred(addresses.clone()), addresses[..1], "the best network first");
        let two: Vec<IpAddr> = ["10.0.0.8", "10.0.0.7"].map(|a| a.parse().unwrap()).to_vec();
        for (own, first) in [(0, two[1]), (1, two[0]), (2, two[1])] {
            cluster.own = NodeRank::new(own);
            assert_eq!(cluster.preferred(two.clone())[0], first, "nodes spread over them");
        }
        cluster.networks.remove(0);
        cluster.networks[0].address = "172.16.0.1".parse().unwrap();
        assert_eq!(cluster.preferred(addresses.clone()), addresses, "a routed network is better than none");
    }

    #[test]
    fn nodes_that_were_told_different_lists_do_not_agree() {
        let mut one = Cluster::local("job", NodeRank::new(0), 2);
        let mut other = Cluster { own: NodeRank::new(1), ..one.clone() };
        assert_eq!(one.bond(), other.bond(), "each has its own place");
        other.nodes.swap(0, 1);
        one.nodes[0].host = "A".to_owned();
        other.nodes[1].host = "a".to_owned();
        assert_ne!(one.bond(), other.bond(), "another order");
        other.nodes.swap(0, 1);
        assert_eq!(one.bond(), other.bond(), "names have no case");
        other.nodes.pop();
        assert_ne!(one.bond(), other.bond(), "a node less");
    }

    #[test]
    fn the_first_port_is_tried_at_every_address_before_the_second() {
        let mut cluster = Cluster::local("job", NodeRank::new(0), 2);
        let rank = NodeRank::new(1);
        cluster.nodes[1].addresses.push("127.0.0.2".parse().unwrap());
        let ports = ports_of("job", rank);
        let endpoints = cluster.endpoints(rank).unwrap();
        assert_eq!(endpoints.len(), 2 * PORTS_TRIED);
        assert_eq!(endpoints[1], SocketAddr::new("127.0.0.2".parse().unwrap(), ports[0]));
        assert_eq!(endpoints[2], SocketAddr::new("127.0.0.1".parse().unwrap(), ports[1]));
        assert!(cluster.endpoints(NodeRank::new(2)).is_err());
    }

    #[test]
    fn a_file_that_is_too_long_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("hosts");
        std::fs::write(&file, "a,b").unwrap();
        assert_eq!(bounded_text(&file, 3).unwrap(), "a,b");
        assert!(matches!(bounded_text(&file, 2), Err(ClusterError::Unreadable { .. })));
    }
}
