//! The hook beside whatever else is in an interpreter: other hooks and finders, preloaded libraries, environments, C
//! programs with Python in them, names that nobody expects.
//!
//! Not here: what is recorded of ordinary programs (`track_python`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::scene::{Scene, output, text};
use crate::track_python::{PYTHON, furnish, imported, own_scene, pythons, records, succeeded, tracked};

/// What `source` prints without the hook; with it, the same, and names of what was imported.
fn the_same_with_the_hook(
    scene: &Scene,
    python: &Path,
    source: &str,
    prepare: impl Fn(&mut Command),
) -> Vec<String> {
    let mut plain = scene.native(python);
    plain.args(["-c", source]).env("PYTHONPATH", scene.home.join("lib/site-packages"));
    plain.env("PYTHONDONTWRITEBYTECODE", "1");
    let mut with = tracked(scene, python, &[], source);
    let said = [&mut plain, &mut with].map(|command| {
        prepare(command);
        let output = output(command);
        // What a finder itself raises has one frame more in its traceback, beside the one of importlib's own.
        let own = ", in _find_and_load";
        let shown = text(&output.stdout);
        let mut shown: Vec<&str> =
            shown.lines().map(|line| if line.ends_with(own) { own } else { line }).collect();
        shown.dedup_by(|next, line| next == line && *next == own);
        let shown = shown.join("\n");
        (shown, text(&output.stderr), output.status.code())
    });
    assert_eq!(said[1], said[0], "{}: {source}", python.display());
    imported(&records(scene))
}

fn compiled(scene: &Scene, name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let (file, made) = (scene.home.join(format!("{name}.c")), scene.home.join(name));
    fs::write(&file, source).unwrap();
    let done = output(Command::new("cc").arg(&file).arg("-o").arg(&made).args(flags));
    assert!(done.status.success(), "{}", text(&done.stderr));
    made
}

#[test]
fn the_hook_is_python_of_every_version_since_3_8() {
    let source = "import ast, sys\nfor name in sys.argv[1:]:\n text = open(name).read()\n \
        for minor in range(8, 14): ast.parse(text, name, feature_version=(3, minor))\nprint('fine')";
    let files = ["hook.py", "noting.py", "enter.py"]
        .map(|name| Path::new(env!("CARGO_MANIFEST_DIR")).join("src/track").join(name));
    let done = output(Command::new(PYTHON).args(["-c", source]).args(files));
    assert_eq!(succeeded(&done), "fine\n");
}

#[test]
fn finders_of_others_are_asked_as_before_whatever_they_answer() {
    let scene = own_scene();
    furnish(&scene);
    // Each finder, and what it makes of `import odd`.
    let finders = [
        // raises
        "class F:\n def find_spec(self, name, path=None, target=None):\n  if name == 'odd': raise RuntimeError('no')",
        // tells odd things of where it is
        "class F:\n def find_spec(self, name, path=None, target=None):\n  if name == 'odd':\n   \
         s = importlib.machinery.ModuleSpec(name, self, origin=12345, is_package=True); s.submodule_search_locations = [1, None]; return s\n \
         def create_module(self, spec): return None\n def exec_module(self, module): module.__version__ = 7",
        // puts something into sys.modules that is no module, and answers no question
        "class Odd:\n __slots__ = ()\n def __getattribute__(self, name): raise KeyError(name)\n\
         class F:\n def find_spec(self, name, path=None, target=None):\n  if name == 'odd': return importlib.machinery.ModuleSpec(name, self)\n \
         def create_module(self, spec): return None\n def exec_module(self, module): sys.modules['odd'] = Odd()",
        // removes itself while it is asked, and imports other things meanwhile
        "class F:\n def find_spec(self, name, path=None, target=None):\n  if name == 'odd':\n   \
         sys.meta_path.remove(self); import second; del sys.modules['second']",
        // claims to be everything and lies about it
        "class F:\n def find_spec(self, name, path=None, target=None):\n  if name == 'odd':\n   \
         s = importlib.machinery.ModuleSpec('other', self, origin='/lie/é\\n.py'); s.cached = object(); return s\n \
         def create_module(self, spec): return None\n def exec_module(self, module): pass",
    ];
    for python in pythons() {
        for finder in finders {
            let source = format!(
                "import sys, importlib, importlib.machinery, traceback\n{finder}\nsys.meta_path.insert(0, F())\n\
                 try:\n import odd; print(type(odd))\nexcept BaseException: traceback.print_exc(file=sys.stdout)\n\
                 import first; print(first.__spec__.origin, [type(f).__name__ for f in sys.meta_path])"
            );
            let names = the_same_with_the_hook(&scene, &python, &source, |_| {});
            assert!(
                names.iter().any(|name| name.starts_with("first 1.5")),
                "{}: {names:?}",
                python.display()
            );
        }
    }
}

