//! The report for people: what works first, then why not, then what to do.

use std::fmt::Write;

use super::nodes::NodesReport;
use super::report::{Report, State, WayReport};
use super::served::{CommandReport, ViewReport};
use crate::environment::mounts::Reach;
use crate::holder::estate::WayIn;

/// Renders the report, lines aligned, without colour.
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    render_verdict(&mut text, report);
    heading(&mut text, "ways in");
    report.ways.iter().for_each(|way| render_way(&mut text, way));
    match &report.command {
        Some(command) => render_command(&mut text, command),
        None => text
            .push_str("\n`spinney doctor -- COMMAND` tells what of COMMAND's environment would be served\n"),
    }
    render_nodes(&mut text, &report.nodes);
    render_hurts(&mut text, report);
    render_kernel(&mut text, report);
    if let Some(ask) = &report.ask {
        heading(&mut text, "ask an administrator for this line");
        line(&mut text, &format!("  {ask}"));
    }
    text
}

fn render_verdict(text: &mut String, report: &Report) {
    let verdict = match report.best_way {
        Some(WayIn::Fusermount) => "spinney works here, over directories that you own".to_owned(),
        Some(way) => format!("spinney works here ({})", name(way)),
        None => "spinney cannot serve here: `spinney run` starts commands directly on storage".to_owned(),
    };
    line(text, &verdict);
}

fn render_way(text: &mut String, way: &WayReport) {
    let (word, rest) = match way.state {
        State::Works => ("works", format!("{:.2} s to start, read and end", way.seconds.unwrap_or(0.0))),
        State::Fails => ("fails", way.cause.clone().unwrap_or_default()),
        State::NotForYou => ("-", way.cause.clone().unwrap_or_default()),
    };
    line(text, &format!("  {word:<6} {:<16} {rest}", name(way.way)));
    let said = way.message.as_deref().filter(|message| !rest.contains(message));
    if let Some(message) = said {
        line(text, &format!("  {:<6} {:<16} it said: {message}", "", ""));
    }
}

fn render_command(text: &mut String, command: &CommandReport) {
    heading(text, &format!("environment of `{}`", command.name));
    let width =
        command.views.iter().map(|view| view.path.display().to_string().chars().count()).max().unwrap_or(0);
    for view in &command.views {
        let path = view.path.display().to_string();
        line(text, &format!("  {path:<width$}  {}, {}", served(view), place(view)));
        line(text, &format!("  {:<width$}  {}", "", view.reason));
    }
    for note in &command.notes {
        line(text, &format!("  {note}"));
    }
}

fn served(view: &ViewReport) -> String {
    match (view.is_served, &view.message) {
        (Some(true), _) => "served".to_owned(),
        (Some(false), Some(message)) => format!("not served ({message})"),
        (Some(false), None) => "not served".to_owned(),
        (None, _) => "would be a view".to_owned(),
    }
}

fn place(view: &ViewReport) -> String {
    let file_system = view.file_system.as_deref().unwrap_or("unknown file system");
    let source = view.source.as_deref().unwrap_or("?");
    match view.reach {
        Reach::Network => format!("from {file_system} {source} (network)"),
        Reach::Local => format!("from {file_system} {source} (this node's own)"),
        Reach::Unknown => format!("from {file_system} {source}"),
    }
}

fn render_nodes(text: &mut String, nodes: &NodesReport) {
    heading(text, "nodes");
    let host = &nodes.host;
    match (&nodes.rank, &nodes.told_by) {
        (Some(rank), Some(source)) => {
            let launcher = nodes.launcher.as_deref().unwrap_or("the launcher");
            line(text, &format!("  {}, told by {source} ({launcher}); {host} is node {rank}", nodes.count));
        }
        _ => line(text, &format!("  {host} only")),
    }
    if let Some(trouble) = &nodes.trouble {
        line(text, &format!("  {trouble}"));
    }
    if let Some(job) = &nodes.job {
        let task = nodes.task.as_ref().map(|task| format!(", task {} of {}", task.rank, task.size));
        line(text, &format!("  job {job}{}", task.unwrap_or_default()));
    }
    for interface in &nodes.interfaces {
        let speed = interface.speed_mbit.map(|speed| format!(", {speed} Mbit/s")).unwrap_or_default();
        line(text, &format!("  {} {}{speed}", interface.name, interface.address));
    }
    if !nodes.ports.is_empty() {
        let ports: Vec<String> = nodes.ports.iter().map(u16::to_string).collect();
        line(text, &format!("  listens on the first free port of {}", ports.join(", ")));
    }
    if let Some(key) = &nodes.key {
        let sharing = match nodes.key_is_shared {
            Some(false) => " (this node's own file system: if other nodes do not see it, set SPINNEY_KEY)",
            _ => "",
        };
        line(text, &format!("  key: {key}{sharing}"));
    }
}

fn render_hurts(text: &mut String, report: &Report) {
    if report.hurts.is_empty() {
        return;
    }
    heading(text, "what would hurt");
    for hurt in &report.hurts {
        line(text, &format!("  {}:", hurt.what));
        line(text, &format!("    {}", hurt.effect));
        if let Some(remedy) = &hurt.remedy {
            line(text, &format!("    hint: {remedy}"));
        }
    }
}

fn render_kernel(text: &mut String, report: &Report) {
    let missing: Vec<_> = report.features.iter().filter(|feature| !feature.is_here).collect();
    heading(text, &format!("Linux {}", report.machine.kernel));
    if missing.is_empty() {
        line(text, "  all optional features are here");
    }
    for feature in missing {
        let (name, since, without) = (feature.name, feature.since, feature.without);
        line(text, &format!("  without {name} (Linux {since}): {without}"));
    }
}

fn name(way: WayIn) -> &'static str {
    match way {
        WayIn::MountNamespace => "mount-namespace",
        WayIn::UserNamespace => "user-namespace",
        WayIn::Fusermount => "fusermount",
        WayIn::Direct => "direct",
    }
}

fn heading(text: &mut String, words: &str) {
    line(text, &format!("\n{words}"));
}

fn line(text: &mut String, words: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{}", words.trim_end());
}
