//! What recording one answer costs: `cargo bench --bench recorder`.
//!
//! Each thread notes answers to 3,000 paths of 60 bytes, as an import asks them, and the clock is read as in the daemon:
//! once when a question begins and once when it is answered. Told is the processor's time, of a round of ten the best, as
//! other work on the machine only adds to it.
//!
//! Not here: the cost of asking the kernel (`benches/one_node`).

use std::hint::black_box;

use rustix::time::{ClockId, clock_gettime};
use spinney::profile::recorder::Recorder;
use spinney::profile::recorder::event::{AnsweredBy, Event, Mode, Operation, Outcome};
use spinney::profile::recorder::events::Events;

const PATHS: usize = 3000;
const ANSWERS: usize = 300_000;
const ROUNDS: usize = 10;

fn main() {
    let paths: Vec<Vec<u8>> = (0..PATHS)
        .map(|n| format!("lib/python3.11/site-packages/package{:03}/module{n:013}.py", n % 300).into_bytes())
        .collect();
    println!("| mode | threads | ns for each answer |\n|---|---:|---:|");
    for mode in [Mode::Off, Mode::Aggregate, Mode::Top(20), Mode::Full] {
        for threads in [1, 2] {
            let recorder = match mode {
                Mode::Off => Recorder::private(),
                mode => Recorder::private().with(Events::private(mode)),
            };
            let best = (0..ROUNDS).map(|_| round(recorder, &paths, threads)).fold(f64::INFINITY, f64::min);
            println!("| {} | {threads} | {best:.1} |", mode.name());
        }
    }
}

/// Nanoseconds that a thread spends on each answer, side by side with the others.
fn round(recorder: Recorder, paths: &[Vec<u8>], threads: usize) -> f64 {
    let spent = |thread| {
        let began = thread_ns();
        note(recorder, paths, thread);
        thread_ns() - began
    };
    let all: u64 = std::thread::scope(|scope| {
        let begun: Vec<_> = (0..threads).map(|thread| scope.spawn(move || spent(thread))).collect();
        begun.into_iter().map(|thread| thread.join().expect("it does not panic")).sum()
    });
    all as f64 / (threads * ANSWERS) as f64
}

/// Nanoseconds for which this thread had a processor.
fn thread_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn note(recorder: Recorder, paths: &[Vec<u8>], thread: usize) {
    // Asked once: it is a system call.
    let process = std::process::id();
    for n in 0..ANSWERS {
        let relative = &paths[(n * 7 + thread) % paths.len()];
        let began = black_box(&recorder).begin();
        recorder.answered(began, || Event {
            view: 0,
            relative,
            operation: Operation::Lookup,
            outcome: Outcome::Found,
            by: AnsweredBy::Cache,
            bytes: 0,
        });
        recorder.told(began, process);
    }
}
