//! Slim copies of small environments.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::{Files, Reason, Slim, SlimError, slim};
use crate::environment::recorded::{Recorded, Usage};
use crate::profile::recorder::event::Mode;
use crate::profile::recording::Header;

const SITE: &str = "lib/python3.11/site-packages";

/// An environment in which `num` was imported, through `lib64`, and `big` was not.
struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Self {
        let site = Site(tempfile::tempdir().unwrap());
        for (file, content) in [
            ("bin/python3.11", "an interpreter"),
            ("bin/python3-config", "a script"),
            ("pyvenv.cfg", "home = /usr/bin"),
            ("lib/python3.11/os.py", "standard library"),
            ("lib/python3.11/ftplib.py", "of no use"),
            (&format!("{SITE}/num/__init__.py"), "used"),
            (&format!("{SITE}/num/core.so.1"), "used through a link"),
            (&format!("{SITE}/num/tests/test_num.py"), "of no use"),
            (&format!("{SITE}/num-2.0.dist-info/RECORD"), "num/__init__.py,,\nnum/core.so.1,,\n"),
            (&format!("{SITE}/num-2.0.dist-info/METADATA"), "Name: num"),
            (&format!("{SITE}/num-2.0.dist-info/licenses/LICENSE"), "may be copied"),
            (&format!("{SITE}/big/__init__.py"), "of no use"),
            (&format!("{SITE}/big-1.dist-info/RECORD"), "big/__init__.py,,\n"),
        ] {
            let file = site.env().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, content).unwrap();
        }
        for (link, target) in [("lib64", "lib"), ("bin/python", "python3"), ("bin/python3", "python3.11")] {
            symlink(target, site.env().join(link)).unwrap();
        }
        symlink("core.so.1", site.env().join(SITE).join("num/core.so")).unwrap();
        site
    }

    fn env(&self) -> PathBuf {
        self.0.path().join("env")
    }

    fn to(&self) -> PathBuf {
        self.0.path().join("slim")
    }

    /// A complete recording that found these, and looked for one more in vain.
    fn recorded(&self, found: &[&str]) -> Recorded {
        let header = Header { observed: true, ..Header::now(Mode::Full, "pre-destroy", 5) };
        let usage = Usage { calls: 1, found: 1, reads: 1, ..Usage::default() };
        let in_vain = Usage { calls: 1, absent: 1, ..Usage::default() };
        let mut recorded = Recorded { headers: vec![header], ..Recorded::default() };
        recorded.paths = found.iter().map(|path| (self.env().join(path), usage)).collect();
        recorded.paths.insert(self.env().join("lib/none.so"), in_vain);
        recorded
    }

    fn import(&self) -> Recorded {
        let num = "lib64/python3.11/site-packages/num";
        self.recorded(&[&format!("{num}/__init__.py"), &format!("{num}/core.so"), "lib/python3.11/os.py"])
    }

    fn slim(&self, recorded: &Recorded) -> Result<Slim, SlimError> {
        slim(recorded, &[self.env()], &self.to(), Files::Copied)
    }

    /// Neither a copy nor the beginning of one.
    fn has_only_the_original(&self) -> bool {
        fs::read_dir(self.0.path()).unwrap().count() == 1
    }
}

/// Every name beneath `directory` with all that can be said of it.
fn all(directory: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let of = path.symlink_metadata().unwrap();
        let what = match (of.is_dir(), of.is_symlink()) {
            (true, _) => String::new(),
            (_, true) => fs::read_link(&path).unwrap().display().to_string(),
            _ => format!("{:?}", fs::read(&path).unwrap()),
        };
        lines.push(format!(
            "{} {:o} {} {} {what}",
            path.display(),
            of.mode(),
            of.mtime_nsec(),
            of.ctime_nsec()
        ));
        if of.is_dir() {
            lines.extend(all(&path));
        }
    }
    lines.sort();
    lines
}

/// Names beneath `directory`, without directories.
fn names(directory: &Path) -> Vec<String> {
    let beneath =
        |line: String| line.split(' ').next().unwrap()[directory.to_str().unwrap().len() + 1..].to_owned();
    let all = all(directory).into_iter().filter(|line| !line.split(' ').nth(1).unwrap().starts_with('4'));
    all.map(beneath).collect()
}

