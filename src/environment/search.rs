//! One search for views: what was accepted so far, what was left out and why.
//!
//! Invariant: every accepted directory is a real path, holds software by a marker that was seen, and lies
//! within the bounds; so what is nested can simply be merged at the end.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use super::bounds::{self, Bounds, Refusal};
use super::find::{ChosenView, Found};
use super::look::{Look, Looks};
use super::surroundings::Surroundings;

/// The state of one search.
pub struct Search<'a> {
    /// The file system.
    pub looks: Looks<'a>,
    /// What the command at hand sees; `env X=Y` on the way changes it.
    pub around: Surroundings,
    /// What Spinney itself was started with: the job's directories.
    started_with: &'a Surroundings,
    bounds: OnceCell<Bounds>,
    accepted: Vec<ChosenView>,
    notes: Vec<String>,
}

impl<'a> Search<'a> {
    /// An empty search.
    pub fn new(look: &'a dyn Look, around: &'a Surroundings) -> Self {
        Self {
            looks: Looks::new(look),
            around: around.clone(),
            started_with: around,
            bounds: OnceCell::new(),
            accepted: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Accepts the directory `view`, a real path whose marker was seen, unless it is out of bounds.
    pub fn accept(&mut self, view: PathBuf, reason: impl Into<String>) -> Result<(), Refusal> {
        let reason = reason.into();
        if let Some(refusal) = self.refuse(&view) {
            self.note(format!("left out: `{}` ({reason}) {}", view.display(), refusal.because()));
            return Err(refusal);
        }
        if !self.accepted.iter().any(|chosen| chosen.path == view) {
            self.accepted.push(ChosenView { path: view, reason });
        }
        Ok(())
    }

    /// Adds a sentence for the user, once.
    pub fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Whether `path` lies in an accepted directory already, so that nothing need be asked about it.
    ///
    /// Compares words: a path with links in it may lie inside and yet not be seen to.
    pub fn covers(&self, path: &Path) -> bool {
        self.accepted.iter().any(|chosen| path.starts_with(&chosen.path))
    }

    /// Whether a directory might be a view at all; asked before storage is.
    pub fn within_bounds(&self, path: &Path) -> bool {
        self.refuse(path).is_none()
    }

    /// How many directories are accepted so far.
    pub fn accepted(&self) -> usize {
        self.accepted.len()
    }

    /// Ends the search: nested directories are merged into the outer ones.
    pub fn finish(mut self) -> Found {
        if self.looks.refused() {
            let limit = super::look::LOOKS_MAX;
            self.note(format!(
                "not everything was looked at: more than {limit} paths named; `--view` adds some"
            ));
        }
        let (accepted, mut notes) = (self.accepted, self.notes);
        let outer_of = |view: &ChosenView| {
            accepted.iter().find(|other| other.path != view.path && view.path.starts_with(&other.path))
        };
        let mut views = Vec::new();
        for view in &accepted {
            match outer_of(view) {
                Some(outer) => notes.push(nested(view, outer)),
                None => views.push(view.clone()),
            }
        }
        Found { views, notes }
    }

    fn refuse(&self, view: &Path) -> Option<Refusal> {
        bounds::refuse_for_anyone(view).or_else(|| self.bounds().refuse(view))
    }

    /// The job's own directories. Real paths cost a look each, so only once something is proposed.
    fn bounds(&self) -> &Bounds {
        self.bounds.get_or_init(|| {
            let both = |path: &Path| {
                let mut paths = vec![path.to_owned()];
                paths.extend(self.looks.directory(path).filter(|real| real != path));
                paths
            };
            Bounds {
                cwd: self.started_with.cwd.clone(),
                homes: self.started_with.home.as_deref().map(both).unwrap_or_default(),
                tmpdirs: both(&self.started_with.tmpdir),
            }
        })
    }
}

fn nested(view: &ChosenView, outer: &ChosenView) -> String {
    format!("`{}` ({}) lies in the view `{}`", view.path.display(), view.reason, outer.path.display())
}
