//! `spinney run --track` from outside, with each Python that is here.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::scene::{Scene, output, scenes, text};

/// The system's, which an ordinary user can execute too.
pub const PYTHON: &str = "/usr/bin/python3";

/// Versions that pyenv may have besides.
const VERSIONS: std::ops::RangeInclusive<u32> = 8..=14;

/// Every Python that is here and new enough.
pub fn pythons() -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from(PYTHON)];
    let place = std::env::var_os("PYENV_ROOT").map_or_else(|| PathBuf::from("/nowhere"), PathBuf::from);
    for entry in fs::read_dir(place.join("versions")).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let minor = name.strip_prefix("3.").and_then(|rest| rest.split('.').next()?.parse().ok());
        if minor.is_some_and(|minor| VERSIONS.contains(&minor)) {
            found.push(entry.path().join("bin/python3"));
        }
    }
    found
}

/// Whoever runs the tests: other versions may lie in their home.
pub fn own_scene() -> Scene {
    scenes().swap_remove(0)
}

/// Packages to import: `first`, which imports `second`; `space`, a namespace package; both with a version.
pub fn furnish(scene: &Scene) -> PathBuf {
    let site = scene.home.join("lib/site-packages");
    for (name, source) in [("first", "import second\n"), ("second", "__version__ = 'wrong'\n")] {
        fs::create_dir_all(site.join(name)).unwrap();
        fs::write(site.join(name).join("__init__.py"), source).unwrap();
        fs::create_dir_all(site.join(format!("{name}-1.5.dist-info"))).unwrap();
    }
    fs::create_dir_all(site.join("space/inner")).unwrap();
    fs::write(site.join("space/inner/__init__.py"), "").unwrap();
    fs::create_dir_all(scene.home.join("records")).unwrap();
    if let Some(uid) = scene.uid {
        std::os::unix::fs::chown(scene.home.join("records"), Some(uid), Some(uid)).unwrap();
    }
    site
}

/// `python FLAGS -c SOURCE`, tracked.
pub fn tracked(scene: &Scene, python: &Path, flags: &[&str], source: &str) -> Command {
    let records = scene.home.join("records");
    let mut command =
        scene.spinney(&["run", "-q", "--way", "direct", "--track", records.to_str().unwrap(), "--"]);
    command.arg(python).args(flags).args(["-c", source]);
    command.env("PYTHONPATH", scene.home.join("lib/site-packages")).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// All lines that the runs so far have left; takes them away.
pub fn records(scene: &Scene) -> Vec<serde_json::Value> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(scene.home.join("records")).unwrap().flatten() {
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let content = fs::read_to_string(entry.path()).unwrap();
        lines.extend(content.lines().map(|line| serde_json::from_str(line).unwrap()));
        fs::remove_file(entry.path()).unwrap();
    }
    lines
}

/// Names of what was imported, with versions and flags, sorted.
pub fn imported(lines: &[serde_json::Value]) -> Vec<String> {
    let imports = lines.iter().filter(|line| line[0] == "i");
    let shown = |line: &serde_json::Value| {
        let version = line[4].as_str().unwrap_or("-").to_owned();
        format!("{} {version} {}", line[2].as_str().unwrap(), line[7].as_str().unwrap())
    };
    let mut names: Vec<String> = imports.map(shown).collect();
    names.sort();
    names
}

pub fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn every_python_records_packages_with_version_and_who_asked() {
    let scene = own_scene();
    furnish(&scene);
    for python in pythons() {
        let source = "import first, space.inner; import second; import json";
        let output = output(&mut tracked(&scene, &python, &[], source));
        assert_eq!(succeeded(&output) + &text(&output.stderr), "", "{}", python.display());
        let lines = records(&scene);
        let expected = ["first 1.5 pa", "second 1.5 pa", "space - pna"];
        assert_eq!(imported(&lines), expected, "{}: {lines:?}", python.display());
    }
}

