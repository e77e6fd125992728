//! What is recorded arrives, however many threads record and whenever they are killed.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::Command;

use super::*;
use crate::profile::recorder::event::Outcome;

fn event(relative: &[u8]) -> Event<'_> {
    let (operation, outcome) = (Operation::Lookup, Outcome::Found);
    Event { view: 0, relative, operation, outcome, by: AnsweredBy::Cache, bytes: 7 }
}

#[test]
fn a_successor_goes_on_where_the_dead_daemon_stopped() {
    for mode in [Mode::Full, Mode::Top(10)] {
        let memory = tempfile::tempfile().unwrap();
        memory.set_len(Events::shared_bytes(mode)).unwrap();
        for _life in 0..3 {
            let events = Events::shared(&memory, mode, |_| None).unwrap();
            events.note(now_ns(), &event(b"lib/a"));
            events.note(now_ns(), &event(b"lib/b"));
            events.note_task(std::process::id(), 5);
        }
        let events = Events::shared(&memory, mode, |_| None).unwrap();
        let mut paths: Vec<_> = events.paths().into_iter().map(|row| (row.relative, row.calls)).collect();
        paths.sort();
        assert_eq!(paths, [(b"lib/a".to_vec(), 3), (b"lib/b".to_vec(), 3)], "{mode:?}");
        let answers: u64 = events.moments().iter().map(|moment| moment.answers[0]).sum();
        let timed: u64 = events.latencies()[0].buckets.iter().map(|(_, count)| count).sum();
        assert_eq!((answers, timed, events.lost()), (6, 6, 0));
        assert_eq!(events.tasks()[0].calls, 3);
    }
}

#[test]
fn without_paths_no_memory_is_set_aside_for_them() {
    assert!(Events::shared_bytes(Mode::Aggregate) < 16 << 20);
    let events = Events::private(Mode::Aggregate);
    events.note(now_ns(), &event(b"lib/a"));
    assert_eq!((events.paths().len(), events.latencies().len(), events.lost()), (0, 1, 0));
}

#[test]
fn each_kind_of_answer_has_its_bytes_absences_and_errors() {
    let events = Events::private(Mode::Aggregate);
    for (outcome, times) in [(Outcome::Found, 3), (Outcome::Absent, 2), (Outcome::Error, 1)] {
        let bytes = if outcome == Outcome::Found { 7 } else { 0 };
        (0..times).for_each(|_| _ = events.note(now_ns(), &Event { outcome, bytes, ..event(b"lib/a") }));
    }
    let kinds = events.latencies();
    let answers: u64 = kinds[0].buckets.iter().map(|(_, count)| count).sum();
    assert_eq!((kinds.len(), answers, kinds[0].bytes, kinds[0].absences, kinds[0].errors), (1, 6, 21, 2, 1));
}

#[test]
fn bins_follow_each_other_without_a_gap() {
    let cases = [
        (0, Some(0)),
        (9_999_999_999, Some(999)),
        (10_000_000_000, Some(1010)), // the first ten bins of a second are never used
        (999_999_999_999, Some(1999)),
        (u64::MAX, None), // later than is kept
    ];
    for (since, bin) in cases {
        assert_eq!(bin_of(since), bin, "{since}");
    }
}

/// What `thread` notes as its `n`th: paths that several threads ask for, in another order each.
fn note_nth(events: &Events, paths: &[Vec<u8>], thread: usize, n: usize) {
    let relative = &paths[(n * 7 + thread * 11) % paths.len()];
    let (operation, by) = (Operation::ALL[n % Operation::ALL.len()], AnsweredBy::ALL[thread % 4]);
    let began = now_ns();
    events.note(began, &Event { view: 0, relative, operation, outcome: Outcome::Found, by, bytes: 3 });
    events.note_task(std::process::id(), 5);
}

fn some_paths() -> Vec<Vec<u8>> {
    (0..500).map(|n| format!("lib/python3/site-packages/module{n}.py").into_bytes()).collect()
}

/// Answers in the latencies, in the course of time, and of tasks.
fn sums(events: &Events) -> (u64, u64, u64) {
    let latencies = events.latencies();
    let timed = latencies.iter().flat_map(|kind| &kind.buckets).map(|(_, count)| count).sum();
    let seen = events.moments().iter().flat_map(|moment| moment.answers).sum();
    (timed, seen, events.tasks().iter().map(|task| task.calls).sum())
}

fn calls(events: &Events) -> u64 {
    events.paths().iter().map(|row| row.calls).sum()
}

