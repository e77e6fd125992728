//! At most one request under way per thing: later askers wait for the first and share its answer.
//!
//! A request belongs to nobody: it runs to its end though the one who asked first has gone.
//!
//! Not here: keeping answers (`mod.rs`), which outlive the flight.

use std::collections::HashMap;
use std::future::poll_fn;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};

use crate::file::{Answer, Fetch, FetchError, task};

pub(super) type Outcome<T> = Result<Answer<T>, FetchError>;

struct Flight<T> {
    state: Mutex<(Option<Outcome<T>>, Vec<Waker>)>,
}

/// The requests under way for one kind of thing.
pub(super) struct Flights<K, T>(Arc<Mutex<HashMap<K, Arc<Flight<T>>>>>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl<K, T> Default for Flights<K, T> {
    fn default() -> Self {
        Flights(Arc::default())
    }
}

impl<K: Hash + Eq + Clone + Send + 'static, T: Clone + Send + Sync + 'static> Flights<K, T> {
    /// Whether a request for `key` is under way now.
    pub(super) fn is_under_way(&self, key: &K) -> bool {
        lock(&self.0).contains_key(key)
    }

    /// The answer of the request under way for `key`; if there is none, of the one that `start` makes.
    ///
    /// Storage's refusal is told only to those who had asked by the time storage was asked: one that was under way before
    /// may be of a trouble that is over. Whoever came later asks `again`.
    ///
    /// `finish` sees the outcome before anybody else, may amend it, and runs while the flight can still be
    /// joined, so that who comes later finds either the flight or what `finish` kept.
    pub(super) fn join(
        &self,
        key: K,
        start: impl FnOnce() -> Fetch<T>,
        finish: impl FnOnce(Outcome<T>) -> Outcome<T> + Send + 'static,
        again: impl FnOnce() -> Fetch<T> + Send + 'static,
    ) -> Fetch<T> {
        let mut flights = lock(&self.0);
        if let Some(flight) = flights.get(&key) {
            let under_way = wait_for(flight.clone());
            return Box::pin(async move {
                match under_way.await {
                    Err(FetchError::Storage { .. }) => again().await,
                    outcome => outcome,
                }
            });
        }
        let flight = Arc::new(Flight { state: Mutex::new((None, Vec::new())) });
        flights.insert(key.clone(), flight.clone());
        drop(flights);
        let (table, landing) = (self.0.clone(), flight.clone());
        let fetch = start();
        task::spawn(async move {
            let outcome = finish(fetch.await);
            let mut flights = lock(&table);
            if flights.get(&key).is_some_and(|under_way| Arc::ptr_eq(under_way, &landing)) {
                flights.remove(&key);
            }
            drop(flights);
            land(&landing, outcome);
        });
        wait_for(flight)
    }
}

impl<K, T> Flights<K, T> {
    /// Nobody joins the requests that are under way now; whoever has joined gets their answers.
    pub(super) fn close(&self) {
        lock(&self.0).clear();
    }
}

fn land<T>(flight: &Flight<T>, outcome: Outcome<T>) {
    let mut state = lock(&flight.state);
    state.0 = Some(outcome);
    let waiting = std::mem::take(&mut state.1);
    // Waking runs the waiting tasks on this thread, so the lock must be gone.
    drop(state);
    waiting.into_iter().for_each(Waker::wake);
}

fn wait_for<T: Clone + Send + Sync + 'static>(flight: Arc<Flight<T>>) -> Fetch<T> {
    Box::pin(poll_fn(move |context| {
        let mut state = lock(&flight.state);
        match &state.0 {
            Some(outcome) => Poll::Ready(outcome.clone()),
            None => {
                if !state.1.iter().any(|waker| waker.will_wake(context.waker())) {
                    state.1.push(context.waker().clone());
                }
                Poll::Pending
            }
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::{Origin, ready};
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn askers_of_one_thing_share_one_request_and_its_answer() {
        let flights: Flights<&str, u32> = Flights::default();
        let (answer, question) = tokio::sync::oneshot::channel();
        let (started, answers) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let mut question = Some(question);
        for _ in 0..5 {
            let taken = question.take();
            let started = started.clone();
            let fetch = flights.join(
                "a",
                move || {
                    started.fetch_add(1, Ordering::SeqCst);
                    let question = taken.unwrap();
                    Box::pin(async { Ok(Answer { value: question.await.unwrap(), origin: Origin::Storage }) })
                },
                |outcome| outcome,
                || unreachable!("only an error is asked for again"),
            );
            let answers = answers.clone();
            task::spawn(async move {
                answers.fetch_add(fetch.await.unwrap().value, Ordering::SeqCst);
            });
        }
        answer.send(7).unwrap();
        assert_eq!((started.load(Ordering::SeqCst), answers.load(Ordering::SeqCst)), (1, 35));
    }

    #[test]
    fn a_refusal_is_told_to_who_asked_before_storage_refused_and_to_nobody_else() {
        let flights: Flights<&str, u32> = Flights::default();
        let (answer, question) = tokio::sync::oneshot::channel();
        let refused = move || -> Fetch<u32> { Box::pin(async { question.await.unwrap() }) };
        let first = flights.join("a", refused, |outcome| outcome, || unreachable!("it asked itself"));
        let given = |value| -> Fetch<u32> { ready(Ok(Answer { value, origin: Origin::Storage })) };
        let second =
            flights.join("a", || unreachable!("one is under way"), |outcome| outcome, move || given(7));
        answer.send(Err(FetchError::Storage { errno: 5 })).unwrap();
        let told: Arc<Mutex<Vec<Outcome<u32>>>> = Arc::default();
        for fetch in [first, second] {
            let told = told.clone();
            task::spawn(async move {
                let outcome = fetch.await;
                told.lock().unwrap().push(outcome);
            });
        }
        let told = told.lock().unwrap();
        assert!(matches!(told[0], Err(FetchError::Storage { errno: 5 })));
        assert!(matches!(&told[1], Ok(answer) if answer.value == 7));
    }
}
