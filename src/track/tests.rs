//! What rules mean: a table of names and paths, the lists they are held against, and what decides.

use super::config_py;
use super::filter::{Filter, Lists, Meaning};
use super::filter_file::toml_lists;
use super::lint::lint;

/// The beginning of the list that XALT ships, as its documentation and its code have it.
const SHIPPED: &str = r#"
import os  # is passed by
python_pkg_patterns = [
  { 'k_s' : 'SKIP', 'kind' : 'path', 'patt' : r"^[^/]" },    # built-in, frozen
  { 'k_s' : 'SKIP', 'kind' : 'name', 'patt' : r"^_" },
  { 'k_s' : 'SKIP', 'kind' : 'name', 'patt' : r".*\." },
  { 'k_s' : 'KEEP', 'kind' : 'path', 'patt' : r".*/.local/" },
  { 'k_s' : 'SKIP', 'kind' : 'name', 'patt' : r"^os$" },
  { 'k_s' : 'SKIP', 'kind' : 'name', 'patt' : r"^re$" },
  { 'k_s' : 'SKIP', 'kind' : 'name', 'patt' : r"^sys$" },
  { 'k_s' : 'SKIP', 'kind' : 'name', 'patt' : r"^subprocess$" },
  { 'k_s' : 'KEEP', 'kind' : 'path', 'patt' : r".*" },
]
pkg_patterns = [
  ["SKIP", r"^R:name:base$"],
  ["SKIP", r"^python:path:\/home"],
  ["KEEP", r".*"],
]
path_patterns = [
  ['PKGS', r'.*\/python[0-9.]*'],
  ['PKGS', r'.*\/R'],
  ['SKIP', r'.*'],
]
"#;

fn filter(config: &str) -> Filter {
    Filter::new(config_py::read(config).unwrap()).unwrap()
}

fn one(kind: &str, says: &str, pattern: &str) -> Filter {
    filter(&format!("python_pkg_patterns = [{{'k_s': '{says}', 'kind': '{kind}', 'patt': r'{pattern}'}}]"))
}

/// Name, path, whether it is kept, line of the rule (0: none).
type Case = (&'static str, Option<&'static str>, bool, usize);

#[test]
fn the_shipped_list_means_what_it_means_to_xalt() {
    let shipped = filter(SHIPPED);
    let cases: &[Case] = &[
        ("sys", Some("built-in"), false, 4), // what has no file is skipped by its path
        ("zipimport", Some("frozen"), false, 4), // the same
        ("sys", None, false, 4),             // no path: the path rule sees the name
        ("numpy", None, false, 4),           // the same, although it is a package
        ("_ssl", Some("/usr/lib/_ssl.so"), false, 5), // private
        ("__main__", Some("/home/u/x.py"), false, 5), // private, too
        ("numpy.core", Some("/e/numpy/core/x.py"), false, 6), // a submodule
        ("a.b.c.d", Some("/e/a.py"), false, 6), // a deep one
        ("_a.b", Some("/e/a.py"), false, 5), // the first that matches decides
        ("mine", Some("/x/u/.local/lib/mine.py"), true, 7), // a user's own installation
        ("os", Some("/x/.local/os.py"), true, 7), // before the names are tried
        ("m.sub", Some("/x/.local/m/sub.py"), false, 6), // but after submodules
        ("a", Some("/x/xlocal/a.py"), true, 7), // `.` is any character
        ("a", Some("/x//local/a.py"), true, 7), // even a slash
        ("a", Some("/x/local/a.py"), true, 12), // but one there must be
        ("a", Some("/x/.local"), true, 12),  // and a slash behind
        ("os", Some("/usr/lib/os.py"), false, 8),
        ("ossaudiodev", Some("/usr/lib/o.so"), true, 12), // the pattern says where the name ends
        ("macos", Some("/e/macos.py"), true, 12),         // not anywhere else
        ("re", Some("/usr/lib/re.py"), false, 9),
        ("requests", Some("/e/requests/__init__.py"), true, 12),
        ("sys", Some("/usr/lib/sys.py"), false, 10),
        ("sysconfig", Some("/usr/lib/sysconfig.py"), true, 12),
        ("subprocess", Some("/usr/lib/subprocess.py"), false, 11),
        ("numpy", Some("/e/numpy/__init__.py"), true, 12),
        ("torch", Some("/e/torch/__init__.py"), true, 12),
        ("Numpy", Some("/e/Numpy/__init__.py"), true, 12), // case matters
        ("é", Some("/e/é.py"), true, 12),
        ("a b", Some("/e/a b.py"), true, 12),
        ("a;rm -rf", Some("/e/$(x)`y`.py"), true, 12), // to a shell this would be something
        ("a\"b'c", Some("/e/\"'.py"), true, 12),
        ("a\nb", Some("/e/a\nb.py"), true, 12),
        ("mine", Some("/home/u/mine.py"), false, 16), // pkg_patterns: a first match, and documented so
        ("mine", Some("/homes/mine.py"), false, 16),  // no slash at the end of the pattern
        ("mine", Some("/x/home/mine.py"), true, 12),  // anchored
        ("numpy", Some("relative/numpy.py"), false, 4), // a relative path begins with no slash
    ];
    for &(name, path, is_kept, line) in cases {
        let verdict = shipped.python(name, path);
        let rule = verdict.rule.map_or(0, |rule| rule.text.place.line);
        assert_eq!((verdict.is_kept, rule), (is_kept, line), "{name} {path:?}");
    }
}