#[test]
fn nothing_is_lost_nor_counted_twice_while_many_threads_record_and_others_read() {
    const THREADS: usize = 12;
    const EACH: usize = 6000;
    for mode in [Mode::Aggregate, Mode::Top(1), Mode::Full] {
        let (events, paths) = (Events::private(mode), some_paths());
        let recording = std::sync::atomic::AtomicUsize::new(THREADS);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (events, paths, recording) = (&events, &paths, &recording);
                scope.spawn(move || {
                    (0..EACH).for_each(|n| note_nth(events, paths, thread, n));
                    recording.fetch_sub(1, Ordering::Release);
                });
            }
            scope.spawn(|| {
                let (mut before, mut rows_before) = ((0, 0, 0), 0);
                while recording.load(Ordering::Acquire) > 0 {
                    let (now, rows) = (sums(&events), calls(&events));
                    assert!(
                        now.0 >= before.0 && now.1 >= before.1 && now.2 >= before.2,
                        "{before:?} {now:?}"
                    );
                    assert!(rows >= rows_before && rows <= (THREADS * EACH) as u64);
                    events.slowest(20);
                    (before, rows_before) = (now, rows);
                }
            });
        });
        let all = (THREADS * EACH) as u64;
        assert_eq!((sums(&events), events.lost()), ((all, all, all), 0), "{mode:?}");
        let took: u64 = events.latencies().iter().map(|kind| kind.nanoseconds).sum();
        assert_eq!(took, events.moments().iter().map(|moment| moment.nanoseconds).sum::<u64>());
        if mode == Mode::Aggregate {
            assert!(events.paths().is_empty());
            continue;
        }
        assert_eq!(calls(&events), all, "{mode:?}");
        let nanoseconds: u64 = events.paths().iter().map(|row| row.nanoseconds).sum();
        if mode == Mode::Full {
            assert_eq!(nanoseconds, took);
            assert_exact(&events, &paths, THREADS, EACH);
        }
    }
}

/// Each row has the count that one thread after the other would have made.
fn assert_exact(events: &Events, paths: &[Vec<u8>], threads: usize, each: usize) {
    let mut exact: HashMap<(&[u8], usize, usize), u64> = HashMap::new();
    for thread in 0..threads {
        for n in 0..each {
            let path = &paths[(n * 7 + thread * 11) % paths.len()];
            *exact.entry((path, n % Operation::ALL.len(), thread % 4)).or_default() += 1;
        }
    }
    let read = events.paths();
    assert_eq!(read.len(), exact.len());
    for row in read {
        let want = exact[&(&row.relative[..], row.operation as usize, row.by as usize)];
        assert_eq!((row.calls, row.bytes, row.error), (want, 3 * want, 0));
    }
}

/// Names the memory that a process started by the next test records into until it is killed.
const RECORDS_INTO: &str = "SPINNEY_TEST_RECORDS_INTO";
/// What it says before each number of calls that it has read itself.
const READ: &str = "read ";
/// And how.
const RECORDS_AS: &str = "SPINNEY_TEST_RECORDS_AS";

#[test]
fn a_killed_process_leaves_all_but_what_its_threads_were_just_writing() {
    const THREADS: usize = 4;
    if let Ok(memory) = std::env::var(RECORDS_INTO) {
        let mode: Mode = serde_json::from_str(&std::env::var(RECORDS_AS).unwrap()).unwrap();
        let memory = std::fs::OpenOptions::new().read(true).write(true).open(memory).unwrap();
        let (events, paths) = (Events::shared(memory, mode, |_| None).unwrap(), some_paths());
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (events, paths) = (&events, &paths);
                scope.spawn(move || {
                    for n in 0.. {
                        note_nth(events, paths, thread, n);
                    }
                });
            }
            loop {
                println!("{READ}{}", calls(&events) + events.lost());
            }
        });
    }
    // Of 6,000 rows a sketch has 4,096, so rows change hands all the time.
    for mode in [Mode::Full, Mode::Top(1)] {
        let memory = tempfile::NamedTempFile::new().unwrap();
        memory.as_file().set_len(Events::shared_bytes(mode)).unwrap();
        for life in 1..=5 {
            let events = Events::shared(&memory, mode, |_| None).unwrap();
            let goal = sums(&events).0 + 20_000;
            let mut recording = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "--nocapture", std::thread::current().name().unwrap()])
                .env(RECORDS_INTO, memory.path())
                .env(RECORDS_AS, serde_json::to_string(&mode).unwrap())
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            let said = BufReader::new(recording.stdout.take().unwrap()).lines().map_while(Result::ok);
            let mut read = said.filter_map(|line| line.strip_prefix(READ)?.parse::<u64>().ok());
            while sums(&events).0 < goal {
                assert!(recording.try_wait().unwrap().is_none(), "it ended by itself");
            }
            read.next().expect("it reads what it has recorded");
            recording.kill().unwrap();
            recording.wait().unwrap();
            let read = read.last().unwrap_or_default();
            let events = Events::shared(&memory, mode, |_| None).unwrap();
            let (timed, seen, of_tasks) = sums(&events);
            let least = timed - (life * THREADS) as u64;
            assert!((least..=timed).contains(&seen), "{timed} {seen}");
            assert!((least..=timed).contains(&of_tasks), "{timed} {of_tasks}");
            // What waits where rows change hands is put in whenever somebody reads. A row that was changing hands is nobody's
            // until its calls are taken on; they are the fewest of its shard.
            let fewest = timed / 512 * (life * THREADS) as u64;
            let least = if mode == Mode::Full { least } else { read.saturating_sub(fewest) };
            assert!((least..=timed).contains(&(calls(&events) + events.lost())), "{mode:?} life {life}");
            let known = some_paths();
            assert!(events.paths().iter().all(|row| known.contains(&row.relative)));
        }
    }
}
