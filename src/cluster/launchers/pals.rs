//! PALS, the launcher of HPE machines, and PBS around it or alone.
//!
//! PALS gives each node a binary file with all hosts of the launch (`PALS_APINFO`, version 1: a header of counts and
//! offsets, then tables). PBS lists a host per slot in `PBS_NODEFILE`, which other nodes than the first need not have.

use super::{Launch, Listed, Nodes, Place, Variable, number, place};
use crate::cluster::host_list::HOSTS_MAX;

/// What a task was started by.
const LAUNCHER: &str = "PALS mpiexec";

/// Number of a task.
pub const RANK: &str = "PALS_RANKID";

/// The job of PBS.
pub fn pbs_allocation(set: Variable) -> Option<String> {
    Some(format!("pbs={}", set("PBS_JOBID")?))
}

/// The nodes of the job of PBS.
pub fn pbs_allocated(set: Variable) -> Option<Listed> {
    const LIST: &str = "PBS_NODEFILE";
    Some(Listed::of_file(LIST, &set(LIST)?))
}

/// As the launchers of PALS and of MPICH have it.
pub fn on_each_node(set: Variable) -> Option<Vec<String>> {
    let words =
        |n_nodes: usize| ["mpiexec", "-n", &n_nodes.to_string(), "-ppn", "1"].map(str::to_owned).into();
    super::with_count(pbs_allocated(set), words)
}

/// The launch of PALS that this task is of.
pub fn launch(set: Variable) -> Option<Launch> {
    let id = set("PALS_APID")?;
    let told = set("PALS_APINFO").map(|file| Listed { source: "PALS_APINFO", hosts: hosts_of(&file) });
    let nodes = match told {
        Some(listed @ Listed { hosts: Ok(_), .. }) => Nodes::Exactly(listed),
        unreadable => {
            // Those of the allocation, if there is such a list; else why there is none.
            let lists: Vec<Listed> = super::allocated(set).into_iter().chain(unreadable).collect();
            if lists.is_empty() { Nodes::Untold } else { Nodes::Among(lists) }
        }
    };
    Some(Launch {
        launcher: Some(LAUNCHER),
        name: Some(format!("pals={id}")),
        task: task(set),
        here: place(set, "PALS_LOCAL_RANKID", "PALS_LOCAL_SIZE"),
        nodes,
        node_id: number(set, "PALS_NODEID"),
        ..Launch::default()
    })
}

/// `PALS_SIZE` is often absent; then it is as many tasks as this node has, on each host.
fn task(set: Variable) -> Option<Place> {
    place(set, RANK, "PALS_SIZE").or_else(|| {
        let rank = set(RANK)?.parse().ok()?;
        let here: u64 = set("PALS_LOCAL_SIZE")?.parse().ok()?;
        let hosts = pbs_allocated(set)?.hosts.ok()?.len() as u64;
        let size = here.checked_mul(hosts)?;
        (rank < size).then_some(Place { rank, size })
    })
}

/// Bytes of a file of PALS at most: 256 MiB, tables of 10,000,000 tasks.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Bytes of a host's entry: its number, then its name, filled up with zeroes.
const NODE_BYTES: usize = 68;

/// Bytes of the number in it.
const NUMBER_BYTES: usize = 4;

/// Where the header has the size of a host's entry, where the first is, and how many there are.
const NODE_SIZE_AT: usize = 88;
const NODE_OFFSET_AT: usize = 96;
const NODE_COUNT_AT: usize = 104;

fn hosts_of(file: &str) -> Result<Vec<String>, String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    read.map_err(|error| format!("`{file}`: cannot be read: {error}"))?;
    hosts_in(&bytes).ok_or_else(|| format!("`{file}`: not of a version that is known"))
}

