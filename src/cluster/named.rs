//! The nodes as the user names them: `--hosts FILE|LIST`, `--address-book FILE`, `--interface NAME`.
//!
//! `--hosts` is the name of a file if it has a slash or there is such a file, else a list. In a file `#` begins a
//! comment. Without `--hosts` the hosts of the address book are the nodes, in its order.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::address_book::AddressBook;
use super::error::ClusterError;
use super::host_list;
use super::identity;
use super::interfaces;
use super::{Cluster, NodeAddress, NodeRank};

/// Bytes of a file of hosts at most: 32 MiB, which holds the most hosts with the longest names.
const HOSTS_BYTES_MAX: u64 = 32 << 20;

/// What the user said of the nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// `--hosts`.
    pub hosts: Option<String>,
    /// `--address-book`.
    pub address_book: Option<PathBuf>,
    /// `--interface`.
    pub interface: Option<String>,
}

/// The nodes of job `job` by the user's `wishes`; none if the user names none.
///
/// # Errors
/// What the user named cannot be, or this host is not in it.
pub fn find(job: &str, wishes: &Wishes) -> Result<Option<Cluster>, ClusterError> {
    let own = rustix::system::uname().nodename().to_string_lossy().into_owned();
    find_as(job, wishes, &own)
}

fn find_as(job: &str, wishes: &Wishes, own: &str) -> Result<Option<Cluster>, ClusterError> {
    let book = wishes.address_book.as_deref().map(AddressBook::read).transpose()?;
    let hosts = match (&wishes.hosts, &book) {
        (Some(named), _) => listed(named)?,
        (None, Some(book)) => book.hosts().to_vec(),
        (None, None) if wishes.interface.is_some() => return Err(ClusterError::NoHosts),
        (None, None) => return Ok(None),
    };
    identity::check_unique(&hosts)?;
    let own = identity::own_rank(&hosts, own, &own_addresses(&hosts))?;
    let networks = match (&wishes.interface, &book) {
        (Some(name), None) => interfaces::networks_of(name)?,
        _ => Vec::new(),
    };
    let nodes = match book {
        Some(book) => with_addresses(hosts, &book, wishes.interface.as_deref())?,
        None => hosts.into_iter().map(|host| NodeAddress { host, addresses: Vec::new() }).collect(),
    };
    let mut cluster =
        Cluster { job: job.to_owned(), own, nodes, listen: Vec::new(), networks, nodes_here: 1 };
    cluster.listen = listen_on(&cluster, own);
    Ok(Some(cluster))
}

/// Asked of the kernel only where it can help.
fn own_addresses(hosts: &[String]) -> Vec<IpAddr> {
    let any = hosts.iter().any(|host| host.parse::<IpAddr>().is_ok());
    if any { interfaces::own_addresses() } else { Vec::new() }
}

/// What the book says of this node, else what its interface has, else everything.
fn listen_on(cluster: &Cluster, own: NodeRank) -> Vec<IpAddr> {
    match cluster.node(own) {
        Some(node) if !node.addresses.is_empty() => node.addresses.clone(),
        _ => cluster.networks.iter().map(|network| network.address).collect(),
    }
}

fn with_addresses(
    hosts: Vec<String>,
    book: &AddressBook,
    interface: Option<&str>,
) -> Result<Vec<NodeAddress>, ClusterError> {
    let with = |host: String| Ok(NodeAddress { addresses: book.addresses(&host, interface)?, host });
    hosts.into_iter().map(with).collect()
}

fn listed(named: &str) -> Result<Vec<String>, ClusterError> {
    let file = Path::new(named);
    let is_file = named.contains('/') || file.is_file();
    let text = if is_file {
        without_comments(&super::bounded_text(file, HOSTS_BYTES_MAX)?)
    } else {
        named.to_owned()
    };
    host_list::parse(&text).map_err(|cause| {
        let shown = named.chars().filter(|c| !c.is_control()).take(60).collect();
        ClusterError::HostList { named: shown, cause }
    })
}

fn without_comments(text: &str) -> String {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes(hosts: &str) -> Wishes {
        Wishes { hosts: Some(hosts.to_owned()), ..Wishes::default() }
    }

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, text).unwrap();
        (directory, file)
    }

    #[test]
    fn a_list_and_a_file_with_it_give_the_same_cluster() {
        let cluster = find_as("job", &wishes("a[1-3]"), "a2").unwrap().unwrap();
        assert_eq!((cluster.own.get(), cluster.n_nodes()), (1, 3));
        assert!(cluster.listen.is_empty() && cluster.nodes[0].addresses.is_empty());
        let (_directory, file) = file("# nodes\na1 # first\na[2-3]\n");
        assert_eq!(find_as("job", &wishes(file.to_str().unwrap()), "a2").unwrap(), Some(cluster));
    }

    #[test]
    fn a_book_gives_addresses_and_without_a_list_the_nodes_too() {
        let (_directory, book) =
            file("b1 hsn0 10.0.0.1\nb2 hsn0 10.0.0.2\nb2 eth0 192.168.0.2\nother hsn0 10.0.0.9\n");
        let mut wishes =
            Wishes { address_book: Some(book), interface: Some("hsn0".to_owned()), ..Wishes::default() };
        let cluster = find_as("job", &wishes, "b2").unwrap().unwrap();
        assert_eq!((cluster.own.get(), cluster.n_nodes()), (1, 3));
        assert_eq!(cluster.listen, ["10.0.0.2".parse::<IpAddr>().unwrap()]);
        wishes.hosts = Some("b[2,1]".to_owned()); // fewer, and in another order
        let cluster = find_as("job", &wishes, "b2").unwrap().unwrap();
        assert_eq!((cluster.own.get(), cluster.n_nodes()), (0, 2));
        wishes.hosts = Some("b[1-3]".to_owned());
        assert!(
            matches!(find_as("job", &wishes, "b2"), Err(ClusterError::BookLacks { host, .. }) if host == "b3")
        );
    }

    #[test]
    fn the_interface_decides_where_this_node_listens() {
        let wishes = Wishes { interface: Some("lo".to_owned()), ..wishes("a,b") };
        let cluster = find_as("job", &wishes, "b").unwrap().unwrap();
        assert!(cluster.listen.contains(&"127.0.0.1".parse().unwrap()), "{:?}", cluster.listen);
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_remedy() {
        let error = |wishes: &Wishes| find_as("job", wishes, "own").unwrap_err();
        for (hosts, words) in [
            ("a,own,b,own", "`own` is listed twice"),
            ("a[1-16]", "`own`, is not among the 16 hosts"),
            ("a[1", "brackets do not match"),
            ("/no/such/file", "cannot be read"),
        ] {
            let error = error(&wishes(hosts));
            assert!(error.to_string().contains(words) && !error.hint().is_empty(), "{hosts}: {error}");
        }
        let alone = Wishes { interface: Some("lo".to_owned()), ..Wishes::default() };
        assert!(matches!(error(&alone), ClusterError::NoHosts));
        assert_eq!(find_as("job", &Wishes::default(), "own").unwrap(), None);
    }

    #[test]
    fn the_largest_job_is_read_in_a_moment() {
        let cluster = find_as("job", &wishes("a[1-100000]"), "a100000").unwrap().unwrap();
        assert_eq!(cluster.own.get(), 99_999);
        let json = serde_json::to_vec(&cluster).unwrap();
        assert!(json.len() < 4 << 20, "{} bytes are handed to every successor", json.len());
    }
}
