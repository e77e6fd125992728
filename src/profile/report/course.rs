//! What happened when: the course of a run in steps of equal length, as few as wanted.
//!
//! Not here: the finest pieces of time, which a recording has (`profile::recording`), pictures (`charts`).

use crate::profile::recorder::event::AnsweredBy;
use crate::profile::totals::{Totals, add};

/// One step of a course.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// Where it begins and ends, microseconds since recording began on each node.
    pub(super) from_us: u64,
    pub(super) until_us: u64,
    /// Answers by who gave them.
    pub(super) answers: [u64; AnsweredBy::ALL.len()],
    /// Nanoseconds that tasks waited for them, added up.
    pub(super) waited_ns: u64,
}

/// The whole course in `most` steps at most.
pub(super) fn steps(totals: &Totals, most: usize) -> Vec<Step> {
    let end = totals.times.keys().map(|(_, until)| *until).max().unwrap_or(0);
    // The finest pieces reach 10 s; what follows is coarser, and a step must not be finer.
    let Some(widest) = totals.times.keys().map(|(from, until)| until - from).max().filter(|wide| *wide > 0)
    else {
        return Vec::new();
    };
    let wide = end.div_ceil(most as u64).div_ceil(widest).max(1) * widest;
    let count = end.div_ceil(wide);
    let empty = |n: u64| Step {
        from_us: n * wide,
        until_us: (n + 1) * wide,
        answers: Default::default(),
        waited_ns: 0,
    };
    let mut steps: Vec<Step> = (0..count).map(empty).collect();
    for ((from, _), (answers, waited)) in &totals.times {
        let step = &mut steps[(from / wide).min(count - 1) as usize];
        step.answers.iter_mut().zip(answers).for_each(|(sum, more)| add(sum, *more));
        add(&mut step.waited_ns, *waited);
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_of_equal_length_and_lose_nothing() {
        let mut totals = Totals::default();
        for n in 0..1000 {
            totals.times.insert((n * 10_000, (n + 1) * 10_000), ([1, 0, 2, 0], 5));
        }
        for (from, until) in [(10_000_000, 11_000_000), (20_000_000, 21_000_000)] {
            totals.times.insert((from, until), ([0, 0, 0, 7], 100));
        }
        for most in [1, 2, 7, 24, 1000] {
            let steps = steps(&totals, most);
            assert!(steps.len() <= most && !steps.is_empty(), "{most}: {}", steps.len());
            let sum = |source: usize| steps.iter().map(|step| step.answers[source]).sum::<u64>();
            assert_eq!((sum(0), sum(2), sum(3)), (1000, 2000, 14), "{most}");
            assert_eq!(steps.iter().map(|step| step.waited_ns).sum::<u64>(), 5200);
            assert!(steps.windows(2).all(|pair| pair[0].until_us == pair[1].from_us));
        }
        assert_eq!(steps(&Totals::default(), 24), []);
    }
}
