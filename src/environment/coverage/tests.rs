//! Coverage of a made-up environment: links, packages of three kinds, bytecode, what came and went.

use super::*;
use crate::environment::recorded::Usage;
use std::fs;
use std::os::unix::fs::symlink;

const SITE: &str = "lib/python3.11/site-packages";

/// An environment of 12 files, 13 directories and 3 links.
fn environment() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("env");
    let site = |name: &str| format!("{SITE}/{name}");
    let files: [(String, &str); 12] = [
        (site("num/__init__.py"), "12345"),
        (site("num/__pycache__/__init__.cpython-311.pyc"), "1234567"),
        (site("num/core.so"), "1234567890"),
        (site("num/a, b.txt"), "1"),
        (
            site("num-2.0.dist-info/RECORD"),
            "num/__init__.py,,\nnum/core.so,,\n\"num/a, b.txt\",,\nnum-2.0.dist-info/RECORD,,\n../../../bin/num,,\n",
        ),
        (site("loose.py"), "12"),
        ("lib/python3.11/os.py".to_owned(), "123"),
        ("bin/num".to_owned(), "1"),
        (
            "conda-meta/zlib-1.3-h1.json".to_owned(),
            r#"{"name":"zlib","version":"1.3","files":["lib/libz.so.1"]}"#,
        ),
        ("lib/libz.so.1".to_owned(), "12345678"),
        ("lib/R/library/Matrix/DESCRIPTION".to_owned(), "Package: Matrix\nVersion: 1.6\nBuilt: R 4.3\n"),
        ("lib/R/library/Matrix/libs/Matrix.so".to_owned(), "1234"),
    ];
    for (path, content) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    symlink("lib", root.join("lib64")).unwrap();
    symlink("libz.so.1", root.join("lib/libz.so")).unwrap();
    symlink("/nowhere", root.join("lib/broken")).unwrap();
    directory
}

fn found(reads: u64) -> Usage {
    Usage { calls: 1, found: 1, reads, ..Usage::default() }
}

fn absent() -> Usage {
    Usage { calls: 1, absent: 1, ..Usage::default() }
}

fn recorded(root: &Path, paths: &[(&str, Usage)]) -> Recorded {
    let paths = paths.iter().map(|(path, usage)| (root.join(path), *usage)).collect();
    Recorded { paths, ..Recorded::default() }
}

fn package<'a>(coverage: &'a Coverage, name: &str) -> &'a Part {
    &coverage.packages.iter().find(|(package, _)| package.name == name).unwrap_or_else(|| panic!("{name}")).1
}

#[test]
fn everything_counts_once_where_it_really_lies() {
    let directory = environment();
    let root = directory.path().join("env");
    symlink(&root, directory.path().join("alias")).unwrap();
    let roots = [root.clone(), directory.path().join("alias"), root.join("lib")];
    let coverage = coverage(&recorded(&root, &[]), &roots);
    assert_eq!(coverage.roots.len(), 1, "an alias and a root inside are the same");
    let Amount { files, directories, links, bytes, .. } = coverage.total.available;
    assert_eq!((files, directories, links), (12, 13, 3));
    let size = |name: &str| fs::metadata(root.join(name)).unwrap().len();
    let lists = size(&format!("{SITE}/num-2.0.dist-info/RECORD"))
        + size("conda-meta/zlib-1.3-h1.json")
        + size("lib/R/library/Matrix/DESCRIPTION");
    assert_eq!(bytes, 5 + 7 + 10 + 1 + 2 + 3 + 1 + 8 + 4 + lists);
    assert_eq!(coverage.total.used, Amount::default());
}