#[test]
fn a_program_sees_nothing_of_it() {
    let scene = own_scene();
    furnish(&scene);
    let source = "
import os, sys, traceback
def show(): return sorted(k for k in os.environ if k not in ('SPINNEY_TRACK', 'R_PROFILE', '_', 'LC_CTYPE')), sys.path, \\
    [getattr(f, '__name__', type(f).__name__) for f in sys.meta_path], sorted(os.listdir('/proc/self/fd')), \\
    sorted(m for m in sys.modules if m != 'sitecustomize'), 'sitecustomize' in sys.modules
print(show())
try: import nowhere_at_all
except ImportError: traceback.print_exc(file=sys.stdout)
try: __import__('broken')
except ZeroDivisionError: traceback.print_exc(file=sys.stdout)
import first; print(first.__spec__.origin, first.__spec__.loader is first.__loader__, type(first.__loader__))
";
    fs::write(scene.home.join("lib/site-packages/broken.py"), "1/0\n").unwrap();
    for python in pythons() {
        let mut plain = scene.native(&python);
        plain.args(["-c", source]).env("PYTHONPATH", scene.home.join("lib/site-packages"));
        plain.env("PYTHONDONTWRITEBYTECODE", "1");
        let natively = succeeded(&output(&mut plain));
        let under_track = succeeded(&output(&mut tracked(&scene, &python, &[], source)));
        assert_eq!(under_track, natively, "{}", python.display());
    }
}

#[test]
fn children_are_recorded_however_they_come_to_be() {
    let scene = own_scene();
    furnish(&scene);
    let cases = [
        ("fork", "import os\nif os.fork() == 0:\n import second\n os._exit(0)\nos.wait()"),
        ("exec", "import os, sys\nos.execv(sys.executable, [sys.executable, '-c', 'import second'])"),
        (
            "execve",
            "import os, sys\nos.execve(sys.executable, [sys.executable, '-c', 'import second'], os.environ)",
        ),
        ("subprocess", "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import second'])"),
        (
            "copied environment", // as torchrun, loky and many scripts start their workers
            "import os, subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import second'], env={**os.environ, 'X': '1'})",
        ),
        (
            "longer path",
            "import os, subprocess, sys\nos.environ['PYTHONPATH'] = '/nowhere:' + os.environ['PYTHONPATH']\n\
             subprocess.run([sys.executable, '-c', 'import second'])",
        ),
        ("shell", "import os, sys\nos.system(sys.executable + ' -c \"import second\"')"),
        (
            "thread",
            "import threading\nt = threading.Thread(target=__import__, args=('second',)); t.start(); t.join()",
        ),
        ("closed", "import os\nos.closerange(3, 100)\nimport second"),
        ("killed", "import second, os\nos.kill(os.getpid(), 9)"),
        ("left", "import second, os\nos._exit(0)"),
    ];
    for python in pythons() {
        for (name, source) in cases {
            output(&mut tracked(&scene, &python, &[], source));
            let names = imported(&records(&scene));
            assert_eq!(names.len(), 1, "{name} {}: {names:?}", python.display());
            assert!(names[0].starts_with("second 1.5"), "{name}: {names:?}");
        }
    }
}

#[test]
fn multiprocessing_spawn_works_and_is_recorded() {
    let scene = own_scene();
    furnish(&scene);
    let script = scene.home.join("job.py");
    let source = "import multiprocessing\ndef work(n):\n import second\n return n\n\
        if __name__ == '__main__':\n with multiprocessing.get_context('spawn').Pool(2) as pool:\n  \
        print(sum(pool.map(work, range(8))))\n";
    fs::write(&script, source).unwrap();
    for python in pythons() {
        let command = tracked(&scene, &python, &[], "");
        let mut again = scene.native(command.get_program());
        // All but `-c` and its source.
        again.args(command.get_args().take(command.get_args().len() - 2)).arg(&script);
        again.env("PYTHONPATH", scene.home.join("lib/site-packages"));
        assert_eq!(succeeded(&output(&mut again)), "28\n", "{}", python.display());
        let names = imported(&records(&scene));
        assert!(names.iter().any(|name| name.starts_with("second")), "{}: {names:?}", python.display());
    }
}

