//! What a process noted in flight, made into what is told of it.
//!
//! The hook in Python notes only what nobody else can know, since all that it does is paid by the program: lines of
//! fields between tabs (`hook.py` says which). Kind, path and version of a module are worked out here, when the run has
//! ended. R's hook and `spinney record-pkg` write the lines that travel (`record`).
//!
//! Invariant: whatever stands in a file, no import has a negative time, and what cannot be read is passed by.
//!
//! Not here: which of it is kept (`gather`).

use std::collections::{HashMap, HashSet};

use super::record::{Import, LINE_BYTES_MAX, Line, Process};

/// What one process noted.
#[derive(Debug, Default)]
pub struct Seen {
    /// Which; none if it was killed before it said so.
    pub process: Option<Process>,
    /// Names that the user's own code imports, and those above them.
    pub asked: HashSet<String>,
    /// What it imported, in the order in which it ended.
    pub imports: Vec<Import>,
}

/// Reads a process's file.
pub fn read(text: &[u8]) -> Seen {
    let mut seen = Seen::default();
    let (mut python, mut modules) = (Python::default(), Vec::new());
    for line in text.split(|&byte| byte == b'\n').filter(|line| line.len() <= LINE_BYTES_MAX) {
        if line.starts_with(b"[") {
            seen.note(Line::parse(line));
            continue;
        }
        let line = String::from_utf8_lossy(line);
        let Some((kind, fields)) = line.split_once('\t') else { continue };
        let fields: Vec<&str> = fields.split('\t').collect();
        match kind {
            "py" => seen.note(python.process(&fields).map(Line::Process)),
            "m" => modules.extend(Module::of(&fields)),
            "asks" => seen.note(Some(Line::Asks(fields.iter().map(|name| plain(name)).collect()))),
            "listed" => python.list(&fields),
            _ => {}
        }
    }
    seen.imports.extend(modules.into_iter().map(|module| python.import(module)));
    seen
}

impl Seen {
    fn note(&mut self, line: Option<Line>) {
        match line {
            Some(Line::Process(process)) => self.process = self.process.take().or(Some(process)),
            // Who asks for `scipy.stats` asks for `scipy`.
            Some(Line::Asks(names)) => {
                self.asked.extend(names.iter().flat_map(|name| ancestors(name).map(str::to_owned)));
                self.asked.extend(names);
            }
            Some(Line::Import(import)) => self.imports.push(import),
            Some(Line::Run(_) | Line::Library(_) | Line::End(_)) | None => {}
        }
    }
}

/// `a.b`, then `a`, for `a.b.c`.
pub fn ancestors(name: &str) -> impl Iterator<Item = &str> {
    name.rmatch_indices('.').map(|(dot, _)| &name[..dot])
}

/// What an interpreter says of itself.
#[derive(Debug, Default)]
struct Python {
    /// Directory of its standard library, with a slash behind.
    library: String,
    /// Versions by normal names, by directory.
    installed: HashMap<String, HashMap<String, String>>,
}

/// A module as the hook noted it.
#[derive(Debug)]
struct Module {
    number: u32,
    name: String,
    origin: String,
    place: String,
    version: String,
    own_us: u64,
    total_us: u64,
    is_asked: bool,
    is_package: bool,
    by: String,
}

impl Module {
    fn of(fields: &[&str]) -> Option<Self> {
        let &[number, name, origin, place, version, own, total, flags, by] = fields else { return None };
        // Times of two threads that take turns within one import can end up below zero.
        let microseconds = |text: &str| Some(text.parse::<i64>().ok()?.max(0).unsigned_abs());
        Some(Module {
            number: number.parse().ok()?,
            name: plain(name),
            origin: plain(origin),
            place: plain(place),
            version: plain(version),
            own_us: microseconds(own)?,
            total_us: microseconds(total)?,
            is_asked: flags.contains('a'),
            is_package: flags.contains('p'),
            by: plain(by),
        })
    }
}

impl Python {
    fn process(&mut self, fields: &[&str]) -> Option<Process> {
        let &[pid, started, python, implementation, executable, prefix, base_prefix, library] = fields else {
            return None;
        };
        // A process that is forked says it again.
        self.library = plain(library);
        Some(Process {
            pid: pid.parse().ok()?,
            started: started.parse().ok().filter(|it: &f64| it.is_finite())?,
            python: plain(python),
            implementation: plain(implementation),
            executable: told(plain(executable)),
            prefix: plain(prefix),
            base_prefix: plain(base_prefix),
            conda: false,
        })
    }

    /// Names such as `numpy-2.3.5.dist-info` in a directory.
    fn list(&mut self, fields: &[&str]) {
        let Some((directory, names)) = fields.split_first() else { return };
        let versions = self.installed.entry(plain(directory)).or_default();
        for name in names.iter().map(|name| plain(name)) {
            let stem = name.strip_suffix(".dist-info").or_else(|| name.strip_suffix(".egg-info"));
            let mut parts = stem.unwrap_or_default().split('-');
            if let (Some(name), Some(version)) = (parts.next(), parts.next()) {
                versions.insert(normal(name), version.to_owned());
            }
        }
    }

    fn import(&self, module: Module) -> Import {
        let (path, kind) = self.place(&module);
        let is_own = matches!(kind, "b" | "f" | "s" | "xs");
        let version = if is_own || module.name.contains('.') { None } else { self.version(&module, &path) };
        let flags =
            [if module.is_package { "p" } else { "" }, kind, if module.is_asked { "a" } else { "" }].concat();
        let Module { number, name, own_us, total_us, by, .. } = module;
        Import { number, name, path, version, own_us, total_us, flags, by: told(by) }
    }

