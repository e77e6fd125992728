//! The environment of a given command: which views it would get, where they lie, whether they are served.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::hurts::{self, SetIds};
use super::probe;
use super::report::lossy;
use super::way;
use crate::environment::bytecode::{self, Bytecode};
use crate::environment::mounts::{Mounts, Reach};
use crate::environment::{self, ChosenView, Found, Surroundings};
use crate::holder::estate::WayIn;

/// A command's environment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CommandReport {
    /// The first word.
    pub name: String,
    /// Where it was found in PATH.
    pub found_at: Option<String>,
    /// What would be served.
    pub views: Vec<ViewReport>,
    /// What was left out and why.
    pub notes: Vec<String>,
}

/// One view of a command.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ViewReport {
    /// The directory.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// What led to it.
    pub reason: String,
    /// The type of its file system.
    pub file_system: Option<String>,
    /// What is mounted there: a server's path, a device.
    pub source: Option<String>,
    /// Where that is mounted.
    pub mount_point: Option<String>,
    /// Whether it comes over the network.
    pub reach: Reach,
    /// Whether nothing on it may be executed.
    pub is_noexec: bool,
    /// Whether a try saw this directory through a view; none if no way in works.
    pub is_served: Option<bool>,
    /// Why it was not.
    pub message: Option<String>,
    /// Modules and their bytecode.
    pub bytecode: Bytecode,
    /// Programs that gain nothing from their set-uid or set-gid bit inside.
    pub set_ids: SetIds,
}

/// Examines the environment of `command`; `None` if no command was given.
pub fn examine(command: &[OsString], around: &Surroundings, mounts: &Mounts) -> Option<CommandReport> {
    let (name, args) = command.split_first()?;
    let found_at = environment::program_in_path(name, around);
    let found = found_at.as_deref().map(|path| environment::find(path, args, around)).unwrap_or_else(|| {
        Found { notes: vec![format!("`{}` is not in PATH", name.display())], ..Found::default() }
    });
    let mut notes = found.notes.clone();
    notes.extend(found_at.as_deref().and_then(|path| found.warning(path)));
    let views = found.views.iter().map(|view| describe(view, mounts)).collect();
    let found_at = found_at.map(|path| path.display().to_string());
    Some(CommandReport { name: name.display().to_string(), found_at, views, notes })
}

impl CommandReport {
    /// The same after `executable` has tried to serve it in `way`, if there is one.
    pub fn tried(mut self, executable: &Path, way: Option<WayIn>) -> Self {
        if let Some(way) = way {
            try_views(&mut self.views, executable, way);
        }
        self
    }
}

fn describe(view: &ChosenView, mounts: &Mounts) -> ViewReport {
    let mount = mounts.of(&view.path);
    ViewReport {
        path: view.path.clone(),
        reason: view.reason.clone(),
        file_system: mount.map(|mount| mount.fs_type.clone()),
        source: mount.map(|mount| mount.source.display().to_string()),
        mount_point: mount.map(|mount| mount.point.display().to_string()),
        reach: mount.map_or(Reach::Unknown, |mount| mount.reach()),
        is_noexec: mount.is_some_and(|mount| mount.has_option("noexec")),
        is_served: None,
        message: None,
        bytecode: bytecode::missing_bytecode(&view.path, hurts::BYTECODE_WALK),
        set_ids: hurts::set_ids(&view.path),
    }
}

/// Serves all views at once, as a run would, and looks at each from inside.
fn try_views(views: &mut [ViewReport], executable: &Path, way: WayIn) {
    let paths: Vec<PathBuf> = views.iter().map(|view| view.path.clone()).collect();
    if paths.is_empty() {
        return;
    }
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let seen = way::see(executable, way, &paths, &paths);
    for view in views {
        let inside = seen.as_ref().ok().and_then(|seen| way::seen_of(&view.path, seen));
        let outside = probe::look(&view.path);
        let is_served = matches!((inside, &outside), (Some(inside), Ok(outside))
            if inside.is_fuse && inside.device != outside.device);
        view.is_served = Some(is_served);
        view.message = match (&seen, outside) {
            _ if is_served => None,
            (Err(message), _) => Some(message.clone()),
            (_, Err(error)) => Some(error.to_string()),
            _ => Some("the command saw storage itself and not a view".to_owned()),
        };
    }
}
