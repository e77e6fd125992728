//! `spinney track report`.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::text::counted;
use crate::track::report::{DAY_SECONDS, Per, Question, Report, Wanted, report};
use crate::track::run::now;
use crate::track::store::{Place, Purpose, Store};

/// Answer what a site asks of its records
///
/// Figures of sampled runs are weighted, so that they are estimates of all runs.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The store, a file or `postgresql://USER@HOST/DATABASE`
    #[arg(long, value_name = "STORE")]
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
    /// For `unseen`: not for so many days
    #[arg(long, value_name = "N", default_value_t = 90.0)]
    unseen_days: f64,
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
        ([], _) => vec![Question::Packages],
        (asked, _) => asked.to_vec(),
    };
    let wanted = Wanted {
        questions,
        per: args.per,
        since: args.last_days.map(|days| now() - days * DAY_SECONDS),
        user: args.user.clone(),
        project: args.project.clone(),
        anonymous: args.anonymous,
        days: args.unseen_days,
        rows_max: args.rows,
        now: now(),
    };
    match Store::open(&args.store, Purpose::Read, args.wait).and_then(|mut store| report(&mut store, &wanted))
    {
        Ok(report) => {
            print(&report, &wanted, args.format);
            if report.ahead > 0 {
                let runs = counted(report.ahead, "run");
                eprintln!("spinney: {runs} began later than now by this machine's clock: taken as begun now");
            }
        }
        Err(error) => return super::failed(format_args!("{}: {error}", args.store)),
    }
    ExitCode::SUCCESS
}

fn print(report: &Report, wanted: &Wanted, format: Format) {
    if format == Format::Html {
        print!("{}", report.html(wanted));
        return;
    }
    // One answer is a list, several are an object of lists.
    let several = report.answers.len() > 1;
    if format == Format::Json && several {
        let answers = report.answers.iter().map(|(question, table)| (name(*question), table.json()));
        println!("{:#}", serde_json::Value::Object(answers.collect()));
        return;
    }
    for (n, (question, table)) in report.answers.iter().enumerate() {
        if several {
            println!("{}{}", if n > 0 { "\n" } else { "" }, name(*question));
        }
        match format {
            Format::Csv => print!("{}", table.csv()),
            Format::Json => println!("{:#}", table.json()),
            _ => print!("{}", table.text()),
        }
    }
}

fn name(question: Question) -> String {
    question.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
