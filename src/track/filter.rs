//! Which imports are kept: the rules of a site, and which of them decided.
//!
//! Rules come from a TOML file or from XALT's `Config.py`, which is read and never executed; both have the same
//! lists with the same meaning. `python_pkg_patterns`: in order, anchored at the start, a rule about paths is held
//! against the name where no path is known, the first that matches decides. `pkg_patterns`: against
//! `program:name:NAME` and `program:path:PATH`, either SKIP drops. What no rule matches is kept.
//!
//! Invariant: patterns take time linear in the text (the `regex` crate), whatever a site writes.
//!
//! Not here: reading the files (`filter_file`, `config_py`).

use std::fmt;

use regex::{Regex, RegexBuilder};

/// Memory that one compiled pattern may take: 1 MiB, which is hundreds of times what a path pattern needs.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Rules of one list at most; each is tried for each import.
pub const RULES_MAX: usize = 10_000;

/// Bytes of a text up to which the longest match is looked for; what is longer is cut.
const LONGEST_BYTES_MAX: usize = 4096;

/// Which rule decides when several match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Meaning {
    /// The first, as XALT's documentation has it.
    #[default]
    First,
    /// The one that matches the longest text, ties by order: what flex makes of XALT's lists.
    Longest,
}

/// What a rule is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The full module name.
    Name,
    /// The path, or the name where there is none.
    Path,
    /// `program:name:NAME` and `program:path:PATH`.
    Package,
    /// The interpreter's file.
    Executable,
}

/// What a rule says of what it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// Record it.
    Keep,
    /// Do not.
    Skip,
    /// An executable whose packages are tracked.
    Packages,
}

/// Where something stands in a file, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

/// One rule as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleText {
    /// What it says.
    pub says: Says,
    /// What it is held against.
    pub kind: Kind,
    /// The pattern.
    pub pattern: String,
    /// Where it stands.
    pub place: Place,
}

/// The lists of a file.
#[derive(Debug, Default)]
pub struct Lists {
    /// `python_pkg_patterns`.
    pub python: Vec<RuleText>,
    /// `pkg_patterns`.
    pub packages: Vec<RuleText>,
    /// `path_patterns`.
    pub executables: Vec<RuleText>,
    /// `pkg_meaning`.
    pub meaning: Meaning,
    /// `standard_library`: whether modules of Python itself pass at all.
    pub standard_library: bool,
}

/// A rule ready to be used.
#[derive(Debug, Clone)]
pub struct Rule {
    /// As it was written.
    pub text: RuleText,
    starts: Regex,
    whole: Regex,
}

/// The rules of a site.
#[derive(Debug, Clone)]
pub struct Filter {
    /// `python_pkg_patterns`.
    pub python: Vec<Rule>,
    /// `pkg_patterns`.
    pub packages: Vec<Rule>,
    /// `path_patterns`.
    pub executables: Vec<Rule>,
    /// How `pkg_patterns` and `path_patterns` are meant.
    pub meaning: Meaning,
    /// Whether modules of the standard library pass.
    pub standard_library: bool,
}

/// What was decided, and by which rule.
#[derive(Debug, Clone, Copy)]
pub struct Verdict<'filter> {
    /// Whether the import is recorded.
    pub is_kept: bool,
    /// The rule; `None` if none matched.
    pub rule: Option<&'filter Rule>,
}

/// Why a file of rules cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {}, column {}: {what}", place.line, place.column)]
pub struct FilterError {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub what: String,
}

impl FilterError {
    /// `what` at `place`.
    pub fn new(place: Place, what: impl Into<String>) -> Self {
        FilterError { place, what: what.into() }
    }
}

impl Default for Filter {
    /// Packages and top-level modules that are not Python's own, as XALT's shipped list has it, without its
    /// exceptions for directories of single sites.
    fn default() -> Self {
        let skip = |kind, pattern: &str| RuleText {
            says: Says::Skip,
            kind,
            pattern: pattern.to_owned(),
            place: Place::default(),
        };
        let python = vec![skip(Kind::Path, "^[^/]"), skip(Kind::Name, "^_"), skip(Kind::Name, r".*\.")];
        Filter::new(Lists { python, ..Lists::default() }).expect("these patterns compile, as the tests show")
    }
}

impl Filter {
    /// Compiles the patterns.
    ///
    /// # Errors
    /// One does not compile, or there are too many.
    pub fn new(lists: Lists) -> Result<Self, FilterError> {
        Ok(Filter {
            python: compile(lists.python)?,
            packages: compile(lists.packages)?,
            executables: compile(lists.executables)?,
            meaning: lists.meaning,
            standard_library: lists.standard_library,
        })
    }

