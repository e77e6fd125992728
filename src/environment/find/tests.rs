//! Searches over made directory trees, with the calls that each would cost on storage.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::super::look::{Disk, Look, Place, Start};
use super::super::surroundings::Surroundings;
use super::{Found, find_with};

/// Directories of software as a site, a group and a person have them.
struct Site {
    root: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let site = Self { root: tempfile::tempdir().unwrap() };
        site.python("sw/python/3.11", "3.11");
        site.venv("sw/env", "sw/python/3.11");
        site.conda("sw/conda", "3.12");
        site.conda("sw/conda/envs/ml", "3.12");
        for directory in
            ["work/.venv/lib", "home/ada/.local/lib/python3.11", "sw/bundle/lib/python3.11/site-packages"]
        {
            fs::create_dir_all(site.at(directory)).unwrap();
        }
        site.r("sw/R", "lib64");
        site
    }

    fn root(&self) -> PathBuf {
        self.root.path().canonicalize().unwrap()
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    fn directory(&self, path: &str) {
        fs::create_dir_all(self.at(path)).unwrap();
    }

    fn program(&self, path: &str, text: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text.replace("ROOT/", &format!("{}/", self.root().display()))).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target.replace("ROOT/", &format!("{}/", self.root().display())), path).unwrap();
    }

    fn python(&self, prefix: &str, version: &str) {
        self.program(&format!("{prefix}/bin/python{version}"), "\x7fELF\0");
        self.link(&format!("{prefix}/bin/python3"), &format!("python{version}"));
        self.directory(&format!("{prefix}/lib/python{version}"));
    }

    fn venv(&self, prefix: &str, base: &str) {
        self.link(&format!("{prefix}/bin/python3"), &format!("ROOT/{base}/bin/python3"));
        self.program(&format!("{prefix}/pyvenv.cfg"), &format!("home = ROOT/{base}/bin\nversion = 3.11.7\n"));
    }

    fn conda(&self, prefix: &str, version: &str) {
        self.python(prefix, version);
        self.directory(&format!("{prefix}/conda-meta"));
    }

    fn r(&self, prefix: &str, lib: &str) {
        self.program(&format!("{prefix}/bin/R"), &format!("#!/bin/sh\nR_HOME_DIR=ROOT/{prefix}/{lib}/R\n"));
        self.program(&format!("{prefix}/bin/Rscript"), "\x7fELF\0");
        self.directory(&format!("{prefix}/{lib}/R/library/base"));
    }

    /// `ROOT/` is this site.
    fn expand(&self, text: &str) -> PathBuf {
        text.replace("ROOT/", &format!("{}/", self.root().display())).into()
    }

    fn client(&self) -> Client {
        self.directory("work");
        self.directory("home/ada");
        Client::new(self.root())
    }

    fn find(&self, line: &str, variables: &[(&str, &str)]) -> Found {
        self.find_as(&self.client(), line, variables).0
    }

    /// Searches as a job started in `work` by a person whose home is `home/ada`; tells what it cost.
    fn find_as(&self, client: &Client, line: &str, variables: &[(&str, &str)]) -> (Found, usize) {
        let home = ("HOME", "ROOT/home/ada");
        let variables = [&home].into_iter().chain(variables).map(|(k, v)| (k.into(), self.expand(v).into()));
        let around = Surroundings::new(variables, self.at("work"));
        let words: Vec<OsString> = line.split_whitespace().map(|word| self.expand(word).into()).collect();
        let before = client.calls.get();
        let found = find_with(client, Path::new(&words[0]), &words[1..], &around);
        (found, client.calls.get() - before)
    }

    fn views(&self, line: &str, variables: &[(&str, &str)]) -> Vec<String> {
        let root = self.root();
        let short = |path: &Path| path.strip_prefix(&root).unwrap_or(path).to_str().unwrap().to_owned();
        self.find(line, variables).views.iter().map(|view| short(&view.path)).collect()
    }
}

/// A storage client as a node has it: names that are there are remembered, absences are not.
///
/// Counts lookups, link reads, opens and reads beneath `root`; what lies elsewhere is the node's own disk.
struct Client {
    root: PathBuf,
    known: RefCell<HashSet<PathBuf>>,
    calls: Cell<usize>,
}

