//! `spinney run --track` from outside, with the R that is here, if any.

use std::fs;
use std::path::Path;

use crate::scene::{output, scenes, text};

const RSCRIPT: &str = "/usr/bin/Rscript";

/// Everything that loads a package, and errors, which must read as they do natively.
const SOURCE: &str =
    "library(one); cat(conflicts(), search(), sep = '\\n'); cat(try(nowhere::x, silent = TRUE))
cat(try(library(nowhere), silent = TRUE)); cat(suppressWarnings(require(nowhere))); print(two::f())
print(requireNamespace('splines', quietly = TRUE)); print(getOption('by.site'))";

/// Two packages, the first of which imports the second, in a library beneath `home`.
fn furnish(home: &Path) {
    for (name, imports) in [("two", ""), ("one", "import(two)\n")] {
        let source = home.join("source").join(name);
        fs::create_dir_all(source.join("R")).unwrap();
        let needs = if imports.is_empty() { "" } else { "Imports: two\n" };
        let description = format!(
            "Package: {name}\nVersion: 2.5\nTitle: T\nDescription: D.\nAuthor: A\nMaintainer: A <a@b.c>\nLicense: GPL\n{needs}"
        );
        fs::write(source.join("DESCRIPTION"), description).unwrap();
        fs::write(source.join("NAMESPACE"), format!("export({})\n{imports}", &name[..1].replace('t', "f")))
            .unwrap();
        fs::write(source.join("R/f.R"), format!("{} <- function() 1\n", &name[..1].replace('t', "f")))
            .unwrap();
    }
    fs::create_dir_all(home.join("library")).unwrap();
    fs::write(home.join("site.R"), "options(by.site = 'yes')\n").unwrap();
}

#[test]
fn r_records_what_is_loaded_and_by_whom_and_the_program_sees_nothing() {
    if !Path::new(RSCRIPT).exists() {
        // scripts/prepare-tests.sh installs it as root alone.
        assert!(!rustix::process::geteuid().is_root(), "no R; install r-base-core");
        return;
    }
    let scene = scenes().swap_remove(0);
    furnish(&scene.home);
    let library = scene.home.join("library");
    let mut install = scene.native("/usr/bin/R");
    install.args(["CMD", "INSTALL", "--no-docs", "-l"]).arg(&library).env("R_LIBS", &library);
    let installed = output(install.args(["two", "one"].map(|name| scene.home.join("source").join(name))));
    assert!(installed.status.success(), "{}", text(&installed.stderr));

    let records = scene.home.join("records");
    let mut natively = scene.native(RSCRIPT);
    let mut tracked = scene.spinney(&["run", "-q", "--way", "direct", "--track"]);
    tracked.arg(&records).args(["--", RSCRIPT]);
    let said = [&mut natively, &mut tracked].map(|command| {
        command.args(["-e", SOURCE]).env("R_LIBS", &library).env("R_PROFILE", scene.home.join("site.R"));
        let output = output(command);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout) + &text(&output.stderr)
    });
    assert_eq!(said[1], said[0]);
    let file = fs::read_dir(&records).unwrap().next().unwrap().unwrap().path();
    let lines: Vec<serde_json::Value> =
        fs::read_to_string(file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let imports = lines.iter().filter(|line| line[0] == "i");
    let shown =
        imports.map(|line| format!("{} {} {} {}", line[2], line[4], line[7], line[8]).replace('"', ""));
    assert_eq!(shown.collect::<Vec<_>>(), ["two 2.5 p one", "one 2.5 pa null"]);

    // A run within a run: the profile of neither is read twice, and the user's once.
    let mut nested = scene.spinney(&["run", "-q", "--way", "direct", "--track", "none", "--"]);
    nested.arg(&scene.binary).args(["run", "-q", "--way", "direct", "--track", "none", "--", RSCRIPT]);
    nested.args(["-e", SOURCE]).env("R_LIBS", &library).env("R_PROFILE", scene.home.join("site.R"));
    let nested = output(&mut nested);
    assert_eq!(text(&nested.stdout) + &text(&nested.stderr), said[0]);

    // One that loads nothing is told of as well, and is no Python.
    let mut plain = scene.spinney(&["run", "-q", "--way", "direct", "--track"]);
    assert!(output(plain.arg(&records).args(["--", RSCRIPT, "-e", "1"])).status.success());
    let store = scene.home.join("track.db");
    let ingested = output(scene.spinney(&["track", "ingest", "--store"]).arg(&store).arg(&records));
    assert!(text(&ingested.stdout).contains("new: 2 runs, 2 processes, 2 imports"), "{ingested:?}");
    let asked =
        output(scene.spinney(&["track", "report", "--format", "csv", "interpreters", "--store"]).arg(&store));
    let row = text(&asked.stdout).lines().nth(1).map(str::to_owned).unwrap_or_default();
    assert!(row.starts_with("R,4.") && row.contains(",2,1,"), "{asked:?}");
}