#[test]
fn the_hook_starts_no_process_and_leaves_none() {
    let scene = own_scene();
    furnish(&scene);
    let source = "import sys\nstarts = ('os.fork', 'os.forkpty', 'os.posix_spawn', 'os.system', 'os.exec', 'subprocess.Popen')\n\
        sys.addaudithook(lambda event, args: print(event) if event.startswith(starts) else None)\n\
        import first, space.inner, json, os\ntry: os.waitpid(-1, os.WNOHANG)\nexcept ChildProcessError: print('no child')";
    for python in pythons() {
        let names = the_same_with_the_hook(&scene, &python, source, |_| {});
        assert_eq!(names.len(), 3, "{}: {names:?}", python.display());
        assert_eq!(succeeded(&output(&mut tracked(&scene, &python, &[], source))), "no child\n");
        records(&scene);
    }
}

#[test]
fn odd_names_and_paths_are_recorded_as_they_are_and_cut() {
    let scene = own_scene();
    furnish(&scene);
    let source = "import sys, importlib.machinery as m\n\
        class F:\n def find_spec(self, name, path=None, target=None):\n  if name in names: return m.ModuleSpec(name, self, origin=names[name])\n \
        def create_module(self, spec): return None\n def exec_module(self, module): pass\n\
        names = {'a\\'b\"\\n$(x);`y`': '/e/\\'\"\\n$(x)', 'é\\u2028\\U0001F600': '/e/é', 'lone\\udc80': '/e/\\udcff', 'long': '/' + 'x' * 1000000}\n\
        names['n' * 1000000] = '/e/n'\n\
        sys.meta_path.append(F())\nfor name in list(names): __import__(name)\nprint('on')";
    for python in pythons() {
        let done = output(&mut tracked(&scene, &python, &[], source));
        assert_eq!(succeeded(&done) + &text(&done.stderr), "on\n");
        let lines = records(&scene);
        let kept: Vec<(&str, &str)> = lines
            .iter()
            .filter(|line| line[0] == "i")
            .map(|line| (line[2].as_str().unwrap(), line[3].as_str().unwrap()))
            .collect();
        assert!(kept.contains(&("a'b\"\n$(x);`y`", "/e/'\"\n$(x)")), "{kept:?}");
        assert!(kept.contains(&("é\u{2028}\u{1F600}", "/e/é")), "{kept:?}");
        let long = kept.iter().find(|(name, _)| *name == "long").unwrap().1;
        assert_eq!(long.len(), 4096);
        assert!(kept.iter().any(|(name, _)| name.len() == 4096 && name.starts_with("nnn")));
    }
}

#[test]
fn a_preloaded_library_stays_where_it_is() {
    let scene = own_scene();
    furnish(&scene);
    // As XALT's: says that it is there when a process begins.
    let library = compiled(
        &scene,
        "preloaded.so",
        "#include <unistd.h>\n__attribute__((constructor)) static void here(void) { if (write(1, \"here\\n\", 5) < 0) _exit(9); }\n",
        &["-shared", "-fPIC"],
    );
    let source = "import first, os, subprocess, sys\nprint(os.environ['LD_PRELOAD'], flush=True)\n\
        subprocess.run([sys.executable, '-c', 'import second'])";
    // Set for the command alone: `env` stands between.
    for python in pythons() {
        let mut natively = scene.native("/usr/bin/env");
        let preload = format!("LD_PRELOAD={}", library.display());
        natively
            .arg(&preload)
            .arg(&python)
            .args(["-c", source])
            .env("PYTHONPATH", scene.home.join("lib/site-packages"));
        let expected = succeeded(&output(&mut natively));
        let mut with = tracked(&scene, Path::new("/usr/bin/env"), &[], "");
        let words: Vec<_> = with.get_args().map(ToOwned::to_owned).collect();
        let mut again = scene.native(with.get_program());
        again.args(&words[..words.len() - 2]).arg(&preload).arg(&python).args(["-c", source]);
        with = again;
        let said = succeeded(&output(with.env("PYTHONPATH", scene.home.join("lib/site-packages"))));
        assert_eq!(said, expected, "{}", python.display());
        let names = imported(&records(&scene));
        assert_eq!(names.len(), 3, "first, what it imports, and second by the child: {names:?}");
    }
}

