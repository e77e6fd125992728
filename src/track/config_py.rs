//! XALT's `Config.py`, read as data: nothing in it is ever executed.
//!
//! Of the file's statements only assignments of literals to the lists of rules count: strings in all their forms,
//! lists, tuples, dictionaries. Other statements are passed by. A list of rules that is made in another way (added
//! to, computed, set under a condition) is an error with its place, since passing it by would change what a site
//! has configured.
//!
//! Not here: what the rules mean (`filter`).

use super::filter::{FilterError, Kind, Lists, Meaning, Place, RuleText, Says};

/// How deep lists and dictionaries may lie in each other.
const DEPTH_MAX: usize = 16;

const NAMES: [&str; 3] = ["python_pkg_patterns", "pkg_patterns", "path_patterns"];

/// A literal, and where it begins.
#[derive(Debug, Clone)]
struct Literal {
    place: Place,
    value: Value,
}

#[derive(Debug, Clone)]
enum Value {
    Text(String),
    List(Vec<Literal>),
    Dictionary(Vec<(Literal, Literal)>),
}

/// Reads the lists of rules.
///
/// # Errors
/// A list is no literal, or a rule is none.
pub fn read(text: &str) -> Result<Lists, FilterError> {
    let mut lists = Lists { meaning: Meaning::First, standard_library: true, ..Lists::default() };
    let mut reader = Reader { rest: text, place: Place { line: 1, column: 1 } };
    while !reader.rest.is_empty() {
        if let Some((name, literal)) = reader.statement()? {
            let Value::List(rules) = &literal.value else {
                return Err(FilterError::new(literal.place, format!("`{name}` is no list")));
            };
            match name {
                "python_pkg_patterns" => {
                    lists.python = rules.iter().map(of_python).collect::<Result<_, _>>()?
                }
                "pkg_patterns" => lists.packages = pairs(rules, Kind::Package)?,
                _ => lists.executables = pairs(rules, Kind::Executable)?,
            }
        }
    }
    Ok(lists)
}

/// `{'k_s': 'SKIP', 'kind': 'name', 'patt': r'^_'}`.
fn of_python(literal: &Literal) -> Result<RuleText, FilterError> {
    let Value::Dictionary(items) = &literal.value else {
        return Err(FilterError::new(literal.place, "a rule for Python packages is a dictionary"));
    };
    let (mut says, mut kind, mut pattern) = (None, None, None);
    for (key, value) in items {
        let text = value.text()?;
        match key.text()? {
            "k_s" => says = Some(says_of(text, value.place, &[Says::Keep, Says::Skip])?),
            "kind" => kind = Some(kind_of(text, value.place)?),
            "patt" => pattern = Some(text.to_owned()),
            unknown => return Err(FilterError::new(key.place, format!("unknown key `{unknown}`"))),
        }
    }
    let missing = |key| FilterError::new(literal.place, format!("the rule has no `{key}`"));
    Ok(RuleText {
        says: says.ok_or_else(|| missing("k_s"))?,
        kind: kind.ok_or_else(|| missing("kind"))?,
        pattern: pattern.ok_or_else(|| missing("patt"))?,
        place: literal.place,
    })
}

fn pairs(rules: &[Literal], kind: Kind) -> Result<Vec<RuleText>, FilterError> {
    rules.iter().map(|rule| of_pair(rule, kind)).collect()
}

/// `['SKIP', r'^python:path:/home']`.
fn of_pair(literal: &Literal, kind: Kind) -> Result<RuleText, FilterError> {
    let Value::List(items) = &literal.value else {
        return Err(FilterError::new(literal.place, "a rule is a list of two strings"));
    };
    let [says, pattern] = &items[..] else {
        return Err(FilterError::new(literal.place, format!("a rule has two strings, not {}", items.len())));
    };
    Ok(RuleText {
        says: says_of(says.text()?, says.place, &[Says::Keep, Says::Skip, Says::Packages])?,
        kind,
        pattern: pattern.text()?.to_owned(),
        place: literal.place,
    })
}

/// What a word means, if it is among `allowed`.
pub fn says_of(word: &str, place: Place, allowed: &[Says]) -> Result<Says, FilterError> {
    let says = match word {
        "KEEP" => Says::Keep,
        "SKIP" => Says::Skip,
        "PKGS" => Says::Packages,
        _ => return Err(FilterError::new(place, format!("`{word}` is neither KEEP nor SKIP"))),
    };
    let is_allowed = allowed.contains(&says);
    is_allowed
        .then_some(says)
        .ok_or_else(|| FilterError::new(place, format!("`{word}` is not for this list")))
}

