//! Lines of an address book about this machine: `spinney addresses`.
//!
//! Not here: reading a book (`cluster::address_book`).

use super::detected;
use super::identity::Own;
use super::interfaces;
use super::launchers::Launch;

/// `HOST INTERFACE HARDWARE ADDRESS` for each address, of `interface` if one is named; nothing for a task that need not
/// say it, since another on this node does.
///
/// The host is called as the launcher lists it, so that the book fits the list.
pub fn lines(interface: Option<&str>) -> Option<Vec<String>> {
    let (launch, own) = (Launch::of_environment(), Own::find());
    if !launch.is_first_here() && launch.here.is_some() {
        return None;
    }
    let listed = detected::nodes(&launch, &own).ok().flatten();
    let place = |rank: u32| usize::try_from(rank).ok();
    let host = listed.and_then(|mut listed| Some(listed.hosts.swap_remove(place(listed.own.get())?)));
    let host = host.unwrap_or(own.name);
    let rows = interfaces::rows().into_iter();
    let wanted = rows.filter(|row| interface.is_none_or(|name| name == row.interface));
    Some(wanted.map(|row| format!("{host} {} {} {}", row.interface, row.hardware, row.address)).collect())
}
