//! docs/SEMANTICS.md and the tests belong together.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Files and folders of `tests/it` whose every test proves a promise.
const PROVING: &[&str] =
    &["semantics", "freshness.rs", "hosts.rs", "node_faults.rs", "refresh.rs", "sharing.rs"];

/// Tests in them that are about something else: name, what it is.
const ELSEWHERE: &[(&str, &str)] = &[
    ("every_promise_names_a_test_and_every_test_of_them_is_named", "this very test"),
    ("a_report_that_finds_no_room_changes_nothing_but_a_warning", "the report, not the view"),
];

/// Names of the functions marked `#[test]` in the file at `path`, or in the files beneath it.
fn tests_in(path: &Path, found: &mut BTreeSet<String>) {
    let files = match path.is_dir() {
        true => fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect(),
        false => vec![path.to_owned()],
    };
    for path in files {
        if path.is_dir() {
            tests_in(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let after = text.split("#[test]\n").skip(1);
            found.extend(after.filter_map(|code| {
                Some(code.trim_start().strip_prefix("fn ")?.split('(').next()?.to_owned())
            }));
        }
    }
}

/// The paragraphs that promise something, and the tests that each names.
fn paragraphs(text: &str) -> Vec<(String, Vec<String>)> {
    let promises = text.split("\n\n").filter(|paragraph| paragraph.starts_with("**"));
    let of = |paragraph: &str| {
        let names = paragraph.split_once("\nTests: ").map_or("", |(_, names)| names);
        let quoted = names.split('`').skip(1).step_by(2).map(str::to_owned);
        (paragraph.lines().next().unwrap_or_default().to_owned(), quoted.collect())
    };
    promises.map(of).collect()
}

#[test]
fn every_promise_names_a_test_and_every_test_of_them_is_named() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/SEMANTICS.md")).unwrap();
    let (mut all, mut ours) = (BTreeSet::new(), BTreeSet::new());
    tests_in(&root.join("tests"), &mut all);
    tests_in(&root.join("src"), &mut all);
    PROVING.iter().for_each(|place| tests_in(&root.join("tests/it").join(place), &mut ours));
    let mut named = BTreeSet::new();
    for (title, tests) in paragraphs(&text) {
        assert!(!tests.is_empty(), "no test is named by: {title}");
        for test in tests {
            assert!(all.contains(&test), "there is no test `{test}`, named by: {title}");
            named.insert(test);
        }
    }
    for (test, _) in ELSEWHERE {
        assert!(ours.remove(*test), "there is no test `{test}`");
    }
    let unnamed: Vec<_> = ours.difference(&named).collect();
    assert!(unnamed.is_empty(), "docs/SEMANTICS.md does not name {unnamed:?}");
}
