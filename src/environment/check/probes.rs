//! What search directories cost a recorded job: how often something was asked for in them and was not there.

use std::path::Path;

use crate::environment::classes::{self, NORMAL, Rules};
use crate::environment::recorded::{Recorded, Usage};

/// Directories the loader tries inside each search directory; what it asks there is asked because of that one.
const LOADER_DIRECTORIES: [&str; 5] = ["glibc-hwcaps", "tls", "haswell", "avx512_1", "x86_64"];

/// What was asked for in one directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Probes {
    /// Calls that found nothing.
    pub absent: u64,
    /// Calls that found something.
    pub found: u64,
    /// Calls about the directory itself: Python lists a directory and then asks for no name that is not there.
    pub itself: u64,
    /// Time of all calls.
    pub nanoseconds: u64,
}

/// What was asked for directly in `directory`, and of itself; all beneath it if it does not exist.
///
/// `None` if the recording could not see it: it lies in no view.
pub fn in_directory(recorded: &Recorded, directory: &Path, exists: bool) -> Option<Probes> {
    if !recorded.views.iter().any(|view| directory.starts_with(view)) {
        return None;
    }
    let mut probes = Probes::default();
    let beneath = recorded.paths.range(directory.to_owned()..);
    for (path, usage) in beneath.take_while(|(path, _)| path.starts_with(directory)) {
        let Ok(rest) = path.strip_prefix(directory) else { continue };
        if exists && rest.as_os_str().is_empty() {
            probes.itself = probes.itself.saturating_add(usage.calls);
            probes.nanoseconds = probes.nanoseconds.saturating_add(usage.nanoseconds);
        }
        let is_own = rest.components().count() == 1
            || rest.iter().next().is_some_and(|name| LOADER_DIRECTORIES.iter().any(|loader| name == *loader));
        if !exists || is_own {
            probes.add(usage);
        }
    }
    Some(probes)
}

impl Probes {
    /// How often it was asked in vain.
    ///
    /// A question about a name in it comes with one about itself, so those about itself count only where nobody asked for a
    /// name: then it was listed, and had nothing that was wanted.
    pub fn in_vain(&self) -> u64 {
        match self.found {
            0 if self.absent == 0 => self.itself,
            _ => self.absent,
        }
    }

    fn add(&mut self, usage: &Usage) {
        self.absent = self.absent.saturating_add(usage.absent);
        self.found = self.found.saturating_add(usage.found);
        self.nanoseconds = self.nanoseconds.saturating_add(usage.nanoseconds);
    }
}

/// Probes that every start makes and that are no fault: what, calls, why.
pub fn normal(recorded: &Recorded) -> Vec<(&'static str, u64, &'static str)> {
    let mut normal = NORMAL.map(|(_, what, why)| (what, 0_u64, why));
    for (_, usage, class) in classes::each(recorded, &Rules::built_in()) {
        if let Some(which) = NORMAL.iter().position(|(name, ..)| *name == class) {
            normal[which].1 = normal[which].1.saturating_add(usage.absent);
        }
    }
    normal.into_iter().filter(|(_, calls, _)| *calls > 0).collect()
}
