//! Where the nodes of a job listen: a few ports that everybody can work out.
//!
//! No address is exchanged before nodes meet, so the ports follow from the name of the job and the rank of the node.
//! There are several because others may use one of them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use xxhash_rust::xxh3::xxh3_64;

use super::Cluster;
use super::rank::NodeRank;

/// Ports that a node tries, and its children after it: 4. That many jobs of one user on a node may collide before
/// the node cannot be reached and its children ask the next.
pub const PORTS_TRIED: usize = 4;

/// The lowest port: 20,000, above what services are registered for and commonly use.
const FIRST: u16 = 20_000;

/// Ports from there on: up to 32,767, just below those that Linux gives to outgoing connections
/// (`net.ipv4.ip_local_port_range`).
const SPAN: u16 = 12_768;

/// Distance between two ports of one node, so that ranks up to this share none: 512 nodes on one machine must not
/// be in each other's way.
const STRIDE: u16 = SPAN / PORTS_TRIED as u16;

/// Ports a node may listen on, in the order in which it tries them and its children look.
pub fn ports_of(job: &str, rank: NodeRank) -> [u16; PORTS_TRIED] {
    let start = xxh3_64(job.as_bytes()) % u64::from(SPAN) + u64::from(rank.get());
    std::array::from_fn(|nth| {
        let place = (start + u64::from(STRIDE) * nth as u64) % u64::from(SPAN);
        FIRST + u16::try_from(place).expect("less than SPAN")
    })
}

/// Why a node does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// All its ports are taken.
    #[error("no port to listen on for the other nodes: {} are taken", list(ports))]
    Taken {
        /// Those tried.
        ports: [u16; PORTS_TRIED],
    },
    /// The address is not this machine's, or the kernel refused otherwise.
    #[error("cannot listen on `{address}` for the other nodes: {cause}")]
    Refused {
        /// Where.
        address: IpAddr,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
}

/// Listens as the own node of `cluster`: on each of its addresses, all with one port.
///
/// # Errors
/// See [`ListenError`]. The node can do without: its children ask the next ancestor.
pub fn listen(cluster: &Cluster) -> Result<Vec<TcpListener>, ListenError> {
    let ports = ports_of(&cluster.job, cluster.own);
    for port in ports {
        match listen_on(&cluster.listen, port) {
            Ok(listeners) => return Ok(listeners),
            Err(ListenError::Refused { cause, .. }) if cause.kind() == io::ErrorKind::AddrInUse => {}
            Err(other) => return Err(other),
        }
    }
    Err(ListenError::Taken { ports })
}

fn listen_on(addresses: &[IpAddr], port: u16) -> Result<Vec<TcpListener>, ListenError> {
    let on = |address: IpAddr| {
        TcpListener::bind(SocketAddr::new(address, port))
            .map_err(|cause| ListenError::Refused { address, cause })
    };
    if !addresses.is_empty() {
        return addresses.iter().map(|address| on(*address)).collect();
    }
    // On Linux the one for all IPv6 addresses takes IPv4 too; where IPv6 is switched off there is none.
    let all = on(Ipv6Addr::UNSPECIFIED.into()).or_else(|error| match &error {
        ListenError::Refused { cause, .. } if cause.kind() == io::ErrorKind::AddrInUse => Err(error),
        _ => on(Ipv4Addr::UNSPECIFIED.into()),
    });
    Ok(vec![all?])
}

fn list(ports: &[u16]) -> String {
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nodes_that_may_share_a_machine_share_no_port() {
        let mut all: Vec<u16> =
            (0..u32::from(STRIDE)).flat_map(|rank| ports_of("job", NodeRank::new(rank))).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), usize::from(SPAN));
        assert_ne!(ports_of("job", NodeRank::new(0)), ports_of("other", NodeRank::new(0)));
    }

    #[test]
    fn every_node_works_out_the_same_ports() {
        // Other versions of the program on other nodes must agree, so these change only with the version of the wire.
        assert_eq!(ports_of("slurm=7,step=0", NodeRank::new(3)), [20_655, 23_847, 27_039, 30_231]);
    }

    #[test]
    fn a_port_that_is_taken_is_passed_over() {
        let cluster = Cluster::local("ports-test", NodeRank::new(0), 1);
        let [first, second, ..] = ports_of(&cluster.job, cluster.own);
        let port = |listeners: &[TcpListener]| listeners[0].local_addr().unwrap().port();
        let held = listen(&cluster).unwrap();
        assert_eq!(port(&held), first, "somebody else uses port {first}");
        assert_eq!(port(&listen(&cluster).unwrap()), second);
    }

    #[test]
    fn an_address_of_another_machine_is_refused_with_its_name() {
        let mut cluster = Cluster::local("ports-test-foreign", NodeRank::new(0), 1);
        cluster.listen = vec!["192.0.2.1".parse().unwrap()]; // kept for documentation, nobody's
        assert!(listen(&cluster).unwrap_err().to_string().contains("`192.0.2.1`"));
    }

    proptest! {
        #[test]
        fn ports_are_in_the_range_and_differ(job in ".{0,40}", rank in any::<u32>()) {
            let mut ports = ports_of(&job, NodeRank::new(rank)).to_vec();
            prop_assert!(ports.iter().all(|port| (FIRST..FIRST + SPAN).contains(port)));
            ports.sort_unstable();
            ports.dedup();
            prop_assert_eq!(ports.len(), PORTS_TRIED);
        }
    }
}
