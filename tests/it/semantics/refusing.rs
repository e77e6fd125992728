//! What is refused, and what is local to the node: mutations, locks, ioctl, extended attributes.

use super::observed::members;
use super::tree::{self, pattern};
use crate::actor::{Actor, Ask, MUTATIONS, Mutation, at};
use crate::scene::{CONTENT, Scene, scenes};

/// Both sides of one scene.
struct Pair {
    native: Actor,
    view: Actor,
}

impl Pair {
    fn of(scene: &Scene) -> Self {
        Pair { native: Actor::native(scene), view: Actor::inside(scene, &[]) }
    }

    /// Asks both and expects the same answer, which is returned.
    fn same(&mut self, ask: &Ask) -> String {
        let (native, view) = self.both(ask);
        assert_eq!(native, view, "{ask:?}");
        view
    }

    fn both(&mut self, ask: &Ask) -> (String, String) {
        (self.native.ask(ask), self.view.ask(ask))
    }

    fn leave(self) {
        self.native.leave();
        self.view.leave();
    }
}

fn open(path: &str, flags: i32) -> Ask {
    Ask::Open { file: "f".to_owned(), path: path.into(), flags }
}

fn file() -> String {
    "f".to_owned()
}

#[test]
fn every_mutation_is_refused_as_read_only_and_nothing_is_lost() {
    for scene in scenes() {
        let path = scene.shown("one/file");
        std::fs::create_dir(scene.shown("one")).unwrap();
        std::fs::write(&path, CONTENT).unwrap();
        let before = std::fs::read(&path).unwrap();
        let mut view = Actor::inside(&scene, &[]);
        for how in MUTATIONS {
            let ask = Ask::Mutate { how, path: at(&path), beside: at(scene.shown("one/beside")) };
            assert_eq!(view.ask(&ask), "EROFS", "{}: {how:?}", scene.who());
        }
        assert_eq!(view.ask(&Ask::ReadAll { path: at(&path) }), "`what storage holds\\n`");
        view.leave();
        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert_eq!(std::fs::read_dir(scene.shown("one")).unwrap().count(), 1);
        scene.assert_nothing_left();
    }
}

#[test]
fn a_file_made_outside_cannot_be_moved_or_linked_into_a_view_nor_out_of_it() {
    for scene in scenes() {
        let (inside, outside) = (scene.shown("file"), scene.home.join("own"));
        std::fs::write(&outside, "own").unwrap();
        let mut view = Actor::inside(&scene, &[]);
        for (from, to) in [(at(&inside), at(scene.home.join("out"))), (at(&outside), at(scene.shown("in")))] {
            for how in [Mutation::RenameAway, Mutation::Link] {
                let said = view.ask(&Ask::Mutate { how, path: from.clone(), beside: to.clone() });
                assert!(said == "EXDEV" || said == "EROFS", "{how:?}: {said}");
            }
        }
        view.leave();
        assert!(outside.exists() && std::path::Path::new(&inside).exists());
        scene.assert_nothing_left();
    }
}

#[test]
fn locks_work_within_the_node() {
    for scene in scenes() {
        tree::settle(&scene.env);
        let mut pair = Pair::of(&scene);
        let path = scene.shown("file");
        assert_eq!(pair.same(&open(&path, libc::O_RDONLY)), "ok");
        assert_eq!(pair.same(&Ask::RecordLock { file: file() }), "seen by another process");
        assert_eq!(pair.same(&Ask::Flock { file: file(), how: libc::LOCK_SH }), "ok");
        assert_eq!(pair.view.ask(&Ask::Flock { file: file(), how: libc::LOCK_EX }), "ok");
        // The lock is the node's own: outside, on storage, nobody sees it.
        pair.native.must(&Ask::Flock { file: file(), how: libc::LOCK_EX | libc::LOCK_NB });
        let mut second = open(&path, libc::O_RDONLY);
        if let Ask::Open { file, .. } = &mut second {
            *file = "g".to_owned();
        }
        pair.view.must(&second);
        let again = Ask::Flock { file: "g".to_owned(), how: libc::LOCK_EX | libc::LOCK_NB };
        assert_eq!(pair.view.ask(&again), "EAGAIN");
        pair.leave();
        scene.assert_nothing_left();
    }
}

#[test]
fn an_ioctl_is_for_no_terminal() {
    for scene in scenes() {
        let mut pair = Pair::of(&scene);
        let (terminal, flags) = (0x5401, 0x8008_6601); // TCGETS, FS_IOC_GETFLAGS
        for (path, flag) in [(scene.shown("file"), libc::O_RDONLY), (scene.shown("bin"), libc::O_DIRECTORY)] {
            pair.same(&open(&path, flag));
            assert_eq!(pair.same(&Ask::Control { file: file(), request: terminal }), "ENOTTY");
            assert_eq!(pair.view.ask(&Ask::Control { file: file(), request: flags }), "ENOTTY");
        }
        pair.leave();
        scene.assert_nothing_left();
    }
}

