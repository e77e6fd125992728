//! Where the views lie beneath a connection's root.
//!
//! A connection shows every view at its own absolute path, so that one connection serves several views and
//! `--mount-under` needs nothing else. The directories that lead to the views are made up here.
//!
//! Not here: what is inside the views.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use super::nodes::NodeId;
use crate::file::{Attributes, ViewId};

/// Positions up to this are those of `.` and `..`.
pub(super) const DOTS: u64 = 2;

/// The arrangement of one connection.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The components of each view's path; none for a connection that shows a single view as its root.
    views: Vec<(ViewId, Vec<Box<[u8]>>)>,
}

/// What lies at a path above the views.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Above {
    /// A view's root.
    View(ViewId),
    /// A directory that leads to a view.
    Directory,
    /// Nothing.
    Nothing,
}

impl Layout {
    /// Every view at its own absolute path beneath the connection's root.
    pub fn at_their_paths<'a>(views: impl IntoIterator<Item = &'a Path>) -> Self {
        let components = |path: &Path| {
            path.components()
                .filter_map(|c| match c {
                    Component::Normal(name) => Some(Box::from(name.as_bytes())),
                    _ => None,
                })
                .collect()
        };
        let views = views.into_iter().enumerate().map(|(i, path)| (ViewId::new(i), components(path)));
        Layout { views: views.collect() }
    }

    /// One view as the connection's root.
    pub fn only(view: ViewId) -> Self {
        Layout { views: vec![(view, Vec::new())] }
    }

    /// What lies at this path of made-up directories.
    pub(super) fn above(&self, path: &[Box<[u8]>]) -> Above {
        for (view, components) in &self.views {
            if components == path {
                return Above::View(*view);
            }
        }
        let leads = self.views.iter().any(|(_, components)| components.starts_with(path));
        if leads { Above::Directory } else { Above::Nothing }
    }

    /// The names in the made-up directory at `path`, each once.
    pub(super) fn names_above(&self, path: &[Box<[u8]>]) -> Vec<Box<[u8]>> {
        let below = self.views.iter().filter(|(_, components)| components.starts_with(path));
        let mut names: Vec<_> =
            below.filter_map(|(_, components)| components.get(path.len()).cloned()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Attributes of a made-up directory: readable by all, owned by root, as `/` is.
    pub(super) fn attributes_between(&self, node: NodeId) -> Attributes {
        Attributes { links: 2, ..Attributes::made_up(node.get(), libc::S_IFDIR | 0o555) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_view_is_found_at_its_own_path_and_nothing_beside_it() {
        let layout = Layout::at_their_paths([Path::new("/soft/py"), Path::new("/soft/r"), Path::new("/opt")]);
        let path = |names: &[&str]| names.iter().map(|n| Box::from(n.as_bytes())).collect::<Vec<Box<[u8]>>>();
        let cases = [
            (path(&[]), Above::Directory),
            (path(&["soft"]), Above::Directory),
            (path(&["soft", "py"]), Above::View(ViewId::new(0))),
            (path(&["opt"]), Above::View(ViewId::new(2))),
            (path(&["sof"]), Above::Nothing), // a prefix of the name is not a prefix of the path
        ];
        for (at, want) in cases {
            assert_eq!(layout.above(&at), want, "{at:?}");
        }
        assert_eq!(layout.names_above(&path(&[])), path(&["opt", "soft"]));
        assert_eq!(layout.names_above(&path(&["soft"])), path(&["py", "r"]));
    }
}