/// What a rule for Python packages is held against.
pub fn kind_of(word: &str, place: Place) -> Result<Kind, FilterError> {
    match word {
        "name" => Ok(Kind::Name),
        "path" => Ok(Kind::Path),
        _ => Err(FilterError::new(place, format!("`{word}` is neither `name` nor `path`"))),
    }
}

impl Literal {
    fn text(&self) -> Result<&str, FilterError> {
        match &self.value {
            Value::Text(text) => Ok(text),
            _ => Err(FilterError::new(self.place, "a string is expected here")),
        }
    }
}

struct Reader<'text> {
    rest: &'text str,
    place: Place,
}

impl<'text> Reader<'text> {
    /// Reads one statement: a list of rules, or nothing that matters.
    fn statement(&mut self) -> Result<Option<(&'text str, Literal)>, FilterError> {
        let begin = self.rest;
        self.blanks();
        let is_indented = begin.starts_with([' ', '\t']);
        let place = self.place;
        let name = self.word();
        if !NAMES.contains(&name) {
            self.pass_by()?;
            return Ok(None);
        }
        if is_indented {
            return Err(FilterError::new(
                place,
                format!("`{name}` is set under a condition, which is not followed"),
            ));
        }
        self.blanks();
        if !self.rest.starts_with('=') || self.rest.starts_with("==") {
            return Err(FilterError::new(self.place, format!("`{name}` is not assigned a list of literals")));
        }
        self.step(1);
        let literal = self.literal(0)?;
        self.blanks();
        if !self.rest.is_empty() && !self.rest.starts_with(['\n', '\r', ';', '#']) {
            return Err(FilterError::new(
                self.place,
                format!("`{name}` is computed; only a literal is read"),
            ));
        }
        self.pass_by()?;
        Ok(Some((name, literal)))
    }

    /// To the end of the statement: brackets, strings, comments and continued lines are followed.
    fn pass_by(&mut self) -> Result<(), FilterError> {
        let mut depth = 0_usize;
        while let Some(next) = self.rest.chars().next() {
            match next {
                '\'' | '"' => drop(self.string("")?),
                '#' => self.comment(),
                '\\' => self.step(2),
                '(' | '[' | '{' => {
                    depth += 1;
                    self.step(1);
                }
                ')' | ']' | '}' => {
                    depth = depth.saturating_sub(1);
                    self.step(1);
                }
                '\n' if depth == 0 => {
                    self.step(1);
                    return Ok(());
                }
                ';' if depth == 0 => {
                    self.step(1);
                    return Ok(());
                }
                _ if next.is_alphabetic() || next == '_' => {
                    let word = self.word();
                    // Such as the `r` before a string.
                    if is_prefix(word) && self.rest.starts_with(['\'', '"']) {
                        self.string(word)?;
                    }
                }
                _ => self.step(1),
            }
        }
        Ok(())
    }

    fn literal(&mut self, depth: usize) -> Result<Literal, FilterError> {
        self.gaps();
        let place = self.place;
        if depth > DEPTH_MAX {
            return Err(FilterError::new(place, format!("nested deeper than {DEPTH_MAX}")));
        }
        let value = match self.rest.chars().next() {
            Some('[') => Value::List(self.items(']', depth)?.0),
            Some('(') => self.parenthesized(depth)?,
            Some('{') => Value::Dictionary(self.pairs(depth)?),
            Some(_) => Value::Text(self.strings(place)?),
            None => return Err(FilterError::new(place, "the file ends within a list")),
        };
        Ok(Literal { place, value })
    }

    /// A tuple, or one literal in parentheses.
    fn parenthesized(&mut self, depth: usize) -> Result<Value, FilterError> {
        let (mut items, ends_with_comma) = self.items(')', depth)?;
        match items.len() {
            1 if !ends_with_comma => Ok(items.remove(0).value),
            _ => Ok(Value::List(items)),
        }
    }

    /// What stands up to the bracket `end`, and whether a comma stands before it.
    fn items(&mut self, end: char, depth: usize) -> Result<(Vec<Literal>, bool), FilterError> {
        let (mut items, mut comma) = (Vec::new(), false);
        self.step(1);
        while !self.ends_with(end)? {
            items.push(self.literal(depth + 1)?);
            comma = self.comma(end)?;
        }
        Ok((items, comma))
    }

    fn pairs(&mut self, depth: usize) -> Result<Vec<(Literal, Literal)>, FilterError> {
        let mut pairs = Vec::new();
        self.step(1);
        while !self.ends_with('}')? {
            let key = self.literal(depth + 1)?;
            self.gaps();
            if !self.rest.starts_with(':') {
                return Err(FilterError::new(self.place, "a `:` is expected here"));
            }
            self.step(1);
            pairs.push((key, self.literal(depth + 1)?));
            self.comma('}')?;
        }
        Ok(pairs)
    }

