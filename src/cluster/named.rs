//! The nodes as the user names them, `--hosts FILE|LIST`, `--address-book FILE`, `--interface NAME`, else as the launcher
//! does.
//!
//! `--hosts` is the name of a file if it has a slash or there is such a file, else a list. In a file `#` begins a
//! comment. Where neither `--hosts` nor the launcher lists nodes, the hosts of the address book are, in its order.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::address_book::AddressBook;
use super::detected::{self, Trouble};
use super::error::ClusterError;
use super::host_list;
use super::identity::{self, Own};
use super::interfaces::{self, Network};
use super::launchers::{Launch, Nodes};
use super::{Cluster, NodeAddress, NodeRank, resolve};

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

/// What was found out about the nodes.
#[derive(Debug, Default)]
pub struct Found {
    /// The nodes; none: this one is alone.
    pub cluster: Option<Cluster>,
    /// What told who they are: a flag, a variable or a program.
    pub source: Option<&'static str>,
    /// What went wrong and left this node alone, or its interface unused.
    pub trouble: Option<Trouble>,
}

/// The nodes of job `job` by the user's `wishes`, else by what its `launch` says.
///
/// # Errors
/// What the user named cannot be, or this host is not in it.
pub fn find(job: &str, wishes: &Wishes, launch: &Launch) -> Result<Found, ClusterError> {
    find_as(job, wishes, launch, &Own::find())
}

/// The same for a machine that need not be this one.
///
/// # Errors
/// As [`find`].
pub fn find_as(job: &str, wishes: &Wishes, launch: &Launch, own: &Own) -> Result<Found, ClusterError> {
    find_with(job, wishes, launch, own, &resolve::addresses_of)
}

/// Finds the addresses of a host.
type LookUp<'a> = &'a dyn Fn(&str) -> io::Result<Vec<IpAddr>>;

fn find_with(
    job: &str,
    wishes: &Wishes,
    launch: &Launch,
    own: &Own,
    look_up: LookUp,
) -> Result<Found, ClusterError> {
    let book = wishes.address_book.as_deref().map(AddressBook::read).transpose()?;
    let detected = if wishes.hosts.is_some() { Ok(None) } else { detected::nodes(launch, own) };
    let (hosts, rank, source) = match (&wishes.hosts, detected, &book) {
        (Some(named), _, _) => placed(listed(named)?, own, "--hosts")?,
        (None, Ok(Some(detected)), _) => (detected.hosts, detected.own, detected.source),
        // The launcher knows of several nodes, so those of the book need not be the ones of this launch.
        (None, Err(trouble), None) => return Ok(Found { trouble: Some(trouble), ..Found::default() }),
        (None, _, Some(book)) if launch.launcher.is_none() || !is_alone(launch) => {
            placed(book.hosts().to_vec(), own, "--address-book")?
        }
        (None, _, None) if wishes.interface.is_some() && launch.launcher.is_none() => {
            return Err(ClusterError::NoHosts);
        }
        (None, _, _) => return Ok(Found::default()),
    };
    let (networks, trouble) = networks(wishes, book.is_some(), own, rank)?;
    let nodes = match book {
        Some(book) => with_addresses(hosts, &book, wishes.interface.as_deref())?,
        None => hosts.into_iter().map(|host| NodeAddress { host, addresses: Vec::new() }).collect(),
    };
    let mut cluster =
        Cluster { job: job.to_owned(), own: rank, nodes, listen: Vec::new(), networks, nodes_here: 1 };
    cluster.listen = listen_on(&cluster, wishes, look_up);
    Ok(Found { cluster: Some(cluster), source: Some(source), trouble })
}

fn is_alone(launch: &Launch) -> bool {
    launch.nodes == Nodes::Alone
}

fn placed(
    hosts: Vec<String>,
    own: &Own,
    source: &'static str,
) -> Result<(Vec<String>, NodeRank, &'static str), ClusterError> {
    identity::check_unique(&hosts)?;
    let rank = identity::rank_of(&hosts, own, &[])?;
    Ok((hosts, rank, source))
}

/// Those of `--interface`, else all, the fastest first. A book says the addresses itself.
///
/// Where the launcher says who the nodes are, some may lack the interface: such a node uses all it has.
fn networks(
    wishes: &Wishes,
    has_book: bool,
    own: &Own,
    rank: NodeRank,
) -> Result<(Vec<Network>, Option<Trouble>), ClusterError> {
    match &wishes.interface {
        _ if has_book => Ok((Vec::new(), None)),
        None => Ok((interfaces::by_speed(rank), None)),
        Some(name) => match interfaces::networks_of(name) {
            Ok(networks) => Ok((networks, None)),
            Err(error) if wishes.hosts.is_some() => Err(error),
            Err(cause) => {
                let trouble = Trouble::Interface { own: own.name.clone(), cause };
                Ok((interfaces::by_speed(rank), Some(trouble)))
            }
        },
    }
}

