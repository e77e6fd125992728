//! A tree with one of everything that a directory can hold, on plain storage.
//!
//! Modification and access times lie in the past. Change times cannot be set, so [`settle`] waits until they are old
//! enough to be trusted.
//!
//! Not here: looking at it (`observed`).

use std::ffi::{CString, OsStr};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::scene::{Scene, eventually};

/// A group that the scene's user is in besides its own.
pub fn group_of(scene: &Scene) -> u32 {
    scene.uid.unwrap_or(0) + 1_000_000
}

/// Whether files of other users and devices can be made.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Size of the sparse file: 5 GiB and a bit, so beyond what 32 bits hold.
pub const SPARSE_BYTES: u64 = (5 << 30) + 5;

/// Bytes that differ from block to block.
pub fn pattern(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Makes the tree in the scene's `env`, all of it settled.
pub fn build(scene: &Scene) {
    let env = &scene.env;
    contents(&env.join("plain"));
    names(&env.join("names"));
    links(&env.join("links"));
    directories(&env.join("directories"));
    times(&env.join("times"));
    special(scene, &env.join("special"));
    programs(&env.join("programs"));
    give_to_user(scene, env);
    modes(scene, &env.join("modes"));
    foreign(scene, &env.join("foreign"));
    settle(env);
}

/// Sets access and modification time to ten days ago, the access time later: reading then changes neither.
pub fn age(path: &Path) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    set_times(
        path,
        i64::try_from(now).unwrap() - 3600,
        123_456_789,
        i64::try_from(now).unwrap() - 864_000,
        987_654_321,
    );
}

/// Sets both times, of a symlink itself.
pub fn set_times(path: &Path, accessed: i64, accessed_ns: i64, modified: i64, modified_ns: i64) {
    let name = CString::new(path.as_os_str().as_bytes()).unwrap();
    let times = [
        libc::timespec { tv_sec: accessed, tv_nsec: accessed_ns },
        libc::timespec { tv_sec: modified, tv_nsec: modified_ns },
    ];
    // SAFETY: a C string and two times that are alive.
    let set =
        unsafe { libc::utimensat(libc::AT_FDCWD, name.as_ptr(), times.as_ptr(), libc::AT_SYMLINK_NOFOLLOW) };
    assert_eq!(set, 0, "{}", path.display());
}

/// Waits until every version at and beneath `root` is old enough to be trusted.
pub fn settle(root: &Path) {
    let mut newest = 0;
    // What lies in a directory that cannot be passed was made together with the rest.
    for attributes in walk(root).iter().filter_map(|path| fs::symlink_metadata(path).ok()) {
        newest = newest.max(attributes.ctime() * 1_000_000_000 + attributes.ctime_nsec());
    }
    let settled =
        UNIX_EPOCH + Duration::from_nanos(u64::try_from(newest).unwrap()) + Duration::from_millis(2010);
    eventually("the tree settles", || SystemTime::now() > settled);
}

/// Every path at and beneath `root`, parents first.
pub fn walk(root: &Path) -> Vec<PathBuf> {
    let mut all = vec![root.to_owned()];
    let mut next = 0;
    while next < all.len() {
        if fs::symlink_metadata(&all[next]).is_ok_and(|attributes| attributes.is_dir()) {
            let mut inside: Vec<_> =
                fs::read_dir(&all[next]).into_iter().flatten().flatten().map(|e| e.path()).collect();
            inside.sort();
            all.extend(inside);
        }
        next += 1;
    }
    all
}

fn put(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    age(path);
}

