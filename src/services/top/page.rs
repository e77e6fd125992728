//! How `spinney top` looks: lines for a width, as text with little more than bold, so that it is readable without colours
//! and on every terminal.
//!
//! What does not fit is left out by columns, the least important first; nothing is ever wider than asked.
//!
//! Not here: the figures (`board`), the terminal (`screen`).

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;

use super::board::{Board, Heard, Job, Node, Rates, Slow};
use crate::text::{counted, grouped, part_of, size, time};

/// Paths that are shown of a job: 5.
const PATHS_SHOWN: usize = 5;

/// Width of the bar of answers by source, and what it is made of: nearest source first.
const BAR: usize = 24;
const BLOCKS: [&str; 3] = ["█", "▒", "░"];

/// A column: its heading, its width, how soon it is left out where there is no room (9 goes first), its text.
struct Column {
    heading: &'static str,
    width: usize,
    goes: u8,
    at_right: bool,
    cell: fn(&Node) -> String,
}

const COLUMNS: [Column; 13] = [
    number("node", 6, 0, |node| node.rank.to_string()),
    Column { heading: "host", width: 14, goes: 2, at_right: false, cell: |node| node.host.clone() },
    number("tasks", 5, 4, |node| node.tasks.map_or("-".to_owned(), |tasks| tasks.to_string())),
    number("req/s", 8, 1, |node| rate(node.rates.requests)),
    number("own", 7, 3, |node| part_of(node.counts.own, answers(node))),
    number("nodes", 7, 5, |node| part_of(node.counts.others, answers(node))),
    number("storage", 7, 3, |node| part_of(node.counts.storage, answers(node))),
    number("calls/s", 7, 6, |node| rate(node.rates.calls)),
    number("read/s", 7, 7, |node| size(node.rates.bytes as u64)),
    number("cached", 7, 8, |node| size(node.cache.0)),
    number("of", 7, 9, |node| node.cache.1.map_or("-".to_owned(), size)),
    number("memory", 7, 9, |node| size(node.memory)),
    number("again", 5, 9, |node| node.restarts.to_string()),
];

const fn number(heading: &'static str, width: usize, goes: u8, cell: fn(&Node) -> String) -> Column {
    Column { heading, width, goes, at_right: true, cell }
}

/// Everything that is known, `width` cells wide.
pub fn lines(board: &Board, width: u16) -> Vec<Line<'static>> {
    let width = usize::from(width);
    let mut lines = Vec::new();
    for (name, job) in &board.jobs {
        lines.extend(heading(name, job));
        if !job.slowest.is_empty() {
            lines.push(Line::styled("waited longest for, as far as recorded:", Modifier::BOLD));
            lines.extend(job.slowest.iter().take(PATHS_SHOWN).map(|slow| slow_line(slow, width)));
        }
        lines.extend(table(job, width));
        lines.push(Line::default());
    }
    if board.silent > 0 {
        lines.push(Line::from(format!("{} without an answer yet", counted(board.silent as u64, "service"))));
    }
    if board.jobs.is_empty() && board.silent == 0 {
        lines.push(Line::from("no service of yours runs on this machine"));
    }
    lines
}

/// The lines as text, each cut at `width`.
pub fn text(lines: &[Line<'_>], width: u16) -> String {
    let mut text = String::new();
    for line in lines {
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, 1));
        line.render(buffer.area, &mut buffer);
        let shown: String = buffer.content().iter().map(|cell| cell.symbol()).collect();
        text += shown.trim_end();
        text.push('\n');
    }
    text
}

fn heading(name: &str, job: &Job) -> Vec<Line<'static>> {
    let here = job.nodes.iter().filter(|node| node.heard != Heard::Reported).count();
    let nodes = if here as u64 == job.n_nodes {
        counted(job.n_nodes, "node")
    } else {
        format!("{here} of {} here", counted(job.n_nodes, "node"))
    };
    let views = match &job.views[..] {
        [] => String::new(),
        [one] => one.clone(),
        [one, rest @ ..] => format!("{one} and {} more", rest.len()),
    };
    let (counts, Rates { requests, calls, bytes }) = job.sums();
    let answers = counts.own + counts.others + counts.storage;
    let parts = [counts.own, counts.others, counts.storage].map(|part| part_of(part, answers));
    vec![
        Line::from(vec![
            Span::styled(format!("job {name}"), Modifier::BOLD),
            Span::from(format!(" · {nodes} · {} · {} · {views}", age(job.seconds), job.ways.join(", "))),
        ]),
        Line::from(format!(
            "{} requests/s · {} calls on storage/s · {}/s read",
            rate(requests),
            rate(calls),
            size(bytes as u64)
        )),
        Line::from(format!(
            "answers {} {} own {} nodes {} storage {}",
            grouped(answers),
            bar([counts.own, counts.others, counts.storage]),
            parts[0],
            parts[1],
            parts[2]
        )),
    ]
}

