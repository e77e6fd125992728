//! Patterns of paths: what a rule says of the paths it fits.
//!
//! A pattern is matched component by component, so `*.so` fits no `x.source` and `**/lib` no `/opt/mylib`:
//!
//! | part | fits |
//! |---|---|
//! | `**` | any number of components, none too |
//! | `*` | any letters of one component, none too |
//! | `[abc]` | one of these letters |
//! | `{name}` | at least one letter of a component, as few as possible; the class can use them |
//! | `<packages>`, `<r_library>` | everything up to a directory of packages, see `places` |
//!
//! Not here: the order of rules (`rules`).

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::places::Places;

/// A parsed pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    AnyComponents,
    Packages,
    RLibrary,
    Component(Vec<Piece>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Letter(u8),
    OneOf(Vec<u8>),
    Any,
    Name,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// In words, for the user.
    pub fn parse(text: &str) -> Result<Self, String> {
        let components = match text.strip_prefix('/') {
            Some(rest) => rest,
            None if text.starts_with("**") || text.starts_with('<') => text,
            None => return Err(format!("`{text}` begins with none of `/`, `**`, `<`")),
        };
        components.split('/').map(part).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the pattern has a `{name}`.
    pub fn has_name(&self) -> bool {
        let named = |part: &Part| matches!(part, Part::Component(pieces) if pieces.contains(&Piece::Name));
        self.0.iter().any(named)
    }

    /// Whether the pattern fits a path; with the bytes of `{name}`, which are empty if there is none.
    pub fn fits<'a>(&self, path: &Split<'a>) -> Option<&'a [u8]> {
        fits(&self.0, path, 0, b"")
    }
}

/// A path taken apart once for all patterns: asking what lies where costs more than comparing names.
#[derive(Debug)]
pub struct Split<'a> {
    components: Vec<&'a [u8]>,
    /// After how many components a directory of packages ends.
    packages: Vec<usize>,
    r_libraries: Vec<usize>,
}

impl<'a> Split<'a> {
    /// Takes `path` apart.
    pub fn of(path: &'a Path, places: &Places) -> Self {
        let components: Vec<&[u8]> = path.iter().skip(1).map(|component| component.as_bytes()).collect();
        let (mut packages, mut r_libraries) = (Vec::new(), Vec::new());
        for (ancestor, end) in path.ancestors().zip((0..=components.len()).rev()) {
            if places.is_packages(ancestor) {
                packages.push(end);
            }
            if places.is_r_library(ancestor) {
                r_libraries.push(end);
            }
        }
        packages.reverse(); // the outermost first
        r_libraries.reverse();
        Self { components, packages, r_libraries }
    }
}

fn part(text: &str) -> Result<Part, String> {
    match text {
        "**" => return Ok(Part::AnyComponents),
        "<packages>" => return Ok(Part::Packages),
        "<r_library>" => return Ok(Part::RLibrary),
        "" => return Err("an empty component (`//`, or `/` at the end)".to_owned()),
        _ => {}
    }
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(letter) = rest.bytes().next() {
        let (piece, length) = match letter {
            b'*' => (Piece::Any, 1),
            b'{' if rest.starts_with("{name}") => (Piece::Name, "{name}".len()),
            b'[' => {
                let end = rest.find(']').ok_or_else(|| format!("`{text}`: `[` without `]`"))?;
                (Piece::OneOf(rest.as_bytes()[1..end].to_vec()), end + 1)
            }
            b'{' | b'<' => {
                return Err(format!("`{text}`: the only names are `{{name}}`, `<packages>`, `<r_library>`"));
            }
            letter => (Piece::Letter(letter), 1),
        };
        pieces.push(piece);
        // A letter of several bytes is taken byte by byte; that is never a place to begin a piece.
        rest = if rest.is_char_boundary(length) {
            &rest[length..]
        } else {
            let letter = rest.chars().next().map_or(1, char::len_utf8);
            pieces.extend(rest.as_bytes()[1..letter].iter().copied().map(Piece::Letter));
            &rest[letter..]
        };
    }
    Ok(Part::Component(pieces))
}

/// Whether `parts` fit the components of `path` from `at` on.
fn fits<'a>(parts: &[Part], path: &Split<'a>, at: usize, name: &'a [u8]) -> Option<&'a [u8]> {
    let Some((part, rest)) = parts.split_first() else {
        return (at == path.components.len()).then_some(name);
    };
    let from = |ends: &[usize]| {
        let mut beyond = ends.iter().filter(|&&end| end >= at);
        beyond.find_map(|&end| fits(rest, path, end, name))
    };
    match part {
        Part::AnyComponents => (at..=path.components.len()).find_map(|end| fits(rest, path, end, name)),
        Part::Packages => from(&path.packages),
        Part::RLibrary => from(&path.r_libraries),
        Part::Component(pieces) => {
            let inner = component(pieces, path.components.get(at)?, b"")?;
            fits(rest, path, at + 1, if inner.is_empty() { name } else { inner })
        }
    }
}

/// Whether `pieces` fit all of `text`.
fn component<'a>(pieces: &[Piece], text: &'a [u8], name: &'a [u8]) -> Option<&'a [u8]> {
    let Some((piece, rest)) = pieces.split_first() else { return text.is_empty().then_some(name) };
    match piece {
        Piece::Letter(letter) => (text.first() == Some(letter)).then(|| component(rest, &text[1..], name))?,
        Piece::OneOf(letters) => text
            .first()
            .is_some_and(|letter| letters.contains(letter))
            .then(|| component(rest, &text[1..], name))?,
        Piece::Any => (0..=text.len()).find_map(|length| component(rest, &text[length..], name)),
        Piece::Name => (1..=text.len()).find_map(|length| component(rest, &text[length..], &text[..length])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_whole_components() {
        let cases = [
            ("**/*.so", "/a/b/c.so", Some("")),
            ("**/*.so", "/c.so", Some("")),          // none before it
            ("**/*.so", "/a/c.source", None),        // not only a part of the name
            ("**/*.so.*", "/a/c.so.1", Some("")),    // versions
            ("/usr/lib/**", "/usr/lib", Some("")),   // the directory itself
            ("/usr/lib/**", "/usr/library/x", None), // a name that only begins alike
            ("/usr/lib/**/*", "/usr/lib", None),     // something beneath it
            ("**/{name}.libs/**", "/s/numpy.libs/libx.so", Some("numpy")),
            ("**/{name}.*.so", "/s/_x.cpython-311.so", Some("_x")), // as few letters as possible
            ("**/libuc[ps].so", "/l/libucp.so", Some("")),
            ("**/libuc[ps].so", "/l/libucx.so", None),
            ("**/é*", "/a/été", Some("")),
            ("**", "/", Some("")),
        ];
        let places = Places::default();
        for (pattern, path, want) in cases {
            let split = Split::of(Path::new(path), &places);
            let got = Pattern::parse(pattern).unwrap();
            let got = got.fits(&split).map(|name| String::from_utf8_lossy(name).into_owned());
            assert_eq!(got.as_deref(), want, "{pattern} {path}");
        }
    }

    #[test]
    fn a_pattern_that_means_nothing_is_refused() {
        for text in ["", "lib/x", "*.so", "/a//b", "/a/", "/{other}", "/a[b", "**/<packages"] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_pattern_and_no_path_make_it_panic(pattern in "[/*a-cé{}name\\[\\]<>.]{0,12}", path in "/[a-cé./]{0,12}") {
            if let Ok(pattern) = Pattern::parse(&pattern) {
                pattern.fits(&Split::of(Path::new(&path), &Places::default()));
            }
        }
    }
}
