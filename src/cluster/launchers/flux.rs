//! Flux: `flux run`, `flux submit`. See `flux-environment(7)`.
//!
//! The environment does not say who the nodes are, but Flux does when asked: the `nodelist` of the job's R (RFC 20).
//! It is asked only by tasks of jobs on several nodes.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::{Launch, Listed, Nodes, Place, Variable, allocated};

/// How long Flux may take to answer: 5 s, as long as a broker under load was seen to.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Bytes of an answer at most: 16 MiB.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

const LIST: &str = "flux job info R";

/// Number of a task.
pub const RANK: &str = "FLUX_TASK_RANK";

/// An instance inside another has jobs with the same numbers as its siblings, so its own number counts too.
pub fn allocation(set: Variable) -> Option<String> {
    Some(format!("instance={}", set("FLUX_ENCLOSING_ID")?))
}

/// The job that this task is of.
pub fn launch(set: Variable) -> Option<Launch> {
    launch_asking(set, &ask)
}

fn launch_asking(set: Variable, ask: &dyn Fn(&str) -> Result<String, String>) -> Option<Launch> {
    let (job, rank) = (set("FLUX_JOB_ID")?, set(RANK)?);
    let number = |name| set(name)?.parse::<u64>().ok();
    let (size, n_nodes) = (number("FLUX_JOB_SIZE"), number("FLUX_JOB_NNODES"));
    let nodes = if n_nodes == Some(1) { Nodes::Alone } else { listed(set, ask(&job)) };
    let among = |rank| Some(Place { rank, size: size? }).filter(|place| place.rank < place.size);
    Some(Launch {
        launcher: Some("Flux"),
        name: Some(format!("flux={job}")),
        task: rank.parse().ok().and_then(among),
        here: number("FLUX_TASK_LOCAL_ID").and_then(among),
        n_nodes,
        nodes,
        ..Launch::default()
    })
}

/// What Flux answered, else the allocation around it.
fn listed(set: Variable, answer: Result<String, String>) -> Nodes {
    match answer.and_then(|answer| hosts_in(&answer).ok_or_else(|| "it lists no nodes".to_owned())) {
        Ok(hosts) => Nodes::Exactly(Listed { source: LIST, hosts: Ok(hosts) }),
        Err(why) => {
            let asked = Listed { source: LIST, hosts: Err(why) };
            Nodes::Among(allocated(set).into_iter().chain([asked]).collect())
        }
    }
}

fn hosts_in(resources: &str) -> Option<Vec<String>> {
    let resources: serde_json::Value = serde_json::from_str(resources).ok()?;
    let lists = resources["execution"]["nodelist"].as_array()?;
    let lists: Vec<&str> = lists.iter().map(|list| list.as_str()).collect::<Option<_>>()?;
    crate::cluster::host_list::parse(&lists.join(",")).ok()
}

fn ask(job: &str) -> Result<String, String> {
    let mut flux = Command::new("flux");
    flux.args(["job", "info", job, "R"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = flux.spawn().map_err(|error| format!("`flux` cannot be asked: {error}"))?;
    let answer = answer_of(&mut child);
    let _ = child.kill(); // it has ended, or takes too long
    let _ = child.wait();
    answer
}

/// One thread only: this is the wrapper, which has no other (`enter`).
fn answer_of(child: &mut Child) -> Result<String, String> {
    let mut pipe = child.stdout.take().expect("it was piped").take(ANSWER_BYTES_MAX);
    let (mut text, mut piece, began) = (Vec::new(), [0; 4096], Instant::now());
    loop {
        let left = ANSWER_MAX.saturating_sub(began.elapsed());
        let left = Timespec::try_from(left).expect("a few seconds");
        let mut polled = [PollFd::new(pipe.get_ref(), PollFlags::IN)];
        match rustix::event::poll(&mut polled, Some(&left)) {
            Ok(0) => return Err("`flux` did not answer".to_owned()),
            Err(rustix::io::Errno::INTR) => continue,
            _ => {}
        }
        match pipe.read(&mut piece).map_err(|error| format!("`flux` cannot be read: {error}"))? {
            0 => return String::from_utf8(text).map_err(|_| "`flux` answers in no language".to_owned()),
            bytes => text.extend_from_slice(&piece[..bytes]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The third task of six on three nodes, in an instance that `srun` has started on four.
    const TASK: &[(&str, &str)] = &[
        ("FLUX_JOB_ID", "ƒ2rPtfv5w"),
        ("FLUX_JOB_NNODES", "3"),
        ("FLUX_JOB_SIZE", "6"),
        ("FLUX_TASK_LOCAL_ID", "0"),
        ("FLUX_TASK_RANK", "2"),
        ("SLURM_JOB_ID", "7"),
        ("SLURM_JOB_NODELIST", "node[1-4]"),
    ];

    const RESOURCES: &str = r#"{"version": 1, "execution": {"R_lite": [{"rank": "0-2", "children": {"core": "0"}}],
        "nodelist": ["node[1-2]", "node4"], "starttime": 0, "expiration": 0}}"#;

    fn launch_with(changes: &[(&str, &str)], answer: Result<&str, &str>) -> Launch {
        let variables = [changes, TASK].concat();
        let set =
            |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
        launch_asking(&set, &|_| answer.map(str::to_owned).map_err(str::to_owned)).unwrap()
    }

    #[test]
    fn flux_is_asked_who_the_nodes_are() {
        let launch = launch_with(&[], Ok(RESOURCES));
        assert_eq!(launch.nodes, Nodes::Exactly(Listed::parse(LIST, "node1,node2,node4")));
        assert_eq!((launch.task, launch.n_nodes), (Some(Place { rank: 2, size: 6 }), Some(3)));
    }

    #[test]
    fn without_an_answer_the_nodes_may_be_those_of_the_allocation() {
        for answer in [Err("no `flux`"), Ok("{}"), Ok("nonsense"), Ok(r#"{"execution":{"nodelist":[7]}}"#)] {
            let Nodes::Among(lists) = launch_with(&[], answer).nodes else { panic!("{answer:?}") };
            assert_eq!(lists[0], Listed::parse("SLURM_JOB_NODELIST", "node[1-4]"));
            assert!(lists[1].hosts.is_err());
        }
    }

    #[test]
    fn a_job_on_one_node_need_not_ask() {
        assert_eq!(launch_with(&[("FLUX_JOB_NNODES", "1")], Ok(RESOURCES)).nodes, Nodes::Alone);
    }

    #[test]
    fn instances_inside_instances_have_jobs_of_their_own() {
        let of = |instance| {
            super::super::tests::launch(&[
                ("FLUX_ENCLOSING_ID", instance),
                ("FLUX_JOB_ID", "ƒ1"),
                ("FLUX_TASK_RANK", "0"),
                ("FLUX_JOB_NNODES", "1"),
            ])
        };
        assert_ne!(of("ƒA").name, of("ƒB").name);
        assert_eq!(of("ƒA").allocation, of("ƒA").allocation);
    }
}
