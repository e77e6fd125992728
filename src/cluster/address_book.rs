//! Addresses of hosts where the name service does not tell them: `--address-book FILE`.
//!
//! One address per line, `HOST INTERFACE ADDRESS`, or `HOST INTERFACE HARDWARE ADDRESS` as `spinney addresses` prints it;
//! `#` begins a comment. A host may have several lines; `--interface` picks those of one interface. The book may know more
//! hosts than the job has.
//!
//! Not here: asking the name service (`cluster::resolve`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::error::ClusterError;
use super::host_list::{self, HOST_BYTES_MAX, HOSTS_MAX};

/// Lines of a book at most: 8 addresses for each of the most hosts.
const LINES_MAX: usize = 8 * HOSTS_MAX;

/// Bytes of a book at most: 64 MiB.
pub const BOOK_BYTES_MAX: u64 = 64 << 20;

/// What the book says.
#[derive(Debug, Default)]
pub struct AddressBook {
    file: PathBuf,
    /// In the order of the file, each once.
    hosts: Vec<String>,
    /// By host, in small letters.
    entries: HashMap<String, Vec<Entry>>,
}

#[derive(Debug)]
struct Entry {
    interface: String,
    address: IpAddr,
}

impl AddressBook {
    /// Reads the book in `file`.
    ///
    /// # Errors
    /// The file cannot be read, or a line is none.
    pub fn read(file: &Path) -> Result<Self, ClusterError> {
        AddressBook::parse(file, &super::bounded_text(file, BOOK_BYTES_MAX)?)
    }

    fn parse(file: &Path, text: &str) -> Result<Self, ClusterError> {
        let mut book = AddressBook { file: file.to_owned(), ..AddressBook::default() };
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            if line.trim().is_empty() {
                continue;
            }
            let added =
                if number < LINES_MAX { book.add(line) } else { Err(format!("more than {LINES_MAX} lines")) };
            added.map_err(|reason| ClusterError::BookLine {
                file: file.to_owned(),
                line: number + 1,
                reason,
            })?;
        }
        Ok(book)
    }

    /// All hosts, in the order of the file.
    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// The addresses of `host`, of this `interface` if one is given.
    ///
    /// # Errors
    /// [`ClusterError::BookLacks`].
    pub fn addresses(&self, host: &str, interface: Option<&str>) -> Result<Vec<IpAddr>, ClusterError> {
        let entries = self.entries.get(&host.to_ascii_lowercase()).map(Vec::as_slice).unwrap_or_default();
        let asked = entries.iter().filter(|entry| interface.is_none_or(|name| name == entry.interface));
        let addresses: Vec<IpAddr> = asked.map(|entry| entry.address).collect();
        if addresses.is_empty() {
            let interface = interface.map(str::to_owned);
            return Err(ClusterError::BookLacks {
                file: self.file.clone(),
                host: host.to_owned(),
                interface,
            });
        }
        Ok(addresses)
    }

    fn add(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (host, interface, address) = match words[..] {
            [host, interface, address] | [host, interface, _, address] => (host, interface, address),
            _ => return Err(format!("three or four words expected, not {}", words.len())),
        };
        let name = host_list::parse(host).map_err(|error| error.to_string())?;
        if name != [host] {
            return Err("one host per line expected".to_owned());
        }
        let address: IpAddr =
            address.parse().map_err(|_| format!("`{}` is no address", shortened(address)))?;
        if address.is_unspecified() || address.is_multicast() {
            return Err(format!("`{address}` is nobody's address"));
        }
        if !self.entries.contains_key(&host.to_ascii_lowercase()) {
            self.hosts.push(host.to_owned());
        }
        let entries = self.entries.entry(host.to_ascii_lowercase()).or_default();
        entries.push(Entry { interface: shortened(interface), address });
        Ok(())
    }
}

fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(HOST_BYTES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<AddressBook, ClusterError> {
        AddressBook::parse(Path::new("book"), text)
    }

    #[test]
    fn the_book_knows_hosts_in_order_and_their_addresses_by_interface() {
        let book = parse(
            "# ours\nb2 hsn0 02:00:00:aa:bb:02 10.0.0.2\n\nA1 hsn0 10.0.0.1 # first\na1 eth0 192.168.0.1\n",
        )
        .unwrap();
        assert_eq!(book.hosts(), ["b2", "A1"]);
        let of = |host: &str, interface: Option<&str>| {
            let found = book.addresses(host, interface).map_err(|error| error.to_string())?;
            Ok::<String, String>(found.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(of("a1", None).unwrap(), "10.0.0.1 192.168.0.1");
        assert_eq!(of("a1", Some("eth0")).unwrap(), "192.168.0.1");
        assert_eq!(
            of("b2", Some("eth0")).unwrap_err(),
            "`book` has no address of host `b2` on interface `eth0`"
        );
        assert_eq!(of("c3", None).unwrap_err(), "`book` has no address of host `c3`");
    }

    #[test]
    fn a_line_that_is_none_is_refused_with_its_number() {
        for (text, reason) in [
            ("\na1 hsn0", "`book`, line 2: three or four words expected, not 2"),
            ("a1 hsn0 10.0.0.1 x", "`book`, line 1: `x` is no address"),
            ("a1 hsn0 10.0.0", "`book`, line 1: `10.0.0` is no address"),
            ("a1 hsn0 0.0.0.0", "`book`, line 1: `0.0.0.0` is nobody's address"),
            ("a[1-2] hsn0 10.0.0.1", "`book`, line 1: one host per line expected"),
            ("a;b hsn0 10.0.0.1", "`book`, line 1: `;` has no place in a host name"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), reason);
        }
    }

    proptest! {
        #[test]
        fn any_book_is_taken_without_a_panic(text in any::<String>()) {
            let _ = parse(&text);
        }
    }
}
