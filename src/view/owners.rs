//! How owners and groups are shown.
//!
//! In a user namespace that maps one user and one group, the kernel would show every other group as the
//! overflow id and decide access without it. A file of a group the user belongs to is therefore shown with
//! the caller's own group, and the kernel then decides as it would have outside.
//!
//! Not here: deciding access; the kernel does (`default_permissions`).

use crate::file::Attributes;

/// Who looks at the view.
#[derive(Debug, Clone)]
pub enum Owners {
    /// Ids mean the same inside and outside.
    AsTheyAre,
    /// A user namespace that maps only the caller.
    OnlyCaller {
        /// Effective group of the tasks.
        gid: u32,
        /// Supplementary groups of the tasks.
        groups: Vec<u32>,
    },
}

impl Owners {
    /// `attributes` as the tasks shall see them.
    pub fn show(&self, mut attributes: Attributes) -> Attributes {
        if let Owners::OnlyCaller { gid, groups } = self
            && groups.contains(&attributes.gid)
        {
            attributes.gid = *gid;
        }
        attributes
    }
}
