//! Audits of made-up environments with every kind of fault.

use super::*;
use crate::environment::recorded::Usage;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

/// A directory with a base Python and a virtual environment of it, `env`, for Python 3.11.
struct Place {
    _directory: tempfile::TempDir,
    root: PathBuf,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = Self { root: directory.path().canonicalize().unwrap(), _directory: directory };
        place.file("base/bin/python3.11", "\x7fELF");
        fs::set_permissions(place.at("base/bin/python3.11"), PermissionsExt::from_mode(0o755)).unwrap();
        place.file("base/lib/python3.11/os.py", "");
        place.file("env/lib/python3.11/site-packages/six.py", "");
        let home = place.at("base/bin");
        let command = format!("/usr/bin/python3 -m venv {}", place.at("env").display());
        place.file(
            "env/pyvenv.cfg",
            &format!("home = {}\nversion = 3.11.2\ncommand = {command}\n", home.display()),
        );
        fs::create_dir(place.at("env/bin")).unwrap();
        symlink(place.at("base/bin/python3.11"), place.at("env/bin/python3")).unwrap();
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn file(&self, name: &str, content: &str) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// The variables, with `@` for the root; PATH leads to the environment unless it is given.
    fn check(&self, variables: &[(&str, &str)], recorded: Option<&Recorded>) -> Check {
        let path = [("PATH", "@/env/bin")];
        let all = path.iter().filter(|_| !variables.iter().any(|(name, _)| *name == "PATH")).chain(variables);
        let root = self.root.to_str().unwrap();
        let all = all.map(|(name, value)| (name.into(), value.replace('@', root).into()));
        let around = Surroundings::new(all.collect::<Vec<(OsString, OsString)>>(), self.root.clone());
        check(&around, &[], recorded, Shell::Bash)
    }
}

/// `PLACE FAULT ENTRY` of each finding, with `@` for the root.
fn told(place: &Place, check: &Check) -> Vec<String> {
    let root = place.root.to_str().unwrap();
    let told = |finding: &Finding| {
        format!(
            "{} {} {}",
            finding.place,
            finding.fault.name(),
            finding.entry.display().to_string().replace(root, "@")
        )
    };
    check.findings.iter().map(told).collect()
}

#[test]
fn a_sound_environment_has_no_fault() {
    let place = Place::new();
    let check =
        place.check(&[("VIRTUAL_ENV", "@/env"), ("PYTHONPATH", "@/env/lib/python3.11/site-packages")], None);
    assert_eq!(told(&place, &check), [""; 0]);
    let python = check.python.unwrap();
    assert_eq!((python.prefix, python.base), (place.at("env"), Some(place.at("base"))));
    assert_eq!(python.library.as_deref(), Some("python3.11"));
}

