//! The rules of the house, checked over the sources: direction of imports, sizes, names, headers, texts.
//!
//! Each rule lists everything that breaks it, so that one run tells all. Exceptions stand in the tables below, each with
//! its reason.
//!
//! Not here: formatting (`cargo fmt`) and what clippy knows.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::CommandFactory;
use spinney::profile::recorder::Counter;

/// Lines of a function at most.
const FUNCTION_LINES_MAX: usize = 70;
/// Lines of a file at most, its tests included.
const FILE_LINES_MAX: usize = 800;
/// Lines of a decision at most.
const DECISION_LINES_MAX: usize = 40;
/// Bytes of a line of a decision at most, tables excepted: 40 lines are to be short.
const DECISION_LINE_MAX: usize = 160;
/// Lines of ARCHITECTURE.md at most.
const ARCHITECTURE_LINES_MAX: usize = 300;

/// Names that say nothing about what a module knows.
const FORBIDDEN_NAMES: &[&str] =
    &["utils", "util", "common", "helpers", "misc", "manager", "handler", "handlers"];

/// Who may name whom: a folder of `src/`, and the beginnings of paths it may use. Everybody may count
/// (`profile::recorder`). The same table is in words in ARCHITECTURE.md.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("main.rs", &["cli"]),
    (
        "cli",
        &[
            "cluster",
            "daemon",
            "doctor",
            "enter",
            "environment",
            "holder",
            "launch",
            "profile",
            "services",
            "text",
            "track",
        ],
    ),
    // Which job a run belongs to is told in one place, and names become addresses in one; letting go of descriptors is
    // what any forked process does. Nothing else of the processes, nothing of the data path.
    (
        "track",
        &["cluster::launchers", "cluster::resolve", "enter::descriptors", "enter::job", "page", "text"],
    ),
    ("services", &["cluster", "enter", "holder", "text"]),
    ("launch", &["cluster", "daemon", "enter", "holder", "services"]),
    ("enter", &["cluster", "environment", "holder", "text"]),
    // Only what holder, daemon and wrapper say to each other and to their successors.
    ("doctor", &["cluster", "environment", "holder::estate", "wire::KeyPlaces"]),
    ("holder", &["cluster"]),
    ("cluster", &[]),
    // It puts together, so it may also ask what a listing says of bytecode.
    (
        "daemon",
        &[
            "cache",
            "cluster",
            "environment::bytecode",
            "file",
            "fuse",
            "holder",
            "profile",
            "storage",
            "tree",
            "view",
            "wire",
        ],
    ),
    ("fuse", &["file", "view"]),
    ("view", &["file"]),
    ("cache", &["file"]),
    ("tree", &["cluster", "file", "wire"]),
    ("wire", &["cluster", "file"]),
    ("storage", &["file"]),
    ("file", &[]),
    ("page", &[]),
    ("profile", &["page", "text"]),
    ("environment", &["profile::copper", "profile::recording", "profile::report", "text"]),
    ("text", &[]),
];

/// What a single file may name beyond the table, and why: file, path, reason.
const IMPORT_EXCEPTIONS: &[(&str, &str, &str)] =
    &[("src/enter/direct.rs", "daemon", "a run without a service: one file knows how a report looks")];

/// Folders that print on standard output: it belongs to COMMAND everywhere else.
const MAY_PRINT: &[&str] = &["cli", "doctor"];

/// Lines of the data path above storage that may name an errno beside `FetchError::errno`, and why: file, errno, reason.
const ERRNO_EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("src/fuse/channel.rs", "NODEV", "what the kernel says to us: the connection has ended"),
    ("src/fuse/channel.rs", "BADF", "what the kernel says to us: the connection has ended"),
    ("src/fuse/channel.rs", "CONNABORTED", "what the kernel says to us: the connection has ended"),
    ("src/fuse/channel.rs", "INTR", "what the kernel says to us: try again"),
    ("src/fuse/channel.rs", "NOENT", "what the kernel says to us: the request has gone"),
    ("src/fuse/pending.rs", "EINTR", "protocol: lets go of a task that is being killed"),
    ("src/fuse/replies.rs", "ENOENT", "protocol: an absence the kernel must not remember"),
    ("src/fuse/serve.rs", "EAGAIN", "protocol: an INTERRUPT that came before its request"),
    ("src/fuse/serve.rs", "ENOTTY", "protocol: no file of a view is a terminal"),
    ("src/fuse/serve.rs", "ENOSYS", "protocol: a request that this file system does not have"),
    ("src/fuse/session.rs", "EPROTO", "protocol: a kernel too old to talk to"),
    ("src/view/mod.rs", "EISDIR", "reading a directory, which the kernel never asks for"),
];

