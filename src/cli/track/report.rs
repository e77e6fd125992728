//! `spinney track report`.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::environment::installed::{Installed, installed};
use crate::text::counted;
use crate::track::report::installed::{Installation, Package};
use crate::track::report::{DAY_SECONDS, Per, Question, Report, Wanted, report};
use crate::track::run::now;
use crate::track::store::{Place, Purpose, Store};

/// Answer what a site asks of its records
///
/// Figures of sampled runs are weighted, so that they are estimates of all runs.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The store, a file or `postgresql://USER@HOST/DATABASE`
    #[arg(long, value_name = "STORE", value_parser = super::StoreName)]
    store: Place,
    /// How long to wait for others who write it
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    wait: Duration,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Print each row once for each user or project
    #[arg(long, value_enum, value_name = "WHO")]
    per: Option<Per>,
    /// Only runs of the last N days
    #[arg(long, value_name = "N")]
    last_days: Option<f64>,
    /// Only runs of this user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Only runs of this project
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// Print pseudonyms in place of users and projects; in one store they are always the same
    #[arg(long)]
    anonymous: bool,
    /// For `unseen` and `installed`: not for so many days
    #[arg(long, value_name = "N", default_value_t = 90.0)]
    unseen_days: f64,
    /// For `installed`: an environment, a site directory of Python or a library of R; repeatable
    #[arg(long, value_name = "PREFIX")]
    installed_in: Vec<PathBuf>,
    /// Print at most so many rows
    #[arg(long, value_name = "N", default_value_t = 50)]
    rows: usize,
    /// What is asked [default: packages; for a page, everything]
    #[arg(value_enum, value_name = "QUESTION")]
    questions: Vec<Question>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Csv,
    Json,
    /// One page that needs nothing else
    Html,
}

/// Prints the tables: 0, or 1 if the store cannot be read.
pub fn run(args: &ReportArgs) -> ExitCode {
    let questions = match (&args.questions[..], args.format) {
        ([], Format::Html) => Question::value_variants().to_vec(),
        ([], _) if !args.installed_in.is_empty() => vec![Question::Installed],
        ([], _) => vec![Question::Packages],
        (asked, _) => asked.to_vec(),
    };
    let is_known = |question: &Question| *question != Question::Installed || !args.installed_in.is_empty();
    let questions: Vec<Question> = questions.into_iter().filter(is_known).collect();
    if args.questions.contains(&Question::Installed) && args.installed_in.is_empty() {
        return super::failed("`installed` needs `--installed-in PREFIX`");
    }
    let mut installations = Vec::new();
    for prefix in &args.installed_in {
        match installation(prefix) {
            Ok(found) => installations.push(found),
            Err(error) => return super::failed(format_args!("{}: {error}", prefix.display())),
        }
    }
    let wanted = Wanted {
        questions,
        per: args.per,
        since: args.last_days.map(|days| now() - days * DAY_SECONDS),
        user: args.user.clone(),
        project: args.project.clone(),
        anonymous: args.anonymous,
        days: args.unseen_days,
        installations,
        rows_max: args.rows,
        now: now(),
    };
    match Store::open(&args.store, Purpose::Read, args.wait).and_then(|mut store| report(&mut store, &wanted))
    {
        Ok(report) => {
            crate::cli::put(shown(&report, &wanted, args.format));
            if report.ahead > 0 {
                let runs = counted(report.ahead, "run");
                eprintln!("spinney: {runs} began later than now by this machine's clock: taken as begun now");
            }
            // An empty table may also be a name that was misspelt.
            if report.runs.0 == 0 {
                eprintln!("spinney: {}: it has no such runs", args.store);
            }
        }
        Err(error) => return super::failed(format_args!("{}: {error}", args.store)),
    }
    ExitCode::SUCCESS
}

/// What is installed in `prefix`.
fn installation(prefix: &Path) -> io::Result<Installation> {
    let package = |it: Installed| Package {
        name: it.name,
        program: it.program,
        version: it.version,
        imported_as: it.imported_as,
    };
    let packages = installed(prefix)?.into_iter().map(package).collect();
    let mut paths = vec![std::path::absolute(prefix)?, prefix.canonicalize()?];
    paths.dedup();
    Ok(Installation {
        name: prefix.display().to_string(),
        paths: paths.iter().map(|path| path.display().to_string()).collect(),
        packages,
    })
}

fn shown(report: &Report, wanted: &Wanted, format: Format) -> String {
    if format == Format::Html {
        return report.html(wanted);
    }
    // One answer is a list, several are an object of lists.
    let several = report.answers.len() > 1;
    if format == Format::Json && several {
        let answers = report.answers.iter().map(|(question, table)| (name(*question), table.json()));
        return format!("{:#}\n", serde_json::Value::Object(answers.collect()));
    }
    let mut text = String::new();
    for (n, (question, table)) in report.answers.iter().enumerate() {
        if several {
            let _ = writeln!(text, "{}{}", if n > 0 { "\n" } else { "" }, name(*question));
        }
        text += &match format {
            Format::Csv => table.csv(),
            Format::Json => format!("{:#}\n", table.json()),
            _ => table.text(),
        };
    }
    text
}

fn name(question: Question) -> String {
    question.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
