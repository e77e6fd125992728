//! Classes as they are printed for people.

use super::{Class, Classes};
use crate::text::{Side, aligned, grouped, plain, size, time, wrapped};

/// From which part of all calls on the busiest paths of a class are told: a hundredth.
const WORTH_TELLING: u64 = 100;

pub(super) fn lines(classes: &Classes, source: &str, rows: usize) -> Vec<String> {
    let shown = if rows == 0 { classes.classes.len() } else { rows.min(classes.classes.len()) };
    let mut lines = vec![format!("path classes of {source}")];
    lines.extend(classes.notes().iter().flat_map(|note| wrapped(note, "  ", "  ")));
    lines.push(String::new());
    lines.extend(table(&classes.classes[..shown], &classes.total));
    let hidden = classes.classes.len() - shown;
    if hidden > 0 {
        lines.push(format!("not shown: {} more; `--top 0` shows all", grouped(hidden as u64)));
    }
    lines.extend(busiest(&classes.classes[..shown], classes.total.usage.calls));
    lines.extend([String::new(), "the same paths in Copper's classes".to_owned()]);
    lines.extend(table(&classes.of_copper, &classes.total));
    lines
}

fn table(classes: &[Class], total: &Class) -> Vec<String> {
    let sides = [Side::Left, Side::Right, Side::Right, Side::Right, Side::Right, Side::Right, Side::Right];
    let head = ["class", "paths", "calls", "found", "absent", "bytes", "time"].map(str::to_owned).to_vec();
    let row = |class: &Class| {
        let usage = &class.usage;
        let mut row = vec![plain(&class.name)];
        row.extend([class.paths, usage.calls, usage.found, usage.absent].map(grouped));
        row.extend([size(usage.bytes), time(usage.nanoseconds)]);
        row
    };
    let rows: Vec<Vec<String>> = [head].into_iter().chain(classes.iter().chain([total]).map(row)).collect();
    aligned(&sides, &rows)
}

fn busiest(classes: &[Class], all_calls: u64) -> Vec<String> {
    let mut lines = vec![String::new(), "busiest paths (calls), of classes with 1 % of all calls".to_owned()];
    for class in classes.iter().filter(|class| class.usage.calls >= all_calls / WORTH_TELLING) {
        lines.push(format!("  {}", plain(&class.name)));
        let path = |(path, usage): &(std::path::PathBuf, super::Usage)| {
            format!("  {:>10}  {}", grouped(usage.calls), plain(path))
        };
        // Of paths asked once each, one example is enough.
        let told = class.top.iter().enumerate().filter(|(at, (_, usage))| *at == 0 || usage.calls > 1);
        lines.extend(told.map(|(_, top)| path(top)));
    }
    lines
}