impl Client {
    fn new(root: PathBuf) -> Self {
        // The working directory has been walked to by whoever started the job.
        let known = HashSet::from([root.clone(), root.join("work")]);
        Self { root, known: RefCell::new(known), calls: Cell::new(0) }
    }

    fn count(&self, path: &Path, calls: usize) {
        if path.starts_with(&self.root) {
            self.calls.set(self.calls.get() + calls);
        }
    }

    fn walk(&self, path: &Path) {
        let mut at = PathBuf::from("/");
        for component in path.components().skip(1) {
            at = match component {
                std::path::Component::ParentDir => at.parent().unwrap().to_owned(),
                component => at.join(component),
            };
            let metadata = fs::symlink_metadata(&at);
            let is_new = metadata.is_err() || self.known.borrow_mut().insert(at.clone());
            self.count(&at, usize::from(is_new));
            let Ok(metadata) = metadata else { return };
            if metadata.is_symlink() {
                self.count(&at, usize::from(is_new));
                let target = at.parent().unwrap().join(fs::read_link(&at).unwrap());
                self.walk(&target);
                at = target.canonicalize().unwrap_or(target);
            }
        }
    }
}

impl Look for Client {
    fn place(&self, path: &Path) -> io::Result<Place> {
        self.walk(path);
        Disk.place(path)
    }

    fn start(&self, path: &Path) -> io::Result<Start> {
        self.walk(path);
        let start = Disk.start(path)?;
        self.count(&start.path, 2);
        Ok(start)
    }

    fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.walk(path);
        self.count(path, 2);
        Disk.names(path)
    }
}

/// A command line, variables, and the views that follow.
type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);

const VENV_AND_BASE: [&str; 2] = ["sw/env", "sw/python/3.11"];
const USER_PACKAGES: &str = "home/ada/.local/lib/python3.11";
const ENV_PATH: (&str, &str) = ("PATH", "ROOT/sw/env/bin:/usr/bin");

fn check(site: &Site, rows: &[Row]) {
    for (line, variables, want) in rows {
        let found = site.find(line, variables);
        assert_eq!(site.views(line, variables), *want, "{line} {variables:?}: {found:?}");
    }
}

#[test]
fn an_interpreter_brings_its_environment() {
    let site = Site::new();
    site.program("sw/tools/bin/simulate", "\x7fELF\0");
    site.program("sw/conda/bin/simulate", "\x7fELF\0");
    check(
        &site,
        &[
            // a virtual environment and its base; its user packages are switched off
            ("ROOT/sw/env/bin/python3 x.py", &[], &VENV_AND_BASE),
            // a module's Python: the user's packages are seen, only they are taken from ~/.local
            ("ROOT/sw/python/3.11/bin/python3 x.py", &[], &["sw/python/3.11", USER_PACKAGES]),
            ("ROOT/sw/python/3.11/bin/python3 -s x.py", &[], &["sw/python/3.11"]), // switched off by flag
            ("ROOT/sw/python/3.11/bin/python3 x.py", &[("PYTHONNOUSERSITE", "1")], &["sw/python/3.11"]), // by variable
            // conda: the environment alone, its base is not needed
            (
                "ROOT/sw/conda/envs/ml/bin/python3",
                &[("CONDA_PREFIX", "ROOT/sw/conda/envs/ml")],
                &["sw/conda/envs/ml"],
            ),
            ("ROOT/sw/conda/bin/simulate", &[], &["sw/conda"]), // a program of conda's
            ("ROOT/sw/tools/bin/simulate", &[], &[]),           // a program of nobody's
            // R: its installation; libraries that variables name
            ("ROOT/sw/R/bin/Rscript x.R", &[], &["sw/R"]),
            ("ROOT/sw/R/bin/R -f x.R", &[("R_LIBS", "ROOT/sw/bundle:/nowhere")], &["sw/R", "sw/bundle"]),
        ],
    );
}