/// A source file, with and without what the compiler skips.
struct Source {
    /// Relative to the repository.
    path: String,
    text: String,
    /// Comments and literals blanked out, lines kept.
    code: String,
    /// `code` without test modules; empty for a file of tests.
    product: String,
}

impl Source {
    /// The folder or file of `src/` it belongs to.
    fn folder(&self) -> &str {
        self.path.split('/').nth(1).unwrap_or("")
    }
}

#[test]
fn folders_name_only_those_beneath_them() {
    let mut wrong = Vec::new();
    for source in product() {
        if source.path == "src/lib.rs" {
            continue; // the table of the modules
        }
        let Some((_, allowed)) = MAY_NAME.iter().find(|(folder, _)| *folder == source.folder()) else {
            wrong.push(format!("{}: not in the table of tests/tidy.rs", source.path));
            continue;
        };
        for path in imports(&source.product) {
            let own = path.split("::").next() == Some(source.folder());
            let excepted =
                IMPORT_EXCEPTIONS.iter().any(|(file, what, _)| *file == source.path && *what == path);
            let beneath = allowed.iter().chain(&["profile::recorder"]).any(|start| leads_into(&path, start));
            if !own && !excepted && !beneath {
                wrong.push(format!("{}: may not name `{path}`", source.path));
            }
        }
        if source.path.matches('/').count() == 2 && source.product.contains("super::super") {
            wrong.push(format!("{}: `super::super` leads out of the folder", source.path));
        }
    }
    assert_none(wrong);
}

#[test]
fn every_row_of_the_table_of_imports_is_a_folder() {
    let missing = |folder: &&str| !root().join("src").join(folder).exists();
    assert_none(MAY_NAME.iter().map(|(folder, _)| *folder).filter(missing).map(str::to_owned).collect());
}

#[test]
fn functions_and_files_are_short() {
    let mut wrong = Vec::new();
    for source in sources() {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            wrong.push(format!("{}: {lines} lines", source.path));
        }
        for (name, line, lines) in functions(&source.code) {
            if lines > FUNCTION_LINES_MAX {
                wrong.push(format!("{}:{line}: `{name}` has {lines} lines", source.path));
            }
        }
    }
    assert_none(wrong);
}

#[test]
fn every_file_begins_by_saying_what_it_is() {
    let headless = |source: &Source| !source.text.starts_with("//! ");
    assert_none(sources().into_iter().filter(headless).map(|source| source.path).collect());
}

#[test]
fn names_say_what_a_module_knows() {
    let mut wrong = Vec::new();
    for source in sources() {
        let parts = source.path.trim_end_matches(".rs").split('/');
        wrong.extend(
            parts
                .filter(|part| FORBIDDEN_NAMES.contains(part))
                .map(|part| format!("{}: {part}", source.path)),
        );
        let modules = words_after(&source.code, "mod");
        wrong.extend(
            modules
                .filter(|name| FORBIDDEN_NAMES.contains(name))
                .map(|name| format!("{}: mod {name}", source.path)),
        );
    }
    assert_none(wrong);
}

#[test]
fn nothing_is_left_undone_or_unwrapped() {
    let mut wrong = Vec::new();
    for source in sources() {
        for unfinished in ["todo!", "unimplemented!", "#[ignore"] {
            wrong.extend(
                places(&source.code, unfinished).map(|line| format!("{}:{line}: {unfinished}", source.path)),
            );
        }
        if source.path.starts_with("src/") {
            wrong.extend(
                places(&source.product, ".unwrap()").map(|line| format!("{}:{line}: unwrap()", source.path)),
            );
        }
    }
    assert_none(wrong);
}