fn contents(at: &Path) {
    fs::create_dir(at).unwrap();
    let block = 128 * 1024;
    for (name, length) in [
        ("empty", 0),
        ("one", 1),
        ("page", 4096),
        ("page and one", 4097),
        ("block", block),
        ("block and one", block + 1),
        ("many blocks", 20 * block + 77),
    ] {
        put(&at.join(name), &pattern(length, length as u64));
    }
    let sparse = fs::File::create(at.join("sparse")).unwrap();
    sparse.set_len(SPARSE_BYTES).unwrap();
    let write =
        |offset, bytes: &[u8]| std::os::unix::fs::FileExt::write_all_at(&sparse, bytes, offset).unwrap();
    write(0, b"begin");
    write(1 << 32, b"beyond 32 bits");
    write(SPARSE_BYTES - 3, b"end");
    age(&at.join("sparse"));
    put(&at.join("hard link a"), b"one file with three names\n");
    fs::hard_link(at.join("hard link a"), at.join("hard link b")).unwrap();
    fs::hard_link(at.join("hard link a"), outside(at).join("hard link outside")).unwrap();
}

/// A directory of the same file system that no view shows.
pub fn outside(inside: &Path) -> PathBuf {
    inside.ancestors().find(|path| path.ends_with("env")).unwrap().with_file_name("home")
}

fn names(at: &Path) {
    fs::create_dir(at).unwrap();
    let longest = vec![b'x'; 255];
    let names: [&[u8]; 9] = [
        b"line\nbreak",
        b"not utf8 \xff\xfe\x80",
        b" leading and trailing ",
        b"back\\slash",
        b"tab\tand\x01control",
        "sch\u{f6}n \u{1f333}".as_bytes(),
        b"...",
        b"-rf",
        &longest,
    ];
    for name in names {
        put(&at.join(OsStr::from_bytes(name)), name);
    }
    let deep = at.join(OsStr::from_bytes(b"dir \xff\n")).join("inner");
    fs::create_dir_all(&deep).unwrap();
    put(&deep.join("file"), b"deep\n");
}

fn links(at: &Path) {
    fs::create_dir(at).unwrap();
    put(&at.join("target"), b"target\n");
    let absolute = at.join("target");
    let long = "./".repeat(1500) + "target";
    let targets: [(&str, &OsStr); 11] = [
        ("relative", OsStr::new("target")),
        ("absolute", absolute.as_os_str()),
        ("leaves the view", OsStr::new("/usr/../etc/hostname")),
        ("dangling", OsStr::new("no such file")),
        ("dangling outside", OsStr::new("/no/such/file")),
        ("loop a", OsStr::new("loop b")),
        ("loop b", OsStr::new("loop a")),
        ("to itself", OsStr::new("to itself")),
        ("odd/../slashes".split('/').next().unwrap(), OsStr::new(".//../links/./target")),
        ("not utf8", OsStr::from_bytes(b"\xff\n")),
        ("long", OsStr::new(&long)),
    ];
    for (name, target) in targets {
        symlink(target, at.join(name)).unwrap();
        age(&at.join(name));
    }
    symlink("..", at.join("up")).unwrap();
}

fn directories(at: &Path) {
    fs::create_dir(at).unwrap();
    for (name, files) in [("0 names", 0), ("1 name", 1), ("1000 names", 1000)] {
        fs::create_dir(at.join(name)).unwrap();
        for i in 0..files {
            put(&at.join(name).join(format!("file {i}")), b"");
        }
        age(&at.join(name));
    }
}

fn times(at: &Path) {
    fs::create_dir(at).unwrap();
    for (name, accessed, modified) in [
        ("before 1970", (-86_400, 999_999_999), (-1_000_000, 1)),
        ("1970", (0, 0), (0, 1)),
        ("beyond 32 bits", (5_000_000_001, 5), (5_000_000_000, 123)),
    ] {
        put(&at.join(name), b"time\n");
        set_times(&at.join(name), accessed.0, accessed.1, modified.0, modified.1);
    }
}

fn special(scene: &Scene, at: &Path) {
    fs::create_dir(at).unwrap();
    let make = |name: &str, mode, device| {
        let path = CString::new(at.join(name).as_os_str().as_bytes()).unwrap();
        // SAFETY: a C string that is alive.
        assert_eq!(unsafe { libc::mknod(path.as_ptr(), mode, device) }, 0, "{name}");
        fs::set_permissions(at.join(name), PermissionsExt::from_mode(0o666)).unwrap();
        if let Some(uid) = scene.uid {
            lchown(at.join(name), Some(uid), Some(uid)).unwrap();
        }
    };
    make("fifo", libc::S_IFIFO | 0o666, 0);
    make("socket", libc::S_IFSOCK | 0o666, 0);
    if is_root() {
        make("null", libc::S_IFCHR | 0o666, libc::makedev(1, 3));
        make("high numbers", libc::S_IFCHR | 0o666, libc::makedev(300, 70_000));
        make("block", libc::S_IFBLK | 0o666, libc::makedev(7, 99));
    }
}