/// Parts of a whole, side by side. The last part takes what rounding leaves.
fn bar(parts: [u64; 3]) -> String {
    let all: u64 = parts.iter().sum();
    if all == 0 {
        return "·".repeat(BAR);
    }
    let mut text = String::new();
    let mut sum = 0;
    let mut filled = 0;
    for (part, block) in parts.iter().zip(BLOCKS) {
        sum += part;
        let end = (sum as f64 / all as f64 * BAR as f64).round() as usize;
        text += &block.repeat(end - filled);
        filled = end;
    }
    text
}

fn slow_line(slow: &Slow, width: usize) -> Line<'static> {
    let calls = grouped(slow.calls);
    let start = format!("{:>8} {calls:>7} × {:<14} {:<8}", time(slow.nanoseconds), slow.what, slow.source);
    // The end of a path says more than its beginning.
    let room = width.saturating_sub(start.chars().count() + 1);
    let length = slow.path.chars().count();
    let path = if length > room {
        let end: String = slow.path.chars().skip(length + 1 - room.max(1)).collect();
        format!("…{end}")
    } else {
        slow.path.clone()
    };
    Line::from(format!("{start} {path}"))
}

fn table(job: &Job, width: usize) -> Vec<Line<'static>> {
    let shown = fitting(width);
    let mut lines =
        vec![Line::styled(row(&shown, |column| column.heading.to_owned()) + " asks", Modifier::REVERSED)];
    for node in &job.nodes {
        let text = format!("{} {}", row(&shown, column_of(node)), node.asks);
        let style = match node.heard {
            Heard::Now => Style::default(),
            Heard::NoAnswer => Style::from(Modifier::BOLD),
            Heard::Reported => Style::from(Modifier::DIM),
        };
        lines.push(Line::styled(text, style));
    }
    lines
}

fn column_of(node: &Node) -> impl Fn(&Column) -> String {
    move |column| (column.cell)(node)
}

/// The columns that there is room for, with some left for what stands behind them.
fn fitting(width: usize) -> Vec<&'static Column> {
    let mut most: u8 = COLUMNS.iter().map(|column| column.goes).max().unwrap_or(0);
    loop {
        let shown: Vec<&Column> = COLUMNS.iter().filter(|column| column.goes <= most).collect();
        let taken: usize = shown.iter().map(|column| column.width + 1).sum();
        // `no answer` is what stands there at least.
        if taken + "no answer".len() <= width || most == 0 {
            return shown;
        }
        most -= 1;
    }
}

fn row(shown: &[&Column], text: impl Fn(&Column) -> String) -> String {
    let cell = |column: &&Column| {
        // A cell that is too long must not move those behind it.
        let text: String = text(column).chars().take(column.width).collect();
        let width = column.width;
        if column.at_right { format!("{text:>width$}") } else { format!("{text:<width$}") }
    };
    shown.iter().map(cell).collect::<Vec<String>>().join(" ")
}

fn answers(node: &Node) -> u64 {
    node.counts.own + node.counts.others + node.counts.storage
}

/// One digit behind the point where it says something.
fn rate(rate: f64) -> String {
    if rate > 0.0 && rate < 9.95 { format!("{rate:.1}") } else { grouped(rate.round() as u64) }
}