#[test]
fn the_copy_has_what_was_used_and_what_that_cannot_do_without() {
    let site = Site::new();
    let before = all(&site.env());
    let slim = site.slim(&site.import()).unwrap();
    let mut want: Vec<String> =
        ["bin/python", "bin/python3", "bin/python3.11", "lib/python3.11/os.py", "lib64", "pyvenv.cfg"]
            .map(str::to_owned)
            .into();
    let package = ["num/__init__.py", "num/core.so", "num/core.so.1"];
    let metadata = ["RECORD", "METADATA", "licenses/LICENSE"].map(|name| format!("num-2.0.dist-info/{name}"));
    want.extend(package.map(str::to_owned).into_iter().chain(metadata).map(|name| format!("{SITE}/{name}")));
    want.sort();
    assert_eq!(names(&site.to()), want);
    assert_eq!(fs::read_link(site.to().join("lib64")).unwrap(), Path::new("lib"));
    let (one, other) = (site.env().join("lib/python3.11/os.py"), site.to().join("lib/python3.11/os.py"));
    let (one, other) = (one.metadata().unwrap(), other.metadata().unwrap());
    assert_eq!(
        (one.mtime(), one.mtime_nsec(), one.mode()),
        (other.mtime(), other.mtime_nsec(), other.mode())
    );
    assert_eq!((slim.available.files, slim.kept.files, slim.kept.links), (13, 8, 4));
    assert_eq!(slim.reasons[&Reason::Metadata].files, 3);
    assert_eq!(all(&site.env()), before, "the original is only read");
}

#[test]
fn whoever_writes_into_the_copy_does_not_change_the_original() {
    let site = Site::new();
    // Two names of one file: one file in the copy, too.
    fs::hard_link(site.env().join("lib/python3.11/os.py"), site.env().join("lib/python3.11/os2.py")).unwrap();
    let before = all(&site.env());
    let found = ["lib/python3.11/os.py", "lib/python3.11/os2.py"];
    site.slim(&site.recorded(&found)).unwrap();
    let inode = |file: &str| site.to().join(file).metadata().unwrap().ino();
    assert_eq!(inode(found[0]), inode(found[1]));
    for name in names(&site.to()) {
        let file = site.to().join(name);
        if !file.is_symlink() {
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            fs::write(file, "overwritten").unwrap();
        }
    }
    assert_eq!(all(&site.env()), before);
}

#[test]
fn files_are_those_of_the_original_where_that_is_wished_and_can_be() {
    let site = Site::new();
    fs::set_permissions(site.env().join("bin/python3.11"), fs::Permissions::from_mode(0o4755)).unwrap();
    let content = || names(&site.env()).into_iter().map(|name| fs::read(site.env().join(name)).ok());
    let before: Vec<_> = content().collect();
    let found = ["lib/python3.11/os.py", "bin/python3.11"];
    let slim = slim(&site.recorded(&found), &[site.env()], &site.to(), Files::Linked).unwrap();
    let of = |directory: &Path, file: &str| directory.join(file).metadata().unwrap();
    assert_eq!(of(&site.to(), found[0]).ino(), of(&site.env(), found[0]).ino());
    assert_ne!(
        of(&site.to(), found[1]).ino(),
        of(&site.env(), found[1]).ino(),
        "rights of others are not lent"
    );
    assert_eq!(of(&site.to(), found[1]).mode() & 0o7777, 0o755);
    let linked = [found[0], "pyvenv.cfg"].map(|file| of(&site.env(), file).len());
    assert_eq!(slim.json()["bytes_linked_to_original"], linked.iter().sum::<u64>());
    assert!(slim.lines().iter().any(|line| line.contains("under other names")));
    assert!(content().eq(before), "more than what says how many names a file has");
}

#[test]
fn directories_that_must_not_be_written_to_stay_so() {
    let site = Site::new();
    let library = site.env().join("lib/python3.11");
    fs::set_permissions(&library, fs::Permissions::from_mode(0o555)).unwrap();
    let made = site.slim(&site.import());
    let mode = site.to().join("lib/python3.11").metadata().map(|of| of.mode() & 0o777);
    // So that an ordinary user can clear up.
    for library in [library, site.to().join("lib/python3.11")] {
        fs::set_permissions(library, fs::Permissions::from_mode(0o755)).unwrap();
    }
    assert!(made.is_ok());
    assert_eq!(mode.unwrap(), 0o555);
}

