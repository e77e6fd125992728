//! Programs that are not Python: R, and whatever the loader and `dlopen` put together.
//!
//! Each says where it found what, so that a library taken from the wrong place shows, and is compared with what it says
//! without Spinney.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::world::{NODES, World, assert_one_tree, succeed};
use crate::scene::{output, text};
use crate::semantics::tree::settle;

/// Runs `words` on every node natively and in views that `flags` name, and holds one against the other.
fn assert_same_in_views(world: &World, environment: &[&str], flags: &[&str], words: &[&str]) {
    let spinney = world.scene.binary.to_str().unwrap();
    let step = ["srun", "-N4", "env"];
    let native = succeed(&mut world.user(&[&step[..], environment, words].concat()));
    let run = [spinney, "run", "-q", "--require", "--shared", "--report", "report"];
    let line = [&step[..], environment, &run, flags, &["--"], words].concat();
    let shown = succeed(&mut world.user(&line));
    let (native, shown) = (text(&native.stdout), text(&shown.stdout));
    assert!(!native.is_empty());
    assert_eq!(lines(&shown), lines(&native));
    assert_one_tree(&world.report("report"), NODES);
    fs::remove_dir_all(world.scene.home.join("report")).unwrap();
}

/// Tasks speak in any order.
fn lines(said: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = said.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn r_loads_packages_out_of_views_as_it_does_natively() {
    let world = World::start();
    let installation = Path::new("/usr/lib/R");
    assert!(installation.is_dir(), "scripts/prepare-tests.sh installs R");
    let library = world.scene.env.join("library");
    fs::create_dir(&library).unwrap();
    for package in ["stats4", "splines"] {
        let from = installation.join("library").join(package);
        assert!(Command::new("cp").arg("-r").arg(from).arg(&library).status().unwrap().success());
    }
    settle(&world.scene.env);
    let library = format!("R_LIBS={}", library.display());
    // The second package has a shared library; the last does not exist anywhere.
    let source = "library(stats4); library(splines); cat(find.package(c('stats4', 'splines')), '\\n'); \
                  cat(format(bs(1:9, df = 5)[4, ], digits = 8), coef(mle(function(x = 1) (x - 3)^2)), '\\n'); \
                  cat(getLoadedDLLs()[['splines']][['path']], suppressWarnings(require(nowhere)), '\\n')";
    let script = ["/usr/bin/Rscript", "-e", source];
    // The user's library is found, where R itself is the system's; that is a view when named.
    assert_same_in_views(&world, &[&library], &[], &script);
    assert_same_in_views(&world, &["R_LIBS="], &["--view", "/usr/lib/R"], &script);
    world.assert_nothing_left();
}

/// Asks three libraries who they are: one that it is linked with, one that it loads by name, one by path; and fails to
/// load one that does not exist.
const PROGRAM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
const char *ring(void);
static void tell(const char *what, const char *(*told)(void)) {
    Dl_info place;
    dladdr((void *)told, &place);
    printf("%s says %s from %s\n", what, told(), place.dli_fname);
}
int main(int argc, char **argv) {
    tell("ring", ring);
    for (int i = 1; i < argc; i++) {
        void *library = dlopen(argv[i], RTLD_NOW);
        if (library) tell(argv[i], (const char *(*)(void))dlsym(library, "leaf"));
        else printf("%s\n", dlerror());
    }
    return 0;
}
"#;

/// A shared library at `path` whose function `name` says `word`.
fn library(world: &World, path: &Path, name: &str, word: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let source = world.scene.home.join("library.c");
    fs::write(&source, format!("const char *{name}(void) {{ return \"{word}\"; }}\n")).unwrap();
    let mut compiler = Command::new("cc");
    let built = output(compiler.args(["-shared", "-fPIC", "-o"]).arg(path).arg(&source));
    assert!(built.status.success(), "{}", text(&built.stderr));
}

#[test]
fn the_loader_finds_each_library_where_it_does_natively() {
    let world = World::start();
    let at = |name: &str| world.scene.env.join(name);
    library(&world, &at("lib/libring.so"), "ring", "oak");
    library(&world, &at("first/libother.so"), "leaf", "beech");
    library(&world, &at("second/libleaf.so"), "leaf", "ash");
    library(&world, &at("third/libleaf.so"), "leaf", "elm");
    library(&world, &at("plugins/leaf.so"), "leaf", "lime");
    let (source, program) = (world.scene.home.join("program.c"), at("bin/program"));
    fs::write(&source, PROGRAM).unwrap();
    // RPATH goes before LD_LIBRARY_PATH, where a library of the same name waits.
    library(&world, &at("second/libring.so"), "ring", "yew");
    let mut compiler = Command::new("cc");
    compiler.arg(&source).arg("-o").arg(&program).arg("-L").arg(at("lib")).arg("-lring");
    let built = output(compiler.arg("-Wl,--disable-new-dtags,-rpath,$ORIGIN/none:$ORIGIN/../lib"));
    assert!(built.status.success(), "{}", text(&built.stderr));
    settle(&world.scene.env);

    let places = ["none", "first", "second", "third"].map(|name| at(name).to_str().unwrap().to_owned());
    let path = format!("LD_LIBRARY_PATH={}", places.join(":"));
    let plugin = at("plugins/leaf.so").to_str().unwrap().to_owned();
    let program = program.to_str().unwrap();
    let view = ["--view", world.scene.env.to_str().unwrap()];
    let words = [program, "libleaf.so", &plugin, "libnone.so"];
    assert_same_in_views(&world, &[&path], &view, &words);
    let native = succeed(&mut world.user(&[&["srun", "-N1", "env", &path][..], &words].concat()));
    let told = text(&native.stdout);
    for want in ["says oak", "says ash", "says lime", "libnone.so: cannot open shared object file"] {
        assert!(told.contains(want), "{want}: {told}");
    }
    world.assert_nothing_left();
}