#[test]
fn an_isolated_python_is_left_alone() {
    let scene = own_scene();
    furnish(&scene);
    for flags in [["-I"], ["-S"], ["-E"]] {
        let output = output(&mut tracked(&scene, Path::new(PYTHON), &flags, "import json"));
        assert_eq!(succeeded(&output) + &text(&output.stderr), "", "{flags:?}");
        assert!(imported(&records(&scene)).is_empty(), "{flags:?}");
    }
}

#[test]
fn another_sitecustomize_is_loaded_and_may_fail_as_before() {
    let scene = own_scene();
    let site = furnish(&scene);
    let source = "import sys; print(sys.modules['sitecustomize'].__file__)";
    fs::write(site.join("sitecustomize.py"), "import second").unwrap();
    for python in pythons() {
        let shown = succeeded(&output(&mut tracked(&scene, &python, &[], source)));
        assert_eq!(shown.trim(), site.join("sitecustomize.py").to_str().unwrap());
        assert!(!imported(&records(&scene)).is_empty());
    }
    fs::write(site.join("sitecustomize.py"), "1/0").unwrap();
    let output = output(&mut tracked(&scene, Path::new(PYTHON), &[], "print('on')"));
    assert!(text(&output.stderr).contains("ZeroDivisionError"), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "on\n");
}

#[test]
fn what_xalts_hooks_call_records_into_the_run() {
    let scene = own_scene();
    furnish(&scene);
    let under_its_name = scene.binary.with_file_name("xalt_record_pkg");
    fs::copy(&scene.binary, &under_its_name).unwrap();
    let source = format!(
        "import subprocess\nfor name in ['Rcpp', \"a'b;$(x)\\n\"]:\n for p in [['{}'], ['{}', 'record-pkg']]:\n  \
         subprocess.run(p + ['-u', 'x', 'program', 'R', 'xalt_run_uuid', 'x', 'package_name', name, \
         'package_version', '1.0', 'package_path', '/r/lib'], check=True)",
        under_its_name.display(),
        scene.binary.display()
    );
    succeeded(&output(&mut tracked(&scene, Path::new(PYTHON), &[], &source)));
    let names = imported(&records(&scene));
    assert_eq!(names, ["Rcpp 1.0 ", "a'b;$(x)\n 1.0 "], "each once, though it was told twice");
}

#[test]
fn xalts_hooks_are_told_a_run_where_they_call_this_program_and_nowhere_else() {
    let scene = own_scene();
    furnish(&scene);
    let libexec = scene.home.join("libexec");
    fs::create_dir_all(&libexec).unwrap();
    let source = "import os; print(os.environ.get('XALT_RUN_UUID'))";
    let told = |uuid: Option<&str>| {
        let mut command = tracked(&scene, Path::new(PYTHON), &[], source);
        command.env("XALT_DIR", &scene.home).envs(uuid.map(|uuid| ("XALT_RUN_UUID", uuid)));
        succeeded(&output(&mut command)).trim().to_owned()
    };
    fs::write(libexec.join("xalt_record_pkg"), "XALT's own").unwrap();
    assert_eq!(told(None), "None");
    fs::remove_file(libexec.join("xalt_record_pkg")).unwrap();
    std::os::unix::fs::symlink(&scene.binary, libexec.join("xalt_record_pkg")).unwrap();
    records(&scene);
    let uuid = told(None);
    assert_eq!(records(&scene)[0][1]["uuid"], uuid.as_str());
    assert_eq!(told(Some("by XALT")), "by XALT");
}