    /// Where a module came from, and what it is besides a package or none.
    fn place(&self, module: &Module) -> (Option<String>, &'static str) {
        let origin = &module.origin;
        match origin.as_str() {
            "built-in" => return (None, "b"),
            "frozen" => return (None, "f"),
            "" | "namespace" if module.is_package => return (told(module.place.clone()), "n"),
            "" | "namespace" => return (None, ""),
            _ => {}
        }
        let is_installed = origin.contains("/site-packages/") || origin.contains("/dist-packages/");
        let is_own = !self.library.is_empty() && origin.starts_with(&self.library) && !is_installed;
        let is_extension = origin.ends_with(".so") || origin.ends_with(".pyd");
        let kind = match (is_extension, is_own) {
            (true, true) => "xs",
            (true, false) => "x",
            (false, true) => "s",
            (false, false) => "",
        };
        (Some(origin.clone()), kind)
    }

    /// The version that is installed beside the module, else the one it says itself.
    fn version(&self, module: &Module, path: &Option<String>) -> Option<String> {
        let within = path.as_deref().and_then(above);
        let is_file_within = module.is_package && module.place.is_empty();
        let directory = if is_file_within { within.and_then(above) } else { within };
        let installed =
            directory.and_then(|directory| self.installed.get(directory)?.get(&normal(&module.name)));
        installed.cloned().or_else(|| told(module.version.clone()))
    }
}

/// The directory of a path.
fn above(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(directory, _)| directory)
}

/// A name as those of distributions are compared.
fn normal(name: &str) -> String {
    name.to_lowercase().replace(['-', '.'], "_")
}

/// A field as it was before it was written between tabs.
fn plain(field: &str) -> String {
    if !field.contains('\\') {
        return field.to_owned();
    }
    let (mut text, mut rest) = (String::new(), field.chars());
    while let Some(next) = rest.next() {
        text.push(match next {
            '\\' => match rest.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                other => other.unwrap_or('\\'),
            },
            other => other,
        });
    }
    text
}

fn told(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEAD: &str = "py\t7\t1.5\t3.11.7\tcpython\t\t/e\t/e\t/e/lib/python3.11/\n\
        listed\t/e/lib/python3.11/site-packages\tnumpy-2.0.dist-info\tzope.event-5.egg-info\todd\n";

    /// Name, origin, place and version; path and version that follow; flags noted, flags told.
    type Case = (&'static str, Option<&'static str>, Option<&'static str>, &'static str, &'static str);

    #[test]
    fn kind_path_and_version_follow_from_what_the_hook_noted() {
        let site = "/e/lib/python3.11/site-packages";
        let cases: &[Case] = &[
            (
                "numpy\t{site}/numpy/__init__.py\t\t1",
                Some("{site}/numpy/__init__.py"),
                Some("2.0"),
                "pa",
                "pa",
            ),
            (
                "numpy.fft\t{site}/numpy/fft/__init__.py\t\t",
                Some("{site}/numpy/fft/__init__.py"),
                None,
                "p",
                "p",
            ),
            ("zope_event\t{site}/zope_event.py\t\t", Some("{site}/zope_event.py"), Some("5"), "", ""),
            ("other\t{site}/other.py\t\t7.1", Some("{site}/other.py"), Some("7.1"), "a", "a"),
            ("_x\t{site}/_x.cpython-311.so\t\t", Some("{site}/_x.cpython-311.so"), None, "", "x"),
            (
                "json\t/e/lib/python3.11/json/__init__.py\t\t2.0.9",
                Some("/e/lib/python3.11/json/__init__.py"),
                None,
                "p",
                "ps",
            ),
            ("math\t/e/lib/python3.11/math.so\t\t", Some("/e/lib/python3.11/math.so"), None, "", "xs"),
            ("sys\tbuilt-in\t\t", None, None, "", "b"),
            ("zipimport\tfrozen\t\t", None, None, "a", "fa"),
            ("numpy\t\t{site}/numpy\t", Some("{site}/numpy"), Some("2.0"), "p", "pn"),
            ("space\tnamespace\t/u/space\t", Some("/u/space"), None, "p", "pn"),
            ("made\t\t\t", None, None, "", ""), // by the program itself
            ("a\\tb\\n\\\\\t/x\\ty\t\t", Some("/x\ty"), None, "", ""),
        ];
        for (fields, path, version, flags, expected) in cases {
            let fields = fields.replace("{site}", site);
            let (names, said) = fields.rsplit_once('\t').unwrap();
            let text = format!("{HEAD}m\t3\t{names}\t{said}\t5\t9\t{flags}\t__main__\n");
            let seen = read(text.as_bytes());
            let [import] = &seen.imports[..] else { panic!("{fields}: {seen:?}") };
            assert_eq!(import.path, path.map(|path| path.replace("{site}", site)), "{fields}");
            assert_eq!((import.version.as_deref(), import.flags.as_str()), (*version, *expected), "{fields}");
            assert_eq!((import.own_us, import.total_us), (5, 9));
            assert_eq!(seen.process.unwrap().executable, None);
        }
    }

    #[test]
    fn times_below_zero_are_none_and_half_a_line_is_no_import() {
        let text = format!("{HEAD}m\t1\ta\t/a.py\t\t\t-4000000\t9\t\t\nm\t2\tb\t/b.p");
        let seen = read(text.as_bytes());
        assert_eq!(seen.imports.len(), 1);
        assert_eq!((seen.imports[0].own_us, seen.imports[0].total_us), (0, 9));
        for odd in ["nan", "inf", "x", ""] {
            assert_eq!(read(HEAD.replace("1.5", odd).as_bytes()).process, None, "{odd}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(text in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut whole = HEAD.as_bytes().to_vec();
            whole.extend(b"m\t");
            whole.extend(&text);
            prop_assert!(read(&whole).process.is_some());
        }
    }
}
