//! The ordered list of rules: a path gets the class of the first that fits.
//!
//! The rules of the program are a text in the format that users write (`rules.toml`); a user's rules come before them.

use std::path::Path;

use serde::Deserialize;

use super::pattern::{Pattern, Split};
use super::places::Places;
use crate::environment::recorded::Usage;
use crate::text::line_and_column;

/// Rules at most in a file: more would be a list of paths.
const RULES_MAX: usize = 10_000;

const BUILT_IN: &str = include_str!("rules.toml");

/// Why rules cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// The file system's word.
    #[error("cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// Not TOML, or other fields than there are.
    #[error("{0}")]
    Format(String),
    /// What a rule says makes no sense.
    #[error("line {line}: rule {number} (`{class}`): {what}")]
    Rule {
        /// Where it begins.
        line: usize,
        /// From 1.
        number: usize,
        /// Its class.
        class: String,
        /// What is wrong.
        what: String,
    },
}

/// A rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The class; `{name}` in it stands for what the pattern's `{name}` fits.
    pub class: String,
    /// What paths of the class are.
    pub means: String,
    found: Option<bool>,
    is_way: Option<bool>,
    patterns: Vec<Pattern>,
}

/// Rules in their order.
#[derive(Debug, Clone)]
pub struct Rules(Vec<Rule>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    rule: Vec<toml::Spanned<Written>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    class: String,
    #[serde(default)]
    means: String,
    found: Option<bool>,
    is_way: Option<bool>,
    path: Vec<String>,
}

impl Rules {
    /// The rules of the program.
    pub fn built_in() -> Self {
        Self::parse(BUILT_IN).expect("the rules of the program are tested")
    }

    /// The rules in a user's file, then those of the program.
    ///
    /// # Errors
    /// If the file cannot be read or a rule in it makes no sense.
    pub fn with_file(file: &Path) -> Result<Self, RulesError> {
        let mut rules = Self::parse(&std::fs::read_to_string(file)?)?;
        rules.0.extend(Self::built_in().0);
        Ok(rules)
    }

    /// All rules in order.
    pub fn all(&self) -> &[Rule] {
        &self.0
    }

    /// The class of `path`.
    pub fn class(&self, path: &Path, usage: &Usage, places: &Places) -> String {
        let (split, is_way) = (Split::of(path, places), places.is_way(path));
        self.0.iter().find_map(|rule| rule.class_of(&split, usage, is_way)).unwrap_or_default()
    }

    fn parse(text: &str) -> Result<Self, RulesError> {
        let file: File = toml::from_str(text).map_err(|error| RulesError::Format(plain(&error, text)))?;
        if file.rule.len() > RULES_MAX {
            return Err(RulesError::Format(format!("more than {RULES_MAX} rules")));
        }
        let rules = file.rule.into_iter().enumerate().map(|(at, written)| {
            let line = line_and_column(text, written.span().start).0;
            let class = written.as_ref().class.clone();
            rule(written.into_inner()).map_err(|what| RulesError::Rule { line, number: at + 1, class, what })
        });
        rules.collect::<Result<_, _>>().map(Self)
    }
}

impl Rule {
    fn class_of(&self, path: &Split, usage: &Usage, is_way: bool) -> Option<String> {
        let fits = self.found.is_none_or(|found| found != usage.is_probe())
            && self.is_way.is_none_or(|wanted| wanted == is_way);
        if !fits {
            return None;
        }
        let name = self.patterns.iter().find_map(|pattern| pattern.fits(path))?;
        Some(self.class.replace("{name}", &String::from_utf8_lossy(name)))
    }
}

fn rule(written: Written) -> Result<Rule, String> {
    let Written { class, means, found, is_way, path } = written;
    if class.is_empty() || class.chars().any(char::is_control) {
        return Err("`class` must be a name on one line".to_owned());
    }
    if path.is_empty() {
        return Err("`path` has no pattern".to_owned());
    }
    let patterns: Vec<Pattern> = path.iter().map(|text| Pattern::parse(text)).collect::<Result<_, _>>()?;
    if class.contains("{name}") && !patterns.iter().all(Pattern::has_name) {
        return Err("the class has a `{name}`, but not every pattern".to_owned());
    }
    Ok(Rule { class, means, found, is_way, patterns })
}

/// The error and its line on one line.
fn plain(error: &toml::de::Error, text: &str) -> String {
    let message = error.message().replace('\n', "; ");
    match error.span() {
        Some(span) => format!("line {}: {message}", line_and_column(text, span.start).0),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_makes_no_sense_is_refused_with_its_place() {
        let cases = [
            ("rule = 3", "line 1: invalid type"),
            ("[[rule]]\nclas = \"x\"", "line 2: unknown field `clas`"),
            ("[[rule]]\nclass = \"x\"\npath = []", "line 1: rule 1 (`x`): `path` has no pattern"),
            ("[[rule]]\nclass = \"\"\npath = [\"**\"]", "line 1: rule 1 (``): `class` must be"),
            ("[[rule]]\nclass = \"x\"\npath = [\"lib\"]", "line 1: rule 1 (`x`): `lib` begins with none"),
            (
                "[[rule]]\nclass = \"y\"\npath = [\"**\"]\n\n[[rule]]\nclass = \"x\"\npath = []",
                "line 5: rule 2 (`x`)",
            ),
            ("[[rule]]\nclass = \"x:{name}\"\npath = [\"**\"]", "line 1: rule 1 (`x:{name}`): the class has"),
        ];
        for (text, want) in cases {
            let got = Rules::parse(text).unwrap_err().to_string();
            assert!(got.starts_with(want) && !got.contains('\n'), "{text}: {got}");
        }
    }

    #[test]
    fn the_table_in_the_text_is_that_of_the_rules() {
        let mut table = String::from("| class | paths |\n|---|---|\n");
        let rules = Rules::built_in();
        let mut told = Vec::new();
        for rule in rules.all() {
            assert!(!rule.means.is_empty(), "{}", rule.class);
            let row = format!("| `{}` | {} |\n", rule.class.replace("{name}", "NAME"), rule.means);
            if !told.contains(&row) {
                table += &row;
                told.push(row);
            }
        }
        let text = include_str!("../../../docs/PROFILING.md");
        assert!(
            text.contains(&table),
            "docs/PROFILING.md is stale; its table of classes should be:\n\n{table}"
        );
    }
}