fn age(seconds: f64) -> String {
    humantime::format_duration(std::time::Duration::from_secs(seconds.max(0.0) as u64)).to_string()
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::{Value, json};

    use super::super::board::Look;
    use super::*;

    fn status(rank: u64) -> Value {
        json!({
            "job": "slurm=7,step=0", "rank": rank, "host": format!("compute-node-number-{rank:03}"),
            "way_in": "user-namespace", "views": ["/opt/env", "/opt/more"], "seconds": 100.0,
            "fuse": { "requests_total": 123_456 }, "answers": { "cache": 900, "parent": 50, "storage": 50 },
            "storage": { "metadata_calls": 4000, "read_calls": 1000, "bytes_read": 34_400_000_000_u64 },
            "memory": { "rss_bytes": 50_000_000, "cached_bytes": 123_000_000, "budget_bytes": 4_000_000_000_u64 },
            "faults": { "daemon_restarts": 1 }, "tasks": { "present": 8 },
            "tree": { "n_nodes": 4, "shards": [{ "root": 0, "parent": null, "asks": null, "is_top": true }] },
            "recorded": { "mode": "full", "slowest": [{
                "path": "/opt/env/lib/python3.11/site-packages/a/very/long/way/to/a/module.py", "operation": "lookup",
                "outcome": "absent", "source": "storage", "calls": 12_345, "nanoseconds": 5_000_000_000_u64,
            }] },
        })
    }

    fn board() -> Board {
        let mut board = Board::default();
        let mut root = status(0);
        root["beneath"] = json!([{ "rank": 3, "host": "far", "seconds": 5.0 }]);
        let look =
            |answers: Vec<(String, Value)>| Look { names: vec!["a".into(), "b".into(), "c".into()], answers };
        board.take(look(vec![("a".into(), root.clone()), ("b".into(), status(1))]), None);
        board.take(look(vec![("a".into(), root)]), None);
        board
    }

    #[test]
    fn eighty_columns_hold_what_matters() {
        let text = text(&lines(&board(), 80), 80);
        for words in [
            "job slurm=7,step=0 · 2 of 4 nodes here · 1m 40s · user-namespace · /opt/env",
            "/module.py", // the end of a path that is too long
            "node host           tasks",
            "calls/s asks",
            "own 90.0 % nodes 5.0 % storage 5.0 %\n",
            "90.0 %   5.0 %   5.0 %",
            " root\n",
            " no answer\n",
            " as it has",
        ] {
            assert!(text.contains(words), "no {words:?} in:\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn more_columns_hold_more_and_fewer_less_and_no_line_is_ever_too_long() {
        for width in (1..200).chain([u16::MAX]) {
            let text = text(&lines(&board(), width), width);
            assert!(text.lines().all(|line| line.chars().count() <= usize::from(width)), "{width}:\n{text}");
            assert_eq!(text.contains("memory"), width >= 116, "{width}:\n{text}");
            assert_eq!(text.contains("req/s"), width >= 25, "{width}:\n{text}");
        }
    }

    #[test]
    fn a_terminal_shows_the_same_as_the_text() {
        let all = lines(&board(), 100);
        let mut terminal = Terminal::new(TestBackend::new(100, all.len() as u16)).unwrap();
        terminal
            .draw(|frame| {
                for (line, y) in all.iter().zip(0..) {
                    frame.render_widget(line, Rect::new(0, y, 100, 1));
                }
            })
            .unwrap();
        let shown: Vec<String> = text(&all, 100).lines().map(|line| format!("{line:<100}")).collect();
        let buffer = terminal.backend().buffer();
        let screen: String = buffer.content().iter().map(|cell| cell.symbol()).collect();
        assert_eq!(screen, shown.concat());
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let mut hostile = status(0);
        hostile["host"] = json!("a\u{1b}[2Jb\nc");
        hostile["views"] = json!(["/v\u{7}\u{9b}31m"]);
        let mut board = Board::default();
        board.take(Look { names: vec!["a".into()], answers: vec![("a".into(), hostile)] }, None);
        let text = text(&lines(&board, 120), 120);
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
        assert!(text.contains(" a[2Jb"), "{text}");
    }

    #[test]
    fn bars_are_whole_whatever_the_parts() {
        for (parts, want) in [
            ([1, 1, 1], "████████▒▒▒▒▒▒▒▒░░░░░░░░"),
            ([0, 0, 1], "░░░░░░░░░░░░░░░░░░░░░░░░"),
            ([0, 0, 0], "························"),
            ([1, 0, 100_000], "░░░░░░░░░░░░░░░░░░░░░░░░"),
        ] {
            assert_eq!(bar(parts), want);
        }
    }

    #[test]
    fn without_a_service_it_says_so() {
        assert_eq!(text(&lines(&Board::default(), 80), 80), "no service of yours runs on this machine\n");
    }
}
