//! What is counted and recorded of each answer: what was asked, of which path, and who knew.
//!
//! Not here: where that is kept (`profile::recorder`), who asks (`fuse` knows the threads).

use super::Inner;
use crate::file::{Answer, FetchError, FilePath, Origin};
use crate::profile::recorder::Counter;
use crate::profile::recorder::event::{AnsweredBy, Began, Event, Operation, Outcome};

/// A question under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    began: Began,
    operation: Operation,
    thread: Option<u32>,
}

/// The words of a recording for the one who gave an answer.
pub(super) fn by(origin: Origin) -> AnsweredBy {
    match origin {
        Origin::Cache => AnsweredBy::Cache,
        Origin::Parent => AnsweredBy::Parent,
        Origin::Root => AnsweredBy::Root,
        Origin::Storage => AnsweredBy::Storage,
    }
}

/// What an error tells. Errors other than an absence are never kept, so they are storage's own word.
pub(super) fn of_error(error: &FetchError) -> (Outcome, AnsweredBy) {
    match error {
        FetchError::Absent { origin, .. } => (Outcome::Absent, by(*origin)),
        _ => (Outcome::Error, AnsweredBy::Storage),
    }
}

impl Inner {
    /// A task asks.
    pub(super) fn asked(&self, operation: Operation, thread: Option<u32>) -> Asked {
        Asked { began: self.recorder.begin(), operation, thread }
    }

    /// Counts who gave the answer, and records it.
    pub(super) fn counted<T>(
        &self,
        asked: Asked,
        path: &FilePath,
        outcome: Result<Answer<T>, FetchError>,
    ) -> Result<T, FetchError> {
        self.count(&outcome);
        let (seen, by) = match &outcome {
            Ok(answer) => (Outcome::Found, by(answer.origin)),
            Err(error) => of_error(error),
        };
        self.seen(asked, path, seen, by, 0);
        outcome.map(|answer| answer.value)
    }

    /// Counts who gave the answer.
    pub(super) fn count<T>(&self, outcome: &Result<Answer<T>, FetchError>) {
        let counter = match outcome {
            Ok(Answer { origin, .. }) | Err(FetchError::Absent { origin, .. }) => match origin {
                Origin::Cache => Counter::AnswersCache,
                Origin::Parent | Origin::Root => Counter::AnswersParent,
                Origin::Storage => Counter::AnswersStorage,
            },
            Err(_) => Counter::AnswersErrors,
        };
        self.recorder.count(counter);
    }

    /// Records an answer, before it is given: afterwards the task may be gone.
    pub(super) fn seen(&self, asked: Asked, path: &FilePath, outcome: Outcome, by: AnsweredBy, bytes: u64) {
        let Asked { began, operation, thread } = asked;
        self.recorder.answered(began, thread, || Event {
            view: path.view().position() as u16,
            relative: path.relative(),
            operation,
            outcome,
            by,
            bytes,
        });
    }
}
