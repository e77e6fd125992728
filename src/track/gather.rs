//! From what one process imported to what is kept of it: which interpreter it was, and one line for each package that
//! passes the filter.
//!
//! The seconds of a module that does not pass are credited to the package it belongs to, if that passes: so what
//! a package costs is whole, however few lines it leaves.
//!
//! Not here: where lines come from and go (`flight`), the rules (`filter`).

use std::collections::HashMap;

use super::filter::Filter;
use super::libraries::package_of;
use super::record::{Import, Library, Line, Process};
use super::seen::{Seen, ancestors};

/// Keeps of the lines of one process what `filter` lets pass; nothing if that leaves out the program.
pub fn process(seen: Seen, filter: &Filter) -> Vec<Line> {
    let Seen { process, asked, imports } = seen;
    let Some(process) = process.filter(|process| is_told(process, filter)) else { return Vec::new() };
    let is_python = process.implementation != "R";
    let passes = |import: &Import| {
        let own = import.has('s') || import.has('b') || import.has('f');
        let verdict = match is_python {
            true => filter.python(&import.name, path_told(import)),
            false => filter.package(&process.implementation, &import.name, import.path.as_deref()),
        };
        (filter.standard_library || !own) && verdict.is_kept
    };
    let spans: Vec<Span> =
        imports.iter().enumerate().map(|(ended, it)| Span { began: it.number, ended }).collect();
    let (passed, dropped): (Vec<(Import, Span)>, Vec<_>) =
        imports.into_iter().zip(spans).partition(|(import, _)| passes(import));
    let (mut kept, places) = once_each(passed);
    // What ended last comes first: whatever holds another is met before it.
    for (module, span) in dropped.into_iter().rev() {
        if let Some(&place) = ancestors(&module.name).find_map(|name| places.get(name)) {
            kept[place].credit(&module, span);
        }
    }
    let mut kept: Vec<Import> = kept.into_iter().map(Kept::whole).collect();
    for import in &mut kept {
        if asked.contains(&import.name) && !import.has('a') {
            import.flags.push('a');
        }
    }
    // What XALT's hooks told is no interpreter, only a package.
    if kept.is_empty() && process.pid == 0 {
        return Vec::new();
    }
    std::iter::once(Line::Process(process)).chain(kept.into_iter().map(Line::Import)).collect()
}

/// Shared objects that the process must have mapped: modules that are some. Neither what these are linked with.
pub fn extensions(seen: &Seen, filter: &Filter) -> Vec<Library> {
    let told = seen.process.as_ref().filter(|process| process.pid != 0 && is_told(process, filter));
    let Some(Process { pid, .. }) = told else { return Vec::new() };
    let extensions = seen.imports.iter().filter(|import| import.has('x'));
    extensions
        .filter_map(|import| import.path.clone())
        .map(|path| Library { package: package_of(&path), path, processes: *pid })
        .collect()
}

/// Whether rules let the interpreter be told of.
fn is_told(process: &Process, filter: &Filter) -> bool {
    // One within another program has no file of its own to go by: only rules for everything speak of it.
    filter.executable(process.executable.as_deref().unwrap_or_default()).is_kept
}

/// A module that was imported again, or told of twice, is one; by its name, where it is among them.
fn once_each(imports: Vec<(Import, Span)>) -> (Vec<Kept>, HashMap<String, usize>) {
    let (mut once, mut places): (Vec<Kept>, HashMap<String, usize>) = (Vec::new(), HashMap::new());
    for (import, span) in imports {
        let there = places.get(&import.name).and_then(|&place| once.get_mut(place));
        let is_same = |there: &Import| (&there.path, &there.version) == (&import.path, &import.version);
        match there.filter(|there| is_same(&there.import)) {
            Some(there) => {
                there.import.own_us += import.own_us;
                there.import.total_us += import.total_us;
                there.spans.push(span);
            }
            None => {
                places.insert(import.name.clone(), once.len());
                once.push(Kept { import, spans: vec![span] });
            }
        }
    }
    (once, places)
}

