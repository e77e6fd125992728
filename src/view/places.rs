//! From node ids to places: a file of a view, a made-up directory above the views, or nowhere.
//!
//! Not here: the table of nodes itself (`nodes`).

use super::layout::{Above, DOTS};
use super::nodes::{NodeId, Trail};
use super::{DirectoryRow, DirectorySink, Inner, Lasting, Looked, Shown};
use crate::file::{FetchError, FilePath, Version};

/// Where a node id or a name leads.
#[derive(Debug)]
pub(super) enum Place {
    /// Within a view.
    File(FilePath),
    /// A made-up directory that leads to a view.
    Between { path: Vec<Box<[u8]>> },
    /// Beside the views: there is nothing.
    Nowhere,
}

impl Inner {
    /// The place of `node`, and its version unless it is a directory.
    pub(super) fn place_of(&self, node: NodeId) -> Result<(Place, Option<Version>), FetchError> {
        let (trail, version) = self.nodes.trail(node).ok_or(FetchError::Stale)?;
        Ok((self.place_at(trail), version))
    }

    fn place_at(&self, trail: Trail) -> Place {
        match trail.view {
            Some(view) => Place::File(FilePath::from_relative(view, &trail.names.join(&b'/'))),
            None => match self.layout.above(&trail.names) {
                Above::View(view) => Place::File(FilePath::root(view)),
                Above::Directory => Place::Between { path: trail.names },
                Above::Nothing => Place::Nowhere,
            },
        }
    }

    pub(super) fn place_of_name(&self, parent: NodeId, name: &[u8]) -> Result<Place, FetchError> {
        let (place, _) = self.place_of(parent)?;
        Ok(match place {
            Place::File(path) => Place::File(path.join(name)),
            Place::Between { mut path } => {
                path.push(name.into());
                self.place_at(Trail { view: None, names: path })
            }
            Place::Nowhere => Place::Nowhere,
        })
    }

    /// The file that `node` stands for, and its version unless it is a directory.
    pub(super) fn file_of(&self, node: NodeId) -> Result<(FilePath, Option<Version>), FetchError> {
        match self.place_of(node)? {
            (Place::File(path), version) => Ok((path, version)),
            _ => Err(FetchError::Stale),
        }
    }

    /// The node of the made-up directory `name` in `parent`, counted as looked up.
    pub(super) fn between(&self, parent: NodeId, name: &[u8]) -> Result<Looked, FetchError> {
        let node = self.nodes.look_up(parent, name, None, None, true)?;
        let attributes = self.layout.attributes_between(node);
        Ok(Looked::Found(Shown {
            node,
            attributes,
            lasting: Lasting::ForTheJob,
            attributes_last: Lasting::ForTheJob,
        }))
    }

    /// The node by which the kernel knows the directory at `path`, if it does.
    pub(super) fn node_of_directory(&self, path: &FilePath) -> Option<NodeId> {
        let mut node = self.nodes.view_root(path.view())?;
        for name in path.relative().split(|b| *b == b'/').filter(|name| !name.is_empty()) {
            node = self.nodes.child_directory(node, name)?;
        }
        Some(node)
    }

    pub(super) fn list_between(
        &self,
        node: NodeId,
        place: &Place,
        position: u64,
        sink: &mut impl DirectorySink,
    ) {
        let Place::Between { path } = place else { return };
        if !self.list_dots(node.get(), position, sink) {
            return;
        }
        for (i, name) in self.layout.names_above(path).iter().enumerate() {
            let at = DOTS + 1 + i as u64;
            if at > position {
                if !sink.has_room(name.len()) {
                    return;
                }
                // The inode number becomes known when the name is looked up; 1 stands for "some".
                sink.add(&DirectoryRow { name, inode: 1, kind: libc::DT_DIR, position: at }, None);
            }
        }
    }

    /// Adds `.` and `..` if `position` lies before them. False if the sink is full.
    pub(super) fn list_dots(&self, inode: u64, position: u64, sink: &mut impl DirectorySink) -> bool {
        for (at, name) in [(1, b".".as_slice()), (2, b"..")] {
            if at > position {
                if !sink.has_room(name.len()) {
                    return false;
                }
                sink.add(&DirectoryRow { name, inode, kind: libc::DT_DIR, position: at }, None);
            }
        }
        true
    }
}
