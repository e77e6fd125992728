//! Copying: the content and the times of files, links that mean the same, directories as they were.
//!
//! Where the file system can, a copy shares its content with the original until one of them is written to (a reflink).
//! Files that are one file in the original (hard links) are one in the copy.
//!
//! Invariant: under its own name stands a whole copy or none. What a killed copy leaves is called `.NAME.unfinished-PID`.
//!
//! Not here: what is copied (`keep`).

use std::collections::HashMap;
use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::keep::Kept;
use super::{Files, SlimError};
use crate::environment::coverage::{Thing, Tree, without_dots};

/// What copying came to.
#[derive(Debug, Default)]
pub(super) struct Copied {
    /// Bytes that take no room of their own, since the file system shares them.
    pub shared_bytes: u64,
    /// Bytes of files that are files of the original.
    pub linked_bytes: u64,
    /// What is neither file nor directory nor link.
    pub left_out: Vec<PathBuf>,
}

/// Where the copy of each thing goes.
#[derive(Debug)]
pub(super) struct Layout {
    to: PathBuf,
    /// Where each root really lies, and where it is in the copy.
    roots: Vec<(PathBuf, PathBuf)>,
}

/// Where the copy of `root` is: `to` itself if it is the only one.
pub(super) fn place_of(to: &Path, root: &Path, n_roots: usize) -> PathBuf {
    if n_roots == 1 { to.to_owned() } else { to.join(root.strip_prefix("/").unwrap_or(root)) }
}

impl Layout {
    /// Of a copy of the roots of `tree` at `to`.
    pub fn of(tree: &Tree, to: &Path) -> Self {
        let n_roots = tree.roots.len();
        let place =
            |(named, real): &(PathBuf, PathBuf)| (real.clone(), place_of(Path::new(""), named, n_roots));
        Layout { to: to.to_owned(), roots: tree.roots.iter().map(place).collect() }
    }

    /// Relative to the copy; `None` beneath no root.
    fn place(&self, real: &Path) -> Option<PathBuf> {
        self.roots.iter().find_map(|(root, place)| Some(place.join(real.strip_prefix(root).ok()?)))
    }

    /// What the copy of the link at `link` says, which leads to `target`.
    ///
    /// A relative one stays as it is if it stays within its root; one that leads out of all roots leads to the same place
    /// as before; an absolute one into a root leads into the copy.
    fn link(&self, link: &Path, target: &Path) -> PathBuf {
        let directory = link.parent().unwrap_or(Path::new("/"));
        let meant = without_dots(&directory.join(target));
        let is_beneath = |path: &Path| self.roots.iter().position(|(root, _)| path.starts_with(root));
        match (is_beneath(link), is_beneath(&meant)) {
            (_, None) => meant,
            (one, other) if one == other && target.is_relative() => target.to_owned(),
            _ => match (self.place(directory), self.place(&meant)) {
                (Some(from), Some(to)) => relative(&from, &to),
                _ => meant,
            },
        }
    }
}

/// The way from one directory to `to`, both relative to the same one.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let common = from.components().zip(to.components()).take_while(|(one, other)| one == other).count();
    let up = from.components().skip(common).map(|_| "..");
    let way: PathBuf = up
        .map(PathBuf::from)
        .chain(to.components().skip(common).map(|part| part.as_os_str().into()))
        .collect();
    if way.as_os_str().is_empty() { PathBuf::from(".") } else { way }
}

/// Makes the copy.
///
/// # Errors
/// What failed first; nothing is left then.
pub(super) fn copy(tree: &Tree, kept: &Kept, layout: &Layout, files: Files) -> Result<Copied, SlimError> {
    let unfinished = Unfinished::begin(&layout.to)?;
    let mut copying =
        Copying { into: &unfinished.path, layout, copied: Copied::default(), known: HashMap::new(), files };
    for path in kept.keys() {
        match &tree.things[path] {
            Thing::Directory => copying.directory(path)?,
            Thing::Link(target) => copying.link(path, target)?,
            Thing::File(_) => copying.file(path)?,
        }
    }
    let copied = copying.copied;
    // From the inside out: a directory that must not be written to is not written to any more.
    for (path, _) in kept.iter().rev().filter(|(path, _)| tree.things[*path] == Thing::Directory) {
        let place = unfinished.path.join(layout.place(path).unwrap_or_default());
        finish_directory(path, &place).map_err(failed(path))?;
    }
    unfinished.finish(&layout.to)?;
    Ok(copied)
}

struct Copying<'a> {
    into: &'a Path,
    layout: &'a Layout,
    copied: Copied,
    /// Where the copy of a file is that has several names, by device and inode number.
    known: HashMap<(u64, u64), PathBuf>,
    files: Files,
}

