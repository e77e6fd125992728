//! An audit as it is printed for people: findings by place, then what to paste.

use super::{Check, Fault, Finding, values};
use crate::text::{counted, plain, time, wrapped};

/// Columns before the words of a finding.
const INDENT: &str = "             ";

pub(super) fn lines(check: &Check) -> Vec<String> {
    let mut lines = vec![head(check)];
    let mut notes = check.notes.iter();
    lines.extend(notes.next().map(|source| format!("probes of {source}")));
    lines.extend(notes.flat_map(|note| wrapped(note, "  ", "  ")));
    let mut places: Vec<&str> = Vec::new();
    for finding in &check.findings {
        if !places.contains(&finding.place.as_str()) {
            places.push(&finding.place);
        }
    }
    for place in places {
        lines.extend([String::new(), plain(place)]);
        let here = check.findings.iter().filter(|finding| finding.place == place);
        lines.extend(here.flat_map(finding_lines));
    }
    if check.findings.is_empty() {
        lines.extend([String::new(), "nothing is wrong".to_owned()]);
    }
    if !check.remarks.is_empty() {
        lines.push(String::new());
        lines.extend(check.remarks.iter().flat_map(|remark| wrapped(remark, "", "  ")));
    }
    lines.extend(steps(check));
    lines
}

fn head(check: &Check) -> String {
    let Some(python) = &check.python else { return "no Python was found".to_owned() };
    let library = python.library.as_deref().unwrap_or("python");
    let base = python.base.as_ref().map(|base| format!(", base {}", plain(base))).unwrap_or_default();
    format!("{library} of {}{base}", plain(&python.prefix))
}

fn finding_lines(finding: &Finding) -> Vec<String> {
    let entry = if finding.entry.is_empty() { "(empty)".to_owned() } else { plain(&finding.entry) };
    let cost = match &finding.probes {
        Some(probes) if probes.in_vain() > 0 => {
            // A number stays with its unit.
            let time = time(probes.nanoseconds).replace(' ', "\u{a0}");
            format!("; {} in vain, {time}", counted(probes.in_vain(), "probe"))
        }
        _ => String::new(),
    };
    let words = wrapped(&format!("{}{cost}", plain(&finding.says)), INDENT, INDENT);
    let words = words.into_iter().map(|line| line.replace('\u{a0}', " "));
    [format!("  {:<10} {entry}", finding.fault.name())].into_iter().chain(words).collect()
}

fn steps(check: &Check) -> Vec<String> {
    let mut lines = Vec::new();
    let mut number = 0;
    for (step, (_, name)) in values::STEPS.iter().enumerate() {
        let values = values::lines(&check.lists, step, check.shell);
        if values.is_empty() {
            continue;
        }
        number += 1;
        lines.extend([String::new(), format!("# {number}. {name}")]);
        lines.extend(values);
    }
    if number == 0 {
        return lines;
    }
    lines.extend([String::new(), format!("# {}. measure again", number + 1)]);
    let less =
        check.findings.iter().any(|finding| matches!(finding.fault, Fault::NeverHit | Fault::Shadowed));
    if less {
        lines.push(format!("# {}. only then try with less: what is never hit or shadowed above", number + 2));
    }
    lines
}