/// The hosts, if the file is one of version 1.
fn hosts_in(file: &[u8]) -> Option<Vec<String>> {
    let u32_at = |at: usize| Some(u32::from_ne_bytes(file.get(at..at + 4)?.try_into().ok()?));
    let usize_at =
        |at: usize| usize::try_from(u64::from_ne_bytes(file.get(at..at + 8)?.try_into().ok()?)).ok();
    let (size, offset) = (usize_at(NODE_SIZE_AT)?, usize_at(NODE_OFFSET_AT)?);
    let count = usize::try_from(u32_at(NODE_COUNT_AT)?).ok()?;
    if u32_at(0)? != 1 || size < NODE_BYTES || !(1..=HOSTS_MAX).contains(&count) {
        return None;
    }
    let entry = |nth: usize| {
        let start = offset.checked_add(size.checked_mul(nth)?)?;
        let name = file.get(start.checked_add(NUMBER_BYTES)?..start.checked_add(NODE_BYTES)?)?;
        let name = std::str::from_utf8(name.split(|byte| *byte == 0).next()?).ok()?;
        // One name, not a list: what has a place in a list has one in a name.
        crate::cluster::host_list::parse(name).ok().filter(|hosts| *hosts == [name])?.pop()
    };
    (0..count).map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::launch;
    use super::*;
    use proptest::prelude::*;

    /// A file as PALS writes it, for two tasks on each host.
    fn file_with(hosts: &[&str]) -> Vec<u8> {
        let mut header = [0_u64; 20];
        let (tasks, hosts_at) = (hosts.len() * 2, 160 + 12 + hosts.len() * 2 * 12);
        header[0] = 1; // version
        header[2..5].copy_from_slice(&[56, 160, 0]); // networks: size, offset, count
        header[5..8].copy_from_slice(&[12, 160, 1]); // commands
        header[8..11].copy_from_slice(&[12, 172, tasks as u64]);
        header[11..14].copy_from_slice(&[68, hosts_at as u64, hosts.len() as u64]);
        let mut file: Vec<u8> = header.iter().flat_map(|word| word.to_ne_bytes()).collect();
        file.resize(hosts_at, 0);
        for (number, host) in hosts.iter().enumerate() {
            let mut entry = [0; NODE_BYTES];
            entry[..4].copy_from_slice(&(number as u32).to_ne_bytes());
            entry[4..4 + host.len()].copy_from_slice(host.as_bytes());
            file.extend(entry);
        }
        file
    }

    fn on_disk(bytes: &[u8]) -> (tempfile::TempDir, String) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file").to_str().unwrap().to_owned();
        std::fs::write(&path, bytes).unwrap();
        (directory, path)
    }

    #[test]
    fn the_file_of_pals_lists_the_hosts_of_the_launch() {
        let (_directory, file) = on_disk(&file_with(&["x1001c0s3b0n0", "x1001c0s4b0n0"]));
        let launch = launch(&[
            ("PBS_JOBID", "123.aurora-pbs"),
            ("PALS_APID", "0f6b7c"),
            ("PALS_APINFO", &file),
            ("PALS_RANKID", "3"),
            ("PALS_SIZE", "4"),
            ("PALS_NODEID", "1"),
            ("PALS_LOCAL_RANKID", "1"),
            ("PALS_LOCAL_SIZE", "2"),
        ]);
        let Nodes::Exactly(Listed { source: "PALS_APINFO", hosts: Ok(hosts) }) = launch.nodes else {
            panic!()
        };
        assert_eq!(hosts, ["x1001c0s3b0n0", "x1001c0s4b0n0"]);
        assert_eq!(launch.name.as_deref(), Some("pbs=123.aurora-pbs,pals=0f6b7c"));
        assert_eq!(launch.allocation.as_deref(), Some("pbs=123.aurora-pbs"));
        assert_eq!(launch.task, Some(Place { rank: 3, size: 4 }));
    }

    #[test]
    fn without_it_the_file_of_pbs_is_made_unique_and_gives_the_size() {
        let (_directory, file) = on_disk(b"a1\na1\na2\na2\na1\n");
        let launch = launch(&[
            ("PBS_JOBID", "9"),
            ("PBS_NODEFILE", &file),
            ("PALS_APID", "x"),
            ("PALS_RANKID", "2"),
            ("PALS_LOCAL_RANKID", "0"),
            ("PALS_LOCAL_SIZE", "2"),
        ]);
        assert_eq!(launch.nodes, Nodes::Among(vec![Listed::parse("PBS_NODEFILE", "a1,a2")]));
        assert_eq!(launch.task, Some(Place { rank: 2, size: 4 }));
    }

    #[test]
    fn a_script_of_pbs_is_on_one_node() {
        let launch = launch(&[("PBS_JOBID", "9.server"), ("PBS_NODEFILE", "/no/such/file")]);
        assert_eq!((launch.nodes, launch.name.as_deref()), (Nodes::Alone, Some("pbs=9.server")));
    }

    proptest! {
        #[test]
        fn no_bytes_in_the_place_of_the_file_do_harm(at in 0_usize..400, byte in any::<u8>(), end in 0_usize..400) {
            let mut file = file_with(&["a", "b"]);
            let at = at.min(file.len() - 1);
            file[at] = byte;
            file.truncate(end);
            if let Some(hosts) = hosts_in(&file) {
                prop_assert!(hosts.len() <= HOSTS_MAX);
            }
        }
    }
}