#[test]
fn every_fault_of_a_variable_is_told() {
    let place = Place::new();
    for (file, content) in [
        ("other/pyvenv.cfg", "home = /usr/bin\n"),
        ("other/bin/tool", ""),
        ("other/lib/libx.so", ""),
        ("conda/conda-meta/history", ""),
        ("gcc/9.3/lib/libgcc.so", ""),
        ("gcc/12.2/lib/libgcc.so", ""),
        ("a/numpy/__init__.py", ""),
        ("b/numpy/__init__.py", ""),
        ("old/lib/python3.9/site-packages/x.py", ""),
        ("r1/jsonlite/DESCRIPTION", ""),
        ("r2/jsonlite/DESCRIPTION", ""),
        ("modules.zip", ""),
        ("home39/lib/python3.9/os.py", ""),
    ] {
        place.file(file, content);
    }
    fs::create_dir(place.at("hollow")).unwrap();
    symlink(place.at("a"), place.at("alias")).unwrap();
    let cases: [(&str, &str, &[&str]); 24] = [
        ("PATH", "@/env/bin:@/env/bin", &["PATH duplicate @/env/bin"]),
        ("PATH", "@/env/bin:@/env/bin/", &["PATH duplicate @/env/bin/"]), // spelt differently
        ("PATH", "@/env/bin:@/none:@/none", &["PATH absent @/none", "PATH duplicate @/none"]),
        ("PATH", "@/env/bin:", &["PATH empty "]), // the working directory
        ("PATH", "@/env/bin:@/modules.zip", &["PATH absent @/modules.zip"]), // no directory
        ("PATH", "@/env/bin:@/other/bin", &["PATH stale @/other/bin"]), // of another environment
        ("PATH", "@/env/bin:@/hollow", &["PATH empty @/hollow"]),
        ("PYTHONPATH", "@/a:@/alias", &["PYTHONPATH duplicate @/alias"]), // through a link
        ("PYTHONPATH", "@/a:@/b", &["PYTHONPATH shadowed @/b"]),          // the same package
        ("PYTHONPATH", "@/modules.zip", &[]),                             // archives are usual
        (
            "PYTHONPATH",
            "@/old/lib/python3.9/site-packages",
            &["PYTHONPATH stale @/old/lib/python3.9/site-packages"],
        ),
        ("LD_LIBRARY_PATH", "@/gcc/12.2/lib:@/gcc/9.3/lib", &["LD_LIBRARY_PATH stale @/gcc/9.3/lib"]),
        ("LD_LIBRARY_PATH", "@/gcc/9.3/lib:@/gcc/12.2/lib", &["LD_LIBRARY_PATH stale @/gcc/9.3/lib"]),
        ("LD_LIBRARY_PATH", "@/other/lib", &["LD_LIBRARY_PATH stale @/other/lib"]),
        ("LD_LIBRARY_PATH", "", &[]), // as if it were not set
        ("R_LIBS", "@/r1:@/r2", &["R_LIBS shadowed @/r2"]),
        ("R_LIBS_USER", "~/R/%p-library/%v", &[]), // only R can expand it
        ("R_LIBS_SITE", "@/none", &["R_LIBS_SITE absent @/none"]),
        ("VIRTUAL_ENV", "@/other", &["VIRTUAL_ENV stale @/other"]), // PATH leads elsewhere
        ("VIRTUAL_ENV", "@/a", &["VIRTUAL_ENV stale @/a"]),         // no environment
        ("CONDA_PREFIX", "@/conda", &["CONDA_PREFIX stale @/conda"]),
        ("CONDA_PREFIX", "@/none", &["CONDA_PREFIX absent @/none"]),
        ("PYTHONHOME", "@/home39", &["PYTHONHOME stale @/home39"]), // of another version
        ("PYTHONHOME", "@/none", &["PYTHONHOME absent @/none"]),
    ];
    for (name, value, want) in cases {
        assert_eq!(told(&place, &place.check(&[(name, value)], None)), want, "{name}={value}");
    }
}

#[test]
fn every_fault_of_a_file_is_told() {
    let place = Place::new();
    let site = "env/lib/python3.11/site-packages";
    place.file(&format!("{site}/a.pth"), "# comment\nimport sys; sys.x = 1\n/none\nsub\nsub\n.\n");
    fs::create_dir_all(place.at(site).join("sub")).unwrap();
    let check = place.check(&[], None);
    assert_eq!(told(&place, &check), ["a.pth absent /none", "a.pth duplicate sub", "a.pth duplicate ."]);
    assert_eq!(check.remarks[0], "code that each start of Python runs: in 1 `.pth` file");
    fs::rename(place.at("env"), place.at("moved")).unwrap();
    fs::remove_file(place.at(&site.replace("env", "moved")).join("a.pth")).unwrap();
    let check = place.check(&[("PATH", "@/moved/bin")], None);
    assert_eq!(told(&place, &check), ["pyvenv.cfg stale @/env"]);
    place.file("moved/pyvenv.cfg", "home = /none/bin\nversion = 3.11.2\n");
    assert_eq!(told(&place, &place.check(&[("PATH", "@/moved/bin")], None)), ["pyvenv.cfg absent /none/bin"]);
}