/// When an import began and when it ended, each in the order of all imports of the process.
#[derive(Debug, Clone, Copy)]
struct Span {
    began: u32,
    ended: usize,
}

/// A package that is told of, and when the seconds passed that its total has.
#[derive(Debug)]
struct Kept {
    import: Import,
    spans: Vec<Span>,
}

impl Kept {
    /// Adds the seconds of a module that belongs to the package. Many modules come later than their package, when
    /// something of theirs is first used; what came within the package's import is in its total already.
    fn credit(&mut self, module: &Import, span: Span) {
        self.import.own_us += module.own_us;
        if !self.spans.iter().any(|it| it.began < span.began && it.ended > span.ended) {
            self.import.total_us += module.total_us;
            self.spans.push(span);
        }
    }

    /// Of threads that import at once the order says less: a total has at least what is the package's own.
    fn whole(mut self) -> Import {
        self.import.total_us = self.import.total_us.max(self.import.own_us);
        self.import
    }
}

/// The path as XALT's rules know it: modules within the interpreter have the name of their kind for one.
fn path_told(import: &Import) -> Option<&str> {
    match (&import.path, import.has('b'), import.has('f')) {
        (None, true, _) => Some("built-in"),
        (None, _, true) => Some("frozen"),
        (path, ..) => path.as_deref(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::seen;

    fn file(lines: &[&str]) -> Vec<u8> {
        let head = "[\"proc\",{\"pid\":7,\"parent\":1,\"started\":1.5,\"python\":\"3.11.7\",\
            \"implementation\":\"cpython\",\"executable\":null,\"prefix\":\"/e\",\"base_prefix\":\"/e\"}]\n";
        format!("{head}{}\n", lines.join("\n")).into_bytes()
    }

    fn imports(lines: &[&str]) -> Vec<Import> {
        let kept = process(seen::read(&file(lines)), &Filter::default());
        kept.into_iter()
            .filter_map(|line| if let Line::Import(it) = line { Some(it) } else { None })
            .collect()
    }

    #[test]
    fn a_package_is_one_line_with_the_seconds_of_all_its_modules() {
        let kept = imports(&[
            r#"["i",3,"numpy.core","/e/numpy/core/__init__.py",null,30,40,"p","numpy"]"#,
            r#"["i",2,"numpy","/e/numpy/__init__.py","2.0",10,60,"p","pandas"]"#,
            r#"["i",4,"numpy.fft","/e/numpy/fft/__init__.py",null,5,7,"p","__main__"]"#,
            r#"["i",1,"json","/usr/lib/python3.11/json/__init__.py",null,9,9,"ps","__main__"]"#,
            r#"["i",5,"_speedups","/e/_speedups.so",null,9,9,"x","__main__"]"#,
        ]);
        let [numpy] = &kept[..] else { panic!("{kept:?}") };
        assert_eq!(
            (numpy.own_us, numpy.total_us),
            (45, 67),
            "numpy.core is in the total already, numpy.fft is not"
        );
    }

    #[test]
    fn modules_that_a_package_loads_later_count_once_for_its_total() {
        let kept = imports(&[
            r#"["i",1,"numpy","/e/numpy/__init__.py","2.0",10,60,"p","__main__"]"#,
            // `numpy.testing` by the package's own `__getattr__`, when it is first used.
            r#"["i",3,"numpy.testing._private","/e/numpy/testing/_private.py",null,30,30,"","numpy.testing"]"#,
            r#"["i",2,"numpy.testing","/e/numpy/testing/__init__.py",null,5,35,"p","numpy"]"#,
        ]);
        assert_eq!((kept[0].own_us, kept[0].total_us), (45, 95), "{kept:?}");
    }

    #[test]
    fn a_package_that_was_there_already_counts_as_asked_for_if_the_users_code_names_it() {
        let line = r#"["i",2,"numpy","/e/numpy/__init__.py","2.0",10,60,"p","pandas"]"#;
        assert!(!imports(&[line])[0].has('a'));
        assert!(imports(&[line, r#"["asks",["numpy"]]"#])[0].has('a'));
        assert!(imports(&[line, r#"["asks",["numpy.linalg"]]"#])[0].has('a'));
    }

    #[test]
    fn a_module_that_is_imported_again_is_one() {
        let line = r#"["i",2,"numpy","/e/numpy/__init__.py","2.0",10,60,"p","pandas"]"#;
        let kept = imports(&[line, line]);
        assert_eq!((kept.len(), kept[0].own_us), (1, 20));
    }

    #[test]
    fn programs_that_path_patterns_leave_out_leave_nothing() {
        let rules = |rules: &str| Filter::new(crate::track::config_py::read(rules).unwrap()).unwrap();
        let import = r#"["i",1,"numpy","/e/numpy/__init__.py","2.0",1,1,"p",null]"#;
        let by = |program: &str| {
            let text = String::from_utf8(file(&[import])).unwrap();
            text.replace("\"executable\":null", &format!("\"executable\":{program}")).into_bytes()
        };
        let cases = [
            ("path_patterns = [['PKGS', r'.*/python[0-9.]*']]", "\"/e/bin/python3.11\"", true),
            ("path_patterns = [['PKGS', r'.*/python[0-9.]*']]", "\"/e/bin/tool\"", false),
            ("path_patterns = [['SKIP', r'/e/'], ['PKGS', '.*']]", "\"/e/bin/python3.11\"", false),
            ("path_patterns = [['PKGS', r'.*/python']]", "null", false), // an embedded one has no file to go by
            ("path_patterns = [['PKGS', r'.*']]", "null", true),
            ("", "null", true),
        ];
        for (list, program, is_kept) in cases {
            assert_eq!(
                !process(seen::read(&by(program)), &rules(list)).is_empty(),
                is_kept,
                "{list} {program}"
            );
        }
    }

    #[test]
    fn an_interpreter_that_imported_nothing_is_told_of_and_what_xalts_hook_told_is_none() {
        let kept = |text: Vec<u8>| process(seen::read(&text), &Filter::default()).len();
        let (imports_nothing, text) = (file(&[]), String::from_utf8(file(&[])).unwrap());
        assert_eq!(kept(imports_nothing), 1);
        assert_eq!(
            kept(file(&[r#"["i",1,"json","/usr/lib/python3.11/json/__init__.py",null,9,9,"ps",null]"#])),
            1
        );
        assert_eq!(kept(text.replace("\"pid\":7", "\"pid\":0").into_bytes()), 0);
    }

    #[test]
    fn extension_modules_are_shared_objects_of_their_process() {
        let lines = [
            r#"["i",1,"_m","/e/site-packages/m/_m.so",null,1,1,"x",null]"#,
            r#"["i",2,"m","/e/m.py",null,1,1,"",null]"#,
        ];
        let seen = seen::read(&file(&lines));
        let told =
            Library { path: "/e/site-packages/m/_m.so".into(), package: Some("m".into()), processes: 7 };
        assert_eq!(extensions(&seen, &Filter::default()), [told]);
        let none =
            Filter::new(crate::track::config_py::read("path_patterns = [['SKIP', '.*']]").unwrap()).unwrap();
        assert!(extensions(&seen, &none).is_empty());
    }

    #[test]
    fn without_a_process_there_is_nothing() {
        let seen = seen::read(b"[\"i\",1,\"numpy\",\"/e/numpy\",null,1,1,\"p\",null]\n");
        assert!(extensions(&seen, &Filter::default()).is_empty());
        assert!(process(seen, &Filter::default()).is_empty());
    }
}
