//! `spinney track report`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::track::report::{Question, Wanted, report};
use crate::track::run::now;
use crate::track::sqlite::Sqlite;

/// Answer what a site asks of its records
///
/// Counts of sampled runs are weighted, so that they are estimates of all runs.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The store
    #[arg(long, value_name = "FILE")]
    store: PathBuf,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Only runs of the last N days
    #[arg(long, value_name = "N")]
    last_days: Option<f64>,
    /// Only runs of this user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Only runs of this project
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// Print numbers in place of users and projects
    #[arg(long)]
    anonymous: bool,
    /// For `unseen`: not for so many days
    #[arg(long, value_name = "N", default_value_t = 90.0)]
    unseen_days: f64,
    /// Print at most so many rows
    #[arg(long, value_name = "N", default_value_t = 50)]
    rows: usize,
    /// What is asked
    #[arg(value_enum, default_value_t = Question::Packages)]
    question: Question,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Csv,
    Json,
}

/// Prints the table: 0, or 1 if the store cannot be read.
pub fn run(args: &ReportArgs) -> ExitCode {
    if !args.store.exists() {
        return super::failed(format_args!("{}: no such store", args.store.display()));
    }
    let wanted = Wanted {
        question: args.question,
        since: args.last_days.map(|days| now() - days * 86_400.0),
        user: args.user.clone(),
        project: args.project.clone(),
        anonymous: args.anonymous,
        days: args.unseen_days,
        rows_max: args.rows,
        now: now(),
    };
    match Sqlite::open(&args.store).and_then(|store| report(&store, &wanted)) {
        Ok(table) => match args.format {
            Format::Text => print!("{}", table.text()),
            Format::Csv => print!("{}", table.csv()),
            Format::Json => println!("{:#}", table.json()),
        },
        Err(error) => return super::failed(format_args!("{}: {error}", args.store.display())),
    }
    ExitCode::SUCCESS
}