#[test]
fn standard_output_is_left_to_the_command() {
    let mut wrong = Vec::new();
    for source in product().filter(|source| !MAY_PRINT.contains(&source.folder())) {
        for printing in ["println!", "print!", "io::stdout("] {
            let found = places(&source.product, printing).filter(|line| {
                let text = source.product.lines().nth(line - 1).unwrap_or_default();
                printing.starts_with("io") || !text.contains(&format!("e{printing}"))
            });
            wrong.extend(found.map(|line| format!("{}:{line}: {printing}", source.path)));
        }
    }
    assert_none(wrong);
}

#[test]
fn one_place_chooses_the_errno_that_a_task_sees() {
    let definitions: Vec<String> = product()
        .filter(|source| functions(&source.product).iter().any(|(name, ..)| name == "errno"))
        .map(|source| source.path)
        .collect();
    assert_eq!(definitions, ["src/file/error.rs"], "functions called `errno`");
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    for source in product().filter(|source| ["fuse", "view", "cache", "daemon"].contains(&source.folder())) {
        for name in errnos(&source.product) {
            let exception =
                ERRNO_EXCEPTIONS.iter().position(|(file, errno, _)| *file == source.path && *errno == name);
            match exception {
                Some(number) => drop(used.insert(number)),
                None => wrong.push(format!(
                    "{}: {name}; only storage and `FetchError::errno` choose one",
                    source.path
                )),
            }
        }
    }
    let idle = (0..ERRNO_EXCEPTIONS.len()).filter(|number| !used.contains(number));
    wrong.extend(idle.map(|number| format!("no longer needed: {:?}", ERRNO_EXCEPTIONS[number])));
    assert_none(wrong);
}

#[test]
fn decisions_are_numbered_and_short() {
    let mut wrong = Vec::new();
    let mut numbers = BTreeSet::new();
    for path in files(&root().join("docs/decisions"), "md") {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.split('-').next().unwrap_or_default();
        if number.len() != 4 || number.parse::<u32>().is_err() || !numbers.insert(number.to_owned()) {
            wrong.push(format!("{name}: not `NNNN-title.md` with a number of its own"));
        }
        let text = fs::read_to_string(&path).unwrap();
        if !text.starts_with(&format!("# {number}. ")) {
            wrong.push(format!("{name}: does not begin with `# {number}. `"));
        }
        let lines = text.lines().count();
        if lines > DECISION_LINES_MAX {
            wrong.push(format!("{name}: {lines} lines"));
        }
        let long = |line: &&str| line.chars().count() > DECISION_LINE_MAX && !line.starts_with('|');
        wrong.extend(text.lines().filter(long).map(|line| format!("{name}: too long: {line}")));
    }
    assert_none(wrong);
}

#[test]
fn the_architecture_is_short_and_names_every_folder() {
    let text = read("ARCHITECTURE.md");
    let mut wrong = Vec::new();
    if text.lines().count() >= ARCHITECTURE_LINES_MAX {
        wrong.push(format!("{} lines", text.lines().count()));
    }
    for entry in fs::read_dir(root().join("src")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() && !text.contains(&format!("\n### `src/{name}/`")) {
            wrong.push(format!("no paragraph `### `src/{name}/``"));
        }
    }
    assert_none(wrong);
}

#[test]
fn every_file_that_a_text_links_to_exists() {
    let mut wrong = Vec::new();
    for (path, text) in texts() {
        let folder = root().join(&path).parent().unwrap().to_path_buf();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            if !link.contains("://") && !file.is_empty() && !folder.join(file).exists() {
                wrong.push(format!("{path}: {link}"));
            }
        }
    }
    assert_none(wrong);
}

#[test]
fn every_text_that_a_source_cites_exists() {
    let mut wrong = Vec::new();
    for source in sources() {
        for cited in source.text.split("docs/").skip(1) {
            let name =
                cited.split(|c: char| c.is_whitespace() || "`\"');,".contains(c)).next().unwrap_or_default();
            let path = format!("docs/{}", name.trim_end_matches(['.', ':']));
            if path.ends_with(".md") && !path.contains("NNNN") && !root().join(&path).exists() {
                wrong.push(format!("{}: {path}", source.path));
            }
        }
    }
    assert_none(wrong);
}