#[test]
fn single_rules_match_as_pythons_re_match_does() {
    let cases = [
        // kind, says, pattern, name, path, is kept
        ("name", "SKIP", "num", "numpy", None, false), // a prefix is enough
        ("name", "SKIP", "num$", "numpy", None, true), // unless the pattern says where it ends
        ("name", "SKIP", "umpy", "numpy", None, true), // the start is anchored
        ("name", "SKIP", ".*umpy", "numpy", None, false), // unless the pattern says otherwise
        ("name", "SKIP", "a|b", "b", None, false),     // both branches are anchored
        ("name", "SKIP", "a|b", "cb", None, true),     // indeed
        ("name", "SKIP", "", "anything", None, false), // the empty pattern matches all
        ("name", "SKIP", "(?i)NUMPY", "numpy", None, false), // flags
        ("name", "SKIP", "[a-c]+$", "abc", None, false),
        ("name", "SKIP", "[a-c]+$", "abd", None, true),
        ("name", "SKIP", r"\w+\.\w+", "a.b", None, false),
        ("name", "SKIP", r"a{2}$", "aa", None, false),
        ("name", "SKIP", "/e/", "numpy", Some("/e/n.py"), true), // a rule about names never sees the path
        ("path", "SKIP", "/e/", "numpy", Some("/e/n.py"), false),
        ("path", "SKIP", "/e/", "numpy", None, true),
        ("path", "SKIP", "numpy", "numpy", None, false), // no path: the name
        ("path", "SKIP", "numpy", "numpy", Some("/numpy"), true), // a path: not the name
        ("path", "SKIP", "$", "numpy", Some(""), false), // an empty path is a path
        ("path", "KEEP", "/e/", "numpy", Some("/x/"), true), // nothing matches: kept
        ("path", "KEEP", "/e/", "numpy", Some("/e/"), true),
        ("path", "SKIP", r"\/e\/", "numpy", Some("/e/"), false), // escaped slashes, as flex needs them
        ("path", "SKIP", ".*/site-packages/", "n", Some("/e/site-packages/n"), false),
        ("path", "SKIP", "^^/e", "n", Some("/e"), false),
        ("path", "SKIP", "(/e)(/f)?", "n", Some("/e/g"), false),
    ];
    for (kind, says, pattern, name, path, is_kept) in cases {
        assert_eq!(
            one(kind, says, pattern).python(name, path).is_kept,
            is_kept,
            "{kind} {pattern} {name} {path:?}"
        );
    }
}

