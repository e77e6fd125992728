//! What a store of a site costs: `cargo bench --bench track_store [-- postgresql://USER@HOST/DATABASE]`.
//!
//! A million imports come in from files, and each report is asked over ten million, by the program as a user starts
//! it: seconds, peak memory of the process, size of the store. With an address the same is done in an empty database.
//! Before each report the page cache has the store, as after an ingest.
//!
//! Not here: what recording costs the jobs (`benches/track/hook_cost.py`).

mod site;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use spinney::track::store::{Place, Purpose, Store};

use self::site::Site;

/// Imports that are ingested from files.
const INGESTED: usize = 1_000_000;

/// Imports in the store that is asked.
const ASKED: usize = 10_000_000;

/// Each figure is the median of so many.
const ROUNDS: usize = 3;

/// What is asked, and how.
const QUESTIONS: &[&[&str]] = &[
    &["packages"],
    &["versions"],
    &["interpreters"],
    &["slowest"],
    &["asked"],
    &["unseen"],
    &["users"],
    &["projects"],
    &["packages", "--last-days", "30"],
    &["packages", "--user", "user0007"],
    &["packages", "--per", "user"],
    &["--format", "html"],
];

fn main() {
    let address = std::env::args().skip(1).find(|word| word.contains("://"));
    let directory =
        tempfile::tempdir_in(std::env::var_os("SPINNEY_BENCH_DIR").unwrap_or_else(|| "/tmp".into()))
            .expect("a directory for the stores can be made");
    let name =
        |file: &str| address.clone().unwrap_or_else(|| directory.path().join(file).display().to_string());
    println!("| | seconds | of the processor | peak memory, MB | store, MB |\n|---|---:|---:|---:|---:|");
    ingest(directory.path(), &name("ingested.db"));
    let asked = name("asked.db");
    let began = Instant::now();
    fill(&asked);
    println!("| made: {ASKED} imports | {:.1} | | | {} |", began.elapsed().as_secs_f64(), megabytes(&asked));
    for question in QUESTIONS {
        let words = [&["track", "report", "--store", &asked], *question].concat();
        let mut all: Vec<Figures> = (0..ROUNDS).map(|_| measured(&words)).collect();
        all.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        println!("| report {} | {} |", question.join(" "), all[ROUNDS / 2].row());
    }
}

/// Files of a run each, as jobs leave them, into an empty store, and once more.
fn ingest(directory: &Path, store: &str) {
    let records = directory.join("records");
    fs::create_dir(&records).expect("the directory is new");
    let (mut site, mut imports, mut runs) = (Site::new(1), 0, 0);
    while imports < INGESTED {
        let batch = site.run();
        imports += batch.processes.iter().map(|(_, imports)| imports.len()).sum::<usize>();
        fs::write(records.join(format!("{runs:07}.jsonl")), site::text(&batch)).expect("there is space");
        runs += 1;
    }
    let words =
        ["track", "ingest", "--store", store, records.to_str().expect("a temporary directory has a name")];
    for what in ["into an empty store", "once more"] {
        let figures = measured(&words).row();
        println!("| ingest of {imports} imports of {runs} runs, {what} | {figures} {} |", megabytes(store));
    }
}

fn fill(store: &str) {
    let place: Place = store.parse().expect("a store");
    let mut store =
        Store::open(&place, Purpose::Write, Duration::from_secs(60)).expect("a store can be made");
    let (mut site, mut imports) = (Site::new(2), 0);
    let mut batches = std::iter::from_fn(|| {
        let batch = (imports < ASKED).then(|| site.run());
        imports += batch.iter().flat_map(|it| &it.processes).map(|(_, imports)| imports.len()).sum::<usize>();
        batch
    });
    store.add(&mut batches).expect("there is space");
}

/// What a process took.
struct Figures {
    seconds: f64,
    processor_seconds: f64,
    memory_megabytes: f64,
}

impl Figures {
    fn row(&self) -> String {
        format!("{:.2} | {:.2} | {:.0} |", self.seconds, self.processor_seconds, self.memory_megabytes)
    }
}

/// What `spinney WORDS` takes.
#[allow(clippy::zombie_processes, reason = "wait4 waits, and tells the memory too")]
fn measured(words: &[&str]) -> Figures {
    let began = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_spinney"));
    command.args(words).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program is built");
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    let pid = i32::try_from(child.id()).expect("a process id");
    // SAFETY: both pointers are valid for the call.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) };
    // It says, for one, if no run is among those that were asked about.
    let mut said = String::new();
    child.stderr.take().expect("it was asked for").read_to_string(&mut said).expect("a pipe can be read");
    assert!(waited == pid && status == 0 && said.is_empty(), "{words:?}: {status}: {said}");
    // SAFETY: the call filled it.
    let usage = unsafe { usage.assume_init() };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Figures {
        seconds: began.elapsed().as_secs_f64(),
        processor_seconds: seconds(usage.ru_utime) + seconds(usage.ru_stime),
        memory_megabytes: usage.ru_maxrss as f64 / 1000.0,
    }
}

/// Of a file; of a database, its server knows.
fn megabytes(store: &str) -> String {
    fs::metadata(store).map_or_else(|_| "?".to_owned(), |it| format!("{}", it.len() / 1_000_000))
}
