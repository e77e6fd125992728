//! Thousands of jobs in virtual time, each from a seed: whatever dies, every live node gets everything, storage is asked
//! once for each thing, or by few if nodes die, and nobody waits for long.
//!
//! A run that fails prints the call that repeats it, its seed included.
//!
//! Not here: real processes and connections (`tests/it`).

mod random;
mod scenario;
mod world;

use random::Random;
use scenario::{Micros, SECOND, Scenario, Trouble};
use world::{Outcome, World};

/// Nodes that ask storage beside the roots, at most, in a job that is in at most two parts.
const STAND_INS_MAX: usize = 32;

/// From the last trouble, or the moment a thing was wanted, to having it.
///
/// Ancestors that were never heard are waited for 10 s; before that a silent one is noticed after 3 s, and after it
/// three stages take 2 s each. The next try of a peer that is back is at most 7.5 s away. The longest seen is 11.6 s. A node may wait for one
/// above it that began to wait later.
const STALL_MAX: Micros = 30 * SECOND;

fn run(seed: u64, n_nodes: u32, trouble: Trouble) -> Outcome {
    let scenario = Scenario::new(seed, n_nodes, trouble);
    let outcome = World::new(&scenario, seed).run();
    let replay = format!("replay: run({seed}, {n_nodes}, Trouble::{trouble:?}), {}", outcome.summary());
    assert!(outcome.complete, "a live node lacks something; {replay}");
    assert!(outcome.stand_ins.len() <= STAND_INS_MAX, "many asked storage; {replay}");
    assert!(
        outcome.stall <= STALL_MAX + scenario.storage_micros.iter().max().unwrap(),
        "a long wait; {replay}"
    );
    // Who starts a second before all above it does not wait for them.
    let together = scenario.starts.iter().max().unwrap() - scenario.starts.iter().min().unwrap() < SECOND;
    if together && matches!(trouble, Trouble::None | Trouble::SlowStorage) {
        assert!(outcome.asked.iter().all(|times| *times == 1), "asked twice; {replay}");
    }
    outcome
}

fn run_many(first: u64, runs: u64, n_nodes: impl Fn(u64) -> u32, troubles: &[Trouble]) {
    let began = std::time::Instant::now();
    let mut longest = vec![(0, 0, 0); troubles.len()];
    let mut events = 0;
    for seed in first..first + runs {
        let kind = (seed % troubles.len() as u64) as usize;
        let outcome = run(seed, n_nodes(seed), troubles[kind]);
        events += outcome.events;
        let (stall, stand_ins, asked) = &mut longest[kind];
        *stall = outcome.stall.max(*stall);
        *stand_ins = outcome.stand_ins.len().max(*stand_ins);
        *asked = outcome.asked.iter().copied().max().unwrap().max(*asked);
    }
    for (trouble, (stall, stand_ins, asked)) in troubles.iter().zip(longest) {
        eprintln!(
            "{trouble:?}: waited {} ms, {stand_ins} stand-ins, asked {asked} times at most",
            stall / 1_000
        );
    }
    eprintln!("{runs} runs, {events} events, {:.1} s", began.elapsed().as_secs_f64());
}

const ALL: [Trouble; 11] = [
    Trouble::None,
    Trouble::SlowStorage,
    Trouble::LateStarters,
    Trouble::Deaths,
    Trouble::Restarts,
    Trouble::RootsGone,
    Trouble::Partition,
    Trouble::Silence,
    Trouble::Corruption,
    Trouble::Strangers,
    Trouble::All,
];

// Four tests, so that two cores have something to do until the end. All together they took 71 s of CPU time on a busy
// machine of two cores, three quarters of that for the large jobs.

#[test]
fn a_thousand_jobs_of_up_to_512_nodes_get_everything_the_first_half() {
    run_many(0, 500, |seed| Random::new(seed ^ 512).between(2, 512) as u32, &ALL);
}

#[test]
fn a_thousand_jobs_of_up_to_512_nodes_get_everything_the_second_half() {
    run_many(500, 500, |seed| Random::new(seed ^ 512).between(2, 512) as u32, &ALL);
}

#[test]
fn twenty_jobs_of_16384_nodes_get_everything_the_first_half() {
    run_many(1_000, 10, |_| 16_384, &ALL);
}

#[test]
fn twenty_jobs_of_16384_nodes_get_everything_the_second_half() {
    run_many(1_010, 10, |_| 16_384, &ALL);
}
