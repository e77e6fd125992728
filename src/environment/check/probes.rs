//! What search directories cost a recorded job: how often something was asked for in them and was not there.

use std::path::Path;

use crate::environment::recorded::{Recorded, Usage};

/// Directories the loader tries inside each search directory; what it asks there is asked because of that one.
const LOADER_DIRECTORIES: [&str; 4] = ["glibc-hwcaps", "tls", "haswell", "x86_64"];

/// What was asked for in one directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Probes {
    /// Calls that found nothing.
    pub absent: u64,
    /// Calls that found something.
    pub found: u64,
    /// Time of all calls.
    pub nanoseconds: u64,
}

/// What was asked for directly in `directory`; all beneath it if it does not exist.
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
        let is_own = rest.components().count() == 1
            || rest.iter().next().is_some_and(|name| LOADER_DIRECTORIES.iter().any(|loader| name == *loader));
        if !exists || is_own {
            probes.add(usage);
        }
    }
    Some(probes)
}

impl Probes {
    fn add(&mut self, usage: &Usage) {
        self.absent = self.absent.saturating_add(usage.absent);
        self.found = self.found.saturating_add(usage.found);
        self.nanoseconds = self.nanoseconds.saturating_add(usage.nanoseconds);
    }
}

/// Probes that every start makes and that are no fault: what, calls, why.
pub fn normal(recorded: &Recorded) -> Vec<(&'static str, u64, &'static str)> {
    let mut normal = [
        ("python*.zip", 0, "Python asks for a zipped standard library first"),
        ("pyvenv.cfg", 0, "Python asks whether it is in a virtual environment"),
        ("glibc-hwcaps", 0, "the loader asks for libraries for newer processors"),
    ];
    for (path, usage) in recorded.paths.iter().filter(|(_, usage)| usage.is_probe()) {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        let which = if name.starts_with(b"python") && name.ends_with(b".zip") {
            0
        } else if name == b"pyvenv.cfg" {
            1
        } else if path.iter().any(|part| part == "glibc-hwcaps") {
            2
        } else {
            continue;
        };
        normal[which].1 += usage.absent;
    }
    normal.into_iter().filter(|(_, calls, _)| *calls > 0).collect()
}
