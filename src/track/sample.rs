//! Which runs are kept when not all are: by their length and size, each with a probability that is stored with it.
//!
//! The draw of a run depends on the seed and its identity alone. So all its tasks draw alike without asking each
//! other, and the same run under the same seed is always decided alike.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Tasks from which on every run is kept, as XALT ships it.
const LARGE_TASKS: u32 = 128;

/// From so many seconds on, runs of one task are kept with this probability: XALT's defaults.
const OF_ONE_TASK: &[(f64, f64)] = &[(7200.0, 1.0), (1800.0, 0.01), (0.0, 0.0001)];

/// The same for runs of several tasks.
const OF_SEVERAL: &[(f64, f64)] = &[(1800.0, 1.0), (900.0, 0.01), (0.0, 0.0001)];

/// With which probability a run of `tasks` tasks and so many seconds is kept.
pub fn probability(tasks: u32, seconds: f64) -> f64 {
    let table = match tasks {
        LARGE_TASKS.. => return 1.0,
        2.. => OF_SEVERAL,
        _ => OF_ONE_TASK,
    };
    // A clock that jumped back has made a short run.
    table.iter().find(|(from, _)| seconds >= *from).map_or(0.0001, |(_, probability)| *probability)
}

/// Whether the run `uuid` is kept.
pub fn is_kept(seed: u64, uuid: &str, probability: f64) -> bool {
    // 53 bits are what a float holds: evenly spread in [0, 1).
    let draw = (xxh3_64_with_seed(uuid.as_bytes(), seed) >> 11) as f64 / (1_u64 << 53) as f64;
    draw < probability
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_xalts() {
        let cases = [
            (1, 0.0, 0.0001),
            (1, 1799.9, 0.0001),
            (1, 1800.0, 0.01),
            (1, 7200.0, 1.0),
            (2, 899.0, 0.0001),
            (2, 900.0, 0.01),
            (127, 1800.0, 1.0),
            (128, 0.0, 1.0),   // large runs always
            (1, -5.0, 0.0001), // the clock jumped
            (1, f64::NAN, 0.0001),
        ];
        for (tasks, seconds, expected) in cases {
            assert_eq!(probability(tasks, seconds), expected, "{tasks} tasks, {seconds} s");
        }
    }

    #[test]
    fn the_same_seed_keeps_the_same_runs_and_about_as_many_as_it_should() {
        let kept =
            |seed| (0..100_000).filter(|run| is_kept(seed, &format!("run-{run}"), 0.01)).collect::<Vec<_>>();
        assert_eq!(kept(7), kept(7));
        assert_ne!(kept(7), kept(8));
        assert!((900..1100).contains(&kept(7).len()), "{}", kept(7).len());
        assert!(!is_kept(7, "x", 0.0) && is_kept(7, "x", 1.0));
    }
}
