//! Records while a run lasts: a directory of this run in shared memory, into which each process appends a file.
//!
//! What a process wrote is there when it is killed. The directory goes when the run ends; if `spinney run` itself was
//! killed, the next run of the same user finds that its lock is free, and collects it.
//!
//! Invariant: directories have mode 0700, files 0600, and nothing is followed that is not the user's own.
//! Invariant: where nothing can be written, nothing is tracked, and nothing else happens.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::filter::Filter;
use super::gather;
use super::hook::{TRACK_VARIABLE, r_profile, sitecustomize};
use super::record::{End, Line, Run};
use super::sample;

/// Where directories in flight lie: memory of the node, which every Linux has here.
pub const PLACE: &str = "/dev/shm";

/// Bytes read of one process's file at most: twice what the hook writes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Files of processes that one task collects at most.
const FILES_MAX: usize = 100_000;

/// How old a directory without a lock file must be before it counts as left behind: its owner may be making it.
const YOUNG: Duration = Duration::from_secs(60);

/// A run that is being tracked.
#[derive(Debug)]
pub struct Flight {
    directory: PathBuf,
    since: Instant,
    _lock: File,
}

impl Flight {
    /// Makes the directory of `run` beneath `place`, whose records go to the directory `to`; `None` if it cannot be.
    /// With a `seed`, only some runs are kept (`sample`).
    pub fn begin(place: &Path, run: &Run, to: &Path, seed: Option<u64>) -> Option<Flight> {
        let uid = rustix::process::getuid().as_raw();
        let directory = place.join(format!("{}{}-{}", prefix(uid), run.uuid, std::process::id()));
        DirBuilder::new().mode(0o700).create(&directory).ok()?;
        match furnish(&directory, run, to, seed) {
            Ok(lock) => Some(Flight { directory, since: Instant::now(), _lock: lock }),
            Err(_) => {
                let _ = fs::remove_dir_all(&directory);
                None
            }
        }
    }

    /// What COMMAND's environment needs: the directory, and the ways into Python and R.
    pub fn variables(&self) -> Vec<(OsString, OsString)> {
        let mut path = self.directory.join("hook").into_os_string();
        if let Some(theirs) = std::env::var_os("PYTHONPATH").filter(|theirs| !theirs.is_empty()) {
            path.push(":");
            path.push(theirs);
        }
        let profile = self.directory.join("hook/Rprofile").into_os_string();
        let theirs = std::env::var_os("R_PROFILE").map(|theirs| ("SPINNEY_R_PROFILE".into(), theirs));
        let ours =
            [(TRACK_VARIABLE, self.directory.clone().into()), ("PYTHONPATH", path), ("R_PROFILE", profile)];
        ours.map(|(name, value)| (name.into(), value)).into_iter().chain(theirs).collect()
    }

    /// Collects what was recorded and removes the directory.
    pub fn end(self, filter: &Filter) {
        let end = Line::End(End { seconds: self.since.elapsed().as_secs_f64() });
        let _ = append(&self.directory.join("run.rec"), end.to_text().as_bytes());
        collect(&self.directory, filter);
    }
}

/// Collects what this user's killed runs have left beneath `place`.
pub fn reap(place: &Path, filter: &Filter) {
    let uid = rustix::process::getuid().as_raw();
    let Ok(entries) = fs::read_dir(place) else { return };
    let ours = |name: &OsString| name.as_bytes().starts_with(prefix(uid).as_bytes());
    for entry in entries.flatten().filter(|entry| ours(&entry.file_name())) {
        let Ok(attributes) = entry.metadata() else { continue };
        if !attributes.is_dir() || attributes.uid() != uid {
            continue;
        }
        // Held until it is collected, so that two runs that begin together do not both collect it.
        if let Some(_lock) = left_behind(&entry.path(), &attributes) {
            collect(&entry.path(), filter);
        }
    }
}

fn prefix(uid: u32) -> String {
    format!("spinney-track-{uid}-")
}

fn furnish(directory: &Path, run: &Run, to: &Path, seed: Option<u64>) -> io::Result<File> {
    let lock = private().read(true).open(directory.join("lock"))?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    append(&directory.join("to"), to.as_os_str().as_bytes())?;
    if let Some(seed) = seed {
        append(&directory.join("seed"), seed.to_string().as_bytes())?;
    }
    append(&directory.join("run.rec"), Line::Run(run.clone()).to_text().as_bytes())?;
    DirBuilder::new().mode(0o700).create(directory.join("hook"))?;
    append(&directory.join("hook/sitecustomize.py"), sitecustomize().as_bytes())?;
    append(&directory.join("hook/Rprofile"), r_profile().as_bytes())?;
    Ok(lock)
}

/// The lock of a directory whose owner is gone; `None` if it lives, or may only just be making the directory.
fn left_behind(directory: &Path, attributes: &fs::Metadata) -> Option<File> {
    let file = directory.join("lock");
    let is_old = || attributes.modified().is_ok_and(|at| at.elapsed().is_ok_and(|age| age > YOUNG));
    if !file.exists() && !is_old() {
        return None;
    }
    let lock = private().read(true).open(file).ok()?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).ok()?;
    Some(lock)
}

/// Moves the records of `directory` to where its run wanted them.
fn collect(directory: &Path, filter: &Filter) {
    let _ = deliver(directory, filter);
    let _ = fs::remove_dir_all(directory);
}

