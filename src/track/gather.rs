//! From what one process imported to what is kept of it: one line for each package that passes the filter.
//!
//! The seconds of a module that does not pass are credited to the package it belongs to, if that passes: so what
//! a package costs is whole, however few lines it leaves.
//!
//! Not here: where lines come from and go (`flight`), the rules (`filter`).

use std::collections::{HashMap, HashSet};

use super::filter::Filter;
use super::record::{Import, Line, Process};

/// Keeps of the lines of one process what `filter` lets pass; nothing if it imported nothing that passes.
pub fn process(text: &[u8], filter: &Filter) -> Vec<Line> {
    let (process, asked, imports) = take_apart(text);
    let Some(process) = process else { return Vec::new() };
    // An interpreter within another program has no file of its own to go by: only rules for everything speak of it.
    if !filter.executable(process.executable.as_deref().unwrap_or_default()).is_kept {
        return Vec::new();
    }
    let is_python = process.implementation != "R";
    let passes = |import: &Import| {
        let own = import.has('s') || import.has('b') || import.has('f');
        let verdict = match is_python {
            true => filter.python(&import.name, path_told(import)),
            false => filter.package(&process.implementation, &import.name, import.path.as_deref()),
        };
        (filter.standard_library || !own) && verdict.is_kept
    };
    let (passed, dropped): (Vec<Import>, Vec<Import>) = imports.into_iter().partition(passes);
    let (mut kept, places) = once_each(passed);
    for module in dropped {
        if let Some(&place) = ancestor(&module.name).find_map(|name| places.get(name)) {
            credit(&mut kept[place], &module);
        }
    }
    for import in &mut kept {
        if asked.contains(&import.name) && !import.has('a') {
            import.flags.push('a');
        }
    }
    if kept.is_empty() {
        return Vec::new();
    }
    std::iter::once(Line::Process(process)).chain(kept.into_iter().map(Line::Import)).collect()
}

/// A module that was imported again, or told of twice, is one; by its name, where it is among them.
fn once_each(imports: Vec<Import>) -> (Vec<Import>, HashMap<String, usize>) {
    let (mut once, mut places): (Vec<Import>, HashMap<String, usize>) = (Vec::new(), HashMap::new());
    for import in imports {
        let there = places.get(&import.name).and_then(|&place| once.get_mut(place));
        match there.filter(|there| (&there.path, &there.version) == (&import.path, &import.version)) {
            Some(there) => {
                there.own_us += import.own_us;
                there.total_us += import.total_us;
            }
            None => {
                places.insert(import.name.clone(), once.len());
                once.push(import);
            }
        }
    }
    (once, places)
}

fn take_apart(text: &[u8]) -> (Option<Process>, HashSet<String>, Vec<Import>) {
    let (mut process, mut asked, mut imports) = (None, HashSet::new(), Vec::new());
    for line in text.split(|&byte| byte == b'\n').filter_map(Line::parse) {
        match line {
            Line::Process(of_line) => process = process.or(Some(of_line)),
            // Who asks for `scipy.stats` asks for `scipy`.
            Line::Asks(names) => {
                asked.extend(names.iter().flat_map(|name| ancestor(name).map(str::to_owned)));
                asked.extend(names);
            }
            Line::Import(import) => imports.push(import),
            Line::Run(_) | Line::Library(_) | Line::End(_) => {}
        }
    }
    (process, asked, imports)
}

/// The path as XALT's rules know it: modules within the interpreter have the name of their kind for one.
fn path_told(import: &Import) -> Option<&str> {
    match (&import.path, import.has('b'), import.has('f')) {
        (None, true, _) => Some("built-in"),
        (None, _, true) => Some("frozen"),
        (path, ..) => path.as_deref(),
    }
}

/// `a.b`, then `a`, for `a.b.c`.
fn ancestor(name: &str) -> impl Iterator<Item = &str> {
    name.rmatch_indices('.').map(|(dot, _)| &name[..dot])
}

fn credit(package: &mut Import, module: &Import) {
    package.own_us += module.own_us;
    let by = module.by.as_deref().unwrap_or_default();
    let is_within =
        by.strip_prefix(&package.name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    // What the package imported itself is in its total already.
    if !is_within {
        package.total_us += module.total_us;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(lines: &[&str]) -> Vec<u8> {
        let head = "[\"proc\",{\"pid\":7,\"parent\":1,\"started\":1.5,\"python\":\"3.11.7\",\
            \"implementation\":\"cpython\",\"executable\":null,\"prefix\":\"/e\",\"base_prefix\":\"/e\"}]\n";
        format!("{head}{}\n", lines.join("\n")).into_bytes()
    }

    fn imports(lines: &[&str]) -> Vec<Import> {
        let kept = process(&file(lines), &Filter::default());
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
    fn without_a_process_there_is_nothing() {
        assert!(
            process(b"[\"i\",1,\"numpy\",\"/e/numpy\",null,1,1,\"p\",null]\n", &Filter::default()).is_empty()
        );
    }
}