#[test]
fn package_rules_see_program_name_and_path_and_either_skip_drops() {
    let lists = |meaning| Lists { meaning, ..config_py::read(SHIPPED).unwrap() };
    let first = Filter::new(lists(Meaning::First)).unwrap();
    let longest = Filter::new(lists(Meaning::Longest)).unwrap();
    let cases = [
        // program, name, path, kept by the first match, kept by the longest
        ("R", "base", None, false, false),   // as long as `.*`, and before it
        ("R", "baseline", None, true, true), // `$`
        ("R", "base", Some("/usr/lib/R"), false, false),
        ("python", "base", None, true, true), // another program
        ("python", "mine", Some("/home/u/x.py"), false, true), // flex: `.*` is longer
        ("python", "mine", Some("/home"), false, false), // as long: the order decides
        ("R", "mine", Some("/home/u"), true, true),
    ];
    for (program, name, path, by_first, by_longest) in cases {
        let kept = [&first, &longest].map(|filter| filter.package(program, name, path).is_kept);
        assert_eq!(kept, [by_first, by_longest], "{program} {name} {path:?}");
    }
}

/// What sites have: programs to leave alone first, interpreters, then the rest.
const PROGRAMS: &str = r#"
path_patterns = [
  ['SKIP', r'.*\/python3-config'],
  ['PKGS', r'.*\/python[0-9.]*'],
  ['PKGS', r'.*\/R$'],
  ['KEEP', r'^\/opt\/tools\/'],
  ['SKIP', r'.*\/(ba|da)?sh'],
  ['SKIP', r'^\/usr\/bin\/python3\.6'],
]
"#;

#[test]
fn programs_are_tracked_as_the_list_says_by_first_and_by_longest_match() {
    let lists = |meaning| Lists { meaning, ..config_py::read(PROGRAMS).unwrap() };
    let first = Filter::new(lists(Meaning::First)).unwrap();
    let longest = Filter::new(lists(Meaning::Longest)).unwrap();
    let cases = [
        // path, packages by the first match, by the longest
        ("/usr/bin/python3.11", true, true),
        ("/usr/bin/python", true, true),
        ("/usr/bin/python3-config", false, false), // listed before
        ("/usr/bin/python3-dbg", true, true),      // a prefix is enough
        ("/usr/bin/python3.6", true, true),        // as long: the order decides
        ("/usr/bin/python3.6m", true, true),       // what follows is not matched
        ("/opt/python3/bin/tool", true, true),     // a directory of that name, up to the slash
        ("/home/u/pythonic", true, true),          // no digits needed
        ("python3", false, false),                 // the pattern has a slash
        ("/usr/lib/R/bin/exec/R", true, true),
        ("/usr/bin/Rscript", false, false), // `$`
        ("/opt/tools/x", false, false),     // KEEP keeps the program, not its packages
        ("/opt/tools/python3", true, true), // the first that matches; also longer
        ("/opt/tools/sh", false, false),
        ("/opt/tools/a/b/sh", false, false),
        ("/bin/sh", false, false),
        ("/bin/bash", false, false),
        ("/usr/bin/ls", false, false), // nothing matches
        ("", false, false),
        ("/e/\n/python3", false, false), // `.` is no end of a line
    ];
    for (path, by_first, by_longest) in cases {
        let tracked = [&first, &longest].map(|filter| filter.executable(path).is_kept);
        assert_eq!(tracked, [by_first, by_longest], "{path:?}");
    }
    let shipped = filter(SHIPPED);
    for (path, is_tracked) in [("/usr/bin/python3.11", true), ("/opt/R", true), ("/usr/bin/ls", false)] {
        assert_eq!(shipped.executable(path).is_kept, is_tracked, "{path}");
    }
    assert!(filter("").executable("/usr/bin/ls").is_kept, "without a list, all are");
    assert!(
        filter("path_patterns = [['PKGS', '.*']]").executable("").is_kept,
        "an interpreter without a file"
    );
}

