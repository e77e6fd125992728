//! Files that change on storage while they are read or mapped in a view.
//!
//! What counts is which bytes a reader gets: those of the version it opened, or an error; never some of each.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::tree::{pattern, set_times, settle};
use crate::actor::{Actor, Ask, at};
use crate::scene::{Scene, eventually, kill, ordinary, scenes};

/// Large enough that the kernel does not read all of it when the beginning is read.
const LENGTH: usize = 4 << 20;
/// Parts that nobody has read yet when the file changes.
const UNREAD: [u64; 2] = [3 << 20, 2 << 20];
const PAGE: u64 = 4096;

/// What becomes of who reads a file when it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// Gets the rest of the version it opened.
    GoesOn,
    /// Gets ESTALE, or SIGBUS if it maps the file.
    Fails,
}

/// What the name leads to afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    /// The version first seen.
    Old,
    /// The new content, soon.
    New,
}

type Change = fn(&Path);

/// How files change, what becomes of readers and of the name, and why.
const CHANGES: [(&str, Change, Reader, Name); 13] = [
    // The old file still exists: whoever has it open goes on, as natively.
    ("replaced by rename", replace, Reader::GoesOn, Name::Old),
    ("removed", |path| fs::remove_file(path).unwrap(), Reader::GoesOn, Name::Old),
    ("renamed", |path| fs::rename(path, beside(path)).unwrap(), Reader::GoesOn, Name::Old),
    ("linked", |path| fs::hard_link(path, beside(path)).unwrap(), Reader::GoesOn, Name::Old),
    ("linked, then removed", link_and_remove, Reader::GoesOn, Name::Old),
    // The bytes are the same.
    ("made unreadable", |path| mode(path, 0o000), Reader::GoesOn, Name::Old),
    ("made executable", |path| mode(path, 0o755), Reader::GoesOn, Name::Old),
    // The bytes are not, or nobody can say.
    ("truncated", |path| open(path).set_len(10).unwrap(), Reader::Fails, Name::New),
    ("overwritten", overwrite, Reader::Fails, Name::New),
    ("overwritten, time set back", overwrite_and_set_back, Reader::Fails, Name::New),
    (
        "overwritten at the end",
        |path| open(path).write_all_at(b"!", LENGTH as u64 - 1).unwrap(),
        Reader::Fails,
        Name::New,
    ),
    (
        "appended to",
        |path| open(path).write_all_at(b"more", LENGTH as u64).unwrap(),
        Reader::Fails,
        Name::New,
    ),
    ("touched", |path| set_times(path, 1, 1, 1, 1), Reader::Fails, Name::New),
];

fn beside(path: &Path) -> PathBuf {
    path.with_extension("beside")
}

