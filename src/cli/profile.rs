//! `spinney profile`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};

use crate::environment::recorded::Recorded;
use crate::environment::{coverage, told, trim};
use crate::profile::recording;
use crate::profile::report::sections::Section;
use crate::profile::tell::{Format, Told};
use crate::{profile, services};

/// Tell what runs touched, from their recordings
///
/// `spinney run --report DIR --profile full -- COMMAND` writes a recording to DIR.
#[derive(Debug, Args)]
pub struct ProfileArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Say what a run touched, what it cost, and what could be trimmed
    ///
    /// Prints Markdown; with --to OUT writes OUT/report.md, report.html (one page that needs nothing else), report.json, and
    /// CSV and Parquet files: one for each table, and paths.parquet with every path.
    #[command(
        after_help = "Examples:\n  spinney profile report here | less\n  spinney profile report here --to pages\n  \
                      spinney profile report here --to tables --format parquet"
    )]
    Report {
        /// Directory of a report, or a recording
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Write files there instead
        #[arg(long, value_name = "OUT")]
        to: Option<PathBuf>,
        /// Only in this format; csv and parquet need --to [default: markdown, with --to all]
        #[arg(long, value_enum, value_name = "FORMAT")]
        format: Option<FormatName>,
        /// Do not look at the environment itself: no coverage, and no questions to storage
        #[arg(long)]
        no_coverage: bool,
    },
    /// Add up the nodes and runs of several directories
    ///
    /// Prints CSV: a row for each path, operation, outcome and source, with the number of nodes that had it.
    Aggregate {
        /// Directories of reports, or recordings
        #[arg(value_name = "DIR", required = true)]
        directories: Vec<PathBuf>,
        /// Print a report of all together instead
        #[arg(long)]
        report: bool,
    },
    /// Say in what two runs differ
    Diff {
        /// The run before
        before: PathBuf,
        /// The run after
        after: PathBuf,
    },
    /// Write a recording in the layout of Copper's profile files
    ///
    /// OUT/README.md says what stands for what.
    Copper {
        /// Directory of a report
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Where to write; must not be there, or be empty
        #[arg(value_name = "OUT")]
        out: PathBuf,
    },
    /// Have running jobs write what they have recorded so far
    Snapshot {
        /// Only the job of this name [default: all of yours on this machine]
        #[arg(long, value_name = "NAME")]
        job: Option<String>,
    },
}

impl What {
    /// Where recordings are read.
    fn places(&self) -> Vec<&PathBuf> {
        match self {
            What::Report { directory, .. } | What::Copper { directory, .. } => vec![directory],
            What::Aggregate { directories, .. } => directories.iter().collect(),
            What::Diff { before, after } => vec![before, after],
            What::Snapshot { .. } => Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FormatName {
    Markdown,
    Html,
    Json,
    Csv,
    Parquet,
}

impl From<FormatName> for Format {
    fn from(name: FormatName) -> Self {
        match name {
            FormatName::Markdown => Format::Markdown,
            FormatName::Html => Format::Html,
            FormatName::Json => Format::Json,
            FormatName::Csv => Format::Csv,
            FormatName::Parquet => Format::Parquet,
        }
    }
}

fn report(
    directory: PathBuf,
    to: Option<&Path>,
    format: Option<Format>,
    more: profile::tell::More<'_>,
) -> anyhow::Result<Told> {
    let Some(to) = to else {
        return profile::tell::report(&[directory], format.unwrap_or(Format::Markdown), more);
    };
    let formats = format.map_or_else(|| Format::ALL.to_vec(), |format| vec![format]);
    profile::tell::write_report(&[directory], to, &formats, more)
}

fn classes(directories: &[PathBuf]) -> Vec<Section> {
    let recorded = Recorded::read(directories);
    by_kind(&recorded).into_iter().chain([trim::section(&recorded)]).collect()
}

fn by_kind(recorded: &Recorded) -> Vec<Section> {
    vec![told::packages(recorded), told::classes(recorded)]
}

fn classes_and_coverage(directories: &[PathBuf]) -> Vec<Section> {
    let recorded = Recorded::read(directories);
    let more = told::coverage(&recorded).into_iter().chain([trim::section(&recorded)]);
    by_kind(&recorded).into_iter().chain(more).collect()
}

/// Does it: 0, or 1 if a directory has no recording that can be used.
pub fn run(args: ProfileArgs) -> ExitCode {
    let mut places = args.what.places();
    places.dedup();
    let unfinished = places.into_iter().filter_map(|place| recording::unfinished(place));
    unfinished.for_each(|line| eprintln!("spinney: {line}"));
    let done = match args.what {
        What::Snapshot { job } => return super::inside(|| snapshot(job.as_deref())),
        What::Aggregate { directories, report: true } => {
            profile::tell::report(&directories, Format::Markdown, &classes)
        }
        What::Aggregate { directories, .. } => profile::tell::aggregate(&directories),
        What::Diff { before, after } => profile::tell::diff(&before, &after),
        What::Copper { directory, out } => copper(&directory, &out),
        What::Report { directory, to, format, no_coverage } => {
            let more: profile::tell::More<'_> = if no_coverage { &classes } else { &classes_and_coverage };
            report(directory, to.as_deref(), format.map(Format::from), more)
        }
    };
    match done {
        Ok(Told { text, mut troubles }) => {
            // Two of the directories may be one.
            troubles.dedup();
            troubles.iter().for_each(|trouble| eprintln!("spinney: {trouble}"));
            super::put(&text);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("spinney: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The profile files, and how much of the views was used, which takes a look at what lies there now.
fn copper(directory: &Path, out: &Path) -> anyhow::Result<Told> {
    let recorded = Recorded::read(&[directory.to_owned()]);
    let views: Vec<PathBuf> = recorded.views.iter().cloned().collect();
    let coverage = coverage::coverage(&recorded, &views);
    let unread = profile::copper::export(directory, out, &coverage.for_copper())?;
    let written = coverage.write_copper(&out.join("paths_dir"));
    written.with_context(|| format!("cannot write `{}`", out.display()))?;
    Ok(Told { text: String::new(), troubles: unread.iter().map(ToString::to_string).collect() })
}

fn snapshot(job: Option<&str>) -> ExitCode {
    let (written, troubles) = services::snapshot::snapshot(job);
    super::put_lines(&written);
    troubles.iter().for_each(|trouble| eprintln!("spinney: {trouble}"));
    if troubles.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
