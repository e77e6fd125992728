//! What there is beneath some roots: every name once, links as links.
//!
//! Links to directories are not followed while walking, so what they lead to counts once, where it really lies. A path
//! that tasks used through such a link is led there by [`Tree::real`], without asking the file system again.
//!
//! Not here: what was used (`coverage`), which package a file belongs to (`packages`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Links followed in one path at most, as in the kernel (MAXSYMLINKS).
const LINKS_MAX: usize = 40;

/// Names beneath all roots at most: ten times the largest conda environment seen. Each takes about 200 bytes.
pub const NAMES_MAX: usize = 10_000_000;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thing {
    /// A directory.
    Directory,
    /// A file, or whatever else holds something, and its size.
    File(u64),
    /// A link and where it leads.
    Link(PathBuf),
}

/// Everything beneath some roots.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// By real path, the roots included.
    pub things: BTreeMap<PathBuf, Thing>,
    /// The roots: as they were named, and really. None lies in another.
    pub roots: Vec<(PathBuf, PathBuf)>,
    /// What could not be listed, in words.
    pub troubles: Vec<String>,
}

impl Tree {
    /// Walks the roots. A root inside another counts with it.
    ///
    /// # Cost
    /// A listing of each directory and the attributes of each name, all on this node: not for a job's nodes.
    pub fn walk(roots: &[PathBuf]) -> Self {
        let mut tree = Self::default();
        let mut real = Vec::new();
        for root in roots {
            match fs::canonicalize(root) {
                Ok(path) if path.is_dir() => real.push((root.clone(), path)),
                Ok(_) => tree.troubles.push(format!("{}: not a directory", root.display())),
                Err(error) => tree.troubles.push(format!("{}: {error}", root.display())),
            }
        }
        let is_outer = |path: &Path| !real.iter().any(|(_, other)| path != other && path.starts_with(other));
        for (named, path) in &real {
            if is_outer(path) && !tree.roots.iter().any(|(_, known)| known == path) {
                tree.roots.push((named.clone(), path.clone()));
                tree.walk_root(path);
            }
        }
        tree
    }

    /// Where `path` really lies if that is beneath a root; links in it are followed as far as they are known here.
    ///
    /// The last component is not followed, so a link counts as itself. `through` gets each link that was passed.
    pub fn real(&self, path: &Path, through: &mut Vec<PathBuf>) -> Option<PathBuf> {
        let mut path = path.to_owned();
        for _ in 0..LINKS_MAX {
            let plain = self.beneath_root(&without_dots(&path))?;
            let Some((link, target)) = self.first_link(&plain) else { return Some(plain) };
            let rest = plain.strip_prefix(&link).expect("the link is an ancestor").to_owned();
            path = link.parent().unwrap_or(Path::new("/")).join(target).join(rest);
            through.push(link);
        }
        None
    }

    /// The root that a real path lies beneath.
    pub fn root_of(&self, real: &Path) -> Option<usize> {
        self.roots.iter().position(|(_, root)| real.starts_with(root))
    }

    /// `path` with a root's name replaced by where the root really lies.
    fn beneath_root(&self, path: &Path) -> Option<PathBuf> {
        self.roots.iter().find_map(|(named, root)| {
            let rest = path.strip_prefix(root).or_else(|_| path.strip_prefix(named)).ok()?;
            Some(if rest.as_os_str().is_empty() { root.clone() } else { root.join(rest) })
        })
    }

    /// The first link to pass on the way to `path`, and its target.
    fn first_link(&self, path: &Path) -> Option<(PathBuf, PathBuf)> {
        let mut ancestors: Vec<&Path> = path.ancestors().skip(1).collect();
        ancestors.reverse();
        ancestors.into_iter().find_map(|ancestor| match self.things.get(ancestor) {
            Some(Thing::Link(target)) => Some((ancestor.to_owned(), target.clone())),
            _ => None,
        })
    }

    fn walk_root(&mut self, root: &Path) {
        self.things.insert(root.to_owned(), Thing::Directory);
        let mut waiting = vec![root.to_owned()];
        while let Some(directory) = waiting.pop() {
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) => {
                    self.troubles.push(format!("{}: {error}", directory.display()));
                    continue;
                }
            };
            for entry in entries.flatten() {
                if self.things.len() == NAMES_MAX {
                    self.troubles.push(format!("{}: more than {NAMES_MAX} names", root.display()));
                    return;
                }
                let path = entry.path();
                let Some(thing) = thing(&path) else { continue };
                if thing == Thing::Directory {
                    waiting.push(path.clone());
                }
                self.things.insert(path, thing);
            }
        }
    }
}

fn thing(path: &Path) -> Option<Thing> {
    let attributes = fs::symlink_metadata(path).ok()?;
    if attributes.is_dir() {
        return Some(Thing::Directory);
    }
    if attributes.is_symlink() {
        return fs::read_link(path).ok().map(Thing::Link);
    }
    Some(Thing::File(attributes.len()))
}

/// `path` without `.` and `..`; what precedes a `..` is taken for a directory, since links were replaced before.
pub fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(plain.pop()),
            other => plain.push(other),
        }
    }
    plain
}
