//! What launchers tell a task in its environment: which launch it belongs to, its place, and who the nodes are.
//!
//! One file per family: [`slurm`], [`pals`] (and PBS), [`mpi`] (Open MPI, MPICH's hydra), [`flux`], [`lsf`],
//! [`torchrun`]; `accounting` is what all say for a site's books. Launchers nest, such as `mpiexec` inside a batch
//! script of Slurm; the innermost one started this task, so it alone says rank and size, while the list of nodes may be
//! that of the allocation around it.
//!
//! Invariant: all tasks of one launch, on all nodes, get the same name; another launch gets another. No variable is
//! trusted to tell which node this is: under `mpiexec` those of Slurm are copies of the first node's.
//!
//! Not here: which of the lists holds for this launch (`cluster::detected`).

mod accounting;
pub mod flux;
pub mod lsf;
pub mod mpi;
pub mod pals;
pub mod slurm;
pub mod torchrun;

pub use self::accounting::Accounting;
use super::host_list;
use super::local::TASK_VARIABLE;

/// Reads one variable of the environment.
pub type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// One launch, as its task sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Launch {
    /// The program that started the task, such as `srun`; none: nobody says.
    pub launcher: Option<&'static str>,
    /// What names the launch, such as `slurm=7,step=0`; none: nobody says.
    pub name: Option<String>,
    /// What names the allocation around it, such as `slurm=7`.
    pub allocation: Option<String>,
    /// Place among the tasks of the launch.
    pub task: Option<Place>,
    /// Place among those of them on this node.
    pub here: Option<Place>,
    /// Who the nodes are.
    pub nodes: Nodes,
    /// How many nodes there are.
    pub n_nodes: Option<u64>,
    /// Number of this node as the launcher has it, and the variable: a cross-check at most.
    pub node_id: Option<(&'static str, u32)>,
    /// Other names that this node may have in the lists, such as the one its scheduler knows it by.
    pub aliases: Vec<String>,
}

/// One among several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Counted from 0.
    pub rank: u64,
    /// How many there are.
    pub size: u64,
}

/// What a launcher says of the nodes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Nodes {
    /// The launch is on this node only, and why.
    #[default]
    Alone,
    /// Exactly these.
    Exactly(Listed),
    /// These, or some of them: the allocation's. The best guess first.
    Among(Vec<Listed>),
    /// There may be several, and nobody says which.
    Untold,
}

/// A list of nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The variable, or the program, that told it.
    pub source: &'static str,
    /// The hosts, each once, or why there are none.
    pub hosts: Result<Vec<String>, String>,
}

impl Listed {
    /// A list as schedulers write it.
    pub fn parse(source: &'static str, text: &str) -> Self {
        Listed { source, hosts: host_list::parse(text).map_err(|error| error.to_string()) }
    }

    /// A list with a word for each slot, hosts in the order of their first.
    fn of_slots<'a>(source: &'static str, words: impl IntoIterator<Item = &'a str>) -> Self {
        let mut seen = std::collections::HashSet::new();
        let unique: Vec<&str> = words.into_iter().filter(|word| seen.insert(*word)).collect();
        Listed::parse(source, &unique.join(","))
    }

    /// A file with a word for each slot.
    fn of_file(source: &'static str, file: &str) -> Self {
        match super::bounded_text(file.as_ref(), SLOTS_BYTES_MAX) {
            Ok(text) => Listed::of_slots(source, text.split_whitespace()),
            Err(error) => Listed { source, hosts: Err(error.to_string()) },
        }
    }
}

/// Bytes of a file of slots at most: 64 MiB, which holds 1,000,000 slots with long names.
const SLOTS_BYTES_MAX: u64 = 64 << 20;

/// How the names of variables begin that launchers set for their tasks.
const PREFIXES: [&str; 11] = [
    "SLURM_",
    "PBS_",
    "PALS_",
    "PMI_",
    "PMIX_",
    "OMPI_",
    "MPI_LOCAL",
    "FLUX_",
    "LSB_",
    "JSM_",
    "TORCHELASTIC_",
];