    /// What becomes of an import by a Python program.
    pub fn python(&self, name: &str, path: Option<&str>) -> Verdict<'_> {
        let matches = |rule: &&Rule| match rule.text.kind {
            Kind::Path => rule.starts.is_match(path.unwrap_or(name)),
            Kind::Name | Kind::Package | Kind::Executable => rule.starts.is_match(name),
        };
        let verdict = Verdict::of(self.python.iter().find(matches));
        if !verdict.is_kept {
            return verdict;
        }
        match self.package("python", name, path) {
            dropped if !dropped.is_kept => dropped,
            Verdict { rule: None, .. } => verdict,
            kept => {
                if verdict.rule.is_some() {
                    verdict
                } else {
                    kept
                }
            }
        }
    }

    /// Whether no rule is asked about a module, since it is Python's own: as far as its path tells.
    pub fn leaves_out(&self, path: &str) -> bool {
        !self.standard_library && is_of_python_itself(path)
    }

    /// What `pkg_patterns` make of a package of any program.
    pub fn package(&self, program: &str, name: &str, path: Option<&str>) -> Verdict<'_> {
        let by_name = self.decide(&self.packages, &format!("{program}:name:{name}"));
        let by_path = path.map(|path| self.decide(&self.packages, &format!("{program}:path:{path}")));
        match by_path {
            Some(by_path) if by_name.is_kept && (!by_path.is_kept || by_name.rule.is_none()) => by_path,
            _ => by_name,
        }
    }

    /// Whether packages of this executable are tracked: as `path_patterns` say, or, without such a list, always.
    pub fn executable(&self, path: &str) -> Verdict<'_> {
        let verdict = self.decide(&self.executables, path);
        let is_kept = match verdict.rule {
            Some(rule) => rule.text.says == Says::Packages,
            None => self.executables.is_empty(),
        };
        Verdict { is_kept, ..verdict }
    }

    /// What `rules` say of `text`, in the meaning of this filter.
    fn decide<'rules>(&self, rules: &'rules [Rule], text: &str) -> Verdict<'rules> {
        Verdict::of(deciding(rules, text, self.meaning))
    }
}

/// Whether a path is that of a module within the interpreter, or lies in a standard library where it usually is.
fn is_of_python_itself(path: &str) -> bool {
    let beneath = path.split_once("/lib/python3").or_else(|| path.split_once("/lib64/python3"));
    let within = beneath.and_then(|(_, rest)| rest.split_once('/'));
    let is_installed = |rest: &str| rest.starts_with("site-packages/") || rest.starts_with("dist-packages/");
    // Debian has its packages in a directory without a minor version, beside the library.
    within.is_some_and(|(minor, rest)| minor.starts_with('.') && !is_installed(rest))
        || ["built-in", "frozen"].contains(&path)
}

/// The rule of `rules` that decides on `text`.
pub fn deciding<'rules>(rules: &'rules [Rule], text: &str, meaning: Meaning) -> Option<&'rules Rule> {
    match meaning {
        Meaning::First => rules.iter().find(|rule| rule.starts.is_match(text)),
        Meaning::Longest => {
            let lengths = rules.iter().filter_map(|rule| Some((rule, rule.longest(text)?)));
            // The first of the longest: later ones must be longer.
            lengths.reduce(|best, next| if next.1 > best.1 { next } else { best }).map(|(rule, _)| rule)
        }
    }
}

impl Rule {
    /// Whether the pattern matches at the start of `text`.
    pub fn is_match(&self, text: &str) -> bool {
        self.starts.is_match(text)
    }

    /// Length of the longest match at the start of `text`.
    fn longest(&self, text: &str) -> Option<usize> {
        if !self.starts.is_match(text) {
            return None;
        }
        let mut ends =
            (0..=text.len().min(LONGEST_BYTES_MAX)).rev().filter(|&end| text.is_char_boundary(end));
        ends.find(|&end| self.whole.is_match(&text[..end])).or(Some(0))
    }
}

impl Verdict<'_> {
    fn of(rule: Option<&Rule>) -> Verdict<'_> {
        Verdict { is_kept: rule.is_none_or(|rule| rule.text.says != Says::Skip), rule }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RuleText { says, kind, pattern, place } = &self.text;
        let says = match says {
            Says::Keep => "KEEP",
            Says::Skip => "SKIP",
            Says::Packages => "PKGS",
        };
        let kind = match kind {
            Kind::Name => " name",
            Kind::Path => " path",
            Kind::Package | Kind::Executable => "",
        };
        match place.line {
            0 => write!(f, "{says}{kind} `{pattern}` (built in)"),
            line => write!(f, "{says}{kind} `{pattern}` (line {line})"),
        }
    }
}

fn compile(texts: Vec<RuleText>) -> Result<Vec<Rule>, FilterError> {
    if let Some(beyond) = texts.get(RULES_MAX) {
        return Err(FilterError::new(beyond.place, format!("more than {RULES_MAX} rules in one list")));
    }
    texts.into_iter().map(compile_one).collect()
}

fn compile_one(text: RuleText) -> Result<Rule, FilterError> {
    let build = |pattern: String| {
        RegexBuilder::new(&pattern).size_limit(PATTERN_BYTES_MAX).build().map_err(|error| {
            // The crate draws a picture of several lines; its last one says what is wrong.
            let told = error.to_string();
            let why = told.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            FilterError::new(text.place, format!("the pattern `{}` cannot be used: {why}", text.pattern))
        })
    };
    // flex and Python both allow `\/`; so does the crate. The pattern alone first: an unbalanced parenthesis must
    // not be balanced by ours.
    build(text.pattern.clone())?;
    let starts = build(format!("\\A(?:{})", text.pattern))?;
    let whole = build(format!("\\A(?:{})\\z", text.pattern))?;
    Ok(Rule { text, starts, whole })
}