#[test]
fn commands_in_the_texts_exist() {
    let makefile = read("Makefile");
    let mut wrong = Vec::new();
    for (path, text) in texts() {
        for command in commands(&text) {
            let words: Vec<&str> = command.split_whitespace().collect();
            if let ["make", target, ..] = words[..]
                && !makefile.contains(&format!("\n{target}: "))
            {
                wrong.push(format!("{path}: `make {target}` is not in the Makefile"));
            }
            let program = words.iter().position(|word| *word == "spinney" || word.ends_with("/spinney"));
            if let Some(place) = program {
                wrong.extend(
                    misused(&words[place + 1..]).map(|what| format!("{path}: `{command}`: no {what}")),
                );
            }
        }
    }
    assert_none(wrong);
}

#[test]
fn the_table_of_counters_is_that_of_the_code() {
    let mut table = String::from("| counter | unit | what is counted |\n|---|---|---|\n");
    for counter in Counter::ALL {
        table += &format!("| `{}` | {} | {} |\n", counter.name(), counter.unit(), counter.meaning());
    }
    let text = read("docs/REPORT.md");
    assert!(text.contains(&table), "docs/REPORT.md is stale; its table of counters should be:\n\n{table}");
}

#[test]
fn every_field_of_a_report_is_documented() {
    let directory = tempfile::tempdir().unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_spinney"))
        .args(["run", "-q", "--way", "direct", "--report"])
        .arg(directory.path())
        .args(["--", "true"])
        .status();
    assert!(status.unwrap().success());
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(directory.path().join("run.json")).unwrap()).unwrap();
    let text = read("docs/REPORT.md");
    let mut fields = Vec::new();
    name_fields(&report, "", &mut fields);
    let counters: Vec<&str> = Counter::ALL.iter().map(|counter| counter.name()).collect();
    let undocumented = |field: &String| {
        let counter =
            field.trim_start_matches("nodes[].").trim_start_matches("totals.").replace(".by_kind.", ".");
        !counters.contains(&counter.as_str()) && !text.contains(&format!("| `{field}` |"))
    };
    assert_none(fields.into_iter().filter(undocumented).collect());
}

/// The leaves of `value`, such as `nodes[].fuse.requests_total`.
fn name_fields(value: &serde_json::Value, path: &str, fields: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(object) => {
            for (name, value) in object {
                let dot = if path.is_empty() { "" } else { "." };
                name_fields(value, &format!("{path}{dot}{name}"), fields);
            }
        }
        serde_json::Value::Array(rows) if rows.iter().any(serde_json::Value::is_object) => {
            name_fields(&rows[0], &format!("{path}[]"), fields);
        }
        _ => fields.push(path.to_owned()),
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn assert_none(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "{} found:\n{}", wrong.len(), wrong.join("\n"));
}

/// All sources of this repository.
fn sources() -> Vec<Source> {
    let folders = ["src", "tests", "benches", "examples"].map(|folder| root().join(folder));
    let paths = folders.iter().flat_map(|folder| files(folder, "rs"));
    paths.map(|path| source(&path)).collect()
}

/// The sources that are no tests.
fn product() -> impl Iterator<Item = Source> {
    sources().into_iter().filter(|source| source.path.starts_with("src/") && !source.product.is_empty())
}