fn open(path: &Path) -> fs::File {
    fs::OpenOptions::new().write(true).open(path).unwrap()
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

fn replace(path: &Path) {
    fs::write(beside(path), pattern(LENGTH, 99)).unwrap();
    mode(&beside(path), 0o644);
    fs::rename(beside(path), path).unwrap();
}

fn link_and_remove(path: &Path) {
    fs::hard_link(path, beside(path)).unwrap();
    fs::remove_file(path).unwrap();
}

fn overwrite(path: &Path) {
    open(path).write_all_at(&pattern(LENGTH, 99), 0).unwrap();
}

fn overwrite_and_set_back(path: &Path) {
    let before = fs::metadata(path).unwrap();
    overwrite(path);
    set_times(path, before.atime(), before.atime_nsec(), before.mtime(), before.mtime_nsec());
}

fn described(bytes: &[u8]) -> String {
    format!("{} bytes {:016x}", bytes.len(), crate::actor::hash(bytes))
}

/// The files, one per change, made and settled.
pub fn files(scene: &Scene) -> Vec<PathBuf> {
    let paths: Vec<_> = (0..CHANGES.len()).map(|i| scene.env.join(format!("file {i}"))).collect();
    for (i, path) in paths.iter().enumerate() {
        fs::write(path, pattern(LENGTH, i as u64)).unwrap();
        if let Some(uid) = scene.uid {
            std::os::unix::fs::chown(path, Some(uid), Some(uid)).unwrap();
        }
    }
    settle(&scene.env);
    paths
}

/// Opens and maps a file, and reads the first page by both ways.
fn begin(view: &mut Actor, name: &str, path: &Path, bytes: &[u8]) {
    let file = || name.to_owned();
    view.must(&Ask::Open { file: file(), path: at(path), flags: libc::O_RDONLY });
    let (protection, flags) = (libc::PROT_READ, libc::MAP_SHARED);
    view.must(&Ask::Map { map: file(), file: file(), length: LENGTH as u64, protection, flags });
    let first = described(&bytes[..PAGE as usize]);
    assert_eq!(view.ask(&Ask::Read { file: file(), offset: 0, length: PAGE }), first);
    assert_eq!(view.ask(&Ask::Touch { map: file(), offset: 0, length: PAGE }), first);
}

/// Changes a file under a reader in `view`, in each of the ways; all in the scene's view must be settled.
pub fn change_each(scene: &Scene, view: &mut Actor, paths: &[PathBuf]) {
    for (i, (change, make, reader, name)) in CHANGES.into_iter().enumerate() {
        let (path, old) = (&paths[i], pattern(LENGTH, i as u64));
        begin(view, change, path, &old);
        make(path);
        let part = |at: u64| described(&old[at as usize..(at + PAGE) as usize]);
        let read = view.ask(&Ask::Read { file: change.to_owned(), offset: UNREAD[0], length: PAGE });
        let mapped = view.ask(&Ask::Touch { map: change.to_owned(), offset: UNREAD[1], length: PAGE });
        let (want_read, want_mapped) = match reader {
            Reader::GoesOn => (part(UNREAD[0]), part(UNREAD[1])),
            Reader::Fails => ("ESTALE".to_owned(), "SIGBUS".to_owned()),
        };
        assert_eq!(read, want_read, "{}: {change}: read", scene.who());
        assert_eq!(mapped, want_mapped, "{}: {change}: mapped", scene.who());
        match name {
            Name::Old => {
                let said = view.ask(&Ask::ReadAll { path: at(path) });
                assert_eq!(said, described(&old), "{}: {change}: by name", scene.who());
            }
            Name::New => becomes_new(change, view, path),
        }
    }
}

/// Waits until a name leads to what is there now. Meanwhile it leads to nothing else but ESTALE.
fn becomes_new(change: &str, view: &mut Actor, path: &Path) {
    let new = described(&fs::read(path).unwrap_or_default());
    eventually(&format!("{change}: the new content"), || {
        let now = view.ask(&Ask::ReadAll { path: at(path) });
        assert!(now == new || now == "ESTALE" || now.ends_with('`'), "{change}: {now} is neither");
        now == new || fs::metadata(path).unwrap().len() == 10 && now.ends_with('`')
    });
}

/// Reads all files that were changed, in another view on the same storage: each is of one content, old or new, and soon
/// new if the old is gone.
pub fn see_each_changed(view: &mut Actor, paths: &[PathBuf]) {
    for (i, (change, _, reader, _)) in CHANGES.into_iter().enumerate() {
        let old = described(&pattern(LENGTH, i as u64));
        let new = fs::read(&paths[i]).map_or("ENOENT".to_owned(), |bytes| crate::actor::said_of(&bytes));
        eventually(&format!("{change}: all of one content"), || {
            let now = view.ask(&Ask::ReadAll { path: at(&paths[i]) });
            assert!(now == new || now == old || now == "ESTALE" || now == "EACCES", "{change}: {now}");
            // One that is made unreadable may be shown so, or as it was seen first.
            now == new || reader == Reader::GoesOn && (now == old || now == "EACCES")
        });
    }
}

#[test]
fn a_file_that_changes_under_its_reader_goes_on_as_it_was_or_fails_but_is_never_mixed() {
    for scene in scenes() {
        let paths = files(&scene);
        let mut view = Actor::inside(&scene, &[]);
        change_each(&scene, &mut view, &paths);
        view.leave();
        scene.assert_nothing_left();
    }
}

#[test]
fn a_file_replaced_before_anybody_read_it_is_stale_once_and_then_new() {
    for scene in scenes() {
        let paths = files(&scene);
        let mut view = Actor::inside(&scene, &[]);
        let changes: [(Change, &str); 2] =
            [(replace, "new"), (|path| fs::remove_file(path).unwrap(), "ENOENT")];
        for (path, (change, want)) in paths.iter().zip(changes) {
            view.must(&Ask::Open { file: "f".to_owned(), path: at(path), flags: libc::O_RDONLY });
            change(path);
            let said = view.ask(&Ask::Read { file: "f".to_owned(), offset: 0, length: PAGE });
            assert_eq!(said, "ESTALE", "{want}: nobody told us that it was opened");
            let want = if want == "new" { described(&fs::read(path).unwrap()) } else { want.to_owned() };
            eventually("the name leads to what is there now", || {
                view.ask(&Ask::ReadAll { path: at(path) }) == want
            });
        }
        view.leave();
        scene.assert_nothing_left();
    }
}

#[test]
fn after_a_daemons_death_a_reader_of_a_changed_file_gets_what_was_read_or_estale() {
    let changes: [(&str, Change); 3] = [
        ("replaced: descriptors die with their process", replace),
        ("overwritten, time set back", overwrite_and_set_back),
        ("linked: nobody is left who could tell it from an overwrite", |path| {
            fs::hard_link(path, beside(path)).unwrap();
        }),
    ];
    let scene = ordinary();
    let paths = files(&scene);
    let mut view = Actor::inside(&scene, &[]);
    for (i, (change, make)) in changes.into_iter().enumerate() {
        let old = pattern(LENGTH, i as u64);
        begin(&mut view, change, &paths[i], &old);
        let untouched = pattern(LENGTH, 10 + i as u64);
        begin(&mut view, "untouched", &paths[10 + i], &untouched);
        let daemon = scene.process("daemon-process");
        kill(daemon, libc::SIGKILL);
        make(&paths[i]);
        let read = |file: &str, offset| Ask::Read { file: file.to_owned(), offset, length: PAGE };
        let first = described(&old[..PAGE as usize]);
        assert_eq!(view.ask(&read(change, 0)), first, "{change}: the kernel has it");
        assert_eq!(view.ask(&read(change, UNREAD[0])), "ESTALE", "{change}");
        let touch = Ask::Touch { map: change.to_owned(), offset: UNREAD[1], length: PAGE };
        assert_eq!(view.ask(&touch), "SIGBUS", "{change}");
        let part = &untouched[UNREAD[0] as usize..(UNREAD[0] + PAGE) as usize];
        assert_eq!(view.ask(&read("untouched", UNREAD[0])), described(part), "{change}: another file");
        let new = described(&fs::read(&paths[i]).unwrap());
        eventually("the name leads to what is there now", || {
            view.ask(&Ask::ReadAll { path: at(&paths[i]) }) == new
        });
    }
    view.leave();
    scene.assert_nothing_left();
}

#[test]
fn a_file_younger_than_two_seconds_is_seen_as_it_is_each_time() {
    for scene in scenes() {
        let path = scene.env.join("young");
        let mut view = Actor::inside(&scene, &[]);
        for round in 0..20u8 {
            // The same size, the same modification time, the same inode number.
            fs::write(&path, [b'a' + round; 30]).unwrap();
            set_times(&path, 1_000_000, 0, 1_000_000, 0);
            let want = format!("`{}`", char::from(b'a' + round).to_string().repeat(30));
            assert_eq!(view.ask(&Ask::ReadAll { path: at(&path) }), want, "{}", scene.who());
        }
        for target in ["one", "two", "three"] {
            let link = scene.env.join("link");
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(target, &link).unwrap();
            assert_eq!(view.ask(&Ask::Target { path: at(&link) }), format!("`{target}`"));
        }
        view.leave();
        scene.assert_nothing_left();
    }
}

/// Writes through a map of the whole file, which changes its times only when it is first written to.
fn store(path: &Path, values: impl Iterator<Item = u8>, mut after: impl FnMut(u8)) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
    let protection = rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE;
    // SAFETY: a mapping of its own, as long as the file, unmapped below.
    unsafe {
        let flags = rustix::mm::MapFlags::SHARED;
        let base = rustix::mm::mmap(std::ptr::null_mut(), length, protection, flags, &file, 0).unwrap();
        for value in values {
            base.cast::<u8>().write_bytes(value, length);
            after(value);
        }
        rustix::mm::munmap(base, length).unwrap();
    }
}

