//! Records while a run lasts: a directory of this run in shared memory, into which each process appends a file.
//!
//! All tasks of a run on a node share the directory; each holds its lock shared, and who leaves last collects. What a
//! process wrote is there when it is killed. If the last `spinney run` itself was killed, the next run of the same user
//! finds that the lock is free, and collects it (`reap`).
//!
//! Invariant: directories have mode 0700, files 0600, and nothing is followed that is not the user's own.
//! Invariant: a directory goes when its message is safe (`send::leaving`), or after [`KEPT_MAX`].
//! Invariant: where nothing can be written, nothing is tracked, and nothing else happens.
//!
//! Not here: what becomes of the lines (`gather`), where they go (`send`).

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};

use super::filter::Filter;
use super::hook::{NOTING, SITECUSTOMIZE, TRACK_VARIABLE, r_profile};
use super::message::compose;
use super::observer::Observer;
use super::record::{End, Line, Run};
use super::send::Outgoing;
use super::send::destination::{Destination, Form};
use super::send::leaving::{self, leave};
use super::send::spool::Spool;
use super::xalt;

/// Where directories in flight lie: memory of the node, which every Linux has here.
pub const PLACE: &str = "/dev/shm";

/// How old a directory without a lock file must be before it counts as left behind: its owner may be making it.
const YOUNG: Duration = Duration::from_secs(60);

/// How long records that can go nowhere, not even into the spool, stay in memory: a day.
pub const KEPT_MAX: Duration = Duration::from_secs(86_400);

/// How many directories a run looks at for those that were left behind, and for how long: a start must not wait.
const REAPED_MAX: usize = 16;
const REAP_TIME: Duration = Duration::from_secs(1);

/// R's way in, in the directory of a run.
const R_PROFILE_FILE: &str = "hook/Rprofile";

/// How often a task tries to share a directory that another is just leaving or making. It takes one or two tries.
const TRIES_MAX: u32 = 200;

/// What the user wants done with the records of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Where they go.
    pub to: Destination,
    /// In which form.
    pub form: Form,
    /// Where they wait if that cannot be reached.
    pub spool: Option<PathBuf>,
    /// Keep only some runs (`sample`).
    pub seed: Option<u64>,
}

/// A run that is being tracked.
#[derive(Debug)]
pub struct Flight {
    directory: PathBuf,
    /// Its identity.
    run: String,
    since: Instant,
    lock: File,
    observer: Option<Observer>,
}

