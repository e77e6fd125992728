//! Tracking on several nodes of this machine, by several tasks of one node, inside a view, and shared objects.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use crate::scene::{output, scenes, text};
use crate::track_python::{PYTHON, furnish, imported, own_scene, records};

/// Waits until so many processes have recorded something in the run's directory.
fn waits_for(processes: u32) -> String {
    format!(
        "import first, os, time\nwhile sum(name[0].isdigit() for name in os.listdir(os.environ['SPINNEY_TRACK'])) < {processes}: time.sleep(0.01)"
    )
}

/// Lines of `kind`.
fn lines<'lines>(all: &'lines [serde_json::Value], kind: &str) -> Vec<&'lines serde_json::Value> {
    all.iter().filter(|line| line[0] == kind).collect()
}

#[test]
fn a_cluster_on_this_machine_leaves_one_message_of_all_its_tasks() {
    for scene in scenes() {
        let site = furnish(&scene);
        let to = scene.home.join("records");
        let mut command =
            scene.spinney(&["run", "-q", "--way", "direct", "--local-nodes", "2", "--tasks-per-node", "2"]);
        command.arg("--track").arg(&to).args(["--", PYTHON, "-c", &waits_for(4)]);
        let done = output(command.env("PYTHONPATH", &site).env("PYTHONDONTWRITEBYTECODE", "1"));
        assert!(done.status.success(), "{}", text(&done.stderr));
        assert_eq!(fs::read_dir(&to).unwrap().count(), 1);
        let all = records(&scene);
        let run = &lines(&all, "run")[0][1];
        assert_eq!((&run["nodes"], &run["tasks"]), (&2.into(), &4.into()));
        assert_eq!((lines(&all, "proc").len(), lines(&all, "end").len()), (4, 1));
        assert_eq!(imported(&all).len(), 8);
    }
}

#[test]
fn tasks_of_one_job_on_one_node_leave_one_message() {
    for scene in scenes() {
        let site = furnish(&scene);
        let to = scene.home.join("records");
        let tasks: Vec<Child> = (0..3)
            .map(|_| {
                let mut task = scene.spinney(&["run", "-q", "--way", "direct", "--job"]);
                task.arg(format!("job-{}", site.display())).arg("--track").arg(&to);
                task.args(["--", PYTHON, "-c", &waits_for(3)]);
                task.env("PYTHONPATH", &site).env("PYTHONDONTWRITEBYTECODE", "1").spawn().unwrap()
            })
            .collect();
        for mut task in tasks {
            assert!(task.wait().unwrap().success());
        }
        assert_eq!(fs::read_dir(&to).unwrap().count(), 1);
        let all = records(&scene);
        assert_eq!((lines(&all, "proc").len(), lines(&all, "end").len()), (3, 1));
    }
}

/// Waits until an observer has seen a shared object of that name.
fn until_seen(name: &str) -> String {
    format!(
        "import glob, os, time\ndef seen():\n \
         return any('{name}' in open(f, errors='replace').read() for f in glob.glob(os.environ['SPINNEY_TRACK'] + '/libraries-*'))\n\
         while not seen(): time.sleep(0.01)"
    )
}

fn libraries(all: &[serde_json::Value]) -> Vec<(PathBuf, Option<String>, u64)> {
    let shown = |line: &&serde_json::Value| {
        let package = line[2].as_str().map(str::to_owned);
        (PathBuf::from(line[1].as_str().unwrap()), package, line[3].as_u64().unwrap())
    };
    lines(all, "lib").iter().map(shown).collect()
}

#[test]
fn shared_objects_of_any_program_are_told_with_their_package_also_inside_a_view() {
    for scene in scenes() {
        let site = scene.env.join("lib/site-packages/lib_of_tests");
        fs::create_dir_all(&site).unwrap();
        let object = site.join("own.so");
        let made =
            Command::new("cc").args(["-shared", "-x", "c", "/dev/null", "-o"]).arg(&object).status().unwrap();
        assert!(made.success());
        let to = scene.home.join("records");
        let source =
            format!("import ctypes\nctypes.CDLL({:?})\n{}", object.to_str().unwrap(), until_seen("own.so"));
        let mut command = scene.spinney(&["run", "-q", "--require", "--view"]);
        command.arg(&scene.env).arg("--track").arg(&to).args(["--", PYTHON, "-I", "-c", &source]);
        let done = output(&mut command);
        assert!(done.status.success(), "{}", text(&done.stderr));
        let all = records(&scene);
        let found = libraries(&all);
        assert!(found.contains(&(object, Some("lib_of_tests".to_owned()), 1)), "{found:?}");
        assert!(
            found
                .iter()
                .any(|(path, package, _)| path.to_str().unwrap().contains("/libc.so") && package.is_none())
        );
        assert!(lines(&all, "i").is_empty(), "no hook was there: -I");
    }
}

#[test]
fn programs_that_the_rules_leave_out_leave_neither_packages_nor_objects() {
    let scene = own_scene();
    let site = furnish(&scene);
    let (to, rules) = (scene.home.join("records"), scene.home.join("Config.py"));
    fs::write(&rules, "path_patterns = [['SKIP', r'.*/python'], ['PKGS', r'.*/nothing']]").unwrap();
    // `sleep` is in no rule: its objects are told; Python is left out, also the one that is about to become `sleep`.
    let source = format!(
        "import first, subprocess\nother = subprocess.Popen(['sleep', '600'])\n{}\nother.kill()",
        until_seen("libc.so")
    );
    let mut command =
        scene.spinney(&["run", "-q", "--way", "direct", "--track-rules", rules.to_str().unwrap()]);
    command.arg("--track").arg(&to).args(["--", PYTHON, "-c", &source]);
    let done = output(command.env("PYTHONPATH", &site).env("PYTHONDONTWRITEBYTECODE", "1"));
    assert!(done.status.success(), "{}", text(&done.stderr));
    let all = records(&scene);
    assert!(imported(&all).is_empty(), "{all:?}");
    let found = libraries(&all);
    let libc = found.iter().find(|(path, ..)| path.to_str().unwrap().contains("/libc.so")).unwrap();
    assert_eq!(libc.2, 1, "one process has it as far as is told");
    assert!(found.iter().all(|(path, ..)| !path.to_str().unwrap().contains("python")), "{found:?}");
    assert!(Path::new(&libc.0).exists());
}
