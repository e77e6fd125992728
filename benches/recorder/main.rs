//! What recording one answer costs: `cargo bench --bench recorder`.
//!
//! Each thread notes answers to 3,000 paths of 60 bytes, as an import asks them, and the clock is read as in the daemon:
//! once when a question begins and once when it is answered. The best of ten rounds, as other work only adds to it.
//!
//! Not here: the cost of asking the kernel (`benches/one_node`).

use std::hint::black_box;
use std::time::Instant;

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
    let began = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || note(recorder, paths, thread));
        }
    });
    began.elapsed().as_nanos() as f64 / ANSWERS as f64
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
