//! `spinney env slim`.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};

use clap::Args;

use crate::enter::stage;
use crate::environment::recorded::Recorded;
use crate::environment::slim::verdict::{Ran, Verdict, compare};
use crate::environment::slim::{Files, Slim, slim};

/// Copy the part of an environment that jobs used
///
/// The copy has what the recordings found, what links lead to, the metadata of packages of which something is kept, and
/// the interpreters with their libraries. Relative links stay as they are. Recordings must be of mode `full` and complete.
/// Several directories keep their absolute paths beneath DIR. The original is only read; without `--hard-links` no file is
/// shared with it, so nothing that is done to the copy changes it.
///
/// Ends with 0, with 1 if there is no copy or the command does not do the same with it, with 2 if it cannot be tried.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  spinney env slim report/ --to /opt/env-slim\n  spinney env slim report/ --to /opt/env-slim --verify -- python3 -c 'import numpy'"
)]
pub struct SlimArgs {
    /// Recordings: files, or directories with `recording*.jsonl`
    #[arg(value_name = "RECORDING", required = true)]
    recordings: Vec<PathBuf>,
    /// Where the copy is made; must not be there, or be empty
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Copy from this directory; may be repeated [default: the views of the recordings]
    #[arg(long = "root", value_name = "DIR")]
    roots: Vec<PathBuf>,
    /// Give the copy files of the original under other names where it lies on the same file system: no room is needed, and
    /// whoever writes into a file of one writes into the other. Not while jobs run on the original
    #[arg(long)]
    hard_links: bool,
    /// Run COMMAND with the original and with the copy in its place, and compare what it prints and imports
    #[arg(long, requires = "command")]
    verify: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    /// A command to try the copy with
    #[arg(value_name = "COMMAND", last = true, requires = "verify")]
    command: Vec<OsString>,
}

/// Copies, tries and prints.
pub fn run(args: &SlimArgs) -> ExitCode {
    let recorded = match super::read(&args.recordings) {
        Ok(recorded) => recorded,
        Err(code) => return code,
    };
    let Some(roots) = super::roots(&args.roots, &recorded) else { return ExitCode::from(2) };
    let files = if args.hard_links { Files::Linked } else { Files::Copied };
    let slim = match slim(&recorded, &roots, &args.to, files) {
        Ok(slim) => slim,
        Err(error) => {
            eprintln!("spinney: error: {error}");
            return ExitCode::FAILURE;
        }
    };
    if !args.verify {
        put(args, &slim, None);
        return ExitCode::SUCCESS;
    }
    match verify(&slim, &args.command) {
        Ok(verdict) => {
            put(args, &slim, Some(&verdict));
            if verdict.is_same() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            put(args, &slim, None);
            eprintln!("spinney: error: the command cannot be tried: {error}");
            ExitCode::from(2)
        }
    }
}

fn put(args: &SlimArgs, slim: &Slim, verdict: Option<&Verdict>) {
    if !args.json {
        return crate::cli::put_lines(
            &[slim.lines(), verdict.map(Verdict::lines).unwrap_or_default()].concat(),
        );
    }
    let mut value = slim.json();
    value["verified"] = verdict.map(Verdict::json).into();
    crate::cli::put_lines(&[format!("{value:#}")]);
}

/// Runs `command` with the original, then with the copy.
fn verify(slim: &Slim, command: &[OsString]) -> Result<Verdict, String> {
    let reports = std::env::temp_dir().join(format!("spinney-slim-{}", std::process::id()));
    std::fs::create_dir(&reports).map_err(|error| format!("`{}`: {error}", reports.display()))?;
    let shown: Vec<(PathBuf, PathBuf)> = slim.places().collect();
    let verdict = ran(slim, command, Vec::new(), &reports.join("original")).and_then(|original| {
        let copy = ran(slim, command, shown.clone(), &reports.join("copy"))?;
        Ok(compare(&original, &copy, &shown))
    });
    // Only reports of runs that nobody asked for.
    let _ = std::fs::remove_dir_all(reports);
    verdict
}

fn ran(
    slim: &Slim,
    command: &[OsString],
    shown: Vec<(PathBuf, PathBuf)>,
    report: &Path,
) -> Result<Ran, String> {
    let trial = stage::run(command, &slim.roots, shown, report).map_err(|error| error.to_string())?;
    let recorded = Recorded::read(&[report.to_owned()]);
    if !recorded.is_full() {
        let said = [trial.said, recorded.troubles].concat().join("; ");
        return Err(format!("it was not observed in full: {said}"));
    }
    Ok(Ran { status: words(trial.status), stdout: trial.stdout, stderr: trial.stderr, recorded })
}

fn words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no status".to_owned(),
    }
}
