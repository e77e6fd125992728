//! `scripts/install.sh` and the modulefile: what users and sites put the program into place with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::scene::{CONTENT, Lines, Scene, kill, ordinary, output, text};

/// Environment Modules and Lmod, of which Debian lets a machine have one.
const MODULES: [&str; 2] = ["/usr/share/modules/init/bash", "/usr/share/lmod/lmod/init/bash"];

/// Installs the program of the scene as its user; copies, since the user may not get through to the originals.
fn install(scene: &Scene, prefix: &Path) -> Vec<PathBuf> {
    for name in ["scripts/install.sh", "examples/module/spinney.tcl"] {
        let copy = scene.home.join(name);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::write(copy, fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()).unwrap();
    }
    let script = scene.home.join("scripts/install.sh");
    let said = succeed(scene.native("sh").arg(script).arg(&scene.binary).arg(prefix));
    said.lines().map(PathBuf::from).collect()
}

fn succeed(command: &mut Command) -> String {
    let ended = output(command);
    assert!(ended.status.success(), "{:?}: {}", ended.status, text(&ended.stderr));
    text(&ended.stdout)
}

#[test]
fn the_modulefile_brings_program_manual_page_and_completions_and_takes_them_away() {
    let scene = ordinary();
    let prefix = scene.home.join("here");
    let installed = install(&scene, &prefix);
    assert!(installed.iter().all(|file| file.starts_with(&prefix) && file.is_file()), "{installed:?}");
    let modules = MODULES.iter().find(|init| Path::new(init).exists());
    let modules = modules.expect("scripts/prepare-tests.sh installs environment-modules");
    let steps = format!(
        "unset MANPATH XDG_DATA_DIRS; . {modules}; module use {0}/share/modulefiles\n\
         for before in unset set; do\n\
         [ $before = unset ] || {{ export MANPATH=/usr/share/man; export XDG_DATA_DIRS=/usr/share; }}\n\
         module load spinney; command -v spinney; man -w spinney; spinney --version\n\
         . /usr/share/bash-completion/bash_completion; _completion_loader spinney\n\
         COMP_WORDS=(spinney comp); COMP_CWORD=1; _spinney spinney comp spinney; echo \"${{COMPREPLY[@]}}\"\n\
         complete -r spinney; module unload spinney; hash -r; command -v spinney || echo gone\n\
         done; echo \"$MANPATH $XDG_DATA_DIRS\"",
        prefix.display()
    );
    let said = succeed(scene.native("bash").args(["--norc", "-c", &steps]).env("PATH", "/usr/bin:/bin"));
    let (here, version) = (prefix.display(), env!("CARGO_PKG_VERSION"));
    let once = format!(
        "{here}/bin/spinney\n{here}/share/man/man1/spinney.1\nspinney {version}\ncompletions\ngone\n"
    );
    assert_eq!(said, format!("{once}{once}/usr/share/man /usr/share\n"));
}

#[test]
fn a_job_goes_on_when_the_program_it_runs_from_is_replaced() {
    let scene = ordinary();
    let prefix = scene.home.join("here");
    install(&scene, &prefix);
    let mut run = scene.native(prefix.join("bin/spinney"));
    run.args(["run", "-q", "--require", "--view"]).arg(&scene.env).arg("--");
    let lines = "echo begun; read line; exec cat \"$0\"";
    run.args([&scene.shown("bin/sh"), "-c", lines, &scene.shown("file")]);
    run.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut job = run.spawn().unwrap();
    let said = Lines::of(job.stdout.take().unwrap());
    said.next().expect("the command has begun");
    install(&scene, &prefix);
    let daemon = running_from(&prefix.join("bin/spinney"), "daemon-process");
    kill(daemon, libc::SIGKILL);
    drop(job.stdin.take());
    assert_eq!(said.next().as_deref(), Some(CONTENT.trim_end()));
    assert!(job.wait().unwrap().success());
    scene.assert_nothing_left();
}

/// The one process in this role whose program was at `binary` and has been replaced.
fn running_from(binary: &Path, role: &str) -> i32 {
    let gone = PathBuf::from(format!("{} (deleted)", binary.display()));
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
    let is_it = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == gone)
            && String::from_utf8_lossy(&line).contains(role)
    };
    let found: Vec<i32> = pids.filter(is_it).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0]
}
