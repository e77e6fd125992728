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

/// Calls `each` with all packages of `text`, which `run` imported.
///
/// # Errors
/// It is no such text; some packages may have been told then.
pub(super) fn read(run: u32, text: &str, mut each: impl FnMut(ImportRow, u32)) -> Result<(), StoreError> {
    let (mut fields, mut at, mut number) = ([0_u64; FIELDS], 0, None);
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' => {
                let digit = u64::from(byte - b'0');
                // What does not fit is clipped: sums of a run are written saturated.
                number = Some(number.unwrap_or(0_u64).saturating_mul(10).saturating_add(digit));
            }
            _ => {
                if let Some(number) = number.take() {
                    *fields.get_mut(at).ok_or(StoreError::Damaged)? = number;
                    at += 1;
                }
                if byte == b']' && at > 0 {
                    if at != FIELDS {
                        return Err(StoreError::Damaged);
                    }
                    let (import, place) = row(run, &fields)?;
                    each(import, place);
                    at = 0;
                } else if !matches!(byte, b'[' | b',' | b']') {
                    return Err(StoreError::Damaged);
                }
            }
        }
    }
    if at == 0 && number.is_none() { Ok(()) } else { Err(StoreError::Damaged) }
}

fn row(run: u32, fields: &[u64; FIELDS]) -> Result<(ImportRow, u32), StoreError> {
    let &[module, processes, own_us, total_us, asked, place] = fields;
    let small = |number: u64| u32::try_from(number).map_err(|_| StoreError::Damaged);
    let (module, processes) = (small(module)?, small(processes)?);
    Ok((ImportRow { run, module, processes, own_us, total_us, asked: asked != 0 }, small(place)?))
}

/// All packages of `text`.
pub(super) fn of_text(text: &str) -> Result<Packages, StoreError> {
    let mut packages = Packages::new();
    read(0, text, |import, place| {
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
        for text in
            ["[[1,2,3,4,5]]", "[[1,2,3,4,5,6,7]]", "[[1,2,3,4,1,6", "[1,2,3,4,1,6", "[[1,2,3,4,1,-6]]", "x"]
        {
            assert!(matches!(of_text(text), Err(StoreError::Damaged)), "{text}");
        }
        assert!(matches!(of_text("[[4294967296,1,1,1,1,1]]"), Err(StoreError::Damaged)));
    }
}