#[test]
fn reports_count_a_run_once_however_often_it_is_ingested() {
    let scene = own_scene();
    furnish(&scene);
    let source = "import first, os\nif os.fork() == 0: os._exit(0)\nos.wait()";
    for _ in 0..2 {
        succeeded(&output(&mut tracked(&scene, Path::new(PYTHON), &[], source)));
    }
    let (store, from) = (scene.home.join("track.db"), scene.home.join("records"));
    let store = store.to_str().unwrap();
    for said in ["new: 2 runs, 2 processes, 4 imports", "new: 0 runs, 0 processes, 0 imports"] {
        let ingested =
            output(&mut scene.spinney(&["track", "ingest", "--store", store, from.to_str().unwrap()]));
        assert!(succeeded(&ingested).contains(said));
    }
    let report =
        output(&mut scene.spinney(&["track", "report", "--store", store, "--format", "csv", "versions"]));
    assert_eq!(
        succeeded(&report),
        "package,program,version,runs,users\nfirst,python,1.5,2,1\nsecond,python,1.5,2,1\n"
    );
    assert_eq!(fs::metadata(store).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn an_interpreter_that_imports_no_package_is_told_of_and_brings_none() {
    let scene = own_scene();
    furnish(&scene);
    let (store, from) = (scene.home.join("track.db"), scene.home.join("records"));
    let (store, from) = (store.to_str().unwrap(), from.to_str().unwrap());
    for (n, source) in
        ["pass", "import json, os\nos._exit(0)", "import os\nos.kill(os.getpid(), 9)"].iter().enumerate()
    {
        output(&mut tracked(&scene, Path::new(PYTHON), &[], source));
        let ingested = output(&mut scene.spinney(&["track", "ingest", "--store", store, from]));
        assert!(
            succeeded(&ingested).contains("new: 1 runs, 1 processes, 0 imports"),
            "{source}: {ingested:?}"
        );
        let report = |question: &str| {
            let words = ["track", "report", "--store", store, "--format", "csv", question];
            succeeded(&output(&mut scene.spinney(&words)))
        };
        let whose = report("interpreters");
        let row = whose.lines().nth(1).unwrap_or_default();
        assert!(row.starts_with("system,3.") && row.contains(&format!(",{},1,", n + 1)), "{source}: {whose}");
        assert_eq!(report("packages"), "package,program,runs,users,node_hours\n", "{source}");
        let users = report("users");
        assert!(users.lines().nth(1).is_some_and(|row| row.contains(&format!(",{},0,", n + 1))), "{users}");
        let records = records(&scene);
        assert!(records.iter().any(|line| line[0] == "proc") && imported(&records).is_empty(), "{records:?}");
    }
}

#[test]
fn the_hooks_bytecode_lies_beside_it_and_nowhere_else() {
    let scene = own_scene();
    furnish(&scene);
    let elsewhere = scene.home.join("elsewhere");
    // `tracked` asks Python to write none.
    let source = "import os; print(os.listdir(os.environ['SPINNEY_TRACK'] + '/hook/__pycache__'))";
    let wherever = "import first, os; print(os.listdir(os.environ['SPINNEY_TRACK'] + '/hook'))";
    for python in pythons() {
        let kept = succeeded(&output(&mut tracked(&scene, &python, &[], source)));
        assert!(kept.contains("sitecustomize.cpython-"), "{}: {kept}", python.display());
        let mut command = tracked(&scene, &python, &[], wherever);
        command.env("PYTHONPYCACHEPREFIX", &elsewhere).env_remove("PYTHONDONTWRITEBYTECODE");
        assert!(!succeeded(&output(&mut command)).contains("__pycache__"));
        let left: Vec<_> = fs::read_dir(&elsewhere).unwrap().flatten().map(|it| it.file_name()).collect();
        assert!(left.iter().all(|name| name != "dev"), "{}: {left:?}", python.display());
        records(&scene);
    }
}

#[test]
fn a_clock_that_jumps_costs_no_import_and_makes_no_time_negative() {
    let scene = own_scene();
    furnish(&scene);
    // Whatever a program makes of the clocks, as a test does that stands still or goes back.
    let source = "import time, random\nreal = time.time\ntime.time = lambda: real() - 1e9\n\
        time.perf_counter = lambda: -random.random()\nimport first, space.inner";
    for python in pythons() {
        let output = output(&mut tracked(&scene, &python, &[], source));
        assert_eq!(succeeded(&output) + &text(&output.stderr), "", "{}", python.display());
        let lines = records(&scene);
        assert_eq!(imported(&lines), ["first 1.5 pa", "second 1.5 p", "space - pna"], "{}", python.display());
        let imports = lines.iter().filter(|line| line[0] == "i");
        // Less than a minute, each.
        let is_sound = |time: &serde_json::Value| time.as_u64().is_some_and(|us| us < 60_000_000);
        assert!(imports.into_iter().all(|line| is_sound(&line[5]) && is_sound(&line[6])), "{lines:?}");
    }
}