fn deliver(directory: &Path, filter: &Filter) -> io::Result<()> {
    let to = PathBuf::from(std::ffi::OsStr::from_bytes(&read(&directory.join("to"))?));
    let of_run = read(&directory.join("run.rec"))?;
    let mut parts = of_run.split_inclusive(|&byte| byte == b'\n');
    let Some(Line::Run(run)) = parts.next().and_then(Line::parse) else { return Ok(()) };
    let end = parts.next().and_then(Line::parse);
    let Some(run) = sampled(directory, run, end.as_ref()) else { return Ok(()) };
    let mut text = Line::Run(run).to_text().into_bytes();
    let mut files: Vec<PathBuf> = fs::read_dir(directory)?.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|it| it == "rec") && !file.ends_with("run.rec"));
    files.sort();
    let mut has_records = false;
    for file in files.iter().take(FILES_MAX) {
        let mut kept = gather::process(&read(file)?, filter);
        has_records |= !kept.is_empty();
        if let Some(Line::Process(process)) = kept.first_mut() {
            process.conda = Path::new(&process.prefix).join("conda-meta").is_dir();
        }
        text.extend(kept.iter().flat_map(|line| line.to_text().into_bytes()));
    }
    if !has_records {
        return Ok(());
    }
    text.extend(end.into_iter().flat_map(|end| end.to_text().into_bytes()));
    let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name = format!("{}-{host}.jsonl", name.trim_start_matches("spinney-track-"));
    DirBuilder::new().recursive(true).mode(0o700).create(&to)?;
    let beside = to.join(format!(".{name}"));
    let _ = fs::remove_file(&beside);
    append(&beside, &text)?;
    fs::rename(&beside, to.join(name))
}

/// The run with the probability that it is kept with; `None` if it is not kept.
fn sampled(directory: &Path, run: Run, end: Option<&Line>) -> Option<Run> {
    let seed = read(&directory.join("seed")).ok().and_then(|seed| String::from_utf8(seed).ok()?.parse().ok());
    let Some(seed) = seed else { return Some(run) };
    // Of a run whose end nobody saw it is known only that it began.
    let seconds = if let Some(Line::End(end)) = end { end.seconds } else { 0.0 };
    let probability = sample::probability(run.tasks, seconds);
    sample::is_kept(seed, &run.uuid, probability).then_some(Run { probability, ..run })
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options
}

fn append(file: &Path, bytes: &[u8]) -> io::Result<()> {
    private().open(file)?.write_all(bytes)
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(file)?;
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const IMPORT: &str =
        "[\"i\",1,\"numpy\",\"/e/site-packages/numpy/__init__.py\",\"2.0\",5,9,\"pa\",\"__main__\"]\n";
    const PROCESS: &str = "[\"proc\",{\"pid\":7,\"parent\":1,\"started\":1.5,\"python\":\"3.11.7\",\
        \"implementation\":\"cpython\",\"executable\":null,\"prefix\":\"/e\",\"base_prefix\":\"/e\"}]\n";

    fn run() -> Run {
        Run::here(&["python3".into()], None)
    }

    fn collected(to: &Path) -> Vec<String> {
        let files = fs::read_dir(to).into_iter().flatten().flatten();
        files.map(|file| fs::read_to_string(file.path()).unwrap()).collect()
    }

    #[test]
    fn a_run_that_ends_leaves_one_file_and_nothing_in_flight() {
        let place = tempfile::tempdir().unwrap();
        let to = place.path().join("records");
        let flight = Flight::begin(place.path(), &run(), &to, None).unwrap();
        fs::write(flight.directory.join("7-1.rec"), format!("{PROCESS}{IMPORT}[\"i\",2,\"half")).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&flight.directory), mode(&flight.directory.join("run.rec"))), (0o700, 0o600));
        flight.end(&Filter::default());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
        let [text] = &collected(&to)[..] else { panic!("one file") };
        assert!(
            text.starts_with("[\"run\"") && text.contains("numpy") && text.contains("\n[\"end\""),
            "{text}"
        );
        assert_eq!(mode(&fs::read_dir(&to).unwrap().next().unwrap().unwrap().path()), 0o600);
    }

    #[test]
    fn what_a_killed_run_left_is_collected_by_the_next_and_a_living_one_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let to = place.path().join("records");
        let flight = Flight::begin(place.path(), &run(), &to, None).unwrap();
        fs::write(flight.directory.join("7-1.rec"), format!("{PROCESS}{IMPORT}")).unwrap();
        reap(place.path(), &Filter::default());
        assert!(flight.directory.exists(), "its owner lives");
        drop(flight); // As a kill does: the lock goes, the directory stays.
        reap(place.path(), &Filter::default());
        assert_eq!(collected(&to).len(), 1);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn sampled_runs_are_kept_with_their_probability_or_leave_nothing() {
        let place = tempfile::tempdir().unwrap();
        let to = place.path().join("records");
        for tasks in [128, 1] {
            let flight = Flight::begin(place.path(), &Run { tasks, ..run() }, &to, Some(1)).unwrap();
            fs::write(flight.directory.join("7-1.rec"), format!("{PROCESS}{IMPORT}")).unwrap();
            flight.end(&Filter::default());
        }
        // A short run of one task is kept once in ten thousand.
        let [text] = &collected(&to)[..] else { panic!("one file") };
        assert!(text.contains("\"tasks\":128") && text.contains("\"probability\":1.0"), "{text}");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_place_that_cannot_be_written_to_means_no_tracking() {
        assert!(Flight::begin(Path::new("/proc"), &run(), Path::new("/nowhere"), None).is_none());
    }
}