#[test]
fn scripts_launchers_and_shells_lead_to_an_interpreter() {
    let site = Site::new();
    site.program("work/job.py", "#!/usr/bin/env python3\n");
    site.program("work/job.sh", "#!/bin/bash\npython3 job.py\n");
    site.program("work/job", "python3 job.py\n");
    site.program("sw/env/bin/torchrun", "#!ROOT/sw/env/bin/python3\n");
    site.program("sw/env/bin/pip", "#!/bin/sh\n'''exec' \"ROOT/sw/env/bin/python3\" \"$0\" \"$@\"\n' '''\n");
    let base_path = ("PATH", "ROOT/sw/python/3.11/bin:/usr/bin");
    check(
        &site,
        &[
            // scripts
            ("ROOT/sw/env/bin/torchrun x.py", &[], &VENV_AND_BASE), // its first line
            ("ROOT/sw/env/bin/pip list", &[], &VENV_AND_BASE),      // pip's way around long first lines
            ("ROOT/work/job.py", &[ENV_PATH], &VENV_AND_BASE),      // through env and PATH
            // launchers
            ("/usr/bin/env A=1 python3 x.py", &[ENV_PATH], &VENV_AND_BASE),
            ("/usr/bin/time -v nice -n 5 python3 x.py", &[ENV_PATH], &VENV_AND_BASE), // two in a row
            ("/usr/bin/env PATH=ROOT/sw/env/bin python3", &[("PATH", "/usr/bin")], &VENV_AND_BASE), // PATH it sets
            ("/usr/bin/env nothing-of-this-name", &[ENV_PATH], &[]), // not in PATH
            // shells: the active environment, else the python3 in PATH
            ("/bin/bash job.sh", &[("VIRTUAL_ENV", "ROOT/sw/env"), ENV_PATH], &VENV_AND_BASE),
            ("ROOT/work/job.sh", &[("CONDA_PREFIX", "ROOT/sw/conda")], &["sw/conda"]),
            ("ROOT/work/job", &[("CONDA_PREFIX", "ROOT/sw/conda")], &["sw/conda"]), // no first line
            ("/bin/bash -c python3", &[base_path], &["sw/python/3.11", USER_PACKAGES]),
        ],
    );
}

#[test]
fn variables_name_environments_and_nothing_else() {
    let site = Site::new();
    site.program("sw/tools/bin/simulate", "\x7fELF\0");
    check(
        &site,
        &[
            (
                "ROOT/sw/env/bin/python3",
                &[("PYTHONPATH", "ROOT/sw/bundle/lib/python3.11/site-packages")],
                &["sw/env", "sw/python/3.11", "sw/bundle"],
            ),
            ("ROOT/sw/env/bin/python3", &[("PYTHONPATH", "ROOT/sw/tools")], &VENV_AND_BASE), // no environment
            (
                "ROOT/sw/python/3.11/bin/python3 -s",
                &[("EBPYTHONPREFIXES", "ROOT/sw/bundle")],
                &["sw/python/3.11", "sw/bundle"],
            ),
            (
                "ROOT/sw/tools/bin/simulate",
                &[("LD_LIBRARY_PATH", "ROOT/sw/conda/lib:/usr/lib")],
                &["sw/conda"],
            ),
            ("ROOT/sw/tools/bin/simulate", &[("PYTHONHOME", "ROOT/sw/python/3.11")], &["sw/python/3.11"]), // embedded
        ],
    );
}