/// C of a program that tells its library's word; the library is found beside the program.
const PROGRAM: &str = "#include <stdio.h>\nconst char *word(void);\nint main(int c, char **v)\
    { printf(\"%s %s\\n\", word(), c > 1 ? v[1] : \"\"); return 3; }\n";
const LIBRARY: &str = "const char *word(void) { return \"word\"; }\n";

fn programs(at: &Path) {
    fs::create_dir_all(at.join("lib")).unwrap();
    put(&at.join("program.c"), PROGRAM.as_bytes());
    put(&at.join("library.c"), LIBRARY.as_bytes());
    let compile = |arguments: &[&str]| {
        assert!(
            Command::new("cc").current_dir(at).args(arguments).status().unwrap().success(),
            "{arguments:?}"
        );
    };
    compile(&["-shared", "-fPIC", "-o", "lib/libword.so", "library.c"]);
    compile(&["-o", "dynamic", "program.c", "-Llib", "-lword", "-Wl,-rpath,$ORIGIN/lib"]);
    compile(&["-static", "-o", "static", "program.c", "library.c"]);
    for (name, first_line) in [
        ("script", format!("#!{}/sh", at.with_file_name("bin").display())),
        ("script of a script", format!("#!{}/script", at.display())),
        ("script without interpreter", "#!/no/such/interpreter".to_owned()),
        ("text", "just text".to_owned()),
    ] {
        put(&at.join(name), format!("{first_line}\necho \"script $0 $1\"\nexit 4\n").as_bytes());
        fs::set_permissions(at.join(name), PermissionsExt::from_mode(0o755)).unwrap();
    }
    put(&at.join("not executable"), b"#!/bin/sh\n");
}

fn give_to_user(scene: &Scene, env: &Path) {
    let Some(uid) = scene.uid else { return };
    for path in walk(env) {
        lchown(path, Some(uid), Some(uid)).unwrap();
    }
}

/// One file and one directory of each interesting mode, owned by the user.
fn modes(scene: &Scene, at: &Path) {
    fs::create_dir(at).unwrap();
    for mode in [0o000, 0o100, 0o200, 0o400, 0o444, 0o600, 0o644, 0o755, 0o040, 0o004, 0o4755, 0o2755, 0o1644]
    {
        with_mode(scene.uid.map(|uid| (uid, uid)), at, mode);
    }
}

fn with_mode(owner: Option<(u32, u32)>, at: &Path, mode: u32) {
    let file = at.join(format!("file {mode:04o}"));
    let directory = at.join(format!("directory {mode:04o}"));
    fs::create_dir(&directory).unwrap();
    put(&file, b"#!/bin/sh\necho ran\n");
    put(&directory.join("inside"), b"inside\n");
    for path in [&file, &directory, &directory.join("inside")] {
        if let Some((uid, gid)) = owner {
            chown(path, Some(uid), Some(gid)).unwrap();
        }
    }
    for path in [&file, &directory] {
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }
}

/// Files of somebody else: of everybody's, of a group the user is in, of one it is not in.
fn foreign(scene: &Scene, at: &Path) {
    fs::create_dir(at).unwrap();
    if !is_root() {
        return;
    }
    for (whose, gid) in [("root's", 0), ("my group's", group_of(scene)), ("another group's", 999_999)] {
        let at = at.join(whose);
        fs::create_dir(&at).unwrap();
        for mode in [0o000, 0o600, 0o640, 0o644, 0o710, 0o711, 0o750, 0o755, 0o070, 0o007, 0o604] {
            with_mode(Some((54_321, gid)), &at, mode);
        }
    }
}