/// Whether a launcher tells something in the variable `name`: what is started without these is a job of its own.
pub fn is_of_launcher(name: &str) -> bool {
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

impl Launch {
    /// The launch of this process.
    pub fn of_environment() -> Self {
        use std::io::IsTerminal;
        Launch::find(&|name| std::env::var(name).ok(), std::io::stdin().is_terminal())
    }

    /// The launch that `variable` tells of; `is_terminal` if the task has one for its standard input.
    pub fn find(variable: Variable, is_terminal: bool) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let allocation = allocation(&set);
        let inner = innermost(&set, is_terminal);
        let found = inner.or_else(|| torchrun::launch(&set)).unwrap_or_default();
        let name = [allocation.as_deref().filter(|_| !is_whole(&found)), found.name.as_deref()];
        let name: Vec<&str> = name.into_iter().flatten().collect();
        let task = torchrun::task(&set).or(found.task);
        let here = torchrun::here(&set).or(found.here);
        let name = if name.is_empty() { None } else { Some(name.join(",")) };
        Launch { name, allocation, task, here, ..found }
    }

    /// Whether this is the one task that speaks for all.
    pub fn is_first(&self) -> bool {
        self.task.is_none_or(|task| task.rank == 0)
    }

    /// Whether this is the one task that speaks for its node.
    pub fn is_first_here(&self) -> bool {
        self.here.map_or_else(|| self.is_first(), |here| here.rank == 0)
    }
}

/// What to put in front of a command so that it is started once on each node of the allocation around this process. None:
/// there is no allocation of several nodes, or no program known that does it.
pub fn on_each_node() -> Option<Vec<String>> {
    on_each_node_of(&|name| std::env::var(name).ok())
}