#[test]
fn extended_attributes_are_not_shown() {
    for scene in scenes() {
        let path = scene.shown("file");
        let name = std::ffi::CString::new(path.clone()).unwrap();
        // SAFETY: C strings that are alive, and one byte.
        let set = unsafe { libc::setxattr(name.as_ptr(), c"user.some".as_ptr(), c"v".as_ptr().cast(), 1, 0) };
        assert_eq!(set, 0, "these tests need a file system with extended attributes at /tmp");
        let mut pair = Pair::of(&scene);
        let some = Ask::Xattr { path: at(&path), name: "user.some".to_owned() };
        assert_eq!(pair.both(&some), ("`v`".to_owned(), "ENOTSUP".to_owned()));
        assert_eq!(pair.both(&Ask::Xattrs { path: at(&path) }).1, "ENOTSUP");
        let acl = Ask::Xattr { path: at(&path), name: "system.posix_acl_access".to_owned() };
        let (native, view) = pair.both(&acl);
        assert!(
            native == "ENODATA" && (view == "ENODATA" || view == "ENOTSUP"),
            "no access list: {native}, {view}"
        );
        pair.leave();
        scene.assert_nothing_left();
    }
}

#[test]
fn statfs_tells_the_figures_of_storage() {
    for scene in scenes() {
        let mut pair = Pair::of(&scene);
        for name in ["", "file", "bin"] {
            let figures = pair.same(&Ask::Usage { path: at(scene.env.join(name)) });
            assert!(figures.contains("namemax=255"), "{figures}");
        }
        pair.leave();
        scene.assert_nothing_left();
    }
}

#[test]
fn fifos_and_sockets_do_not_meet_the_outside_and_devices_open_only_where_storage_allows() {
    for scene in members() {
        let mut pair = Pair::of(&scene);
        let path = |name: &str| scene.shown(&format!("special/{name}"));
        // Nobody reads it outside, and nobody could: a writer that does not wait is told so by both sides.
        let ask = open(&path("fifo"), libc::O_WRONLY | libc::O_NONBLOCK);
        assert_eq!(pair.same(&ask), "ENXIO");
        pair.native.must(&open(&path("fifo"), libc::O_RDONLY | libc::O_NONBLOCK));
        assert_eq!(pair.view.ask(&ask), "ENXIO", "a reader outside is not met");
        assert_eq!(pair.same(&open(&path("socket"), libc::O_RDONLY)), "ENXIO");
        if tree::is_root() {
            let (native, view) = pair.both(&open(&path("null"), libc::O_RDONLY));
            let as_a_user = scene.uid.is_some();
            assert_eq!(native, "ok");
            assert_eq!(view, if as_a_user { "EACCES" } else { "ok" }, "{}", scene.who());
        }
        pair.leave();
        scene.assert_nothing_left();
    }
}

#[test]
fn descriptors_directories_and_the_way_up_work_as_natively() {
    for scene in scenes() {
        let inner = scene.env.join("one/two");
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(inner.join("file"), "inner\n").unwrap();
        let mut pair = Pair::of(&scene);
        pair.same(&open(inner.to_str().unwrap(), libc::O_PATH | libc::O_DIRECTORY));
        let relative = Ask::OpenAt { file: "g".to_owned(), directory: file(), path: at("file"), flags: 0 };
        assert_eq!(pair.same(&relative), "ok");
        assert_eq!(pair.same(&Ask::Read { file: "g".to_owned(), offset: 1, length: 9 }), "`nner\\n`");
        let up = Ask::StatAt { directory: file(), path: at("../../one/two/file") };
        assert!(pair.same_but_owner(&up).contains("size=6"));
        for (path, at_path) in [
            (inner.to_str().unwrap(), inner.clone()),
            ("..", inner.parent().unwrap().to_owned()),
            ("../one/./two/../../bin", scene.env.join("bin")),
            ("../..", scene.env.parent().unwrap().to_owned()),
        ] {
            assert_eq!(pair.same(&Ask::Chdir { path: at(path) }), "ok");
            assert_eq!(pair.same(&Ask::WhereAmI), at_path.to_str().unwrap());
        }
        let here = [Ask::Identity { path: at(&scene.env) }, Ask::Identity { path: at(inner.join("file")) }];
        let devices: Vec<_> =
            here.iter().map(|ask| pair.view.ask(ask).split(':').next().unwrap().to_owned()).collect();
        assert_eq!(devices[0], devices[1], "a view is one file system");
        assert_ne!(
            pair.native.ask(&here[0]).split(':').next().unwrap(),
            devices[0],
            "and not that of storage"
        );
        pair.leave();
        scene.assert_nothing_left();
    }
}

impl Pair {
    fn same_but_owner(&mut self, ask: &Ask) -> String {
        let without = |said: String| {
            let words = said.split(' ').filter(|w| !w.starts_with("uid=") && !w.starts_with("gid="));
            words.collect::<Vec<_>>().join(" ")
        };
        let (native, view) = self.both(ask);
        let (native, view) = (without(native), without(view));
        assert_eq!(native, view, "{ask:?}");
        view
    }
}

