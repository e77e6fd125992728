//! Rules that cannot do what they seem to: never reached, or meant differently by first and longest match.
//!
//! Judged by examples: for each rule, texts that it matches, made from its pattern and from usual names and paths.
//! So what is named here is shown by an example, but silence is no proof.
//!
//! Not here: what the rules mean (`filter`).

use super::filter::{Filter, Kind, Meaning, Rule, deciding};

/// Names and paths as sites have them, so that rules meet each other on more than their own examples.
const USUAL: &[(&str, &str)] = &[
    ("numpy", "/opt/env/lib/python3.11/site-packages/numpy/__init__.py"),
    ("numpy.core", "/opt/env/lib/python3.11/site-packages/numpy/core/__init__.py"),
    ("mine", "/home/u/mine.py"),
    ("mine", "/home/u/.local/lib/python3.11/site-packages/mine/__init__.py"),
    ("os", "/usr/lib/python3.11/os.py"),
    ("_ssl", "/usr/lib/python3.11/lib-dynload/_ssl.so"),
    ("sys", "built-in"),
    ("work", "/work/u/work.py"),
    ("tool", "/scratch/u/tool/__init__.py"),
];

const EXECUTABLES: [&str; 3] = ["/usr/bin/python3.11", "/usr/bin/R", "/opt/bin/tool"];

/// What there is to say, in the order of the rules.
pub fn lint(filter: &Filter) -> Vec<String> {
    let mut said = Vec::new();
    let kinds = filter.python.iter().map(|rule| rule.text.kind).collect::<Vec<_>>();
    for (number, rule) in filter.python.iter().enumerate() {
        // A rule about paths also sees names, where no path is known; one about names never sees a path.
        let sees_as_much = |earlier: usize| kinds[earlier] == rule.text.kind;
        let before =
            (0..number).filter(|&earlier| sees_as_much(earlier)).map(|earlier| &filter.python[earlier]);
        said.extend(shadowed(rule, before));
    }
    for rules in [&filter.packages, &filter.executables] {
        for (number, rule) in rules.iter().enumerate() {
            if filter.meaning == Meaning::First {
                said.extend(shadowed(rule, rules[..number].iter()));
            }
            said.extend(disagreement(rules, rule));
        }
    }
    said
}

/// `rule` can never decide, because one before it takes all.
fn shadowed<'rules>(rule: &Rule, before: impl Iterator<Item = &'rules Rule>) -> Option<String> {
    let examples = examples(rule);
    let taken_by = before.into_iter().find(|earlier| {
        let pattern = earlier.text.pattern.trim_start_matches('^');
        let takes_all = matches!(pattern, ".*" | "" | ".*$" | "(.*)");
        let takes_these = !examples.is_empty() && examples.iter().all(|text| earlier.is_match(text));
        let is_prefix = rule.text.pattern.trim_start_matches('^').starts_with(pattern);
        takes_all || (takes_these && is_prefix && is_plain(pattern))
    })?;
    Some(format!("never decides: {rule}, because of {taken_by}"))
}

/// An example on which the first and the longest match say different things, `rule` being one of them.
fn disagreement(rules: &[Rule], rule: &Rule) -> Option<String> {
    examples(rule).into_iter().find_map(|text| {
        let first = deciding(rules, &text, Meaning::First)?;
        let longest = deciding(rules, &text, Meaning::Longest)?;
        let differs = first.text.says != longest.text.says && std::ptr::eq(first, rule);
        differs.then(|| {
            format!("means two things: on `{text}` the first match is {first}, the longest {longest}")
        })
    })
}

/// Texts that `rule` matches.
fn examples(rule: &Rule) -> Vec<String> {
    let mut texts: Vec<String> = match rule.text.kind {
        Kind::Name => USUAL.iter().map(|(name, _)| (*name).to_owned()).collect(),
        Kind::Path => USUAL.iter().map(|(_, path)| (*path).to_owned()).collect(),
        Kind::Executable => EXECUTABLES.map(str::to_owned).to_vec(),
        Kind::Package => {
            let both = |(name, path): &(&str, &str)| {
                ["python", "R"].map(|it| [format!("{it}:name:{name}"), format!("{it}:path:{path}")]).concat()
            };
            USUAL.iter().flat_map(both).collect()
        }
    };
    let made = made_from(&rule.text.pattern);
    texts.extend(["", "x", "/u/x.py"].map(|rest| format!("{made}{rest}")));
    texts.retain(|text| rule.is_match(text));
    texts
}

/// What a simple pattern looks like when it is met: `.*` as nothing, classes as one letter of theirs.
fn made_from(pattern: &str) -> String {
    let mut text = String::new();
    let mut rest = pattern.trim_start_matches('^').trim_end_matches('$').chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            '\\' => text.extend(rest.next()),
            '[' => {
                let class: String = rest.by_ref().take_while(|&character| character != ']').collect();
                text.extend(class.chars().find(|character| character.is_alphanumeric() || *character == '/'));
            }
            '.' => text.push('a'),
            '*' | '?' => drop(text.pop()),
            '+' | '(' | ')' => {}
            _ => text.push(next),
        }
    }
    text
}

/// Whether a pattern is a text without operators.
fn is_plain(pattern: &str) -> bool {
    !pattern
        .replace("\\.", "")
        .replace("\\/", "")
        .contains(['*', '+', '?', '[', '(', '|', '.', '{', '$', '\\'])
}