/// Everything written for people, by its path.
fn texts() -> Vec<(String, String)> {
    let mut paths =
        vec![root().join("README.md"), root().join("ARCHITECTURE.md"), root().join("CONTRIBUTING.md")];
    paths.extend(files(&root().join("docs"), "md"));
    let name = |path: &Path| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
    paths.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// Files beneath `folder` with this extension, sorted; none if there is no such folder.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let kind = entry.file_type().unwrap();
        // What benchmarks put under docs/benchmarks/work is no text of ours.
        if kind.is_dir() && path.file_name().is_some_and(|name| name != "work") {
            found.extend(files(&path, extension));
        } else if kind.is_file() && path.extension().is_some_and(|is| is == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn source(path: &Path) -> Source {
    let text = fs::read_to_string(path).unwrap();
    let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
    let code = blank_comments_and_literals(&text);
    let is_test = path.split('/').any(|part| part == "tests" || part == "tests.rs");
    let product = if is_test { String::new() } else { without_tests(&code) };
    Source { path, text, code, product }
}

/// `text` with comments, strings and characters replaced by blanks; line breaks stay.
fn blank_comments_and_literals(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let skipped = comment(&bytes[at..]).or_else(|| literal(bytes, at));
        match skipped {
            Some(len) => {
                out.extend(bytes[at..at + len].iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }));
                at += len;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(out).expect("only whole comments and literals were replaced")
}

/// How long the comment is that `rest` begins with.
fn comment(rest: &[u8]) -> Option<usize> {
    if rest.starts_with(b"//") {
        return Some(rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()));
    }
    if rest.starts_with(b"/*") {
        return Some(find(rest, b"*/").map_or(rest.len(), |end| end + 2));
    }
    None
}

/// How long the string or character is that begins at `at`.
fn literal(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    let in_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    let prefix = ["br", "cr", "r"].into_iter().find(|prefix| rest.starts_with(prefix.as_bytes()));
    if let (false, Some(prefix)) = (in_word, prefix) {
        let hashes = rest[prefix.len()..].iter().take_while(|byte| **byte == b'#').count();
        let start = prefix.len() + hashes;
        if rest.get(start) == Some(&b'"') {
            let end = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
            return Some(
                find(&rest[start + 1..], &end).map_or(rest.len(), |len| start + 1 + len + end.len()),
            );
        }
    }
    match rest {
        [b'"', ..] => Some(quoted(rest, b'"')),
        // A lifetime has no closing quote after one character.
        [b'\'', b'\\', ..] => Some(quoted(rest, b'\'')),
        [b'\'', ..] => {
            let character = std::str::from_utf8(&rest[1..rest.len().min(5)]);
            let valid = character.map_or_else(|error| error.valid_up_to(), str::len);
            let first = std::str::from_utf8(&rest[1..1 + valid]).ok()?.chars().next()?.len_utf8();
            (rest.get(1 + first) == Some(&b'\'')).then_some(first + 2)
        }
        _ => None,
    }
}

/// How long the literal is that begins with `quote`, the closing one included.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// `code` with every `#[cfg(test)]` item blanked out.
fn without_tests(code: &str) -> String {
    let mut product = code.to_owned();
    while let Some(start) = product.find("#[cfg(test)]") {
        let rest = &product[start..];
        let end = match rest.find(['{', ';']) {
            Some(open) if rest.as_bytes()[open] == b'{' => start + open + block_len(&rest[open..]),
            Some(semicolon) => start + semicolon + 1,
            None => product.len(),
        };
        let blank: String = product[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        product.replace_range(start..end, &blank);
    }
    product
}

/// How long the block is that `code` begins with, braces included.
fn block_len(code: &str) -> usize {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return at + 1,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// Name, first line and number of lines of each function with a body.
fn functions(code: &str) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let starts_word = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let name: String = code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let Some(open) = body(&code[at..]).filter(|_| starts_word && !name.is_empty()) else { continue };
        let end = at + open + block_len(&code[at + open..]);
        let line = code[..at].matches('\n').count() + 1;
        found.push((name, line, code[at..end].matches('\n').count() + 1));
    }
    found
}

/// Where the body begins of the function that `code` begins with; none for one that is only declared.
fn body(code: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(at),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Lines that contain `part`.
fn places<'a>(code: &'a str, part: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.lines().enumerate().filter(move |(_, line)| line.contains(part)).map(|(number, _)| number + 1)
}

/// The words that follow `keyword`.
fn words_after<'a>(code: &'a str, keyword: &'a str) -> impl Iterator<Item = &'a str> {
    let words: Vec<&str> =
        code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty()).collect();
    let pairs: Vec<&str> = words.windows(2).filter(|pair| pair[0] == keyword).map(|pair| pair[1]).collect();
    pairs.into_iter()
}

