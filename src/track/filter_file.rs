//! The file with a site's rules: TOML, or XALT's `Config.py`, told apart by the name.
//!
//! The TOML has the lists of `Config.py` under their names, and two settings: `pkg_meaning = "first"` or
//! `"longest"`, and `standard_library = true` to let modules of Python itself pass.
//!
//! Not here: what the rules mean (`filter`).

use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::config_py::{self, kind_of, says_of};
use super::filter::{Filter, FilterError, Kind, Lists, Meaning, Place, RuleText, Says};
use crate::text::line_and_column;

/// Bytes of a file of rules at most: 1 MiB, a hundred times what sites have.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why a site's rules cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FilterFileError {
    /// The file.
    #[error("cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// It is larger than any such file.
    #[error("has more than {FILE_BYTES_MAX} bytes")]
    TooLarge,
    /// What stands in it.
    #[error(transparent)]
    Rules(#[from] FilterError),
}

/// The rules in `file`.
///
/// # Errors
/// It cannot be read, or a rule is wrong; the text names line and column.
pub fn read(file: &Path) -> Result<Filter, FilterFileError> {
    if std::fs::metadata(file)?.len() > FILE_BYTES_MAX {
        return Err(FilterFileError::TooLarge);
    }
    let text = std::fs::read_to_string(file)?;
    let lists = match file.extension() {
        Some(extension) if extension == "py" => config_py::read(&text)?,
        _ => toml_lists(&text)?,
    };
    Ok(Filter::new(lists)?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    python_pkg_patterns: Vec<Spanned<PythonRule>>,
    #[serde(default)]
    pkg_patterns: Vec<Spanned<(Spanned<String>, String)>>,
    #[serde(default)]
    path_patterns: Vec<Spanned<(Spanned<String>, String)>>,
    #[serde(default)]
    pkg_meaning: FileMeaning,
    #[serde(default)]
    standard_library: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum FileMeaning {
    #[default]
    First,
    Longest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PythonRule {
    k_s: Spanned<String>,
    kind: Spanned<String>,
    patt: String,
}

/// The lists in a text of TOML.
///
/// # Errors
/// It is no TOML, or has a key that is not known.
pub fn toml_lists(text: &str) -> Result<Lists, FilterError> {
    let file: File = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        FilterError::new(place(text, at), error.message())
    })?;
    let at = |start: usize| place(text, start);
    let python = file.python_pkg_patterns.into_iter().map(|rule| {
        let (start, PythonRule { k_s, kind, patt }) = (rule.span().start, rule.into_inner());
        Ok(RuleText {
            says: says_of(k_s.get_ref(), at(k_s.span().start), &[Says::Keep, Says::Skip])?,
            kind: kind_of(kind.get_ref(), at(kind.span().start))?,
            pattern: patt,
            place: at(start),
        })
    });
    let pairs = |rules: Vec<Spanned<(Spanned<String>, String)>>, kind: Kind| {
        let rule = |rule: Spanned<(Spanned<String>, String)>| {
            let (start, (says, pattern)) = (rule.span().start, rule.into_inner());
            let allowed = [Says::Keep, Says::Skip, Says::Packages];
            let says = says_of(says.get_ref(), at(says.span().start), &allowed)?;
            Ok(RuleText { says, kind, pattern, place: at(start) })
        };
        rules.into_iter().map(rule).collect::<Result<Vec<_>, FilterError>>()
    };
    Ok(Lists {
        python: python.collect::<Result<_, FilterError>>()?,
        packages: pairs(file.pkg_patterns, Kind::Package)?,
        executables: pairs(file.path_patterns, Kind::Executable)?,
        meaning: match file.pkg_meaning {
            FileMeaning::First => Meaning::First,
            FileMeaning::Longest => Meaning::Longest,
        },
        standard_library: file.standard_library,
    })
}

/// Line and column of the byte `at`.
fn place(text: &str, at: usize) -> Place {
    let (line, column) = line_and_column(text, at);
    Place { line, column }
}