impl Flight {
    /// Makes the directory of `run` beneath `place`, or shares the one that another task has made; `None` if neither can
    /// be.
    pub fn begin(place: &Path, run: &Run, terms: &Terms) -> Option<Flight> {
        let directory = place.join(format!("{}{}", prefix(), run.uuid));
        for _ in 0..TRIES_MAX {
            let lock = match share(&directory) {
                Some(lock) => Ok(lock),
                None => make(&directory, run, terms),
            };
            match lock {
                Ok(lock) => {
                    let (run, since) = (run.uuid.clone(), Instant::now());
                    return Some(Flight { directory, run, since, lock, observer: None });
                }
                // Another was faster, and perhaps is just leaving.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(_) => return None,
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        None
    }

    /// Begins to look which shared objects the run maps, in a process of its own.
    pub fn observe(&mut self, filter: &Filter) {
        self.observer = Observer::start(&self.directory, filter);
    }

    /// What COMMAND's environment needs: the directory, and the ways into Python and R.
    pub fn variables(&self) -> Vec<(OsString, OsString)> {
        let mut path = self.directory.join("hook").into_os_string();
        if let Some(theirs) = std::env::var_os("PYTHONPATH").filter(|theirs| !theirs.is_empty()) {
            path.push(":");
            path.push(theirs);
        }
        let profile = self.directory.join(R_PROFILE_FILE).into_os_string();
        // A run within a run: the profile that R would have read is known already.
        let around = std::env::var_os(TRACK_VARIABLE).map(|around| Path::new(&around).join(R_PROFILE_FILE));
        let theirs = std::env::var_os("R_PROFILE")
            .filter(|theirs| around.is_none_or(|around| around != Path::new(theirs)))
            .map(|theirs| ("SPINNEY_R_PROFILE".into(), theirs));
        let of_xalt = xalt::run_variable(&self.run);
        let ours =
            [(TRACK_VARIABLE, self.directory.clone().into()), ("PYTHONPATH", path), ("R_PROFILE", profile)];
        ours.map(|(name, value)| (name.into(), value)).into_iter().chain(theirs).chain(of_xalt).collect()
    }

    /// Leaves; the last of the run's tasks on this node collects what was recorded and sends it. The task that
    /// `sends_waiting` also sends what waits in the spool.
    pub fn end(self, filter: &Filter, sends_waiting: bool) {
        drop(self.observer);
        let end = Line::End(End { seconds: self.since.elapsed().as_secs_f64() });
        let _ = append(&self.directory.join(RUN_FILE), end.to_text().as_bytes());
        // Lets go of the shared lock in any case; of several who leave at once one gets it for itself.
        if flock(&self.lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            collect(&self.directory, filter, |outgoing, spool| leave(outgoing, spool, sends_waiting));
        }
    }
}

/// Collects what this user's killed runs have left beneath `place`: into files, or into the spool, since a run that begins
/// must not wait for a network.
pub fn reap(place: &Path, filter: &Filter) {
    let deadline = Instant::now() + REAP_TIME;
    let uid = rustix::process::getuid().as_raw();
    let Ok(entries) = fs::read_dir(place) else { return };
    let prefix = prefix();
    let ours = |name: &OsString| name.as_bytes().starts_with(prefix.as_bytes());
    for entry in entries.flatten().filter(|entry| ours(&entry.file_name())).take(REAPED_MAX) {
        let Ok(attributes) = entry.metadata() else { continue };
        if !attributes.is_dir() || attributes.uid() != uid || Instant::now() > deadline {
            continue;
        }
        // Held until it is collected, so that two runs that begin together do not both collect it.
        if let Some(_lock) = left_behind(&entry.path(), &attributes) {
            collect(&entry.path(), filter, leaving::put_away);
        }
    }
}

/// The first line says which run, the others how its tasks ended.
pub const RUN_FILE: &str = "run.rec";

fn prefix() -> String {
    format!("spinney-track-{}-", rustix::process::getuid().as_raw())
}

/// The lock of a directory that another task of the run has made and not left.
fn share(directory: &Path) -> Option<File> {
    let attributes = fs::symlink_metadata(directory).ok()?;
    if !attributes.is_dir() || attributes.uid() != rustix::process::getuid().as_raw() {
        return None;
    }
    let file = directory.join("lock");
    let lock = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(&file).ok()?;
    flock(&lock, FlockOperation::NonBlockingLockShared).ok()?;
    // Who collected it meanwhile has renamed or removed it.
    let (held, there) = (lock.metadata().ok()?, fs::symlink_metadata(&file).ok()?);
    ((held.dev(), held.ino()) == (there.dev(), there.ino())).then_some(lock)
}

/// Makes the directory under another name, so that it has its own only when it is whole.
fn make(directory: &Path, run: &Run, terms: &Terms) -> io::Result<File> {
    let mut beside = directory.as_os_str().to_owned();
    // What a process left that had this number is in the way of one try only.
    static TRIES: AtomicU32 = AtomicU32::new(0);
    beside.push(format!(".new-{}-{}", std::process::id(), TRIES.fetch_add(1, Ordering::Relaxed)));
    let beside = PathBuf::from(beside);
    DirBuilder::new().mode(0o700).create(&beside)?;
    let made = furnish(&beside, run, terms).and_then(|lock| {
        renameat_with(CWD, &beside, CWD, directory, RenameFlags::NOREPLACE)?;
        Ok(lock)
    });
    if made.is_err() {
        let _ = fs::remove_dir_all(&beside);
    }
    made
}

fn furnish(directory: &Path, run: &Run, terms: &Terms) -> io::Result<File> {
    let lock = private().read(true).open(directory.join("lock"))?;
    flock(&lock, FlockOperation::NonBlockingLockShared)?;
    append(&directory.join("to"), terms.to.to_text().as_bytes())?;
    append(&directory.join("form"), terms.form.name().as_bytes())?;
    if let Some(spool) = &terms.spool {
        append(&directory.join("spool"), spool.as_os_str().as_bytes())?;
    }
    if let Some(seed) = terms.seed {
        append(&directory.join("seed"), seed.to_string().as_bytes())?;
    }
    append(&directory.join(RUN_FILE), Line::Run(run.clone()).to_text().as_bytes())?;
    DirBuilder::new().mode(0o700).create(directory.join("hook"))?;
    append(&directory.join("hook/sitecustomize.py"), SITECUSTOMIZE.as_bytes())?;
    append(&directory.join("hook/noting.py"), NOTING.as_bytes())?;
    append(&directory.join(R_PROFILE_FILE), r_profile().as_bytes())?;
    Ok(lock)
}

/// What was wanted for the run in `directory`.
fn terms(directory: &Path) -> Option<Terms> {
    let text = |name: &str| read(&directory.join(name)).ok();
    let number = |bytes: Vec<u8>| String::from_utf8(bytes).ok()?.parse().ok();
    Some(Terms {
        to: Destination::parse(OsStr::from_bytes(&text("to")?)).ok()?,
        form: String::from_utf8(text("form")?).ok()?.parse().ok()?,
        spool: text("spool").map(|bytes| PathBuf::from(OsStr::from_bytes(&bytes))),
        seed: text("seed").and_then(number),
    })
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

/// Takes the directory out of the way, so that a task that begins now makes its own; removes it if `send` says that its
/// message is safe. The caller holds the lock.
fn collect(directory: &Path, filter: &Filter, send: impl FnOnce(&Outgoing, Option<&Spool>) -> bool) {
    let mut aside = directory.as_os_str().to_owned();
    if !aside.as_bytes().windows(9).any(|part| part == b".leaving-") {
        aside.push(format!(".leaving-{}-{:x}", std::process::id(), (super::run::now() * 1e6) as u64));
    }
    let aside = PathBuf::from(aside);
    if aside != directory && fs::rename(directory, &aside).is_err() {
        return;
    }
    let outgoing = terms(&aside).and_then(|terms| {
        let message = compose(&aside, filter, terms.seed)?;
        Some((Outgoing { to: terms.to, form: terms.form, message }, terms.spool.map(Spool::new)))
    });
    let is_safe = outgoing.is_none_or(|(outgoing, spool)| send(&outgoing, spool.as_ref()));
    let age = fs::metadata(aside.join(RUN_FILE)).and_then(|file| file.modified()).map(|at| at.elapsed());
    let is_old = age.is_ok_and(|age| age.is_ok_and(|age| age > KEPT_MAX));
    if is_safe || is_old {
        let _ = fs::remove_dir_all(&aside);
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options
}

/// Adds `bytes` to a file of the user's alone, in one write.
///
/// # Errors
/// What the kernel said.
pub fn append(file: &Path, bytes: &[u8]) -> io::Result<()> {
    private().open(file)?.write_all(bytes)
}

/// A file, up to a limit.
///
/// # Errors
/// What the kernel said.
pub fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(file)?;
    file.take(super::message::FILE_BYTES_MAX).read_to_end(&mut bytes)?;
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

    fn terms(to: &Path) -> Terms {
        Terms { to: Destination::Files(to.to_owned()), form: Form::Spinney, spool: None, seed: None }
    }

    fn collected(to: &Path) -> Vec<String> {
        let files = fs::read_dir(to).into_iter().flatten().flatten();
        files.map(|file| fs::read_to_string(file.path()).unwrap()).collect()
    }

    fn record(flight: &Flight, name: &str) {
        fs::write(flight.directory.join(name), format!("{PROCESS}{IMPORT}[\"i\",2,\"half")).unwrap();
    }

    #[test]
    fn a_run_that_ends_leaves_one_file_and_nothing_in_flight() {
        let place = tempfile::tempdir().unwrap();
        let to = place.path().join("records");
        let flight = Flight::begin(place.path(), &run(), &terms(&to)).unwrap();
        record(&flight, "7-1.rec");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&flight.directory), mode(&flight.directory.join("run.rec"))), (0o700, 0o600));
        flight.end(&Filter::default(), true);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
        let [text] = &collected(&to)[..] else { panic!("one file") };
        assert!(
            text.starts_with("[\"run\"") && text.contains("numpy") && text.contains("\n[\"end\""),
            "{text}"
        );
        assert_eq!(mode(&fs::read_dir(&to).unwrap().next().unwrap().unwrap().path()), 0o600);
    }

