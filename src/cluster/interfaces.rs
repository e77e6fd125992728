//! The network interfaces of this machine and their addresses.

use std::net::IpAddr;

use if_addrs::{IfAddr, Interface};
use serde::{Deserialize, Serialize};

use super::error::ClusterError;
use super::rank::NodeRank;

/// A network that an interface of this machine is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// An address in it.
    pub address: IpAddr,
    /// Leading bits that all its addresses share.
    pub prefix_bits: u8,
}

impl Network {
    /// Whether `address` is in it.
    pub fn contains(&self, address: &IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let apart = ours.to_bits() ^ theirs.to_bits();
                apart.leading_zeros() >= u32::from(self.prefix_bits)
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let apart = ours.to_bits() ^ theirs.to_bits();
                apart.leading_zeros() >= u32::from(self.prefix_bits)
            }
            _ => false,
        }
    }
}

/// The networks of the interface called `name`, each with this machine's address in it.
///
/// # Errors
/// There is no such interface, or it has no address.
pub fn networks_of(name: &str) -> Result<Vec<Network>, ClusterError> {
    let all = if_addrs::get_if_addrs().map_err(ClusterError::Interfaces)?;
    let ours: Vec<Network> = all.iter().filter(|one| one.name == name).filter_map(network).collect();
    if !ours.is_empty() {
        return Ok(ours);
    }
    let mut present: Vec<String> = all.into_iter().map(|one| one.name).collect();
    present.sort();
    present.dedup();
    Err(ClusterError::NoInterface { name: name.to_owned(), present })
}

/// All interfaces of this machine with an address, one row for each address; none if it does not tell.
pub fn all() -> Vec<(String, IpAddr)> {
    let all = if_addrs::get_if_addrs().unwrap_or_default();
    all.into_iter().map(|one| (one.name.clone(), one.ip())).collect()
}

/// One address of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Name of the interface.
    pub interface: String,
    /// Its hardware address, such as that of Ethernet; `-` if it has none.
    pub hardware: String,
    /// The address.
    pub address: IpAddr,
    /// See [`speed`].
    pub speed_mbit: Option<u32>,
}

/// Addresses that other machines can use, those of the fastest interface first.
pub fn rows() -> Vec<Row> {
    let mut all: Vec<Row> = if_addrs::get_if_addrs().unwrap_or_default().iter().filter_map(row).collect();
    all.sort_by_key(|row| std::cmp::Reverse(row.speed_mbit));
    all
}

fn row(one: &Interface) -> Option<Row> {
    if one.is_loopback() || network(one).is_none() {
        return None;
    }
    let hardware = std::fs::read_to_string(format!("/sys/class/net/{}/address", one.name));
    let hardware = hardware.ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    Some(Row {
        interface: one.name.clone(),
        hardware: hardware.unwrap_or_else(|| "-".to_owned()),
        address: one.ip(),
        speed_mbit: speed(&one.name),
    })
}

/// The networks of this machine, those of the fastest interface first; none that leads nowhere else.
///
/// Where several are equally fast, as in machines with a card for each processor, the node at `own` begins with another
/// one than its neighbours do, so that the nodes of a job use them all.
pub fn by_speed(own: NodeRank) -> Vec<Network> {
    let all = if_addrs::get_if_addrs().unwrap_or_default();
    let far = all.iter().filter(|one| !one.is_loopback());
    let far = far.filter_map(|one| Some((speed(&one.name), network(one)?)));
    spread(far.collect(), own)
}

fn spread(mut networks: Vec<(Option<u32>, Network)>, own: NodeRank) -> Vec<Network> {
    networks.sort_by_key(|(speed, _)| std::cmp::Reverse(*speed));
    // What nobody knows the speed of need not be equally fast.
    for equals in networks.chunk_by_mut(|one, other| one.0.is_some() && one.0 == other.0) {
        equals.rotate_left(own.get() as usize % equals.len());
    }
    networks.into_iter().map(|(_, network)| network).collect()
}

/// Megabits per second of the interface; none where the kernel does not say, as for those that are down.
pub fn speed(name: &str) -> Option<u32> {
    let text = std::fs::read_to_string(format!("/sys/class/net/{name}/speed")).ok()?;
    text.trim().parse().ok()
}

fn network(interface: &Interface) -> Option<Network> {
    let prefix_bits = match &interface.addr {
        IfAddr::V4(v4) => v4.netmask.to_bits().leading_ones(),
        // A link-local address means nothing without its interface, which no name service tells.
        IfAddr::V6(v6) if v6.ip.is_unicast_link_local() => return None,
        IfAddr::V6(v6) => v6.netmask.to_bits().leading_ones(),
    };
    Some(Network { address: interface.ip(), prefix_bits: u8::try_from(prefix_bits).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_has_its_address() {
        let networks = networks_of("lo").unwrap();
        assert!(networks.iter().any(|network| network.address.is_loopback()), "{networks:?}");
    }

    #[test]
    fn an_interface_that_is_not_there_is_refused_and_those_that_are_named() {
        let error = networks_of("hsn77").unwrap_err();
        assert!(error.to_string().contains("`hsn77`") && error.to_string().contains("lo"), "{error}");
    }

    #[test]
    fn nodes_begin_with_different_ones_of_the_fastest_networks() {
        let network = |n: u8| Network { address: IpAddr::from([10, n, 0, 1]), prefix_bits: 16 };
        let networks = [(Some(1), 1), (Some(200), 2), (Some(200), 3), (None, 4), (None, 5)];
        for (rank, want) in [(0, [2, 3, 1, 4, 5]), (1, [3, 2, 1, 4, 5]), (2, [2, 3, 1, 4, 5])] {
            let networks = networks.map(|(speed, n)| (speed, network(n)));
            assert_eq!(spread(networks.to_vec(), NodeRank::new(rank)), want.map(network), "node {rank}");
        }
    }

    #[test]
    fn a_network_contains_what_shares_its_prefix() {
        for (network, bits, address, inside) in [
            ("10.1.2.3", 16, "10.1.9.9", true),
            ("10.1.2.3", 16, "10.2.2.3", false),
            ("10.1.2.3", 0, "99.9.9.9", true),
            ("10.1.2.3", 32, "10.1.2.3", true),
            ("10.1.2.3", 32, "10.1.2.2", false),
            ("fd00::1", 64, "fd00::2", true),
            ("fd00::1", 64, "fd01::2", false),
            ("10.1.2.3", 0, "fd00::1", false), // another family
        ] {
            let network = Network { address: network.parse().unwrap(), prefix_bits: bits };
            assert_eq!(network.contains(&address.parse().unwrap()), inside, "{network:?} {address}");
        }
    }
}