#[test]
fn bytes_of_a_young_file_are_not_kept_though_its_times_stay_the_same() {
    for scene in scenes() {
        let path = scene.env.join("young");
        fs::write(&path, [b'-'; 300_000]).unwrap();
        let times =
            || fs::metadata(&path).map(|m| (m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec())).unwrap();
        let mut view = Actor::inside(&scene, &[]);
        // From the middle of a block, so that the rest of the block may be kept for what comes next.
        let part = |view: &mut Actor| {
            view.must(&Ask::Open { file: "f".to_owned(), path: at(&path), flags: libc::O_RDONLY });
            view.ask(&Ask::Read { file: "f".to_owned(), offset: 200_000, length: 100 })
        };
        let mut seen = Vec::new();
        store(&path, b'a'..=b'f', |value| {
            assert_eq!(part(&mut view), described(&[value; 100]), "{}", scene.who());
            seen.push(times());
        });
        seen.dedup();
        assert!(seen.len() < 6, "the times told of every change: this proves nothing");
        settle(&path);
        assert_eq!(part(&mut view), described(&[b'f'; 100]), "{}", scene.who());
        view.leave();
        scene.assert_nothing_left();
    }
}

#[test]
fn a_name_made_in_a_young_directory_is_seen_though_it_was_missing_before() {
    for scene in scenes() {
        let mut view = Actor::inside(&scene, &[]);
        for round in 0..2 {
            let directory = scene.env.join(format!("young {round}"));
            fs::create_dir(&directory).unwrap();
            let name = Ask::ReadAll { path: at(directory.join("name")) };
            assert_eq!(view.ask(&name), "ENOENT");
            fs::write(directory.join("name"), "there\n").unwrap();
            eventually("the name is seen", || view.ask(&name) == "`there\\n`");
        }
        view.leave();
        scene.assert_nothing_left();
    }
}