    #[test]
    fn all_tasks_of_a_run_on_a_node_leave_as_one_message() {
        let place = tempfile::tempdir().unwrap();
        let to = place.path().join("records");
        let run = run();
        let tasks: Vec<Flight> =
            (0..3).map(|_| Flight::begin(place.path(), &run, &terms(&to)).unwrap()).collect();
        for (number, task) in tasks.into_iter().enumerate() {
            record(&task, &format!("{number}-1.rec"));
            assert!(collected(&to).is_empty(), "others are still there");
            task.end(&Filter::default(), true);
        }
        let [text] = &collected(&to)[..] else { panic!("one file") };
        let count = |what: &str| text.lines().filter(|line| line.starts_with(what)).count();
        assert_eq!((count("[\"run\""), count("[\"proc\""), count("[\"end\"")), (1, 3, 1), "{text}");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
        // One that comes later begins anew.
        let late = Flight::begin(place.path(), &run, &terms(&to)).unwrap();
        record(&late, "9-1.rec");
        late.end(&Filter::default(), true);
        assert_eq!(collected(&to).len(), 2);
    }

    #[test]
    fn tasks_that_come_and_go_at_once_lose_nothing() {
        let place = tempfile::tempdir().unwrap();
        let to = place.path().join("records");
        let run = run();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (run, to, place) = (&run, &to, place.path());
                scope.spawn(move || {
                    for turn in 0..25 {
                        let flight = Flight::begin(place, run, &terms(to)).unwrap();
                        record(&flight, &format!("{thread}-{turn}.rec"));
                        flight.end(&Filter::default(), false);
                    }
                });
            }
        });
        let processes = collected(&to).iter().map(|text| text.matches("[\"proc\"").count()).sum::<usize>();
        assert_eq!(processes, 100);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_run_left_is_collected_by_the_next_and_a_living_one_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let to = place.path().join("records");
        let flight = Flight::begin(place.path(), &run(), &terms(&to)).unwrap();
        record(&flight, "7-1.rec");
        reap(place.path(), &Filter::default());
        assert!(flight.directory.exists(), "its owner lives");
        drop(flight); // As a kill does: the lock goes, the directory stays.
        reap(place.path(), &Filter::default());
        assert_eq!(collected(&to).len(), 1);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn records_that_can_go_nowhere_stay_until_they_can() {
        let place = tempfile::tempdir().unwrap();
        let (to, spool) = (place.path().join("records"), place.path().join("spool"));
        fs::write(&to, "in the way").unwrap();
        fs::write(&spool, "in the way").unwrap();
        let wanted = Terms { spool: Some(spool.clone()), ..terms(&to) };
        let flight = Flight::begin(place.path(), &run(), &wanted).unwrap();
        record(&flight, "7-1.rec");
        flight.end(&Filter::default(), true);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 3, "it is still in flight");
        fs::remove_file(&spool).unwrap();
        reap(place.path(), &Filter::default());
        assert_eq!(fs::read_dir(&spool).unwrap().count(), 1, "now it is in the spool");
        fs::remove_file(&to).unwrap();
        let next = Flight::begin(place.path(), &run(), &wanted).unwrap();
        record(&next, "8-1.rec");
        next.end(&Filter::default(), true);
        assert_eq!((collected(&to).len(), fs::read_dir(&spool).unwrap().count()), (2, 0));
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_is_in_flight_for_too_long_is_given_up() {
        let place = tempfile::tempdir().unwrap();
        let to = place.path().join("records");
        fs::write(&to, "in the way").unwrap();
        let flight = Flight::begin(place.path(), &run(), &terms(&to)).unwrap();
        record(&flight, "7-1.rec");
        let file = File::options().append(true).open(flight.directory.join(RUN_FILE)).unwrap();
        file.set_modified(std::time::SystemTime::now() - KEPT_MAX - Duration::from_secs(60)).unwrap();
        drop(flight);
        reap(place.path(), &Filter::default());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn sampled_runs_are_kept_with_their_probability_or_leave_nothing() {
        let place = tempfile::tempdir().unwrap();
        let to = place.path().join("records");
        for tasks in [128, 1] {
            let wanted = Terms { seed: Some(1), ..terms(&to) };
            let flight = Flight::begin(place.path(), &Run { tasks, ..run() }, &wanted).unwrap();
            record(&flight, "7-1.rec");
            flight.end(&Filter::default(), true);
        }
        // A short run of one task is kept once in ten thousand.
        let [text] = &collected(&to)[..] else { panic!("one file") };
        assert!(text.contains("\"tasks\":128") && text.contains("\"probability\":1.0"), "{text}");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_place_that_cannot_be_written_to_or_is_anothers_means_no_tracking() {
        assert!(Flight::begin(Path::new("/proc"), &run(), &terms(Path::new("/nowhere"))).is_none());
        let place = tempfile::tempdir().unwrap();
        let run = run();
        let name = format!("{}{}", prefix(), run.uuid);
        std::os::unix::fs::symlink(place.path(), place.path().join(name)).unwrap();
        assert!(Flight::begin(place.path(), &run, &terms(Path::new("/nowhere"))).is_none(), "a link");
    }
}