    /// Whether the bracket `end` comes next; reads it.
    fn ends_with(&mut self, end: char) -> Result<bool, FilterError> {
        self.gaps();
        if self.rest.is_empty() {
            return Err(FilterError::new(self.place, format!("the file ends before `{end}`")));
        }
        let is_end = self.rest.starts_with(end);
        self.step(usize::from(is_end));
        Ok(is_end)
    }

    /// Whether there is a comma.
    fn comma(&mut self, end: char) -> Result<bool, FilterError> {
        self.gaps();
        let is_there = self.rest.starts_with(',');
        if !is_there && !self.rest.starts_with(end) && !self.rest.is_empty() {
            return Err(FilterError::new(self.place, format!("a `,` or `{end}` is expected here")));
        }
        self.step(usize::from(is_there));
        Ok(is_there)
    }

    /// One string or several beside each other, which Python joins.
    fn strings(&mut self, place: Place) -> Result<String, FilterError> {
        let mut text = None;
        loop {
            self.gaps();
            let (rest, at) = (self.rest, self.place);
            let prefix = self.word();
            if !is_prefix(prefix) || !self.rest.starts_with(['\'', '"']) {
                (self.rest, self.place) = (rest, at);
                return text
                    .ok_or_else(|| FilterError::new(place, "only strings, lists and dictionaries are read"));
            }
            if prefix.contains(['f', 'F']) {
                return Err(FilterError::new(at, "a string that is computed (`f`) is not read"));
            }
            text.get_or_insert_with(String::new).push_str(&self.string(prefix)?);
        }
    }

    /// A string after its prefix.
    fn string(&mut self, prefix: &str) -> Result<String, FilterError> {
        let (place, quote) = (self.place, &self.rest[..1]);
        let triple = quote.repeat(3);
        let end = if self.rest.starts_with(&triple) { triple.as_str() } else { quote };
        self.step(end.len());
        let is_raw = prefix.contains(['r', 'R']);
        let mut text = String::new();
        while !self.rest.starts_with(end) {
            match self.rest.chars().next() {
                None => return Err(FilterError::new(place, "the string does not end")),
                Some('\n') if end.len() == 1 => {
                    return Err(FilterError::new(place, "the string does not end on its line"));
                }
                Some('\\') => self.escape(is_raw, &mut text)?,
                Some(next) => {
                    text.push(next);
                    self.step(1);
                }
            }
        }
        self.step(end.len());
        Ok(text)
    }

    fn escape(&mut self, is_raw: bool, text: &mut String) -> Result<(), FilterError> {
        let place = self.place;
        let Some(next) = self.rest.chars().nth(1) else {
            return Err(FilterError::new(place, "the string does not end"));
        };
        self.step(2);
        match next {
            _ if is_raw => text.extend(['\\', next]),
            '\n' => {}
            '\\' | '\'' | '"' => text.push(next),
            'n' => text.push('\n'),
            't' => text.push('\t'),
            'r' => text.push('\r'),
            'x' | 'u' | 'U' | 'N' | 'a' | 'b' | 'f' | 'v' | '0'..='7' => {
                let what = format!("`\\{next}` in a string that is not raw; write it as r'...'");
                return Err(FilterError::new(place, what));
            }
            // As Python does with what is no escape: both characters.
            _ => text.extend(['\\', next]),
        }
        Ok(())
    }

    fn word(&mut self) -> &'text str {
        let is_part = |character: char| character.is_alphanumeric() || character == '_';
        let end = self.rest.find(|character| !is_part(character)).unwrap_or(self.rest.len());
        let word = &self.rest[..end];
        self.step(word.chars().count());
        word
    }

    /// Blanks on a line.
    fn blanks(&mut self) {
        loop {
            match self.rest.as_bytes() {
                [b' ' | b'\t' | b'\r', ..] => self.step(1),
                [b'\\', b'\n', ..] => self.step(2),
                _ => return,
            }
        }
    }

    /// Blanks, ends of lines and comments, between brackets.
    fn gaps(&mut self) {
        loop {
            self.blanks();
            match self.rest.as_bytes().first() {
                Some(b'\n') => self.step(1),
                Some(b'#') => self.comment(),
                _ => return,
            }
        }
    }

    fn comment(&mut self) {
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        self.place.column += end;
        self.rest = &self.rest[end..];
    }

    /// Over so many characters.
    fn step(&mut self, characters: usize) {
        for _ in 0..characters {
            let mut after = self.rest.chars();
            match after.next() {
                Some('\n') => self.place = Place { line: self.place.line + 1, column: 1 },
                Some(_) => self.place.column += 1,
                None => return,
            }
            self.rest = after.as_str();
        }
    }
}

fn is_prefix(word: &str) -> bool {
    word.len() <= 2 && word.chars().all(|character| "rRbBuUfF".contains(character))
}