#[test]
fn less_than_all_that_was_used_is_never_copied() {
    let site = Site::new();
    let whole = site.import();
    let top = Header { observed: false, ..Header::now(Mode::Top(9), "pre-destroy", 5) };
    let cases: [(Recorded, &str); 7] = [
        (Recorded { headers: vec![top], ..whole.clone() }, "mode `top`"),
        (Recorded { lost: 3, ..whole.clone() }, "the path of 3 answers is not told"),
        (Recorded { missing_nodes: 1, ..whole.clone() }, "nothing was heard of 1 node"),
        (Recorded { troubles: vec!["x is cut short".into()], ..whole.clone() }, "1 place could not be read"),
        (Recorded { headers: Vec::new(), ..whole }, "do not tell all"),
        (site.recorded(&["lib/gone.py"]), "1 path found by the recorded job is gone"),
        (site.recorded(&["../elsewhere"]), "found nothing beneath"),
    ];
    for (recorded, said) in cases {
        let error = site.slim(&recorded).unwrap_err().to_string();
        assert!(error.contains(said) && !error.contains('\n'), "{said}: {error}");
        assert!(site.has_only_the_original(), "{said}");
    }
}

#[test]
fn a_copy_is_made_only_where_nothing_is_and_outside_of_the_original() {
    let site = Site::new();
    let outside = site.0.path().to_owned();
    fs::create_dir(outside.join("full")).unwrap();
    fs::write(outside.join("full/file"), "").unwrap();
    fs::write(outside.join("file"), "").unwrap();
    symlink("env/lib", outside.join("way-in")).unwrap();
    let before = all(&outside);
    for (to, said) in [
        ("full", "not an empty directory"),
        ("file", "not an empty directory"),
        ("env", "not an empty directory"),
        ("env/slim", "lies in"),
        ("env/new/slim", "lies in"),
        ("way-in/slim", "lies in"),
        ("new/../env/slim", "lies in"),
    ] {
        let error =
            slim(&site.import(), &[site.env()], &outside.join(to), Files::Copied).unwrap_err().to_string();
        assert!(error.contains(said), "{to}: {error}");
        assert_eq!(all(&outside), before, "{to}");
    }
    fs::create_dir(outside.join("empty")).unwrap();
    slim(&site.import(), &[site.env()], &outside.join("empty"), Files::Copied).unwrap();
    assert!(outside.join("empty/lib/python3.11/os.py").exists());
}

#[test]
fn several_directories_keep_their_paths_and_what_leads_from_one_to_the_other() {
    let site = Site::new();
    let base = site.0.path().join("base");
    fs::create_dir(&base).unwrap();
    fs::write(base.join("tool"), "a tool").unwrap();
    symlink(base.join("tool"), site.env().join("bin/tool")).unwrap();
    let mut recorded = site.recorded(&["bin/tool"]);
    recorded.paths.insert(base.join("tool"), Usage { calls: 1, found: 1, ..Usage::default() });
    slim(&recorded, &[site.env(), base], &site.to(), Files::Copied).unwrap();
    let place = site.to().join(site.env().strip_prefix("/").unwrap());
    assert_eq!(fs::read_link(place.join("bin/tool")).unwrap(), Path::new("../../base/tool"));
    assert_eq!(fs::read_to_string(place.join("bin/tool")).unwrap(), "a tool");
}

#[test]
fn what_is_neither_file_nor_directory_nor_link_is_told() {
    let site = Site::new();
    let fifo = site.env().join("lib/fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    let slim = site.slim(&site.recorded(&["lib/fifo"])).unwrap();
    assert_eq!(slim.copied.left_out, [fifo]);
    assert!(slim.lines().join("\n").contains("not copied: 1 thing"));
}

#[test]
fn an_interpreter_brings_the_libraries_it_needs() {
    let site = Site::new();
    // A real program, with a library of its own environment that it needs.
    let program = std::env::current_exe().unwrap();
    let needed = crate::environment::check::native::dynamic(&program).unwrap().needed;
    let name = needed.first().expect("this program is linked to libc");
    fs::copy(&program, site.env().join("bin/python3.11")).unwrap();
    fs::write(site.env().join("lib/real.so"), "a library").unwrap();
    symlink("real.so", site.env().join("lib").join(name)).unwrap();
    let slim = site.slim(&site.import()).unwrap();
    assert!(slim.to.join("lib").join(name).is_symlink() && slim.to.join("lib/real.so").exists());
}