#[test]
fn every_way_of_reading_brings_the_same_bytes() {
    for scene in scenes() {
        let path = scene.shown("content");
        let length = 3 * 131_072 + 4096;
        std::fs::write(&path, pattern(length, 5)).unwrap();
        let mut pair = Pair::of(&scene);
        let length = length as u64;
        pair.same(&open(&path, libc::O_RDONLY));
        for (offset, count) in
            [(0, length), (131_071, 2), (length - 1, 10), (length, 5), (length + 999, 1), (77, 200_000)]
        {
            pair.same(&Ask::Read { file: file(), offset, length: count });
        }
        let all = pair.same(&Ask::ReadAll { path: at(&path) });
        assert_eq!(pair.same(&Ask::SendFile { path: at(&path) }), all);
        let copied = pair.both(&Ask::CopyRange { path: at(&path), to: at(scene.home.join("copy")) });
        assert_eq!(copied, (all.clone(), "EXDEV".to_owned()), "programs then copy by reading");
        for (map, protection, flags) in [
            ("shared", libc::PROT_READ, libc::MAP_SHARED),
            ("private", libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE),
            ("executable", libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE),
        ] {
            let map_ask = Ask::Map { map: map.to_owned(), file: file(), length, protection, flags };
            assert_eq!(pair.same(&map_ask), "ok", "{map}");
            assert_eq!(pair.same(&Ask::Touch { map: map.to_owned(), offset: 0, length }), all, "{map}");
        }
        pair.same(&Ask::Poke { map: "private".to_owned(), offset: 5, value: b'!' });
        let poked = pair.same(&Ask::Touch { map: "private".to_owned(), offset: 0, length: 9 });
        assert!(poked.contains('!'), "{poked}");
        let writing = Ask::Map {
            map: "none".to_owned(),
            file: file(),
            length,
            protection: libc::PROT_READ | libc::PROT_WRITE,
            flags: libc::MAP_SHARED,
        };
        assert_eq!(pair.same(&writing), "EACCES", "the file is open for reading only");
        assert_eq!(pair.same(&open(&path, libc::O_RDONLY | libc::O_DIRECT)), "ok");
        assert_eq!(pair.same(&Ask::ReadAligned { file: file(), length: 4 << 20 }), all);
        pair.leave();
        scene.assert_nothing_left();
    }
}

#[test]
fn a_sparse_file_beyond_4_gib_is_read_right_and_shows_no_holes() {
    for scene in members() {
        let path = scene.shown("plain/sparse");
        let mut pair = Pair::of(&scene);
        pair.same(&open(&path, libc::O_RDONLY));
        let end = tree::SPARSE_BYTES;
        for (offset, want) in [(end - 3, "`end`"), (1 << 32, "`beyond 32 bits`"), (end, "``")] {
            let length = if offset == 1 << 32 { 14 } else { 100 };
            assert_eq!(pair.same(&Ask::Read { file: file(), offset, length }), want);
        }
        pair.same(&Ask::Read { file: file(), offset: (1 << 32) - 70_000, length: 140_000 });
        let seek = |whence, offset| Ask::Seek { file: file(), offset, whence };
        assert_eq!(
            pair.view.ask(&seek(libc::SEEK_DATA, 1 << 20)),
            (1 << 20).to_string(),
            "all counts as data"
        );
        assert_eq!(pair.view.ask(&seek(libc::SEEK_HOLE, 0)), end.to_string());
        assert_eq!(pair.same(&seek(libc::SEEK_DATA, i64::try_from(end).unwrap() + 1)), "ENXIO");
        assert_eq!(pair.same(&seek(libc::SEEK_END, -3)), (end - 3).to_string());
        pair.leave();
        scene.assert_nothing_left();
    }
}

#[test]
fn programs_run_from_a_view_as_from_storage() {
    for scene in members() {
        let mut pair = Pair::of(&scene);
        let program = |name: &str| at(scene.shown(&format!("programs/{name}")));
        let mut run =
            |name: &str| pair.same(&Ask::Run { program: program(name), arguments: vec!["one".to_owned()] });
        for name in ["static", "dynamic"] {
            assert_eq!(
                run(name),
                "exit status: 3 out `word one\\n` err ``",
                "{name}: finds its library by $ORIGIN"
            );
        }
        let script = scene.shown("programs/script");
        assert_eq!(run("script"), format!("exit status: 4 out `script {script} one\\n` err ``"));
        assert!(run("script of a script").contains(&script));
        for (name, errno) in
            [("script without interpreter", "ENOENT"), ("text", "ENOEXEC"), ("not executable", "EACCES")]
        {
            let said = run(name);
            // A shell is tried where the kernel knows no format.
            assert!(said == errno || name == "text", "{name}: {said}");
        }
        let sh = scene.shown("bin/sh");
        let itself = Ask::Run {
            program: at(&sh),
            arguments: vec!["-c".to_owned(), "readlink /proc/$$/exe".to_owned()],
        };
        assert_eq!(pair.same(&itself), format!("exit status: 0 out `{sh}\\n` err ``"));
        pair.leave();
        scene.assert_nothing_left();
    }
}
