//! Which host of a list this machine is.
//!
//! By its own name, in full or up to the first dot; a list of addresses by its own addresses. Nothing is looked up:
//! thousands of nodes start at once, and a name service is one more thing they would queue for.

use std::collections::HashSet;
use std::net::IpAddr;

use super::error::ClusterError;
use super::rank::NodeRank;

/// Refuses a list with one host twice.
///
/// # Errors
/// [`ClusterError::Duplicate`].
pub fn check_unique(hosts: &[String]) -> Result<(), ClusterError> {
    let mut seen = HashSet::with_capacity(hosts.len());
    match hosts.iter().find(|host| !seen.insert(host.to_ascii_lowercase())) {
        Some(host) => Err(ClusterError::Duplicate { host: host.clone() }),
        None => Ok(()),
    }
}

/// The place of the machine called `own`, with these `addresses`, among `hosts`.
///
/// # Errors
/// It has none, or it cannot be told which.
pub fn own_rank(hosts: &[String], own: &str, addresses: &[IpAddr]) -> Result<NodeRank, ClusterError> {
    let exact = hosts.iter().position(|host| host.eq_ignore_ascii_case(own));
    let rank = match exact {
        Some(place) => Some(place),
        None => by_short_name(hosts, own)?.or_else(|| by_address(hosts, addresses)),
    };
    let rank = rank.and_then(|place| u32::try_from(place).ok()).map(NodeRank::new);
    rank.ok_or_else(|| ClusterError::NotListed { own: own.to_owned(), listed: hosts.len() })
}

/// One of both names must be short: two full names with different domains are two machines.
fn by_short_name(hosts: &[String], own: &str) -> Result<Option<usize>, ClusterError> {
    let own_is_short = !own.contains('.');
    let same = |host: &str| {
        host.parse::<IpAddr>().is_err()
            && (own_is_short || !host.contains('.'))
            && short(host).eq_ignore_ascii_case(short(own))
    };
    let places: Vec<usize> = (0..hosts.len()).filter(|place| same(&hosts[*place])).collect();
    match places[..] {
        [] => Ok(None),
        [place] => Ok(Some(place)),
        _ => Err(ClusterError::Ambiguous {
            own: own.to_owned(),
            hosts: places.iter().take(4).map(|place| hosts[*place].clone()).collect(),
        }),
    }
}

fn by_address(hosts: &[String], addresses: &[IpAddr]) -> Option<usize> {
    hosts.iter().position(|host| host.parse().is_ok_and(|address: IpAddr| addresses.contains(&address)))
}

fn short(host: &str) -> &str {
    host.split('.').next().unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_host_finds_itself_by_its_full_name_its_short_name_or_its_address() {
        for (list, own, rank) in [
            ("a b c", "b", Some(1)),
            ("a b c", "B", Some(1)),          // names have no case
            ("a b c", "b.site.org", Some(1)), // the list is short
            ("a.x b.x", "b", Some(1)),        // the machine's name is
            ("b.x b.y", "b.y", Some(1)),      // in full comes first
            ("b.x c.x", "b.y", None),         // another machine
            ("a b", "c", None),
            ("10.0.0.1 10.0.0.2", "c", Some(1)), // by address
            ("10.0.0.1 10.0.0.3", "10", None),   // an address has no short name
        ] {
            let found = own_rank(&hosts(list), own, &["10.0.0.2".parse().unwrap()]);
            assert_eq!(found.ok().map(NodeRank::get), rank, "{own} in {list}");
        }
    }

    #[test]
    fn a_host_that_may_be_either_is_refused() {
        let error = own_rank(&hosts("b.x b.y"), "b", &[]).unwrap_err();
        assert!(matches!(error, ClusterError::Ambiguous { hosts, .. } if hosts == ["b.x", "b.y"]));
    }

    #[test]
    fn one_host_twice_is_refused() {
        assert!(check_unique(&hosts("a b c")).is_ok());
        let error = check_unique(&hosts("a b A")).unwrap_err();
        assert_eq!(error.to_string(), "host `A` is listed twice");
    }
}
