//! LSF: `bsub`, and `jsrun` inside it.
//!
//! Some machines list the node that the script runs on first, with one slot, though it runs no task; so there are two
//! lists to choose from.

use super::{Launch, Listed, Nodes, Variable, place};

/// Number of a task of `jsrun`.
pub const RANK: &str = "JSM_NAMESPACE_RANK";

/// The job, or the member of an array of jobs.
pub fn allocation(set: Variable) -> Option<String> {
    let job = format!("lsf={}", set("LSB_JOBID")?);
    // 0 outside an array.
    let index = set("LSB_JOBINDEX").filter(|index| index != "0");
    Some(index.map_or_else(|| job.clone(), |index| format!("{job},index={index}")))
}

/// The nodes of the job; and, if the first looks like one for the script, those without it.
pub fn allocated(set: Variable) -> Vec<Listed> {
    const FILE: &str = "LSB_DJOB_HOSTFILE";
    const LIST: &str = "LSB_MCPU_HOSTS";
    let counted = set(LIST);
    let words: Vec<&str> = counted.iter().flat_map(|text| text.split_whitespace()).collect();
    let slots: Vec<&[&str]> = words.chunks(2).collect();
    let (hosts, counts): (Vec<&str>, Vec<&str>) =
        slots.iter().filter_map(|slot| Some((*slot.first()?, *slot.get(1)?))).unzip();
    let has_script =
        counts.first() == Some(&"1") && counts.len() > 1 && counts[1..].iter().all(|count| *count != "1");
    let all = match (hosts.is_empty(), set(FILE)) {
        (false, _) => Some(Listed::of_slots(LIST, hosts.iter().copied())),
        (true, Some(file)) => Some(Listed::of_file(FILE, &file)),
        (true, None) => None,
    };
    let without = has_script.then(|| Listed::of_slots(LIST, hosts[1..].iter().copied()));
    all.into_iter().chain(without).collect()
}

/// The launch of `jsrun` that this task is of, where Open MPI's variables are missing.
pub fn launch(set: Variable) -> Option<Launch> {
    let task = place(set, RANK, "JSM_NAMESPACE_SIZE")?;
    let here = place(set, "JSM_NAMESPACE_LOCAL_RANK", "JSM_NAMESPACE_LOCAL_SIZE");
    let nodes = match allocated(set) {
        _ if here.is_some_and(|here| here.size == task.size) => Nodes::Alone,
        lists if lists.is_empty() => Nodes::Untold,
        lists => Nodes::Among(lists),
    };
    let name = set("PMIX_NAMESPACE").map(|name| format!("pmix={name}"));
    Some(Launch { launcher: Some("jsrun"), name, task: Some(task), here, nodes, ..Launch::default() })
}

#[cfg(test)]
mod tests {
    use super::super::tests::launch;
    use super::*;

    #[test]
    fn the_nodes_of_a_job_come_with_or_without_that_of_its_script() {
        let task = |hosts| {
            launch(&[
                ("LSB_JOBID", "512"),
                ("LSB_JOBINDEX", "0"),
                ("LSB_MCPU_HOSTS", hosts),
                ("OMPI_COMM_WORLD_RANK", "43"),
                ("OMPI_COMM_WORLD_SIZE", "84"),
                ("OMPI_COMM_WORLD_LOCAL_RANK", "1"),
                ("OMPI_COMM_WORLD_LOCAL_SIZE", "42"),
                ("PMIX_NAMESPACE", "9"),
            ])
        };
        let list = |text| Listed::parse("LSB_MCPU_HOSTS", text);
        let with_script = task("batch5 1 a01n01 42 a01n02 42");
        assert_eq!(
            with_script.nodes,
            Nodes::Among(vec![list("batch5,a01n01,a01n02"), list("a01n01,a01n02")])
        );
        assert_eq!(with_script.name.as_deref(), Some("lsf=512,pmix=9"));
        let without = task("a01n01 42 a01n02 42");
        assert_eq!(without.nodes, Nodes::Among(vec![list("a01n01,a01n02")]));
    }

    #[test]
    fn members_of_an_array_are_jobs_of_their_own() {
        let member = |index| launch(&[("LSB_JOBID", "512"), ("LSB_JOBINDEX", index)]).name.unwrap();
        assert_eq!([member("0"), member("2")], ["lsf=512", "lsf=512,index=2"]);
    }

    #[test]
    fn a_task_of_jsrun_alone_knows_its_place() {
        let launch = launch(&[
            ("JSM_NAMESPACE_RANK", "1"),
            ("JSM_NAMESPACE_SIZE", "2"),
            ("JSM_NAMESPACE_LOCAL_RANK", "1"),
            ("JSM_NAMESPACE_LOCAL_SIZE", "2"),
        ]);
        assert_eq!((launch.launcher, launch.nodes), (Some("jsrun"), Nodes::Alone));
    }
}
