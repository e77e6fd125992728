//! Trying a way in for real: the product itself runs a probe over a small directory.
//!
//! The probe must see the file through FUSE, on another device than from here, with the same bytes; a run
//! that merely ends well proves nothing. Whatever hangs is ended after [`TRY_SECONDS_MAX`].

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use super::bounded::{Ended, HeldSignals, POLL, run_for};
use super::probe::{self, Seen};
use crate::cluster::launchers;
use crate::environment::Surroundings;
use crate::holder::estate::WayIn;

/// How long a try may take. A run over an empty directory takes a tenth of a second.
pub const TRY_SECONDS_MAX: Duration = Duration::from_secs(10);

/// How often the directory is tried to be removed: for one second.
const REMOVALS_MAX: usize = 200;

/// What the probe reads: long enough not to be met by chance, the same each time.
const CONTENTS: &[u8] = b"spinney doctor reads this through each way in and compares\n";

/// How a try ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Tried {
    /// The file was read through a view.
    Worked {
        /// Of the whole run.
        seconds: f64,
    },
    /// It was not, or the run failed.
    Failed {
        /// What the run said, or what was wrong with its answer.
        message: String,
    },
}

/// A place for tries: a directory with one file, removed with the value.
///
/// While it exists, Ctrl-C and the like wait: a try that runs is ended and the directory removed first.
pub struct Tries {
    executable: PathBuf,
    directory: PathBuf,
    // Given back after the directory is removed, since fields are dropped after the value.
    _held: HeldSignals,
}

impl Tries {
    /// Makes the directory in TMPDIR, else in /tmp, else in XDG_RUNTIME_DIR.
    ///
    /// # Errors
    /// The last error, if none of them can be written.
    pub fn new(executable: &Path, around: &Surroundings) -> io::Result<Self> {
        let held = HeldSignals::new();
        let parents = [Some(around.tmpdir.clone()), Some("/tmp".into()), around.path("XDG_RUNTIME_DIR")];
        let mut made = Err(io::ErrorKind::NotFound.into());
        for parent in parents.into_iter().flatten() {
            made = make_directory(&parent);
            if made.is_ok() {
                break;
            }
        }
        Ok(Self { executable: executable.to_owned(), directory: made?, _held: held })
    }

    /// The directory: the user's own, without links.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Tries `way` over the directory.
    pub fn run(&self, way: WayIn) -> Tried {
        let file = self.directory.join("file");
        let started = Instant::now();
        match see(&self.executable, way, &[&self.directory], &[&file]) {
            Err(message) => Tried::Failed { message },
            Ok(seen) => match judge(&file, &seen) {
                Ok(()) => Tried::Worked { seconds: started.elapsed().as_secs_f64() },
                Err(message) => Tried::Failed { message },
            },
        }
    }
}

impl Drop for Tries {
    fn drop(&mut self) {
        // Only what was made here. A mount of the last try may take a moment to go.
        for _ in 0..REMOVALS_MAX {
            let _ = std::fs::remove_file(self.directory.join("file"));
            match std::fs::remove_dir(&self.directory) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => std::thread::sleep(POLL),
                _ => return,
            }
        }
    }
}

/// What a probe sees of `paths` in a run of `executable` over `views`; otherwise why there was none.
pub fn see(executable: &Path, way: WayIn, views: &[&Path], paths: &[&Path]) -> Result<Vec<Seen>, String> {
    let ended = run_for(&mut command(executable, way, views, paths), TRY_SECONDS_MAX)
        .map_err(|error| format!("`{}` cannot be run: {error}", executable.display()))?;
    match ended {
        Ended::Late => Err(format!("no answer within {} s", TRY_SECONDS_MAX.as_secs())),
        Ended::Interrupted => Err("interrupted".to_owned()),
        Ended::With { status, output, .. } if status.success() => Ok(probe::parse(&output)),
        Ended::With { status, errors, .. } => Err(last_words(&errors).unwrap_or_else(|| status.to_string())),
    }
}

fn command(executable: &Path, way: WayIn, views: &[&Path], paths: &[&Path]) -> Command {
    let name = way.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    // A job of its own: it must neither join the service of the job it is started in nor be joined.
    let job = format!("doctor.{}.{name}", std::process::id());
    let mut command = Command::new(executable);
    // On one node: under a launcher it would look for others, whose doctors have directories of their own.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(launchers::is_of_launcher) {
            command.env_remove(name);
        }
    }
    command.args(["run", "-q", "--require", "--job", &job, "--way", &name]);
    for view in views {
        command.arg("--view").arg(view);
    }
    command.arg("--").arg(executable).arg("doctor-probe").args(paths);
    command
}