/// What to put in front of a command so that it is started on the first node of the allocation, and who its nodes are; for
/// a process that is in no step of it.
pub fn on_first_node() -> Option<(Listed, Vec<String>)> {
    slurm::on_first_node(&|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

fn on_each_node_of(variable: Variable) -> Option<Vec<String>> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    slurm::on_each_node(&set).or_else(|| pals::on_each_node(&set))
}

/// The words for so many nodes, if there are several.
fn with_count(listed: Option<Listed>, words: impl Fn(usize) -> Vec<String>) -> Option<Vec<String>> {
    let n_nodes = listed?.hosts.ok()?.len();
    (n_nodes > 1).then(|| words(n_nodes))
}

/// What numbers the tasks of each, in the same order as [`innermost`].
const RANKS: [&str; 7] =
    [pals::RANK, flux::RANK, mpi::OPEN_MPI_RANK, mpi::PMIX_RANK, mpi::HYDRA_RANK, slurm::RANK, lsf::RANK];

/// The number of the task that has these variables, if anybody numbers it. Nothing else is asked or read, so that a
/// service may ask for each of its tasks.
pub fn task_number(variable: Variable) -> Option<u64> {
    let number = |name: &&str| variable(name)?.parse().ok();
    let own = number(&TASK_VARIABLE).or_else(|| torchrun::task(variable).map(|task| task.rank));
    own.or_else(|| RANKS.iter().find_map(number))
}

/// In the order in which they are found inside each other.
fn innermost(set: Variable, is_terminal: bool) -> Option<Launch> {
    pals::launch(set)
        .or_else(|| flux::launch(set))
        .or_else(|| mpi::open_mpi(set))
        .or_else(|| mpi::hydra(set))
        .or_else(|| slurm::step(set, is_terminal))
        .or_else(|| lsf::launch(set))
}

/// A step of Slurm names its job itself, since in a heterogeneous one that is not the allocation.
fn is_whole(launch: &Launch) -> bool {
    launch.launcher == Some(slurm::LAUNCHER)
}

/// What all steps of an allocation have in common. Engines nest, so all that are told count.
fn allocation(set: Variable) -> Option<String> {
    let parts =
        [slurm::allocation(set), pals::pbs_allocation(set), flux::allocation(set), lsf::allocation(set)];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { None } else { Some(parts.join(",")) }
}

/// Where the nodes of the allocation are listed, for launchers that say only how many tasks there are.
fn allocated(set: Variable) -> Vec<Listed> {
    let lists = [slurm::allocated(set), pals::pbs_allocated(set)];
    lists.into_iter().flatten().chain(lsf::allocated(set)).collect()
}

/// Two variables of one launcher: a rank without a size, or with that of another, is none.
fn place(set: Variable, rank: &str, size: &str) -> Option<Place> {
    let place = Place { rank: set(rank)?.parse().ok()?, size: set(size)?.parse().ok()? };
    (place.rank < place.size).then_some(place)
}

fn number(set: Variable, name: &'static str) -> Option<(&'static str, u32)> {
    Some((name, set(name)?.parse().ok()?))
}

#[cfg(test)]
pub(in crate::cluster) mod tests {
    use super::*;

    /// The launch that these variables tell of.
    pub fn launch(variables: &[(&str, &str)]) -> Launch {
        let of =
            |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
        Launch::find(&of, false)
    }

    #[test]
    fn where_nobody_says_anything_a_task_is_alone() {
        assert_eq!(launch(&[]), Launch::default());
        assert!(launch(&[("SLURM_JOB_ID", "")]).name.is_none(), "an empty variable is not set");
    }

    #[test]
    fn something_is_started_on_each_node_as_the_scheduler_has_it() {
        let front = |variables: &[(&str, &str)]| {
            let of = |name: &str| {
                variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned())
            };
            on_each_node_of(&of).map(|words| words.join(" "))
        };
        let directory = tempfile::tempdir().unwrap();
        let slots = directory.path().join("slots").to_str().unwrap().to_owned();
        std::fs::write(&slots, "x1\nx1\nx2\nx2\nx3\n").unwrap();
        let slurm = front(&[("SLURM_JOB_ID", "7"), ("SLURM_JOB_NODELIST", "a[1-4]")]).unwrap();
        assert!(slurm.starts_with("srun --overlap --nodes=4 --ntasks=4 "), "{slurm}");
        let pbs = front(&[("PBS_JOBID", "7.x"), ("PBS_NODEFILE", &slots)]).unwrap();
        assert_eq!(pbs, "mpiexec -n 3 -ppn 1");
        assert_eq!(front(&[("SLURM_JOB_ID", "7"), ("SLURM_JOB_NODELIST", "a1")]), None, "one node");
        assert_eq!(front(&[]), None);
    }

    #[test]
    fn the_number_of_a_task_is_that_of_the_launcher_next_to_it() {
        let slurm = ("SLURM_PROCID", "0");
        let cases = [
            (&[][..], None, "nobody says"),
            (&[slurm], Some(0), "one launcher"),
            (&[slurm, ("PMI_RANK", "3")], Some(3), "`mpiexec` in a script of `sbatch`"),
            (&[slurm, ("PMI_RANK", "3"), ("PALS_RANKID", "4")], Some(4), "PALS sets both"),
            (&[slurm, ("JSM_NAMESPACE_RANK", "3")], Some(0), "the order in which launches are found"),
            (&[slurm, ("FLUX_TASK_RANK", "x")], Some(0), "no number"),
            (&[slurm, ("RANK", "7"), ("WORLD_SIZE", "8")], Some(0), "anybody may set `RANK`"),
            (
                &[slurm, ("RANK", "7"), ("WORLD_SIZE", "8"), ("TORCHELASTIC_RUN_ID", "none")],
                Some(7),
                "`torchrun` below `srun`",
            ),
            (&[slurm, ("SPINNEY_TASK", "2")], Some(2), "`--local-nodes`"),
        ];
        for (variables, want, why) in cases {
            let of = |name: &str| {
                variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(task_number(&of), want, "{why}");
        }
    }

    #[test]
    fn rank_and_size_are_a_pair_of_one_launcher() {
        for (variables, want) in [
            (&[("PMI_RANK", "3"), ("OMPI_COMM_WORLD_SIZE", "4")][..], None),
            (&[("OMPI_COMM_WORLD_RANK", "4"), ("OMPI_COMM_WORLD_SIZE", "4")], None), // beyond the end
            (&[("OMPI_COMM_WORLD_RANK", "x"), ("OMPI_COMM_WORLD_SIZE", "4")], None),
            (&[("OMPI_COMM_WORLD_RANK", "3"), ("OMPI_COMM_WORLD_SIZE", "4")], Some((3, 4))),
        ] {
            assert_eq!(launch(variables).task.map(|task| (task.rank, task.size)), want, "{variables:?}");
        }
    }
}