/// Paths after `crate::`, groups such as `crate::{a, b::c}` taken apart at their first level.
fn imports(code: &str) -> Vec<String> {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    for (at, part) in code.match_indices("crate::") {
        let rest = &code[at + part.len()..];
        let end = rest.find(|c| !is_path(c)).unwrap_or(rest.len());
        let base = &rest[..end];
        if !rest[end..].starts_with('{') {
            found.push(base.to_owned());
            continue;
        }
        let group = &rest[end + 1..end + block_len(&rest[end..]) - 1];
        let mut depth = 0;
        let parts = group.split(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            c == ',' && depth == 0
        });
        for name in parts.map(str::trim).filter(|name| !name.is_empty()) {
            let name = name.split(|c| !is_path(c)).next().unwrap_or_default();
            found.push(
                format!("{base}{}", if name == "self" { "" } else { name }).trim_end_matches(':').to_owned(),
            );
        }
    }
    found
}

/// Whether `path` is `start` or lies beneath it.
fn leads_into(path: &str, start: &str) -> bool {
    path.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Errno constants named in `code`: `libc::EIO`, `Errno::IO`.
fn errnos(code: &str) -> BTreeSet<String> {
    let upper =
        |text: &str| text.chars().take_while(|c| c.is_ascii_uppercase() || c.is_ascii_digit()).collect();
    let after = |prefix: &str, skip: usize| -> Vec<String> {
        let found = code.match_indices(prefix).map(|(at, _)| upper(&code[at + prefix.len() - skip..]));
        found.filter(|name: &String| name.len() > 1).collect()
    };
    after("libc::E", 1).into_iter().chain(after("Errno::", 0)).collect()
}

/// Command lines in a text: those of code blocks for a shell, and what stands in backticks.
fn commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        if let Some(language) = line.strip_prefix("```") {
            in_block = !in_block && ["sh", "console"].contains(&language);
        } else if in_block {
            let line = line.strip_prefix("$ ").unwrap_or(line);
            found.push(line.split(" #").next().unwrap_or_default().to_owned());
        } else {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found.retain(|line| line.starts_with("make ") || line.contains("spinney ") && !line.contains("spinney-"));
    found
}

/// What the command line `spinney WORDS` uses that does not exist.
fn misused(words: &[&str]) -> std::vec::IntoIter<String> {
    let cli = spinney::cli::Cli::command();
    let Some(first) = words.first().filter(|word| word.chars().all(|c| c.is_ascii_lowercase())) else {
        return Vec::new().into_iter();
    };
    let Some(mut subcommand) = cli.find_subcommand(first) else {
        return vec![format!("subcommand `{first}`")].into_iter();
    };
    let mut rest = &words[1..];
    while let Some(inner) = rest.first().and_then(|word| subcommand.find_subcommand(word)) {
        (subcommand, rest) = (inner, &rest[1..]);
    }
    let flags = rest.iter().take_while(|word| **word != "--").filter_map(|word| word.strip_prefix("--"));
    let known = |flag: &&str| {
        ["help", "version"].contains(flag)
            || subcommand.get_arguments().any(|known| known.get_long() == Some(flag))
    };
    let unknown: Vec<String> =
        flags.filter(|flag| !known(flag)).map(|flag| format!("flag `--{flag}`")).collect();
    unknown.into_iter()
}

#[test]
fn the_reader_of_sources_skips_what_the_compiler_skips() {
    for (text, code) in [
        ("a // fn b", "a        "),
        ("a /* x */ b", "a         b"),
        (r#"f("fn \" x") y"#, "f(         ) y"),
        (r##"r#"a"b"# c"##, "         c"),
        ("'{' 'a, '\\'' x", "    'a,      x"),
        ("fn r(for_r: &str)", "fn r(for_r: &str)"),
        ("'é' x", "     x"),
    ] {
        assert_eq!(blank_comments_and_literals(text), code, "{text}");
    }
    assert_eq!(
        imports("use crate::{a, b::{c, d}, e::F}; crate::g::h(); crate::i::{self, J}"),
        ["a", "b", "e::F", "g::h", "i", "i::J"]
    );
    assert_eq!(
        functions("fn a() {\n}\nfn b(x: [u8; 2]);\nimpl X { fn c() -> [u8; 2] {\n\n} }"),
        [("a".to_owned(), 1, 2), ("c".to_owned(), 4, 3)]
    );
}
