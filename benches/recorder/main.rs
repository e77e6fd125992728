//! What recording one answer costs: `cargo bench --bench recorder`, which writes `docs/benchmarks/recorder.md`.
//!
//! Each thread tells of answers to 3,000 paths of 60 bytes, as an import asks for them and without a pause, and does for
//! each what the daemon does: two counters, the clock when a question begins and when it is answered, the row of the path,
//! the row of the task. Told is the processor's time, of the rounds the median and the best: where threads outnumber
//! processors they cannot have more of them, and other work on the machine only adds to it.
//!
//! Not here: the cost of asking the kernel, and what recording adds to a run (`benches/one_node`, `profile`).

use std::fmt::Write;
use std::fs;
use std::hint::black_box;

use rustix::time::{ClockId, clock_gettime};
use spinney::profile::recorder::event::{AnsweredBy, Event, Mode, Operation, Outcome};
use spinney::profile::recorder::events::Events;
use spinney::profile::recorder::{Counter, Recorder};

const PATHS: usize = 3000;
const ANSWERS: usize = 300_000;
const ROUNDS: usize = 15;
const THREADS: [usize; 3] = [1, 2, 4];
/// The last has more rows than fit, which then change hands: one path in sixteen is new.
const CASES: [(&str, Mode, usize); 5] = [
    ("off", Mode::Off, 0),
    ("aggregate", Mode::Aggregate, 0),
    ("top=1000", Mode::Top(1000), 0),
    ("full", Mode::Full, 0),
    ("top=20, one path in 16 a new one", Mode::Top(20), 16),
];
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/benchmarks/recorder.md");

fn main() -> std::io::Result<()> {
    let paths: Vec<Vec<u8>> = (0..PATHS).map(path).collect();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut page = format!(
        "# What recording an answer costs\n\nWritten by `cargo bench --bench recorder`: nanoseconds of a processor for each \
         answer, told by threads that do nothing else, {ROUNDS} rounds of {ANSWERS} answers for each thread, on \
         {processors} processors, on which {} others wanted to run too. Threads that wait for each other cost most where all \
         run at once. The aim is 200.\n\n| mode | threads | median | best |\n|---|---:|---:|---:|\n",
        others().as_deref().unwrap_or("how many")
    );
    for (name, mode, new_each) in CASES {
        for threads in THREADS {
            let recorder = match mode {
                Mode::Off => Recorder::private(),
                mode => Recorder::private().with(Events::private(mode)),
            };
            // Once without looking: memory is given out by the system at the first touch, and once in a run.
            round(recorder, &paths, threads, new_each);
            let mut spent: Vec<f64> =
                (0..ROUNDS).map(|_| round(recorder, &paths, threads, new_each)).collect();
            spent.sort_by(f64::total_cmp);
            let row = format!("| {name} | {threads} | {:.0} | {:.0} |", spent[ROUNDS / 2], spent[0]);
            println!("{row}");
            writeln!(page, "{row}").expect("memory takes it");
        }
    }
    fs::write(PAGE, page)
}

/// How many wanted to run in the last minute, this program aside.
fn others() -> Option<String> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next().map(str::to_owned)
}

fn path(n: usize) -> Vec<u8> {
    format!("lib/python3.11/site-packages/package{:03}/module{n:013}.py", n % 300).into_bytes()
}

/// Nanoseconds that a thread spends on each answer, side by side with the others.
fn round(recorder: Recorder, paths: &[Vec<u8>], threads: usize, new_each: usize) -> f64 {
    let spent = |thread| {
        let new: Vec<Vec<u8>> =
            (0..ANSWERS.checked_div(new_each).unwrap_or(0)).map(|n| path(PATHS + n * 4 + thread)).collect();
        let began = thread_ns();
        note(recorder, paths, &new, thread);
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

fn note(recorder: Recorder, paths: &[Vec<u8>], new: &[Vec<u8>], thread: usize) {
    // Asked once: it is a system call.
    let process = std::process::id();
    let new_each = ANSWERS.checked_div(new.len()).unwrap_or(usize::MAX);
    for n in 0..ANSWERS {
        let seen = &paths[(n * 7 + thread) % paths.len()];
        let relative = if n % new_each == new_each - 1 { &new[n / new_each] } else { seen };
        let recorder = black_box(&recorder);
        recorder.count(Counter::FuseLookup);
        let began = recorder.begin();
        recorder.count(Counter::AnswersCache);
        recorder.answered(began, Some(process), || Event {
            view: 0,
            relative,
            operation: Operation::Lookup,
            outcome: Outcome::Found,
            by: AnsweredBy::Cache,
            bytes: 0,
        });
    }
}