#[test]
fn modules_of_python_itself_are_told_by_their_path_unless_rules_want_them() {
    let cases = [
        ("/usr/lib/python3.11/os.py", true),
        ("/e/lib64/python3.9/lib-dynload/math.so", true),
        ("built-in", true),
        ("frozen", true),
        ("/e/lib/python3.11/site-packages/numpy/__init__.py", false),
        ("/usr/lib/python3/dist-packages/six.py", false), // Debian's
        ("/usr/local/lib/python3.11/dist-packages/six.py", false),
        ("/home/u/lib/python3000/x.py", false),
        ("/home/u/x.py", false),
    ];
    for (path, expected) in cases {
        assert_eq!(Filter::default().leaves_out(path), expected, "{path}");
        assert!(!filter(SHIPPED).leaves_out(path), "with a Config.py its rules alone decide: {path}");
    }
}

#[test]
fn a_pattern_that_would_explode_elsewhere_takes_time_linear_in_the_text() {
    let long = "a".repeat(100_000);
    for pattern in ["(a*)*b", "(a+a+)+b", "(a|a)*b", "(a|aa)+$b", "a{1,100}a{1,100}b"] {
        assert!(one("name", "SKIP", pattern).python(&long, None).is_kept, "{pattern}");
    }
    let config = "pkg_patterns = [['SKIP', r'python:path:/(a|aa)*b'], ['SKIP', '.*c']]";
    let longest =
        Filter::new(Lists { meaning: Meaning::Longest, ..config_py::read(config).unwrap() }).unwrap();
    assert!(longest.python("x", Some(&format!("/{}", "a".repeat(4000)))).is_kept);
}

#[test]
fn toml_says_the_same_as_config_py() {
    let toml = r#"
        pkg_meaning = "longest"
        python_pkg_patterns = [{ k_s = "SKIP", kind = "name", patt = '^_' }]
        pkg_patterns = [["SKIP", '^python:path:\/home'], ["KEEP", '.*']]
        path_patterns = [["PKGS", '.*python']]
    "#;
    let filter = Filter::new(toml_lists(toml).unwrap()).unwrap();
    assert!(!filter.python("_x", None).is_kept);
    assert!(filter.python("mine", Some("/home/u/x.py")).is_kept, "the longest match");
    assert!(!filter.standard_library);
}

#[test]
fn what_is_wrong_in_a_file_is_told_with_its_place() {
    let python = [
        ("python_pkg_patterns = [\n  {'k_s': 'MAYBE', 'kind': 'name', 'patt': 'x'}]", "line 2, column 11"),
        ("python_pkg_patterns = [\n  {'k_s': 'SKIP', 'kind': 'size', 'patt': 'x'}]", "line 2, column 27"),
        ("python_pkg_patterns = [{'k_s': 'SKIP', 'colour': 'x'}]", "unknown key `colour`"),
        ("python_pkg_patterns = [{'k_s': 'SKIP', 'kind': 'name'}]", "no `patt`"),
        ("python_pkg_patterns = [{'k_s': 'SKIP', 'kind': 'name', 'patt': 'a('}]", "line 1, column 24"),
        ("python_pkg_patterns = [{'k_s': 'SKIP', 'kind': 'name', 'patt': r'(?=x)'}]", "look-around"),
        ("pkg_patterns = [['SKIP', r'a{1000}{1000}{1000}']]", "cannot be used"),
        ("pkg_patterns = [['SKIP']]", "two strings"),
        ("pkg_patterns = base + [['SKIP', 'x']]", "line 1, column 16"),
        ("pkg_patterns = [['SKIP', 'x']] + more", "computed"),
        ("pkg_patterns += [['SKIP', 'x']]", "not assigned"),
        ("if site:\n  pkg_patterns = []", "under a condition"),
        ("pkg_patterns = [['SKIP', 'x'", "ends"),
        ("pkg_patterns = [['SKIP', 'x\n']]", "does not end on its line"),
        ("pkg_patterns = [['SKIP', f'{x}']]", "computed"),
        ("pkg_patterns = [['SKIP', __import__('os').system('x')]]", "only strings"),
        ("x = '''", "does not end"),
    ];
    for (text, told) in python {
        let error = config_py::read(text).and_then(Filter::new).unwrap_err().to_string();
        assert!(error.contains(told), "{text}: {error}");
    }
    let toml = [
        ("python_pkg_patterns = [\n{ k_s = \"SKIP\", kind = \"size\", patt = \"x\" }]", "line 2, column 24"),
        ("colour = 1", "line 1, column 1: unknown field"),
        ("pkg_patterns = [[\"SKIP\"", "line 1"),
        ("\n\npkg_patterns = [[\"SKIP\", \"a(\"]]", "line 3, column 17"),
    ];
    for (text, told) in toml {
        let error = toml_lists(text).and_then(Filter::new).unwrap_err().to_string();
        assert!(error.contains(told), "{text}: {error}");
    }
}