#[test]
fn what_was_used_through_a_link_is_used_where_it_lies() {
    let directory = environment();
    let root = directory.path().join("env");
    symlink(&root, directory.path().join("alias")).unwrap();
    let paths = [
        ("lib64/python3.11/os.py", found(1)), // through a link to a directory
        ("lib/python3.11/os.py", found(1)),   // the same file
        ("../alias/lib/python3.11/os.py", found(1)), // the same again: the root has two names
        ("lib/libz.so", found(1)),            // a link that is opened: its target is read
        ("lib/python3.11/site-packages/x.py", absent()), // a probe
        ("lib/gone.py", found(1)),            // there no more
        ("lib/python3.11/site-packages/loose.py", absent()), // there only now
        ("../elsewhere", found(1)),
    ];
    let coverage = coverage(&recorded(&root, &paths), &[directory.path().join("alias")]);
    let used = coverage.total.used;
    assert_eq!((used.files, used.read, used.links), (2, 2, 2), "os.py, libz.so.1; lib64, libz.so");
    assert_eq!(used.directories, 3, "the root, lib, python3.11");
    assert_eq!((coverage.absent.len(), coverage.changed.len(), coverage.elsewhere), (1, 2, 1));
    assert!(coverage.notes()[0].starts_with("appeared or gone since the recording: 2"));
}

#[test]
fn files_belong_to_the_package_that_claims_them() {
    let directory = environment();
    let root = directory.path().join("env");
    let paths = [
        ("lib/python3.11/site-packages/num/__pycache__/__init__.cpython-311.pyc", found(1)),
        ("lib/R/library/Matrix/libs/Matrix.so", found(0)),
    ];
    let coverage = coverage(&recorded(&root, &paths), std::slice::from_ref(&root));
    for (name, files, used) in [
        ("num", 6, 1), // with its program in bin, and the bytecode that RECORD does not list
        ("zlib", 2, 0),
        ("Matrix", 2, 1),
        ("(Python's library)", 1, 0),
        ("(no package)", 1, 0), // loose.py; links are no files
    ] {
        let part = package(&coverage, name);
        assert_eq!((part.available.files, part.used.files), (files, used), "{name}");
    }
    let sum: u64 = coverage.packages.iter().map(|(_, part)| part.available.bytes).sum();
    assert_eq!(sum, coverage.total.available.bytes);
}

#[test]
fn links_in_circles_lead_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    symlink("b", root.join("a")).unwrap();
    symlink("a", root.join("b")).unwrap();
    let coverage = coverage(&recorded(&root, &[("a/x", found(1))]), std::slice::from_ref(&root));
    assert_eq!((coverage.total.used.links, coverage.elsewhere), (0, 1));
}

#[test]
fn a_root_that_is_not_there_is_told() {
    let coverage = coverage(&Recorded::default(), &["/nothing/here".into()]);
    assert!(coverage.roots.is_empty() && coverage.troubles[0].starts_with("/nothing/here: "));
}

#[test]
fn coppers_lists_are_complete_and_sorted() {
    let directory = environment();
    let root = directory.path().join("env").canonicalize().unwrap();
    fs::write(root.join("bin/two\nlines"), "").unwrap();
    let paths = [("lib/python3.11/os.py", found(1)), ("lib/libx.so", absent())];
    let coverage = coverage(&recorded(&root, &paths), std::slice::from_ref(&root));
    let out = directory.path().join("out");
    coverage.write_copper(&out).unwrap();
    let read = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    let lines = |name: &str| read(name).lines().map(str::to_owned).collect::<Vec<_>>();
    let at = |name: &str| root.join(name).to_str().unwrap().to_owned();
    assert_eq!(
        lines("used_paths_existing.txt"),
        [at(""), at("lib"), at("lib/python3.11"), at("lib/python3.11/os.py")]
            .map(|path| path.trim_end_matches('/').to_owned())
    );
    assert_eq!(lines("missing_probe_paths.txt"), [at("lib/libx.so")]);
    let all = lines("all_possible_existing_paths.txt");
    let unused = lines("same_run_candidate_not_observed_existing_paths.txt");
    assert_eq!((all.len(), unused.len()), (28, 24));
    assert!(all.is_sorted() && unused.is_sorted());
    let summary = read("paths_summary.md");
    assert!(
        summary.contains("| Actually used in this run | `used_paths_existing.txt` | 4 | 1 | 3 | 0 |"),
        "{summary}"
    );
    assert!(summary.contains("2 lines are left out of the lists"), "{summary}");
    assert!(read("roots_and_counts.txt").contains("- Observed files: 1 of "));
}
