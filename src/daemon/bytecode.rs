//! Modules without bytecode in the directories that tasks used, counted from listings that the cache has anyway.
//!
//! A read-only view cannot take the bytecode that Python would write, so every process compiles such modules
//! again. Nothing is asked for the count: a directory whose `__pycache__` nobody has listed is left out, as is
//! what has fallen out of the cache. So it is the least there is.
//!
//! Not here: what counts as a module (`environment::bytecode`), telling the user (`enter::tenancy`).

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cache::Cache;
use crate::environment::bytecode::{MANY_UNCOMPILED, uncompiled};
use crate::file::{FilePath, Listing};
use crate::holder::messages::Uncompiled;

/// Where Python keeps bytecode (PEP 3147).
const CACHED: &[u8] = b"__pycache__";

/// What the user should know of the modules that `views` lack bytecode for; `None` if they are few.
pub(super) fn many_uncompiled(cache: &Cache, views: &[PathBuf]) -> Option<Uncompiled> {
    tell(&count(&cache.listings_in_use(CACHED)), views)
}

/// How many modules of each directory have no bytecode, as far as that is known.
fn count(listings: &[(FilePath, Arc<Listing>)]) -> Vec<(&FilePath, usize)> {
    let by_path: HashMap<&FilePath, &Listing> =
        listings.iter().map(|(path, listing)| (path, &**listing)).collect();
    let of = |(path, listing): &'_ (FilePath, Arc<Listing>)| {
        let cached = match listing.find(CACHED) {
            Some(_) => Some(*by_path.get(&path.join(CACHED))?),
            None => None,
        };
        Some(uncompiled(names(listing), cached.into_iter().flat_map(names)))
    };
    listings.iter().filter_map(|row| of(row).map(|modules| (&row.0, modules))).collect()
}

fn names(listing: &Listing) -> impl Iterator<Item = &OsStr> {
    listing.iter().map(|row| OsStr::from_bytes(&row.name))
}

/// The sum, and the one directory beneath which all of them are in the view that has most.
fn tell(counted: &[(&FilePath, usize)], views: &[PathBuf]) -> Option<Uncompiled> {
    let total: usize = counted.iter().map(|(_, modules)| modules).sum();
    if total < MANY_UNCOMPILED {
        return None;
    }
    let of_view =
        |number: usize| counted.iter().filter(move |(path, n)| path.view().position() == number && *n > 0);
    let modules = |number: &usize| of_view(*number).map(|(_, modules)| modules).sum::<usize>();
    let most = (0..views.len()).max_by_key(modules)?;
    let view = views.get(most)?;
    let above = of_view(most).map(|(path, _)| path.beneath(view)).reduce(|a, b| common_ancestor(&a, &b));
    Some(Uncompiled { modules: total, directory: above.unwrap_or_else(|| view.clone()) })
}

fn common_ancestor(a: &Path, b: &Path) -> PathBuf {
    a.components().zip(b.components()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::{ListingEntry, ViewId};

    fn listing(names: impl IntoIterator<Item = String>) -> Arc<Listing> {
        let row = |name: String| ListingEntry {
            name: name.into_bytes().into(),
            inode: 1,
            kind: libc::DT_UNKNOWN,
            entry: None,
        };
        Arc::new(Listing::new(names.into_iter().map(row).collect(), true))
    }

    fn modules(count: usize) -> impl Iterator<Item = String> {
        (0..count).map(|i| format!("m{i}.py"))
    }

    fn bytecode(count: usize) -> impl Iterator<Item = String> {
        (0..count).map(|i| format!("m{i}.cpython-311.pyc"))
    }

    fn at(view: usize, path: &str) -> FilePath {
        FilePath::from_relative(ViewId::new(view), path.as_bytes())
    }

    #[test]
    fn only_what_is_known_to_lack_bytecode_counts() {
        let cached = || ["__pycache__".to_owned()];
        let cases = [
            ("no __pycache__ at all", vec![(at(0, "a"), listing(modules(9)))], 9),
            ("one that nobody listed", vec![(at(0, "a"), listing(modules(9).chain(cached())))], 0),
            (
                "one that holds some",
                vec![
                    (at(0, "a"), listing(modules(9).chain(cached()))),
                    (at(0, "a/__pycache__"), listing(bytecode(7))),
                ],
                2,
            ),
            (
                "one of another view",
                vec![
                    (at(0, "a"), listing(modules(9).chain(cached()))),
                    (at(1, "a/__pycache__"), listing(bytecode(7))),
                ],
                0,
            ),
        ];
        for (why, listings, want) in cases {
            assert_eq!(count(&listings).iter().map(|(_, n)| n).sum::<usize>(), want, "{why}");
        }
    }

    #[test]
    fn the_directory_to_compile_is_the_innermost_that_holds_all_of_them() {
        let views = ["/sw/a".into(), "/sw/b".into()];
        let (one, two, other) = (at(1, "lib/python3/x"), at(1, "lib/python3/y/z"), at(0, "lib"));
        let clean = at(1, "share");
        let few = MANY_UNCOMPILED - 1;
        let told =
            |counted: &[(&FilePath, usize)]| tell(counted, &views).map(|told| (told.modules, told.directory));
        assert_eq!(told(&[(&one, few), (&clean, 0)]), None, "a clean installation has a few");
        assert_eq!(
            told(&[(&one, 60), (&two, 50), (&other, 20), (&clean, 0)]),
            Some((130, "/sw/b/lib/python3".into()))
        );
        assert_eq!(told(&[(&one, 100)]), Some((100, "/sw/b/lib/python3/x".into())));
    }
}
