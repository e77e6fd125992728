//! How old what storage said may be when a task is told it.
//!
//! Everything that is told of names carries the moment since which it may be out of date: just before storage was asked.
//! Between nodes that travels as an age, so it is the same age at every depth of a tree and does not rest on clocks that
//! agree. It is never told younger than it is.
//!
//! Not here: who asks again (`cache`), the one look at a directory that may save listing it (`storage`).

use std::fmt;
use std::time::{Duration, Instant};

/// The moment since which an answer may be out of date.
///
/// Any two are equal: answers that say the same are the same, whenever they were given.
#[derive(Clone, Copy)]
pub struct AsOf(Option<Instant>);

impl AsOf {
    /// For what storage is asked from now on.
    pub fn now() -> Self {
        AsOf(Some(Instant::now()))
    }

    /// Of an answer to a question that was sent at `asked`, and was this old when the answer was made.
    pub fn told(asked: Instant, age: Duration) -> Self {
        // Before the machine was started: older than any that matters.
        AsOf(asked.checked_sub(age))
    }

    /// The older of two: what rests on both is as old as that.
    pub fn older(self, other: AsOf) -> Self {
        AsOf(self.0.min(other.0))
    }

    /// How old the answer is at most.
    pub fn age(self) -> Duration {
        self.0.map_or(Duration::MAX, |moment| moment.elapsed())
    }
}

impl PartialEq for AsOf {
    fn eq(&self, _: &AsOf) -> bool {
        true
    }
}

impl Eq for AsOf {}

impl fmt::Debug for AsOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AsOf")
    }
}

/// How old what storage said may be when it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Freshness(Option<Duration>);

impl Freshness {
    /// A snapshot as first seen.
    pub const FOR_THE_JOB: Freshness = Freshness(None);

    /// At most so old; `None`: [`Self::FOR_THE_JOB`].
    pub fn at_most(age: Option<Duration>) -> Self {
        Freshness(age)
    }

    /// Whether anything has to be asked again at all.
    pub fn is_limited(self) -> bool {
        self.0.is_some()
    }

    /// Whether an answer may still be told.
    pub fn allows(self, as_of: AsOf) -> bool {
        self.0.is_none_or(|age_max| as_of.age() < age_max)
    }

    /// For how long an answer may still be told; `None`: for the job.
    pub fn left(self, as_of: AsOf) -> Option<Duration> {
        self.0.map(|age_max| age_max.saturating_sub(as_of.age()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_until_it_is_too_old() {
        let (hour, now) = (Duration::from_secs(3600), Instant::now());
        let limited = Freshness::at_most(Some(hour));
        let cases = [
            (AsOf::now(), true),
            (AsOf::told(now, hour / 2), true),
            (AsOf::told(now, hour), false),
            (AsOf::told(now, Duration::MAX), false), // a hostile age
            (AsOf::now().older(AsOf::told(now, hour)), false),
            (AsOf::told(now, hour).older(AsOf::now()), false),
            (AsOf::told(now, Duration::MAX).older(AsOf::now()), false),
        ];
        for (number, (as_of, allowed)) in cases.into_iter().enumerate() {
            assert_eq!(limited.allows(as_of), allowed, "case {number}");
            assert_eq!(limited.left(as_of) > Some(Duration::ZERO), allowed, "case {number}");
            assert!(Freshness::FOR_THE_JOB.allows(as_of) && Freshness::FOR_THE_JOB.left(as_of).is_none());
        }
    }
}
