//! A report as a page for people: the tables with a picture of their first rows.

use std::time::{Duration, UNIX_EPOCH};

use super::{Question, Report, Wanted};
use crate::page::{self, Page, Section, bars};
use crate::text::{counted, grouped};
use crate::track::table::{Cell, Table};

/// Rows that a picture shows.
const BARS: usize = 15;

impl Report {
    /// As one page that needs nothing else.
    pub fn html(&self, wanted: &Wanted) -> String {
        let sections =
            self.answers.iter().map(|(question, table)| section(*question, table, wanted)).collect();
        page::page(&Page {
            title: "Packages that jobs import".to_owned(),
            remarks: self.remarks(wanted),
            sections,
        })
    }

    fn remarks(&self, wanted: &Wanted) -> Vec<String> {
        let (kept, stand_for) = self.runs;
        let is_sampled = stand_for - kept as f64 >= 0.5;
        let mut remarks = vec![counted(kept as u64, "run") + if is_sampled { " of" } else { "." }];
        if is_sampled {
            remarks[0] +=
                &format!(" {}, from which the others are estimated.", grouped(stand_for.round() as u64));
            remarks.push("Numbers of users and packages are those that were seen.".to_owned());
        }
        let day = |seconds: f64| {
            let time = UNIX_EPOCH + Duration::from_secs_f64(seconds.clamp(0.0, 1e11));
            humantime::format_rfc3339_seconds(time).to_string().replace('T', " ").replace('Z', " UTC")
        };
        remarks.extend(wanted.since.map(|since| format!("Only runs that began after {}.", day(since))));
        remarks.extend(self.only.iter().map(|who| format!("Only runs of {who}.")));
        remarks.extend(wanted.anonymous.then(|| {
            "Users and projects have pseudonyms, the same in every report of this store.".to_owned()
        }));
        remarks.push(format!("Made {}. Tables have at most {} rows.", day(wanted.now), wanted.rows_max));
        remarks
    }
}

fn section(question: Question, table: &Table, wanted: &Wanted) -> Section {
    let (name, title, about) = match question {
        Question::Packages => (
            "packages",
            "Most imported packages",
            "A run counts once for each package, however many processes it had.".to_owned(),
        ),
        Question::Versions => ("versions", "Versions", "Packages in the order of their runs, each with its versions.".to_owned()),
        Question::Interpreters => (
            "interpreters",
            "Whose Python",
            "~/.local: runs that imported something from a user's own directory there. They are in the row of their Python too.".to_owned(),
        ),
        Question::Slowest => (
            "slowest",
            "What imports cost",
            "Seconds in a package's own modules, and with all that they imported, over all processes of all runs.".to_owned(),
        ),
        Question::Asked => (
            "asked",
            "Asked for and pulled in",
            "Runs in which the user's own code imports the package, and runs in which only other packages do.".to_owned(),
        ),
        Question::Unseen => (
            "unseen",
            "Not seen any more",
            format!("Packages that no run has imported for {} days, but some did before.", wanted.days),
        ),
        Question::Installed => (
            "installed",
            "Installed and not imported",
            format!(
                "Packages that no run has imported from where they are installed for {} days. Runs that imported the same from elsewhere are told beside.",
                wanted.days
            ),
        ),
        Question::Libraries => (
            "libraries",
            "Shared objects",
            "Files that processes had mapped, and the packages that brought them, where their paths tell.".to_owned(),
        ),
        Question::Users => ("users", "Users", String::new()),
        Question::Projects => ("projects", "Projects", String::new()),
    };
    let about = if table.rows.is_empty() {
        format!("{about} There are none.").trim_start().to_owned()
    } else {
        about
    };
    let rows = table.rows.iter().map(|row| row.iter().map(cell).collect()).collect();
    let columns = table.columns.iter().map(|name| name.replace('_', " ")).collect();
    Section {
        name,
        title,
        about,
        pictures: picture(question, title, table).into_iter().collect(),
        columns,
        rows,
    }
}

/// The first rows, as far as there is something to compare.
fn picture(question: Question, title: &str, table: &Table) -> Option<maud::Markup> {
    let value = table.rows.first()?.iter().position(Cell::is_number)?;
    // What is asked for is a part of a number, and the oldest of what is gone is no more than another.
    if table.rows.len() < 2 || [Question::Asked, Question::Unseen, Question::Installed].contains(&question) {
        return None;
    }
    let program = table.columns.iter().position(|column| *column == "program");
    let bar = |row: &Vec<Cell>| {
        let names = row[..value].iter().enumerate().filter(|(at, _)| Some(*at) != program);
        let label: Vec<String> = names.map(|(_, cell)| cell.shown()).filter(|name| name != "-").collect();
        (label.join(" "), row[value].number(), row[value].shown())
    };
    let all: Vec<_> = table.rows.iter().take(BARS).map(bar).collect();
    Some(bars(&all, title, &table.columns[value].replace('_', " ")))
}

fn cell(cell: &Cell) -> page::Cell {
    let is_number = cell.is_number();
    let plain = if is_number { cell.number().to_string() } else { cell.shown() };
    page::Cell { shown: cell.shown(), plain, is_number }
}
