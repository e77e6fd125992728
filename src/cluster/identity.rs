//! Which host of a list this machine is.
//!
//! By its own name, in full or up to the first dot, perhaps with the name of an interface behind (`a01-hsn0`); a list of
//! addresses by its own addresses. Nothing is looked up: thousands of nodes start at once, and a name service is one more
//! thing they would queue for.

use std::collections::HashSet;
use std::net::IpAddr;

use super::error::ClusterError;
use super::interfaces;
use super::rank::NodeRank;

/// What this machine can be known by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Own {
    /// As `hostname` prints it.
    pub name: String,
    /// Names of its network interfaces.
    pub interfaces: Vec<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

impl Own {
    /// This machine.
    pub fn find() -> Self {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let (mut interfaces, addresses): (Vec<_>, Vec<_>) = interfaces::all().into_iter().unzip();
        interfaces.dedup();
        Own { name, interfaces, addresses }
    }
}

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

/// The place of the machine `own` among `hosts`; if it is not there by a name of its own, by one of `aliases`.
///
/// # Errors
/// It has none, or it cannot be told which.
pub fn rank_of(hosts: &[String], own: &Own, aliases: &[String]) -> Result<NodeRank, ClusterError> {
    let by_name = |name: &str| match hosts.iter().position(|host| host.eq_ignore_ascii_case(name)) {
        Some(place) => Ok(Some(place)),
        None => by_short_name(hosts, name),
    };
    let mut rank = by_name(&own.name)?;
    rank = rank.or_else(|| by_interface(hosts, own)).or_else(|| by_address(hosts, &own.addresses));
    for alias in aliases {
        rank = rank.map_or_else(|| by_name(alias), |rank| Ok(Some(rank)))?;
    }
    let rank = rank.and_then(|place| u32::try_from(place).ok()).map(NodeRank::new);
    rank.ok_or_else(|| ClusterError::NotListed { own: own.name.clone(), listed: hosts.len() })
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

/// The short name with that of an interface behind a hyphen, with its number (`a01-ib0`) or without (`a01-ib`).
fn by_interface(hosts: &[String], own: &Own) -> Option<usize> {
    let is_of = |suffix: &str, interface: &String| {
        let kind = interface.trim_end_matches(|c: char| c.is_ascii_digit());
        suffix.eq_ignore_ascii_case(interface) || (!kind.is_empty() && suffix.eq_ignore_ascii_case(kind))
    };
    let is_own = |host: &String| {
        let Some((name, suffix)) = short(host).rsplit_once('-') else { return false };
        name.eq_ignore_ascii_case(short(&own.name))
            && own.interfaces.iter().any(|interface| is_of(suffix, interface))
    };
    hosts.iter().position(is_own)
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

    fn machine(name: &str) -> Own {
        let (interfaces, addresses) = (vec!["ib0".to_owned()], vec!["10.0.0.2".parse().unwrap()]);
        Own { name: name.to_owned(), interfaces, addresses }
    }

    #[test]
    fn the_name_that_a_scheduler_knows_a_host_by_counts_only_if_its_own_is_not_listed() {
        let rank = |own: &str| rank_of(&hosts("n1 n2 n3"), &machine(own), &["n3".to_owned()]);
        assert_eq!(rank("n2").unwrap().get(), 1);
        assert_eq!(rank("elsewhere").unwrap().get(), 2);
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
            ("10.0.0.1 10.0.0.2", "c", Some(1)),    // by address
            ("10.0.0.1 10.0.0.3", "10", None),      // an address has no short name
            ("a-ib0 b-ib0", "b.site.org", Some(1)), // the name of an interface
            ("a-ib b-ib", "b", Some(1)),            // of its kind
            ("a-eth0 b-eth0", "b", None),           // of one that this machine has not
            ("a-ib0 b", "a-ib0", Some(0)),          // its own name, after all
        ] {
            let found = rank_of(&hosts(list), &machine(own), &[]);
            assert_eq!(found.ok().map(NodeRank::get), rank, "{own} in {list}");
        }
    }

    #[test]
    fn a_host_that_may_be_either_is_refused() {
        let error = rank_of(&hosts("b.x b.y"), &machine("b"), &[]).unwrap_err();
        assert!(matches!(error, ClusterError::Ambiguous { hosts, .. } if hosts == ["b.x", "b.y"]));
    }

    #[test]
    fn one_host_twice_is_refused() {
        assert!(check_unique(&hosts("a b c")).is_ok());
        let error = check_unique(&hosts("a b A")).unwrap_err();
        assert_eq!(error.to_string(), "host `A` is listed twice");
    }
}
