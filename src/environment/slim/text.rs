//! A slim copy as it is told to people.

use super::{Reason, Slim};
use crate::environment::coverage::Amount;
use crate::text::{Side, aligned, counted, grouped, part_of, plain, size, wrapped};

pub(super) fn lines(slim: &Slim) -> Vec<String> {
    let roots = slim.roots.iter().map(plain).collect::<Vec<_>>().join(", ");
    let mut lines = vec![
        format!("copied to {}", plain(&slim.to)),
        format!("what was used of {roots}"),
        format!("as told by {}", slim.source),
        String::new(),
    ];
    lines.extend(table(slim));
    lines.push(String::new());
    if slim.copied.shared_bytes > 0 {
        let shared = size(slim.copied.shared_bytes);
        lines.push(format!("shared with the original until one is written to: {shared}"));
    }
    if slim.copied.linked_bytes > 0 {
        let linked = size(slim.copied.linked_bytes);
        lines.push(format!(
            "files of the original under other names; whoever writes into one changes it: {linked}"
        ));
    }
    let left_out = slim.copied.left_out.len() as u64;
    if left_out > 0 {
        lines
            .push(format!("not copied: {}, neither file nor directory nor link", counted(left_out, "thing")));
    }
    let caution = "Another program, other input or an error may need what these runs did not: `--verify -- COMMAND` \
                   tells what a command would miss.";
    lines.extend(wrapped(caution, "", ""));
    lines
}

fn table(slim: &Slim) -> Vec<String> {
    let head = ["", "files", "bytes", "directories", "links"].map(str::to_owned).to_vec();
    let row = |name: &str, amount: &Amount| {
        let Amount { files, directories, links, bytes, .. } = *amount;
        vec![name.to_owned(), grouped(files), size(bytes), grouped(directories), grouped(links)]
    };
    let (all, kept) = (&slim.available, &slim.kept);
    let mut rows = vec![head, row("original", all), row("copy", kept)];
    for (reason, amount) in &slim.reasons {
        rows.push(row(words(*reason), amount));
    }
    let saved = |all: u64, kept: u64| part_of(all - kept, all);
    rows.push(vec![
        "saved".to_owned(),
        saved(all.files, kept.files),
        saved(all.bytes, kept.bytes),
        saved(all.directories, kept.directories),
        saved(all.links, kept.links),
    ]);
    aligned(&[Side::Left, Side::Right, Side::Right, Side::Right, Side::Right], &rows)
}

fn words(reason: Reason) -> &'static str {
    match reason {
        Reason::Recorded => "  found by the runs",
        Reason::Target => "  links lead to it",
        Reason::Metadata => "  metadata of kept packages",
        Reason::Interpreter => "  interpreters",
    }
}