#[test]
fn what_was_seen_stays_as_first_seen() {
    for scene in scenes() {
        let (link, directory) = (scene.env.join("link"), scene.env.join("directory"));
        std::os::unix::fs::symlink("old", &link).unwrap();
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("file"), "inside\n").unwrap();
        settle(&scene.env);
        let mut view = Actor::inside(&scene, &[]);
        let target = Ask::Target { path: at(&link) };
        let list = Ask::List { path: at(&directory) };
        let file = Ask::ReadAll { path: at(directory.join("file")) };
        let new = Ask::ReadAll { path: at(directory.join("new")) };
        let before = [view.ask(&target), view.ask(&list), view.ask(&file), view.ask(&new)];
        assert_eq!((&*before[0], &*before[2], &*before[3]), ("`old`", "`inside\\n`", "ENOENT"));
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("new", &link).unwrap();
        fs::write(directory.join("new"), "new\n").unwrap();
        fs::remove_file(directory.join("file")).unwrap();
        let after = [view.ask(&target), view.ask(&list), view.ask(&file), view.ask(&new)];
        assert_eq!(before, after, "{}", scene.who());
        view.leave();
        scene.assert_nothing_left();
    }
}

#[test]
fn a_directory_removed_and_made_anew_hides_nothing_that_is_in_the_new_one() {
    for scene in scenes() {
        let directory = scene.env.join("directory");
        fs::create_dir(&directory).unwrap();
        settle(&scene.env);
        let mut view = Actor::inside(&scene, &[]);
        for round in 0..5 {
            let name = directory.join(format!("file {round}"));
            assert!(!view.ask(&Ask::Stat { path: at(&directory), follow: true }).starts_with('E'));
            view.must(&Ask::Access { path: at(&directory), mode: libc::X_OK });
            fs::remove_dir_all(&directory).unwrap();
            fs::create_dir(&directory).unwrap();
            fs::write(&name, "anew\n").unwrap();
            assert_eq!(
                view.ask(&Ask::ReadAll { path: at(&name) }),
                "`anew\\n`",
                "{} round {round}",
                scene.who()
            );
        }
        view.leave();
        scene.assert_nothing_left();
    }
}

#[test]
fn a_directory_replaced_by_a_file_gives_no_absence_that_storage_did_not_tell() {
    for scene in scenes() {
        let directory = scene.env.join("directory");
        fs::create_dir_all(directory.join("inner")).unwrap();
        settle(&scene.env);
        let mut view = Actor::inside(&scene, &[]);
        let inside = Ask::Stat { path: at(directory.join("inner")), follow: true };
        assert!(view.ask(&Ask::Stat { path: at(&directory), follow: true }).starts_with("mode=40755"));
        fs::remove_dir_all(&directory).unwrap();
        fs::write(&directory, "a file now\n").unwrap();
        // Storage itself says so: the path to `inner` leads through a file. Or the directory was listed ahead, while it
        // was one: then this is the snapshot. Never ENOENT, which nobody but us would have said.
        let said = view.ask(&inside);
        assert!(said == "ENOTDIR" || said.starts_with("mode=40755"), "{}: {said}", scene.who());
        view.leave();
        scene.assert_nothing_left();
    }
}