/// What the book says of this node, else what the interface that the user named has, else everything.
///
/// Others find this node by its name. If that leads to no address of the interface, they call elsewhere.
fn listen_on(cluster: &Cluster, wishes: &Wishes, look_up: LookUp) -> Vec<IpAddr> {
    let Some(node) = cluster.node(cluster.own) else { return Vec::new() };
    if !node.addresses.is_empty() {
        return node.addresses.clone();
    }
    let Some(Ok(networks)) = wishes.interface.as_deref().map(interfaces::networks_of) else {
        return Vec::new();
    };
    let of_interface: Vec<IpAddr> = networks.iter().map(|network| network.address).collect();
    match look_up(&node.host) {
        Ok(called) if !called.iter().any(|address| of_interface.contains(address)) => Vec::new(),
        _ => of_interface,
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

    /// What a machine called `own` finds without a launcher.
    fn found(wishes: &Wishes, own: &str) -> Result<Option<Cluster>, ClusterError> {
        let own = Own { name: own.to_owned(), ..Own::default() };
        find_with("job", wishes, &Launch::default(), &own, &nobody_knows).map(|found| found.cluster)
    }

    fn nobody_knows(_: &str) -> io::Result<Vec<IpAddr>> {
        Err(io::ErrorKind::NotFound.into())
    }

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
        let cluster = found(&wishes("a[1-3]"), "a2").unwrap().unwrap();
        assert_eq!((cluster.own.get(), cluster.n_nodes()), (1, 3));
        assert!(cluster.listen.is_empty() && cluster.nodes[0].addresses.is_empty());
        let (_directory, file) = file("# nodes\na1 # first\na[2-3]\n");
        assert_eq!(found(&wishes(file.to_str().unwrap()), "a2").unwrap(), Some(cluster));
    }

    #[test]
    fn a_book_gives_addresses_and_without_a_list_the_nodes_too() {
        let (_directory, book) =
            file("b1 hsn0 10.0.0.1\nb2 hsn0 10.0.0.2\nb2 eth0 192.168.0.2\nother hsn0 10.0.0.9\n");
        let mut wishes =
            Wishes { address_book: Some(book), interface: Some("hsn0".to_owned()), ..Wishes::default() };
        let cluster = found(&wishes, "b2").unwrap().unwrap();
        assert_eq!((cluster.own.get(), cluster.n_nodes()), (1, 3));
        assert_eq!(cluster.listen, ["10.0.0.2".parse::<IpAddr>().unwrap()]);
        wishes.hosts = Some("b[2,1]".to_owned()); // fewer, and in another order
        let cluster = found(&wishes, "b2").unwrap().unwrap();
        assert_eq!((cluster.own.get(), cluster.n_nodes()), (0, 2));
        wishes.hosts = Some("b[1-3]".to_owned());
        assert!(matches!(found(&wishes, "b2"), Err(ClusterError::BookLacks { host, .. }) if host == "b3"));
    }

    #[test]
    fn the_interface_decides_where_this_node_listens() {
        let wishes = Wishes { interface: Some("lo".to_owned()), ..wishes("a,b") };
        let cluster = found(&wishes, "b").unwrap().unwrap();
        assert!(cluster.listen.contains(&"127.0.0.1".parse().unwrap()), "{:?}", cluster.listen);
        // Its name leads there, among others, or only elsewhere.
        for (leads_to, is_all) in [(&["10.0.0.1", "127.0.0.1"][..], false), (&["10.0.0.1"], true)] {
            let look_up = |_: &str| Ok(leads_to.iter().map(|address| address.parse().unwrap()).collect());
            let own = Own { name: "b".to_owned(), ..Own::default() };
            let found = find_with("job", &wishes, &Launch::default(), &own, &look_up).unwrap();
            assert_eq!(found.cluster.unwrap().listen.is_empty(), is_all, "{leads_to:?}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_remedy() {
        let error = |wishes: &Wishes| found(wishes, "own").unwrap_err();
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
        assert_eq!(found(&Wishes::default(), "own").unwrap(), None);
    }

    #[test]
    fn the_launcher_tells_the_nodes_unless_the_user_does() {
        use super::super::launchers::Listed;
        let launch = Launch {
            launcher: Some("srun"),
            nodes: Nodes::Exactly(Listed::parse("LIST", "a[1-3]")),
            ..Launch::default()
        };
        let (_directory, book) =
            file("a1 hsn0 10.0.0.1\na2 hsn0 10.0.0.2\na3 hsn0 10.0.0.3\nz hsn0 10.0.0.9\n");
        let named = |hosts: Option<&str>, book: Option<&PathBuf>, interface: Option<&str>| Wishes {
            hosts: hosts.map(str::to_owned),
            address_book: book.cloned(),
            interface: interface.map(str::to_owned),
        };
        for (wishes, source, n_nodes, is_trouble) in [
            (named(None, None, None), Some("LIST"), 3, false),
            (named(Some("a[1-2]"), None, None), Some("--hosts"), 2, false),
            (named(None, Some(&book), None), Some("LIST"), 3, false), // the book knows more hosts
            (named(None, None, Some("hsn77")), Some("LIST"), 3, true), // only other nodes have it
        ] {
            let own = Own { name: "a2".to_owned(), ..Own::default() };
            let found = find_with("job", &wishes, &launch, &own, &nobody_knows).unwrap();
            assert_eq!(found.source, source, "{wishes:?}");
            assert_eq!(found.cluster.unwrap().n_nodes(), n_nodes, "{wishes:?}");
            assert_eq!(found.trouble.is_some(), is_trouble, "{wishes:?}");
        }
    }

    #[test]
    fn the_largest_job_is_read_in_a_moment() {
        let cluster = found(&wishes("a[1-100000]"), "a100000").unwrap().unwrap();
        assert_eq!(cluster.own.get(), 99_999);
        let json = serde_json::to_vec(&cluster).unwrap();
        assert!(json.len() < 4 << 20, "{} bytes are handed to every successor", json.len());
    }
}