#[test]
fn a_usual_command_costs_few_storage_calls() {
    let site = Site::new();
    fs::remove_dir_all(site.at("home/ada/.local")).unwrap();
    site.link("sw/current", "ROOT/sw/python/3.11");
    site.venv("sw/linked", "sw/current");
    site.program("sw/env/bin/torchrun", "#!ROOT/sw/env/bin/python3\n");
    let conda = ("CONDA_PREFIX", "ROOT/sw/conda/envs/ml");
    let venv = ("VIRTUAL_ENV", "ROOT/sw/env");
    let env_path = ("PATH", "ROOT/sw/env/bin:/usr/bin");
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], usize, usize);
    // All calls on a cold client; then those that remain when the way to COMMAND and HOME has been walked,
    // as starting COMMAND and reading the user's configuration do in any case.
    let cases: &[Row] = &[
        ("ROOT/sw/env/bin/python3", &[], 16, 3), // pyvenv.cfg: lookup, open, read
        ("ROOT/sw/env/bin/python3", &[venv, env_path], 16, 3), // activated: the same
        ("ROOT/sw/linked/bin/python3", &[], 20, 5), // its base through a link: lib, python3.11 as well
        ("ROOT/sw/python/3.11/bin/python3", &[], 13, 4), // no pyvenv.cfg; lib, python3.11; no ~/.local
        ("ROOT/sw/conda/envs/ml/bin/python3", &[conda], 13, 3), // lib, python3.12; no ~/.local
        ("ROOT/sw/R/bin/Rscript", &[], 11, 5),   // no lib; lib64, R, library; no ~/R
        // the script's first line: open, read; pyvenv.cfg as above; eight on the way to the interpreter
        ("ROOT/sw/env/bin/torchrun", &[], 19, 13),
        // pyvenv.cfg; the rest is the way to it and to the base, which the script walks later
        ("/bin/bash job.sh", &[venv], 11, 9),
        ("/usr/bin/true", &[], 0, 0), // nothing named
    ];
    for (line, variables, all, own) in cases {
        let cold = site.find_as(&site.client(), line, variables).1;
        let walked = site.client();
        walked.walk(&site.at("home/ada"));
        walked.walk(&site.expand(line.split(' ').next().unwrap()));
        let calls = (cold, site.find_as(&walked, line, variables).1);
        assert_eq!(calls, (*all, *own), "{line} {variables:?}");
    }
}

#[test]
fn the_jobs_own_directories_are_left_out_and_their_packages_stay() {
    let site = Site::new();
    site.python("work", "3.11"); // a prefix that is the working directory
    site.python("home/ada", "3.11"); // another that is the home directory
    site.venv("work/.venv", "work");
    let cases: &[(&str, &[&str])] = &[
        // the prefix holds the working directory, its packages do not
        ("ROOT/work/bin/python3 -s", &["work/lib/python3.11"]),
        // a virtual environment in the project's directory is the usual place
        ("ROOT/work/.venv/bin/python3", &["work/.venv", "work/lib/python3.11"]),
        // the same with the home directory
        ("ROOT/home/ada/bin/python3 -s", &["home/ada/lib/python3.11"]),
    ];
    for (line, want) in cases {
        let found = site.find(line, &[]);
        assert_eq!(site.views(line, &[]), *want, "{line}: {found:?}");
        assert!(found.notes.iter().any(|note| note.contains("left out")), "{line}: {found:?}");
    }
}

#[test]
fn a_nested_environment_lies_in_the_outer_one() {
    let site = Site::new();
    let variables = [("CONDA_PREFIX", "ROOT/sw/conda")];
    let found = site.find("ROOT/sw/conda/envs/ml/bin/python3", &variables);
    assert_eq!(site.views("ROOT/sw/conda/envs/ml/bin/python3", &variables), ["sw/conda"]);
    assert!(found.notes.iter().any(|note| note.contains("lies in the view")), "{found:?}");
}

#[test]
fn links_on_the_way_lead_to_real_paths() {
    let site = Site::new();
    site.link("apps", "ROOT/sw");
    site.link("home/link", "ROOT/sw/conda");
    let through_links = site.views("ROOT/apps/env/bin/python3", &[("CONDA_PREFIX", "ROOT/home/link")]);
    assert_eq!(through_links, ["sw/env", "sw/python/3.11", "sw/conda"]);
}

#[test]
fn a_home_named_through_a_link_is_still_the_home() {
    let site = Site::new();
    site.python("lus/ada", "3.11");
    site.link("home/bea", "ROOT/lus/ada");
    let views = site.views("ROOT/lus/ada/bin/python3 -s", &[("HOME", "ROOT/home/bea")]);
    assert_eq!(views, ["lus/ada/lib/python3.11"]);
}

#[test]
fn copied_interpreters_belong_to_their_configurations_base() {
    let site = Site::new();
    site.program("sw/copies/bin/python3", "\x7fELF\0");
    site.program("sw/copies/pyvenv.cfg", "home = ROOT/sw/python/3.11/bin\nversion = 3.11.7\n");
    assert_eq!(site.views("ROOT/sw/copies/bin/python3", &[]), ["sw/copies", "sw/python/3.11"]);
}