#[test]
fn config_py_is_read_as_python_would() {
    let text = "#!/usr/bin/python\n'''doc ' \" string'''\nimport os; x = [1, {'a': (2, 3)},\n ']']\n\
        def f(a='pkg_patterns = 1'):\n    return {\n 'x': a}\npkg_patterns = (\n ['SKIP', r'a'\n  \"b\\d\" '''c'''], # no\n)\n\
        pkg_patterns = [\n ('SKIP', ur'x' ,), ['KEEP', (u'y')],\\\n]\n";
    let lists = config_py::read(text);
    let patterns: Vec<String> = lists.unwrap().packages.into_iter().map(|rule| rule.pattern).collect();
    assert_eq!(patterns, ["x", "y"], "the last assignment counts");
    assert!(
        config_py::read("pkg_patterns = (['SKIP', r'a' \"b\\d\"],)").unwrap().packages[0].pattern == "ab\\d"
    );
}

#[test]
fn deep_nesting_and_odd_bytes_end_in_an_error_or_nothing() {
    let deep = format!("pkg_patterns = {}", "[".repeat(100_000));
    assert!(config_py::read(&deep).is_err());
    for text in ["\\", "'", "pkg_patterns", "pkg_patterns =", "\u{feff}", "=", "]]]]", "é = 'é\\"] {
        let _ = config_py::read(text);
    }
}

#[test]
fn lint_names_what_cannot_decide_and_what_means_two_things() {
    let said = lint(&filter(SHIPPED));
    assert!(
        said.iter().any(|line| line.contains("means two things") && line.contains(r"\/home")),
        "{said:?}"
    );
    let said = lint(&filter("pkg_patterns = [['KEEP', '.*'],\n['SKIP', 'python:name:x']]"));
    assert!(said.iter().any(|line| line.contains("never decides") && line.contains("line 2")), "{said:?}");
    let names = "python_pkg_patterns = [{'k_s': 'SKIP', 'kind': 'name', 'patt': 're'},\n\
        {'k_s': 'KEEP', 'kind': 'name', 'patt': 'requests'}]";
    assert!(lint(&filter(names))[0].contains("never decides"), "{:?}", lint(&filter(names)));
    assert!(lint(&Filter::default()).is_empty());
    // Programs are held against examples of programs.
    let programs = "path_patterns = [['PKGS', '.*python'],\n['SKIP', '.*'],\n['PKGS', '.*/R']]";
    let said = lint(&filter(programs));
    assert!(said[0].contains("on `/usr/bin/python3.11`"), "{said:?}");
    assert!(said.iter().all(|line| !line.contains(":name:")), "{said:?}");
}
