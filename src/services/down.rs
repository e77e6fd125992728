//! Ends what `spinney up` keeps.
//!
//! Not here: how a node's service ends (`holder::service`), how nodes tell each other (`daemon::orders`).

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{ask, ask_all, kept, missed, names};
use crate::cluster::launchers::Launch;
use crate::enter::job::Job;
use crate::holder::messages::Wish;

/// How long a service may take to answer: 15 s, in which it tells the other nodes.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long services without tasks may take to end: 10 s. The report of a job of many nodes takes some of it.
const END_MAX: Duration = Duration::from_secs(10);

/// Between two looks whether they have: 5 ms.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// How long a service with tasks is given before it is said that it stays: 1 s.
const TASKS_END_MAX: Duration = Duration::from_secs(1);

/// Ends the service that is kept for `job`, or for the job that this process is in. Returns what went wrong, in words.
pub fn down(job: Option<&str>) -> Vec<String> {
    let job = Job::find(job, &Launch::of_environment());
    let services = kept(&job, rustix::process::geteuid().as_raw());
    if services.is_empty() {
        return vec!["no service of `spinney up` is here".to_owned()];
    }
    end(&services)
}

/// Ends these services, those of one job on this machine, and with them those on other machines.
pub fn end(services: &[String]) -> Vec<String> {
    let mut troubles = Vec::new();
    // Whoever answers first tells all nodes; here each is told besides, whatever the others could be told.
    let everywhere = Wish::Down { everywhere: true };
    if let Some(answer) = services.iter().find_map(|name| ask(name, &everywhere, PATIENCE).ok()) {
        troubles.extend(missed(&answer));
    }
    troubles.extend(end_here(services));
    troubles
}

/// Ends these services of one job on this machine, and no others.
pub fn end_here(services: &[String]) -> Option<String> {
    ask_all(services, &Wish::Down { everywhere: false }, PATIENCE);
    wait_for_the_end(services)
}

/// A kept service, as one of its nodes here tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// How many nodes it has, on whatever machines.
    pub n_nodes: usize,
    /// What it shows.
    pub views: Vec<PathBuf>,
}

impl Kept {
    /// Whether it has as many nodes as wanted, if that is said, and shows all that is wanted.
    pub fn is(&self, n_nodes: Option<usize>, views: &[PathBuf]) -> bool {
        let shows = |path: &PathBuf| self.views.iter().any(|view| path.starts_with(view));
        n_nodes.is_none_or(|wanted| wanted == self.n_nodes) && views.iter().all(shows)
    }
}

/// What the first of `services` that answers tells.
pub fn of_any(services: &[String]) -> Option<Kept> {
    let status = services.iter().find_map(|name| ask(name, &Wish::Status, PATIENCE).ok())?;
    let views = status["views"].as_array().into_iter().flatten().filter_map(|view| view.as_str());
    let n_nodes = status["tree"]["n_nodes"].as_u64().unwrap_or(1);
    Some(Kept { n_nodes: usize::try_from(n_nodes).ok()?, views: views.map(PathBuf::from).collect() })
}

fn wait_for_the_end(services: &[String]) -> Option<String> {
    let began = Instant::now();
    loop {
        let there = names();
        let left: Vec<String> = services.iter().filter(|name| there.contains(name)).cloned().collect();
        if left.is_empty() {
            return None;
        }
        if began.elapsed() > TASKS_END_MAX {
            let tasks = ask_all(&left, &Wish::Status, PATIENCE);
            let tasks: u64 = tasks.iter().filter_map(|(_, status)| status["tasks"]["present"].as_u64()).sum();
            if tasks > 0 {
                return Some(format!(
                    "tasks still run in the service: {tasks}; it ends with the last of them"
                ));
            }
        }
        if began.elapsed() > END_MAX {
            return Some(format!("services that have not ended: {}", left.len()));
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}