impl Copying<'_> {
    fn place(&self, real: &Path) -> PathBuf {
        self.into.join(self.layout.place(real).expect("what is kept lies beneath a root"))
    }

    fn directory(&self, real: &Path) -> Result<(), SlimError> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(self.place(real)).map_err(failed(real))
    }

    fn link(&self, real: &Path, target: &Path) -> Result<(), SlimError> {
        symlink(self.layout.link(real, target), self.place(real)).map_err(failed(real))
    }

    fn file(&mut self, real: &Path) -> Result<(), SlimError> {
        let place = self.place(real);
        let before = fs::symlink_metadata(real).map_err(failed(real))?;
        if !before.is_file() {
            self.copied.left_out.push(real.to_owned());
            return Ok(());
        }
        if self.files == Files::Linked && self.same_file(real, &place, &before)? {
            self.copied.linked_bytes += before.len();
            return Ok(());
        }
        let inode = (before.dev(), before.ino());
        if let Some(known) = self.known.get(&inode) {
            return fs::hard_link(known, place).map_err(failed(real));
        }
        // What was a file must not be followed elsewhere if it is a link by now.
        let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let mut from = OpenOptions::new().read(true).custom_flags(flags).open(real).map_err(failed(real))?;
        if self.content(&mut from, &place).map_err(failed(real))? {
            self.copied.shared_bytes += before.len();
        }
        let after = from.metadata().map_err(failed(real))?;
        let version = |of: &fs::Metadata| {
            (of.ino(), of.len(), of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec())
        };
        if version(&before) != version(&after) {
            return Err(SlimError::Changed(real.to_owned()));
        }
        if before.nlink() > 1 {
            self.known.insert(inode, place);
        }
        Ok(())
    }

    /// Makes `place` another name of the file; false where that cannot be, as on another file system, or must not.
    fn same_file(&self, real: &Path, place: &Path, before: &fs::Metadata) -> Result<bool, SlimError> {
        // A copy has no rights of another user to lend.
        if before.mode() & 0o7000 != 0 || fs::hard_link(real, place).is_err() {
            return Ok(false);
        }
        let linked = fs::symlink_metadata(place).map_err(failed(place))?;
        let content = |of: &fs::Metadata| (of.ino(), of.len(), of.mtime(), of.mtime_nsec());
        if content(&linked) == content(before) { Ok(true) } else { Err(SlimError::Changed(real.to_owned())) }
    }

    /// Copies content, mode and times; true if the content is shared.
    fn content(&self, from: &mut File, place: &Path) -> io::Result<bool> {
        let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(place)?;
        let is_shared = rustix::fs::ioctl_ficlone(&to, &*from).is_ok();
        if !is_shared {
            io::copy(from, &mut to)?;
        }
        let attributes = from.metadata()?;
        to.set_permissions(mode(&attributes))?;
        // Python takes bytecode for stale if its source has another time.
        to.set_times(times(&attributes)?)?;
        Ok(is_shared)
    }
}

/// Whoever made the copy owns it, so the rights of another user or group are not lent to who runs it.
fn mode(attributes: &fs::Metadata) -> Permissions {
    Permissions::from_mode(attributes.mode() & 0o777)
}

fn times(attributes: &fs::Metadata) -> io::Result<FileTimes> {
    Ok(FileTimes::new().set_accessed(attributes.accessed()?).set_modified(attributes.modified()?))
}

fn finish_directory(real: &Path, place: &Path) -> io::Result<()> {
    let attributes = fs::metadata(real)?;
    let directory = File::open(place)?;
    directory.set_times(times(&attributes)?)?;
    directory.set_permissions(mode(&attributes))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> SlimError {
    move |cause| SlimError::Io { path: path.to_owned(), cause }
}

/// A copy that has not got its name yet; it is removed unless it gets it.
struct Unfinished {
    path: PathBuf,
}

impl Unfinished {
    fn begin(to: &Path) -> Result<Self, SlimError> {
        let directory = to.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(directory).map_err(failed(directory))?;
        let name = to.file_name().unwrap_or_default().to_string_lossy();
        let path = directory.join(format!(".{name}.unfinished-{}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(failed(&path))?;
        Ok(Unfinished { path })
    }

    /// Gives it its name, once the disk has it all.
    fn finish(mut self, to: &Path) -> Result<(), SlimError> {
        // Some file systems say only now that there is no room.
        let synced = File::open(&self.path).and_then(|directory| Ok(rustix::fs::syncfs(directory)?));
        synced.map_err(failed(to))?;
        fs::rename(&self.path, to).map_err(failed(to))?;
        self.path.clear();
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            remove(&self.path);
        }
    }
}

/// Removes a tree, directories that must not be written to included.
fn remove(directory: &Path) {
    let _ = fs::set_permissions(directory, Permissions::from_mode(0o700));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    // What remains of it has a name that says what it is.
    let _ = fs::remove_dir_all(directory);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_of_the_copy_means_what_it_meant() {
        let one = Layout { to: "/copy".into(), roots: vec![("/opt/env".into(), "".into())] };
        let two = Layout {
            to: "/copy".into(),
            roots: vec![("/opt/env".into(), "opt/env".into()), ("/real/base".into(), "opt/base".into())],
        };
        // The layout, the link, where it led, where it is to lead, why.
        let cases = [
            (&one, "/opt/env/lib64", "lib", "lib", "relative links stay"),
            (&one, "/opt/env/bin/python", "./x/../python3", "./x/../python3", "to the letter"),
            (&one, "/opt/env/bin/python3", "/usr/bin/python3", "/usr/bin/python3", "out of the environment"),
            (&one, "/opt/env/bin/tool", "../../base/tool", "/opt/base/tool", "out of it, from another place"),
            (
                &one,
                "/opt/env/bin/python",
                "/opt/env/lib/p",
                "../lib/p",
                "into the copy, not into the original",
            ),
            (&one, "/opt/env/self", "/opt/env", ".", "to the root itself"),
            (
                &two,
                "/opt/env/bin/python",
                "/real/base/bin/p",
                "../../base/bin/p",
                "from one root into another",
            ),
            (&two, "/opt/env/bin/python", "../../../real/base/p", "../../base/p", "the same, relative"),
        ];
        for (layout, link, target, want, why) in cases {
            assert_eq!(layout.link(Path::new(link), Path::new(target)), Path::new(want), "{why}");
        }
    }
}
