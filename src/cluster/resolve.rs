//! Addresses of a host by its name.
//!
//! The C library is asked first. A static binary may have no way to the site's name service, and asks the program
//! `getent`, which has, before its own library: that might wait for a name server that nobody runs.
//!
//! Not here: who is worth asking for (`tree`), and when: these calls may block for as long as the name service does.

use std::io::{self, Error, ErrorKind, Read};
use std::net::{IpAddr, ToSocketAddrs};
use std::process::{Command, Stdio};

/// Addresses of one host that are kept: 16. A host has a handful.
const ADDRESSES_MAX: usize = 16;

/// The addresses of `host`, the service's order kept.
///
/// # Errors
/// Nobody knows the host. Worth another try later: name services fail under load.
/// # Cost
/// May block for seconds; call it where that hurts nobody.
pub fn addresses_of(host: &str) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    if cfg!(target_feature = "crt-static")
        && let Ok(found) = ask_getent(host)
    {
        return Ok(found);
    }
    match (host, 0).to_socket_addrs() {
        Ok(found) => Ok(unique(found.map(|address| address.ip()))),
        Err(error) => ask_getent(host).map_err(|_| error),
    }
}

fn ask_getent(host: &str) -> io::Result<Vec<IpAddr>> {
    let mut asked = Command::new("getent")
        .args(["ahosts", "--", host])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut told = String::new();
    if let Some(mut output) = asked.stdout.take() {
        output.read_to_string(&mut told)?;
    }
    // In a daemon the kernel reaps children, and there is nobody left to wait for; what was told counts.
    let _ = asked.wait();
    let found = told_by_getent(&told);
    if found.is_empty() { Err(Error::new(ErrorKind::NotFound, "unknown host")) } else { Ok(found) }
}

/// Lines such as `10.0.0.1  STREAM a01.site.org`.
fn told_by_getent(text: &str) -> Vec<IpAddr> {
    unique(text.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()))
}

fn unique(found: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for address in found {
        if !addresses.contains(&address) && addresses.len() < ADDRESSES_MAX {
            addresses.push(address);
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_is_told_once() {
        let text = "10.0.0.1  STREAM a01\n10.0.0.1  DGRAM\nfd00::1  STREAM\nnonsense\n\n";
        let told: Vec<String> = told_by_getent(text).iter().map(IpAddr::to_string).collect();
        assert_eq!(told, ["10.0.0.1", "fd00::1"]);
    }

    #[test]
    fn an_address_is_its_own_name_and_localhost_is_here() {
        assert_eq!(addresses_of("10.9.8.7").unwrap(), ["10.9.8.7".parse::<IpAddr>().unwrap()]);
        assert!(addresses_of("localhost").unwrap().iter().all(IpAddr::is_loopback));
    }

    #[test]
    fn a_host_that_nobody_knows_is_an_error() {
        assert!(addresses_of("no-such-host.invalid").is_err());
    }
}
