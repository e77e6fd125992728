//! Coverage as it is printed for people.

use super::{Coverage, MEANING, Part};
use crate::text::{Side, aligned, counted, grouped, part_of, plain, size, wrapped};

pub(super) fn lines(coverage: &Coverage, source: &str, rows: usize) -> Vec<String> {
    let mut lines = vec![format!("coverage of {source}")];
    lines.extend(coverage.notes().iter().flat_map(|note| wrapped(note, "  ", "  ")));
    for (root, part) in &coverage.roots {
        lines.extend([String::new(), plain(root)]);
        lines.extend(root_table(part));
    }
    if coverage.roots.len() > 1 {
        lines.extend([String::new(), "all roots".to_owned()]);
        lines.extend(root_table(&coverage.total));
    }
    lines.push(String::new());
    lines.extend(package_table(coverage, rows));
    lines.push(String::new());
    let absent = counted(coverage.absent.len() as u64, "path");
    lines.push(format!("never found beneath the roots: {absent} that the job asked for"));
    if coverage.elsewhere > 0 {
        lines.push(format!("beneath no root: {}", counted(coverage.elsewhere, "recorded path")));
    }
    lines.push(String::new());
    lines.extend(wrapped(MEANING, "", ""));
    lines
}

fn root_table(part: &Part) -> Vec<String> {
    let Part { available, used } = part;
    let row = |name: &str, used: u64, available: u64| {
        vec![format!("  {name}"), grouped(used), grouped(available), part_of(used, available)]
    };
    let head = ["", "used", "available", "share"].map(str::to_owned).to_vec();
    let bytes = vec![
        "  bytes".to_owned(),
        size(used.bytes),
        size(available.bytes),
        part_of(used.bytes, available.bytes),
    ];
    let rows = [
        head,
        row("files", used.files, available.files),
        row("  of these read", used.read, available.files),
        row("directories", used.directories, available.directories),
        row("links", used.links, available.links),
        bytes,
    ];
    aligned(&[Side::Left, Side::Right, Side::Right, Side::Right], &rows)
}

fn package_table(coverage: &Coverage, rows: usize) -> Vec<String> {
    let shown = if rows == 0 { coverage.packages.len() } else { rows.min(coverage.packages.len()) };
    let head =
        ["package", "version", "by", "used", "files", "used", "bytes", "share"].map(str::to_owned).to_vec();
    let row = |(package, part): &(super::Package, Part)| {
        let Part { available, used } = part;
        vec![
            plain(&package.name),
            plain(&package.version),
            package.kind.to_owned(),
            grouped(used.files),
            grouped(available.files),
            size(used.bytes),
            size(available.bytes),
            part_of(used.bytes, available.bytes),
        ]
    };
    let rows: Vec<Vec<String>> =
        [head].into_iter().chain(coverage.packages[..shown].iter().map(row)).collect();
    let right = [Side::Right; 5];
    let sides: Vec<Side> = [Side::Left; 3].into_iter().chain(right).collect();
    let mut lines = aligned(&sides, &rows);
    let hidden = coverage.packages.len() - shown;
    if hidden > 0 {
        lines.push(format!("not shown: {} more; `--top 0` shows all", grouped(hidden as u64)));
    }
    lines
}