#[test]
fn a_usercustomize_is_loaded_and_recorded() {
    let scene = own_scene();
    furnish(&scene);
    for python in pythons() {
        let place = "import site; print(site.getusersitepackages())";
        let base = scene.home.join("base");
        let site = succeeded(&output(scene.native(&python).args(["-c", place]).env("PYTHONUSERBASE", &base)));
        fs::create_dir_all(site.trim()).unwrap();
        fs::write(Path::new(site.trim()).join("usercustomize.py"), "import second\n").unwrap();
        let source = "import sys; print('usercustomize' in sys.modules, 'second' in sys.modules)";
        let names = the_same_with_the_hook(&scene, &python, source, |command| {
            command.env("PYTHONUSERBASE", &base);
        });
        assert!(names.iter().any(|name| name.starts_with("second 1.5")), "{}: {names:?}", python.display());
    }
}

#[test]
fn a_virtual_environment_is_told_as_one_and_its_line_tracks_children_without_our_path() {
    let scene = own_scene();
    let site = furnish(&scene);
    for (number, python) in pythons().into_iter().enumerate() {
        let venv = scene.home.join(format!("venv{number}"));
        let made = output(scene.native(&python).args(["-m", "venv", "--without-pip"]).arg(&venv));
        assert!(made.status.success(), "{}", text(&made.stderr));
        let inside = venv.join("bin/python3");
        let place = "import sysconfig; print(sysconfig.get_path('purelib'))";
        let library = succeeded(&output(scene.native(&inside).args(["-c", place])));
        let mut install = scene.spinney(&["track", "hook", "install", library.trim()]);
        assert!(output(&mut install).status.success());
        // Once by both ways in, once by the line alone; each import counts once.
        let source = format!(
            "import os, subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import second'], \
             env={{'SPINNEY_TRACK': os.environ['SPINNEY_TRACK'], 'PYTHONPATH': {:?}}})",
            site.to_str().unwrap()
        );
        let done = output(&mut tracked(&scene, &inside, &[], &format!("import second\n{source}")));
        assert_eq!(succeeded(&done) + &text(&done.stderr), "");
        let lines = records(&scene);
        let names = imported(&lines);
        assert_eq!(names, ["second 1.5 pa", "second 1.5 pa"], "{}", python.display());
        let process = lines.iter().find(|line| line[0] == "proc").unwrap();
        assert_ne!(process[1]["prefix"], process[1]["base_prefix"]);
        // Nothing is said and nothing is kept where nobody tracks.
        let plain =
            output(scene.native(&inside).args(["-c", "import sys; print('spinney_track' in sys.modules)"]));
        assert_eq!(succeeded(&plain) + &text(&plain.stderr), "False\n");
    }
}

