//! What one run imported, as one text: `[[module,processes,own_us,total_us,asked,place],...]`, ordered by module.
//!
//! One row for a run rather than one for each import: a report over millions of imports reads few rows, and a
//! database's own JSON functions still take the text apart, as the views do.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{ImportRow, StoreError};

/// Numbers of each package.
const FIELDS: usize = 6;

/// What a run imported, by module.
pub(super) type Packages = BTreeMap<u32, Package>;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) processes: u32,
    pub(super) own_us: u64,
    pub(super) total_us: u64,
    pub(super) asked: bool,
    /// Its place in the order of imports.
    pub(super) place: u32,
}

impl Package {
    /// Adds what another process of the run imported.
    pub(super) fn add(&mut self, other: &Package) {
        self.processes = self.processes.saturating_add(other.processes);
        self.own_us = self.own_us.saturating_add(other.own_us);
        self.total_us = self.total_us.saturating_add(other.total_us);
        self.asked |= other.asked;
        self.place = self.place.min(other.place);
    }
}

/// The text.
pub(super) fn to_text(packages: &Packages) -> String {
    let mut text = String::with_capacity(packages.len() * 32 + 2);
    text.push('[');
    for (module, package) in packages {
        let Package { processes, own_us, total_us, asked, place } = package;
        let comma = if text.len() > 1 { "," } else { "" };
        let _ =
            write!(text, "{comma}[{module},{processes},{own_us},{total_us},{},{place}]", u8::from(*asked));
    }
    text.push(']');
    text
}

/// Calls `each` with all packages of `text`.
///
/// # Errors
/// It is no such text; some packages may have been told then.
pub(super) fn read(text: &str, mut each: impl FnMut(ImportRow, u32)) -> Result<(), StoreError> {
    let damaged = || StoreError::Damaged;
    let mut rest = text.as_bytes().strip_prefix(b"[").ok_or_else(damaged)?;
    let mut fields = [0_u64; FIELDS];
    if rest == b"]" {
        return Ok(());
    }
    loop {
        let mut package = rest.strip_prefix(b"[").ok_or_else(damaged)?;
        for (place, field) in fields.iter_mut().enumerate() {
            let end = if place + 1 == FIELDS { b']' } else { b',' };
            (*field, package) = number(package, end).ok_or_else(damaged)?;
        }
        let (import, place) = row(&fields)?;
        each(import, place);
        rest = match package {
            [b',', next @ ..] => next,
            b"]" => return Ok(()),
            _ => return Err(StoreError::Damaged),
        };
    }
}

/// The number at the start of `bytes`, and what comes after the `end` behind it.
fn number(bytes: &[u8], end: u8) -> Option<(u64, &[u8])> {
    let (mut number, mut at) = (0_u64, 0);
    loop {
        let byte = *bytes.get(at)?;
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return (at > 0 && byte == end).then(|| (number, &bytes[at + 1..]));
        }
        // What does not fit is clipped: sums of a run are written saturated.
        number = number.saturating_mul(10).saturating_add(digit.into());
        at += 1;
    }
}

fn row(fields: &[u64; FIELDS]) -> Result<(ImportRow, u32), StoreError> {
    let &[module, processes, own_us, total_us, asked, place] = fields;
    let small = |number: u64| u32::try_from(number).map_err(|_| StoreError::Damaged);
    let (module, processes) = (small(module)?, small(processes)?);
    Ok((ImportRow { module, processes, own_us, total_us, asked: asked != 0 }, small(place)?))
}

/// All packages of `text`.
pub(super) fn of_text(text: &str) -> Result<Packages, StoreError> {
    let mut packages = Packages::new();
    read(text, |import, place| {
        let ImportRow { module, processes, own_us, total_us, asked, .. } = import;
        packages.insert(module, Package { processes, own_us, total_us, asked, place });
    })?;
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn packages_come_back_as_they_were(
            packages in proptest::collection::btree_map(any::<u32>(), any::<(u32, u64, u64, bool, u32)>(), 0..20)
        ) {
            let package = |(processes, own_us, total_us, asked, place)| {
                Package { processes, own_us, total_us, asked, place }
            };
            let packages: Packages = packages.into_iter().map(|(module, it)| (module, package(it))).collect();
            prop_assert_eq!(of_text(&to_text(&packages)).unwrap(), packages);
        }

        #[test]
        fn no_text_ends_in_a_panic(text in "[\\[\\],0-9a x\u{e9}]{0,60}") {
            let _ = of_text(&text);
        }
    }

    #[test]
    fn a_text_that_was_cut_or_changed_is_damaged() {
        for text in [
            "[[1,2,3,4,5]]",
            "[[1,2,3,4,5,6,7]]",
            "[[1,2,3,4,1,6",
            "[1,2,3,4,1,6",
            "[[1,2,3,4,1,-6]]",
            "x",
            "",
            "[[1,2,3,4,1,6][1,2,3,4,1,6]]",
            "[[1,2,3,4,1,6],]",
            "[[1,2,,4,1,6]]",
            "[[1,2,3,4,1,6]]]",
            "[[1,2,3,4,1,6]] ",
        ] {
            assert!(matches!(of_text(text), Err(StoreError::Damaged)), "{text}");
        }
        assert!(matches!(of_text("[[4294967296,1,1,1,1,1]]"), Err(StoreError::Damaged)));
    }
}
