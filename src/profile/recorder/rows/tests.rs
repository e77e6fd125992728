//! Rows in a full table and in a sketch, counted by one thread and by several, before and after a death.

use super::*;
use proptest::prelude::*;

fn table(kept: Kept) -> Rows {
    let words = (0..kept.bytes() / 8).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
    Rows::over(Vec::leak(words), kept)
}

fn event(relative: &[u8]) -> Event<'_> {
    let (operation, outcome) = (Operation::Read, Outcome::Found);
    Event { view: 1, relative, operation, outcome, by: AnsweredBy::Storage, bytes: 2 }
}

fn full(rows: usize, text_bytes: usize) -> Kept {
    Kept { rows, text_bytes, shards: 4, replaces: false }
}

fn sketch(rows: usize, shards: usize) -> Kept {
    Kept { rows, text_bytes: rows * SLOT_BYTES, shards, replaces: true }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn no_count_is_too_low_nor_too_high_by_more_than_the_bound(
        names in prop::collection::vec(0_u32..60, 1..2000),
        shards in prop::sample::select(&[1_usize, 2, 4][..]),
    ) {
        let kept = sketch(20, shards);
        let rows = table(kept);
        let shard = |path: &[u8]| kept.shard_of(key_of(&event(path)).hash);
        let (mut exact, mut in_shard): (HashMap<Vec<u8>, u64>, _) = (HashMap::new(), [0; 4]);
        for name in &names {
            // A few are asked for often.
            let path = (name * name / 60).to_string().into_bytes();
            prop_assert!(rows.note(&event(&path), 1));
            in_shard[shard(&path)] += 1;
            *exact.entry(path).or_default() += 1;
        }
        let read: HashMap<Vec<u8>, RowRead> = rows.read().into_iter().map(|row| (row.relative.clone(), row)).collect();
        prop_assert_eq!(read.values().map(|row| row.calls).sum::<u64>(), names.len() as u64);
        for (path, calls) in &exact {
            let bound = in_shard[shard(path)] / (20 / shards as u64);
            match read.get(path) {
                Some(row) => {
                    prop_assert!(row.calls >= *calls && row.calls - row.error <= *calls);
                    prop_assert!(row.error <= bound);
                }
                None => prop_assert!(*calls <= bound),
            }
        }
    }
}

#[test]
fn a_full_table_says_that_it_is_full_and_stays_right() {
    let rows = table(full(2, 64));
    let noted = [b"a", b"b", b"c", b"a"].map(|path| rows.note(&event(path), 10));
    assert_eq!(noted, [true, true, false, true]);
    let read: Vec<_> = rows.read().into_iter().map(|row| (row.relative, row.calls, row.bytes)).collect();
    assert_eq!(read, [(b"a".to_vec(), 2, 4), (b"b".to_vec(), 1, 2)]);
    let rows = table(full(9, 4));
    assert!(!rows.note(&event(b"longer"), 1), "no room for the text");
}

#[test]
fn threads_that_fill_a_table_use_every_row_of_it_once() {
    let rows = table(full(1000, 1 << 16));
    let there = std::thread::scope(|scope| {
        let noted = |thread: usize| {
            let paths = (0..3000).map(move |n| ((n * 7 + thread * 750) % 1500).to_string());
            paths.filter(|path| rows.note(&event(path.as_bytes()), 1)).count()
        };
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(move || noted(thread))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
    });
    let read = rows.read();
    let different: std::collections::HashSet<_> = read.iter().map(|row| &row.relative).collect();
    assert_eq!((read.len(), different.len()), (1000, 1000));
    assert_eq!(read.iter().map(|row| row.calls).sum::<u64>(), there as u64);
}

#[test]
fn a_row_that_a_dying_thread_had_begun_is_used_again() {
    let rows = table(full(3, 64));
    assert!(rows.note(&event(b"a"), 1));
    assert!(locked(&rows.room).take(rows.words).is_some(), "and then it is killed");
    assert!(rows.note(&event(b"b"), 1), "other threads were quicker");
    let rows = Rows::over(rows.words, rows.kept);
    let noted = [b"a", b"b", b"c", b"d"].map(|path| rows.note(&event(path), 1));
    assert_eq!(noted, [true, true, true, false]);
    let calls: Vec<_> = rows.read().into_iter().map(|row| (row.relative, row.calls)).collect();
    assert_eq!(calls, [(b"a".to_vec(), 2), (b"c".to_vec(), 1), (b"b".to_vec(), 2)]);
}

#[test]
fn calls_of_a_row_that_was_changing_hands_at_a_death_are_not_forgotten() {
    let rows = table(sketch(2, 1));
    for path in [b"a", b"a", b"a", b"b", b"b"] {
        assert!(rows.note(&event(path), 1));
    }
    rows.begin_change(rows.change.as_ref().unwrap());
    assert_eq!(rows.give_up_row(&mut rows.shards[0].lock()), Some(1), "and then it is killed");
    let rows = Rows::over(rows.words, rows.kept);
    assert!(rows.note(&event(b"c"), 1));
    let read: Vec<_> = rows.read().into_iter().map(|row| (row.relative, row.calls, row.error)).collect();
    assert_eq!(read, [(b"a".to_vec(), 3, 0), (b"c".to_vec(), 3, 2)]);
}

#[test]
fn the_slowest_are_those_that_took_longest_in_all() {
    let rows = table(full(9, 64));
    for (path, took) in [(b"a", 5), (b"b", 9), (b"c", 1), (b"a", 5), (b"d", 2)] {
        assert!(rows.note(&event(path), took));
    }
    let slowest: Vec<_> = rows.slowest(3).into_iter().map(|row| (row.relative, row.nanoseconds)).collect();
    assert_eq!(slowest, [(b"a".to_vec(), 10), (b"b".to_vec(), 9), (b"d".to_vec(), 2)]);
    assert_eq!(rows.slowest(0), []);
}

#[test]
fn any_memory_can_be_read() {
    for kept in [full(4, 64), sketch(4, 2)] {
        let words = (0..kept.bytes() / 8).map(|_| AtomicU64::new(u64::MAX)).collect::<Vec<_>>();
        let rows = Rows::over(Vec::leak(words), kept);
        rows.read();
        rows.slowest(3);
        assert!(kept.replaces || !rows.note(&event(b"a"), 1));
    }
}

#[test]
fn what_waits_in_any_thread_is_read_and_no_call_is_counted_twice() {
    let rows = table(sketch(64, 2));
    let often = |n: usize| (n % 40).to_string();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let rows = &rows;
            scope.spawn(move || {
                for n in 0..5000 {
                    let path = if n % 16 == 0 { format!("{thread}/{n}") } else { often(n) };
                    assert!(rows.note(&event(path.as_bytes()), 3));
                }
            });
        }
    });
    assert!(rows.has_changed());
    let read = rows.read();
    assert_eq!(read.iter().map(|row| row.calls).sum::<u64>(), 4 * 5000);
    let exact = (0..5000).filter(|n| n % 16 != 0 && n % 40 == 7).count() as u64 * 4;
    let seven = read.iter().find(|row| row.relative == b"7").unwrap();
    assert!(seven.calls >= exact && seven.calls - seven.error <= exact, "{seven:?} of {exact}");
    assert_eq!(rows.read(), read, "nothing waits any more");
}