#[test]
fn python_within_a_c_program_is_recorded() {
    let scene = own_scene();
    let site = furnish(&scene);
    let found = "import sysconfig as s, os; print(os.path.join(s.get_config_var('LIBDIR'), s.get_config_var('INSTSONAME')))";
    let library = succeeded(&output(scene.native(PYTHON).args(["-c", found]))).trim().to_owned();
    let multiarch = "import sysconfig as s, os; print(os.path.join('/usr/lib', s.get_config_var('MULTIARCH') or '', s.get_config_var('INSTSONAME')))";
    let beside = succeeded(&output(scene.native(PYTHON).args(["-c", multiarch]))).trim().to_owned();
    let library = [library, beside].into_iter().find(|file| Path::new(file).exists() && file.contains(".so"));
    let library = library.expect("libpython: scripts/prepare-tests.sh installs it");
    let source = format!(
        "#include <dlfcn.h>\n#include <stdio.h>\nint main(void) {{\n  void *all = dlopen(\"{library}\", RTLD_NOW | RTLD_GLOBAL);\n  \
         if (!all) return fprintf(stderr, \"%s\\n\", dlerror()), 3;\n  ((void (*)(void))dlsym(all, \"Py_Initialize\"))();\n  \
         if (!((void *(*)(const char *))dlsym(all, \"PyImport_ImportModule\"))(\"second\")) return 4;\n  \
         int failed = ((int (*)(const char *))dlsym(all, \"PyRun_SimpleString\"))(\"import first, sys; print('in', len(sys.argv))\");\n  \
         return failed || ((int (*)(void))dlsym(all, \"Py_FinalizeEx\"))();\n}}\n"
    );
    let program = compiled(&scene, "embedding", &source, &["-ldl"]);
    let records_at = scene.home.join("records");
    let mut natively = scene.native(&program);
    let mut with =
        scene.spinney(&["run", "-q", "--way", "direct", "--track", records_at.to_str().unwrap(), "--"]);
    let said = [&mut natively, with.arg(&program)].map(|command| {
        let output = output(command.env("PYTHONPATH", &site).env("PYTHONDONTWRITEBYTECODE", "1"));
        (text(&output.stdout), text(&output.stderr), output.status.code())
    });
    assert_eq!(said[1], said[0]);
    assert!(said[0].0.starts_with("in "), "{said:?}");
    let names = imported(&records(&scene));
    // One asked for from Python, one from C, where no Python code has asked.
    assert_eq!(names, ["first 1.5 pa", "second 1.5 pa"]);
}

#[test]
fn threads_that_import_at_once_are_all_recorded() {
    let scene = own_scene();
    let site = furnish(&scene);
    for number in 0..64 {
        fs::write(site.join(format!("many{number}.py")), "import first\n").unwrap();
    }
    let source = "import threading\nstart = threading.Barrier(8)\n\
        def work(n):\n start.wait()\n for k in range(8): __import__('many%d' % (n * 8 + k))\n\
        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]\n\
        [t.start() for t in threads]; [t.join() for t in threads]; print('on')";
    for python in pythons() {
        assert_eq!(succeeded(&output(&mut tracked(&scene, &python, &[], source))), "on\n");
        let names = imported(&records(&scene));
        assert_eq!(names.iter().filter(|name| name.starts_with("many")).count(), 64, "{}", python.display());
    }
}

#[test]
fn an_extension_module_and_a_namespace_package_are_told_as_such() {
    let scene = own_scene();
    let site = furnish(&scene);
    for python in pythons() {
        // One that is there, under another name: with its own initializer it cannot be loaded, so a copy of its own name.
        let found = "import _ctypes, sys; print(getattr(_ctypes, '__file__', ''))";
        let file = succeeded(&output(scene.native(&python).args(["-c", found])));
        if file.trim().is_empty() {
            continue; // built into this interpreter
        }
        let own = scene.home.join("extensions/site-packages");
        let _ = fs::remove_dir_all(&own);
        fs::create_dir_all(&own).unwrap();
        fs::copy(file.trim(), own.join(Path::new(file.trim()).file_name().unwrap())).unwrap();
        let source = "import _ctypes, space.inner; print(_ctypes.__file__)";
        let path = format!("{}:{}", own.display(), site.display());
        let rules = scene.home.join("rules.toml");
        fs::write(&rules, "").unwrap();
        let mut with = tracked(&scene, &python, &[], source);
        let words: Vec<_> = with.get_args().map(ToOwned::to_owned).collect();
        let at = words.iter().position(|word| word == "--").unwrap();
        let mut again = scene.native(with.get_program());
        again.args(&words[..at]).arg("--track-rules").arg(&rules).args(&words[at..]);
        with = again;
        let done = output(with.env("PYTHONPATH", path).env("PYTHONDONTWRITEBYTECODE", "1"));
        assert!(succeeded(&done).starts_with(own.to_str().unwrap()));
        let names = imported(&records(&scene));
        let is_told = |name: &String| name.starts_with("_ctypes ") && name.ends_with(" xa");
        assert!(names.iter().any(is_told), "{}: {names:?}", python.display());
        assert!(names.iter().any(|name| name == "space - pna"), "{names:?}");
    }
}
