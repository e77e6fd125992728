//! Which shared objects a process has mapped, and to which package they belong.
//!
//! Read from `/proc/PID/maps`; nothing is loaded into the process, nothing traces it.
//!
//! Not here: when it is looked at (`observer`).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Processes beneath one that are looked at, at most.
const PROCESSES_MAX: usize = 4096;

/// Directories whose subdirectories are packages of Python.
const SITE_DIRECTORIES: [&str; 2] = ["/site-packages/", "/dist-packages/"];

/// Processes beneath `pid`, itself not among them.
pub fn beneath(pid: u32) -> Vec<u32> {
    let (mut found, mut next) = (Vec::new(), 0);
    found.extend(children(pid));
    while next < found.len().min(PROCESSES_MAX) {
        found.extend(children(found[next]));
        next += 1;
    }
    found.truncate(PROCESSES_MAX);
    found
}

/// Children of all threads of `pid`.
fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()
        })
        .collect()
}

/// The shared objects that `pid` has mapped to execute.
pub fn mapped(pid: u32) -> BTreeSet<String> {
    fs::read(format!("/proc/{pid}/maps"))
        .map(|maps| objects(&String::from_utf8_lossy(&maps)))
        .unwrap_or_default()
}

/// The shared objects in a text of `proc_pid_maps(5)`: `ADDRESS PERMISSIONS OFFSET DEVICE INODE PATH`.
fn objects(maps: &str) -> BTreeSet<String> {
    let path = |line: &str| {
        let mut fields = line.splitn(6, ' ');
        let permissions = fields.nth(1)?;
        let path = fields.nth(3)?.trim_start();
        let path = path.strip_suffix(" (deleted)").unwrap_or(path).replace("\\012", "\n");
        let name = path.rsplit('/').next()?;
        let is_object = name.ends_with(".so") || name.contains(".so.");
        (permissions.contains('x') && path.starts_with('/') && is_object).then_some(path)
    };
    maps.lines().filter_map(path).collect()
}

/// The package that brought a shared object, as far as its path tells: the directory in a site directory of Python (what
/// wheels call `NAME.libs` is NAME's), a package of R, or the product in a Spack or Nix store.
pub fn package_of(path: &str) -> Option<String> {
    for site in SITE_DIRECTORIES {
        if let Some((_, rest)) = path.rsplit_once(site) {
            let first = rest.split('/').next()?;
            // A module that is a single file: `_cffi_backend.cpython-311-x86_64-linux-gnu.so`.
            let name = if rest.contains('/') {
                first.strip_suffix(".libs").unwrap_or(first)
            } else {
                first.split('.').next()?
            };
            return Some(name.to_owned());
        }
    }
    // An R package is a directory with `libs/NAME.so` in it.
    let path = Path::new(path);
    let directory = path.parent()?;
    let package = directory.parent()?.file_name()?.to_str()?;
    let is_r = directory.file_name()? == "libs" && path.file_name()?.to_str()? == format!("{package}.so");
    is_r.then(|| package.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_told_from_other_mappings() {
        let maps = "55d-55e r-xp 00000000 08:01 1     /usr/bin/python3.11\n\
            7f0-7f1 r-xp 00000000 08:01 2                          /usr/lib/libm.so.6\n\
            7f1-7f2 r--p 00000000 08:01 2                          /usr/lib/libdata.so\n\
            7f2-7f3 r-xp 00000000 08:01 3                          /e/with blank/x.cpython-311.so\n\
            7f3-7f4 r-xp 00000000 08:01 4                          /e/gone.so (deleted)\n\
            7f4-7f5 rwxp 00000000 00:00 0 \n\
            7f5-7f6 r-xp 00000000 00:00 0                          [vdso]\n\
            7f6-7f7 r-xp 00000000 00:05 9                          /memfd:jit (deleted)\n\
            7f7-7f8 r-xp 00000000 08:01 5                          /e/a\\012b.so\n\
            garbage\n\n";
        let expected = ["/e/a\nb.so", "/e/gone.so", "/e/with blank/x.cpython-311.so", "/usr/lib/libm.so.6"];
        assert_eq!(objects(maps).into_iter().collect::<Vec<_>>(), expected);
        assert!(objects("\0\u{FFFD}").is_empty());
    }

    #[test]
    fn the_path_tells_the_package_where_it_can() {
        let cases = [
            ("/e/lib/python3.11/site-packages/numpy/core/_m.cpython-311.so", Some("numpy")),
            ("/e/lib/python3.11/site-packages/numpy.libs/libopenblas.so", Some("numpy")),
            ("/e/lib/python3.11/site-packages/_cffi_backend.cpython-311.so", Some("_cffi_backend")),
            ("/usr/lib/python3/dist-packages/apt_pkg.cpython-311.so", Some("apt_pkg")),
            ("/usr/lib/R/library/stats/libs/stats.so", Some("stats")),
            ("/usr/lib/R/lib/libR.so", None),
            ("/opt/libs/x.so", None), // not named as its directory
            ("/usr/lib/libm.so.6", None),
            ("x.so", None),
        ];
        for (path, package) in cases {
            assert_eq!(package_of(path).as_deref(), package, "{path}");
        }
    }

    #[test]
    fn this_process_has_a_child_that_maps_the_c_library() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(beneath(std::process::id()).contains(&child.id()));
        // It is another program only once it has been executed.
        let begun = std::time::Instant::now();
        while !mapped(child.id()).iter().any(|path| path.contains("libc.so")) {
            assert!(begun.elapsed().as_secs() < 60, "{:?}", mapped(child.id()));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(mapped(child.id()).is_empty(), "one that is gone");
    }
}