#[test]
fn shims_of_pyenv_are_followed() {
    let site = Site::new();
    let shim =
        "#!/usr/bin/env bash\nset -e\nexport PYENV_ROOT=\"ROOT/pyenv\"\nexec pyenv exec \"$program\"\n";
    site.program("pyenv/shims/python3", shim);
    for version in ["3.11.7", "3.11.10", "3.12.1"] {
        site.python(&format!("pyenv/versions/{version}"), &version[..4]);
    }
    site.venv("pyenv/versions/3.11.7/envs/mine", "pyenv/versions/3.11.7");
    site.link("pyenv/versions/mine", "ROOT/pyenv/versions/3.11.7/envs/mine");
    site.program("pyenv/version", "3.12.1\n");
    let shims = "ROOT/pyenv/shims:ROOT/sw/env/bin:/usr/bin";
    type Row<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);
    let cases: &[Row] = &[
        (&[], &["pyenv/versions/3.12.1"]), // the global version
        (&[("PYENV_VERSION", "3.11")], &["pyenv/versions/3.11.10"]), // abbreviated
        (&[("PYENV_VERSION", "mine")], &["pyenv/versions/3.11.7"]), // pyenv-virtualenv: inside of its base
        (&[("PYENV_VERSION", "system"), ("PATH", shims)], &["sw/env", "sw/python/3.11"]), // the next in PATH
    ];
    for (variables, want) in cases {
        let variables: Vec<_> = variables.iter().chain(&[("PYTHONNOUSERSITE", "1")]).copied().collect();
        assert_eq!(site.views("ROOT/pyenv/shims/python3", &variables), *want, "{variables:?}");
    }
    site.program("work/.python-version", "3.11.7\n");
    assert_eq!(site.views("ROOT/pyenv/shims/python3 -s", &[]), ["pyenv/versions/3.11.7"], "the nearest file");
}

#[test]
fn a_foreign_shim_and_a_site_wrapper_are_told_apart() {
    let site = Site::new();
    site.program(
        "asdf/shims/python3",
        "#!/usr/bin/env bash\n# asdf-plugin: python 3.11.7\nexec asdf exec python3\n",
    );
    let found = site.find("ROOT/asdf/shims/python3", &[]);
    assert!(found.views.is_empty() && found.notes.iter().any(|note| note.contains("asdf")), "{found:?}");
    // A wrapper script called python3 is a shell script, whose active environment counts.
    site.program("wrappers/python3", "#!/bin/sh\nexec something \"$@\"\n");
    let views = site.views("ROOT/wrappers/python3", &[("VIRTUAL_ENV", "ROOT/sw/env")]);
    assert_eq!(views, ["sw/env", "sw/python/3.11"]);
}

#[test]
fn what_cannot_be_followed_ends_with_a_note() {
    let site = Site::new();
    site.program("work/loop", "#!ROOT/work/loop\n");
    let cases = [
        ("ROOT/work/loop", "leads through more than"), // a script that runs itself
        ("ROOT/work/nothing", "not there or cannot be executed"), // a name with nothing behind
        ("/usr/bin/srun -n 2 ROOT/sw/env/bin/python3", "put `spinney run --` after it"), // tasks elsewhere
        ("/usr/bin/uv run x.py", "picks the environment itself"), // rules of its own
    ];
    for (line, want) in cases {
        let found = site.find(line, &[]);
        assert!(found.notes.iter().any(|note| note.contains(want)), "{line}: {found:?}");
    }
}

#[test]
fn a_long_search_path_ends_at_the_limit() {
    let site = Site::new();
    let entries: Vec<String> =
        (0..200).map(|n| format!("ROOT/sw/m{n}/lib/python3.11/site-packages")).collect();
    let variables = [("PYTHONPATH", entries.join(":"))];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    let (found, calls) = site.find_as(&site.client(), "ROOT/sw/env/bin/python3", &variables);
    assert!(found.notes.iter().any(|note| note.contains("not everything was looked at")), "{found:?}");
    assert!(calls < 80, "{calls}");
}