fn make_directory(parent: &Path) -> io::Result<PathBuf> {
    let parent = parent.canonicalize()?;
    let since = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.subsec_nanos());
    let directory = parent.join(format!("spinney-doctor-{}-{since}", std::process::id()));
    std::fs::DirBuilder::new().mode(0o700).create(&directory)?;
    let mut options = File::options();
    let mut file = options.write(true).create_new(true).mode(0o600).open(directory.join("file"))?;
    file.write_all(CONTENTS)?;
    Ok(directory)
}

/// Whether the probe saw `file` through a view.
fn judge(file: &Path, seen: &[Seen]) -> Result<(), String> {
    let outside = probe::look(file).map_err(|error| format!("the file is gone: {error}"))?;
    let inside = seen_of(file, seen).ok_or("the run ended well but its command did not answer")?;
    if !inside.is_fuse || inside.device == outside.device {
        return Err("the command ran, but saw storage itself and not a view".to_owned());
    }
    match inside.contents_hash == outside.contents_hash {
        true => Ok(()),
        false => Err("the command saw other bytes through the view".to_owned()),
    }
}

/// What was seen of `path`.
pub fn seen_of<'a>(path: &Path, seen: &'a [Seen]) -> Option<&'a Seen> {
    seen.iter().find(|seen| seen.path_hash == probe::hash_of_path(path))
}

/// The last line that says something, without the program's name before it and without hints after it.
pub fn last_words(errors: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(errors);
    let lines = text.lines().map(|line| line.trim().trim_start_matches("spinney: "));
    let words = lines.filter(|line| !line.is_empty() && !line.starts_with("hint:"));
    words.map(|line| line.trim_start_matches("error: ").to_owned()).next_back()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A stand-in for the product: a shell script that gets the words of a run.
    fn tries_with(script: &str) -> (tempfile::TempDir, Tries) {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("spinney");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let around = Surroundings::new([("TMPDIR".into(), directory.path().into())], "/".into());
        let tries = Tries::new(&program, &around).unwrap();
        (directory, tries)
    }

    fn message(script: &str) -> String {
        match tries_with(script).1.run(WayIn::UserNamespace) {
            Tried::Failed { message } => message,
            Tried::Worked { .. } => "worked".to_owned(),
        }
    }

    #[test]
    fn a_run_that_ends_well_proves_nothing_by_itself() {
        let cases = [
            ("exit 0", "did not answer"),                                   // no probe at all
            ("echo 'spinney: cannot mount' >&2; exit 125", "cannot mount"), // its own words
            ("printf 'spinney: error: no FUSE\\nspinney: hint: ask\\n' >&2; exit 125", "no FUSE"), // not the hint
            ("exit 3", "exit status: 3"),                                                          // no words
            ("kill -9 $$", "signal: 9"),                                                           // killed
        ];
        for (script, want) in cases {
            assert!(message(script).contains(want), "{script}: {}", message(script));
        }
    }

    #[test]
    fn what_the_probe_saw_decides() {
        let (_directory, tries) = tries_with("");
        let file = tries.directory().join("file");
        let outside = probe::look(&file).unwrap();
        let through = Seen { device: outside.device + 1, is_fuse: true, ..outside.clone() };
        let cases = [
            (through.clone(), Ok(())),                                                   // a view
            (outside.clone(), Err("saw storage itself")),                                // no view
            (Seen { device: outside.device, ..through.clone() }, Err("storage itself")), // storage that is FUSE
            (Seen { contents_hash: Some(1), ..through.clone() }, Err("other bytes")),    // wrong bytes
            (Seen { path_hash: 0, ..through }, Err("did not answer")),                   // another path
        ];
        for (seen, want) in cases {
            match (judge(&file, std::slice::from_ref(&seen)), want) {
                (Ok(()), Ok(())) => {}
                (Err(got), Err(want)) => assert!(got.contains(want), "{seen:?}: {got}"),
                (got, want) => panic!("{seen:?}: {got:?}, not {want:?}"),
            }
        }
    }

    #[test]
    fn the_run_is_given_the_way_and_the_directory() {
        let (_directory, tries) = tries_with("echo \"$*\" >&2; exit 1");
        let Tried::Failed { message } = tries.run(WayIn::MountNamespace) else { panic!("it cannot work") };
        let directory = tries.directory().display();
        assert!(message.starts_with("run -q --require --job doctor."), "{message}");
        let program = tries.executable.display();
        let end =
            format!("--way mount-namespace --view {directory} -- {program} doctor-probe {directory}/file");
        assert!(message.ends_with(&end), "{message}");
    }

    #[test]
    fn nothing_is_left_behind() {
        let (directory, tries) = tries_with("");
        let made = tries.directory().to_owned();
        assert!(made.join("file").exists() && made.starts_with(directory.path().canonicalize().unwrap()));
        drop(tries);
        assert!(!made.exists());
    }
}