#[test]
fn a_recording_tells_what_each_entry_cost_and_what_is_never_hit() {
    let place = Place::new();
    place.file("lib1/liba.so", "");
    place.file("lib2/libb.so", "");
    let absent = |calls| Usage { calls, absent: calls, nanoseconds: calls * 10, ..Usage::default() };
    let paths = [
        ("none/libb.so", absent(5)),
        ("none/glibc-hwcaps/x86-64-v3/libb.so", absent(2)),
        ("lib1/libb.so", absent(7)),
        ("lib1/glibc-hwcaps/x86-64-v3/libb.so", absent(2)),
        ("lib1/deeper/x", absent(100)), // not asked because of the entry
        ("lib2/libb.so", Usage { calls: 1, found: 1, ..Usage::default() }),
        ("lib/python311.zip", absent(3)),
        ("env/pyvenv.cfg", Usage { calls: 1, found: 1, ..Usage::default() }),
        // Python has listed both, and asks for what it has seen there alone.
        ("listed", Usage { calls: 6, found: 6, nanoseconds: 60, ..Usage::default() }),
        ("wanted", Usage { calls: 8, found: 8, ..Usage::default() }),
        ("wanted/six.py", Usage { calls: 1, found: 1, ..Usage::default() }),
    ];
    let paths = paths.iter().map(|(path, usage)| (place.at(path), *usage)).collect();
    let recorded = Recorded { paths, views: [place.root.clone()].into(), ..Recorded::default() };
    place.file("listed/seven.py", "");
    place.file("wanted/six.py", "");
    let libraries = ("LD_LIBRARY_PATH", "@/none:@/lib1:@/lib2:/nowhere");
    let check = place.check(&[libraries, ("PYTHONPATH", "@/listed:@/wanted")], Some(&recorded));
    assert_eq!(
        told(&place, &check),
        [
            "PYTHONPATH never-hit @/listed",
            "LD_LIBRARY_PATH absent @/none",
            "LD_LIBRARY_PATH absent /nowhere",
            "LD_LIBRARY_PATH never-hit @/lib1"
        ]
    );
    let in_vain = |at: usize| check.findings[at].probes.map(|probes| probes.in_vain());
    let probes = [0, 1, 2, 3].map(in_vain);
    assert_eq!(probes, [Some(6), Some(7), None, Some(9)], "/nowhere lies in no view");
    assert!(check.remarks[0].starts_with("normal: 3 probes for `python*.zip`"), "{:?}", check.remarks);
    assert!(check.remarks[1].contains("4 probes for `glibc-hwcaps`"), "{:?}", check.remarks);
}

#[test]
fn corrected_values_come_in_the_safe_order_and_keep_what_is_used() {
    let place = Place::new();
    for version in ["1.0", "2.0", "3.0"] {
        place.file(&format!("t/{version}/libt.so"), "");
    }
    let value = "@/t/2.0:@/t/2.0:@/none:@/t/1.0:@/t/3.0";
    let check = place.check(&[("LD_LIBRARY_PATH", value)], None);
    let root = place.root.to_str().unwrap();
    let step = |step: usize| {
        let lines = values::lines(&check.lists, step, Shell::Bash);
        lines.iter().map(|line| line.replace(root, "@")).collect::<Vec<_>>()
    };
    assert_eq!(step(0), ["export LD_LIBRARY_PATH=@/t/2.0:@/none:@/t/1.0:@/t/3.0"]);
    assert_eq!(step(1), ["export LD_LIBRARY_PATH=@/t/2.0:@/t/1.0:@/t/3.0"]);
    // 1.0 comes after 2.0, so nobody misses it; 2.0 is used though 3.0 is there.
    assert_eq!(step(2), ["export LD_LIBRARY_PATH=@/t/2.0:@/t/3.0"]);
}

#[test]
fn the_command_says_which_python_is_meant() {
    let place = Place::new();
    let around = Surroundings::new(Vec::<(OsString, OsString)>::new(), place.root.clone());
    let in_path = [("PATH".into(), place.at("base/bin").into())];
    let by_shell = Surroundings::new(in_path, place.root.clone());
    symlink("python3.11", place.at("base/bin/python3")).unwrap();
    let python: OsString = place.at("env/bin/python3").into();
    let cases: [(&Surroundings, &[OsString], Option<&str>); 4] = [
        (&around, &[python, "train.py".into()], Some("env")),
        (&by_shell, &["/bin/bash".into(), "train.sh".into()], Some("base")), // only the shell can read its script
        (&by_shell, &[], Some("base")),
        (&by_shell, &["/none/python3".into()], None),
    ];
    for (around, command, want) in cases {
        let check = check(around, command, None, Shell::Bash);
        assert_eq!(check.python.map(|python| python.prefix), want.map(|name| place.at(name)), "{command:?}");
    }
}

#[test]
fn only_storage_says_that_something_does_not_exist() {
    for (errno, fault) in [
        (libc::ENOENT, Fault::Absent),
        (libc::ENOTDIR, Fault::Absent),
        (libc::EACCES, Fault::Unreachable),
        (libc::EIO, Fault::Unreachable),
        (libc::ESTALE, Fault::Unreachable),
    ] {
        assert_eq!(super::of_error(&std::io::Error::from_raw_os_error(errno)).0, fault, "{errno}");
    }
}
