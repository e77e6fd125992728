//! Which class a path gets, and why.

use super::*;

/// What a run found, beside the path in question: it tells where packages lie.
const CONTEXT: &[&str] = &[
    "/opt/env/lib/python3.11/site-packages/numpy/__init__.py",
    "/opt/env/lib/python3.11/site-packages/google/cloud/__init__.py", // a namespace package
    "/lus/target/rich-13.0.dist-info/METADATA",                       // pip install --target
    "/lus/code/mine/__init__.py",                                     // named in PYTHONPATH
    "/lus/code/mine/deep/__init__.py",
    "/lus/rlib/jsonlite/DESCRIPTION",
    "/opt/env/lib/python3.11/site-packages/torch/__init__.py",
    "/lus/target/rich/__init__.py",
    "/opt/env/lib/python3.11/os.py",
    "/opt/env/lib/python3.11/json/__init__.py",
];

const CASES: &[(&str, bool, &str)] = &[
    // path, found, class
    ("/opt/env/lib/python311.zip", false, "python_zip_probe"),
    ("/opt/env/lib/python311.zip/encodings", false, "python_zip_probe"),
    ("/opt/env/bin/pyvenv.cfg", false, "virtual_env_probe"),
    ("/opt/env/bin/pybuilddir.txt", false, "python_layout_probe"),
    ("/opt/env/bin/python3._pth", false, "python_layout_probe"),
    ("/opt/env/lib/glibc-hwcaps", false, "glibc_hwcaps_probe"),
    ("/opt/env/lib/glibc-hwcaps/x86-64-v3/libz.so.1", false, "glibc_hwcaps_probe"),
    ("/opt/env/lib/tls", false, "loader_platform_probe"),
    ("/opt/env/lib/haswell/x86_64", false, "loader_platform_probe"),
    ("/opt/env/lib/x86_64/libz.so.1", false, "loader_platform_probe"),
    (
        "/opt/env/lib/python3.11/site-packages/x.cpython-311-x86_64-linux-gnu.so",
        false,
        "missing_module_probe",
    ),
    ("/opt/env/lib/python3.11/site-packages/x.abi3.so", false, "missing_module_probe"),
    ("/opt/env/lib/python3.11/site-packages/x/__init__.so", false, "missing_module_probe"),
    ("/opt/env/lib/python3.11/sitecustomize.py", false, "missing_module_probe"),
    ("/opt/env/lib/libhsa-amd-aqlprofile64.so", false, "missing_shared_library_probe"),
    ("/opt/env/lib/libz.so.1", false, "missing_shared_library_probe"),
    ("/etc/ld.so.preload", false, "negative_probe_path"), // no library either
    ("/opt/env/lib/a.source", false, "negative_probe_path"), // not a library by its name
    ("/opt/env/lib/python3.11/site-packages/torch/x", false, "negative_probe_path"),
    ("/opt/env/conda-meta/history", false, "negative_probe_path"),
    ("/opt/env/lib/python3.11/site-packages/numpy-2.0.dist-info", true, "dist_info_scan"),
    ("/opt/env/lib/python3.11/site-packages/numpy-2.0.dist-info/RECORD", true, "dist_info_scan"),
    ("/usr/lib/python3/dist-packages/six-1.16.egg-info/PKG-INFO", true, "dist_info_scan"),
    ("/opt/env/lib/python3.11/site-packages/__editable__.mine-0.1.pth", true, "editable_install"),
    ("/opt/env/lib/python3.11/site-packages/__editable___mine_0_1_finder.py", true, "editable_install"),
    ("/opt/env/lib/python3.11/site-packages/mine.egg-link", true, "editable_install"),
    ("/opt/env/lib/python3.11/site-packages/distutils-precedence.pth", true, "python_path_file"),
    ("/opt/env/lib/python3.11/site-packages/sitecustomize.py", true, "python_path_file"),
    ("/opt/env/pyvenv.cfg", true, "virtual_env_config"),
    ("/opt/env/conda-meta", true, "conda_metadata"),
    ("/opt/env/conda-meta/numpy-2.0-py311.json", true, "conda_metadata"),
    ("/lus/target/bin/markdown-it", true, "environment_bin"), // not a package `bin`
    ("/opt/env/lib/python3.11/site-packages/torch/lib/libtorch_cpu.so", true, "native:torch"),
    ("/opt/env/lib/python3.11/site-packages/torch/_C.cpython-311-x86_64-linux-gnu.so", true, "native:torch"),
    ("/opt/env/lib/python3.11/site-packages/numpy.libs/libopenblas.so", true, "native:numpy"),
    ("/opt/env/lib/python3.11/site-packages/nvidia/cublas/lib/libcublas.so.12", true, "native:nvidia"),
    (
        "/opt/env/lib/python3.11/site-packages/_cffi_backend.cpython-311-x86_64-linux-gnu.so",
        true,
        "native:_cffi_backend",
    ),
    ("/opt/env/lib/python3.11/site-packages/torch/a.source", true, "package:torch"), // no library
    ("/opt/env/lib/python3.11/site-packages/torch", true, "package:torch"),
    ("/opt/env/lib/python3.11/site-packages/torch/nn/__init__.py", true, "package:torch"),
    ("/opt/env/lib/python3.11/site-packages/torchvision/__init__.py", true, "package:torchvision"),
    ("/opt/env/lib/python3.11/site-packages/six.py", true, "package:six"),
    ("/opt/env/lib/python3.11/site-packages/__pycache__/six.cpython-311.pyc", true, "package:six"),
    ("/opt/env/lib/python3.11/site-packages/google/cloud/x.py", true, "package:google"),
    ("/usr/lib/python3/dist-packages/yaml/loader.py", true, "package:yaml"),
    ("/lus/target/rich/console.py", true, "package:rich"),
    ("/lus/target/rich", true, "package:rich"),
    ("/lus/target/pydantic_core/_x.cpython-311-x86_64-linux-gnu.so", true, "native:pydantic_core"),
    ("/lus/target", true, "python_site_packages"),
    ("/lus/code/mine/deep/x.py", true, "package:mine"),
    ("/home/ada/.local/lib/python3.11/site-packages/tqdm/std.py", true, "package:tqdm"),
    ("/opt/env/lib/python3.11/site-packages", true, "python_site_packages"),
    ("/opt/env/lib/python3.11/site-packages/README.txt", true, "python_site_packages"),
    ("/opt/env/lib/python3.11/json/decoder.py", true, "python_stdlib"),
    ("/opt/env/lib/python3.11/lib-dynload/_ssl.cpython-311-x86_64-linux-gnu.so", true, "python_stdlib"),
    ("/opt/env/lib/python3.11", true, "python_stdlib"),
    ("/usr/lib/python3.11/os.py", true, "python_stdlib"),
    ("/opt/env/lib64/python3.11/os.py", true, "python_stdlib"),
    ("/opt/R/lib/R/library/Matrix/libs/Matrix.so", true, "r_native:Matrix"),
    ("/opt/R/lib/R/library/Matrix/R/Matrix.rdb", true, "r_package:Matrix"),
    ("/lus/rlib/jsonlite/R/jsonlite.rdx", true, "r_package:jsonlite"),
    ("/lus/rlib", true, "r_runtime"),
    ("/opt/R/lib/R/etc/Renviron", true, "r_runtime"),
    ("/usr/lib/R/site-library/Rcpp/libs/Rcpp.so", true, "r_native:Rcpp"),
    ("/home/ada/.julia/packages/CUDA/kwQ3T/src/CUDA.jl", true, "julia_package:CUDA"),
    ("/depot/compiled/v1.10/CUDA/abc_def.ji", true, "julia_compiled:CUDA"),
    ("/opt/julia/share/julia/stdlib/v1.10/Random/src/Random.jl", true, "julia_runtime"),
    ("/opt/julia/lib/julia/sys.so", true, "julia_runtime"),
    ("/opt/cray/pe/mpich/8.1/ofi/gnu/9.1/lib/libmpi_gnu_91.so.12", true, "mpi_library"),
    ("/usr/lib64/libfabric.so.1", true, "mpi_library"),
    ("/opt/openmpi/lib/openmpi/mca_btl_tcp.so", true, "mpi_library"),
    ("/usr/lib64/libpmix.so.2", true, "mpi_library"),
    ("/opt/env/lib/libucp.so.0", true, "mpi_library"),
    ("/usr/bin/env", true, "system_program"),
    ("/lib/x86_64-linux-gnu/libc.so.6", true, "system_library"),
    ("/usr/lib64/libz.so.1", true, "system_library"),
    ("/etc/ld.so.cache", true, "system_library"),
    ("/etc/nsswitch.conf", true, "system_file"),
    ("/usr/share/zoneinfo/UTC", true, "system_file"),
    ("/opt/env/bin/python3", true, "environment_bin"),
    ("/opt/env/bin", true, "environment_bin"),
    ("/opt/env/lib/libpython3.11.so.1.0", true, "shared_library"),
    ("/opt/env/share/proj/proj.db", true, "environment_share"),
    ("/lus/code/train.py", true, "package:train"), // beside a package, so it can be imported
    ("/lus/run/train.py", true, "python_source"),
    ("/opt/env", true, "environment_prefix"),
    ("/", true, "environment_prefix"),
    ("/opt/env/lib", true, "environment_prefix"),
    ("/lus/data/x.bin", true, "unclassified"),
];

fn usage(found: bool, calls: u64) -> Usage {
    let (found, absent) = if found { (calls, 0) } else { (0, calls) };
    Usage { calls, found, absent, ..Usage::default() }
}

fn recorded(paths: impl IntoIterator<Item = (&'static str, bool)>) -> Recorded {
    let paths = paths.into_iter().map(|(path, found)| (PathBuf::from(path), usage(found, 1)));
    Recorded { paths: paths.collect(), ..Recorded::default() }
}

#[test]
fn every_path_has_the_class_of_what_it_belongs_to() {
    assert!(CASES.len() >= 60);
    let rules = Rules::built_in();
    let places = Places::of(CONTEXT.iter().map(Path::new));
    let wrong: Vec<String> = CASES
        .iter()
        .map(|(path, found, want)| (path, want, rules.class(Path::new(path), &usage(*found, 1), &places)))
        .filter(|(_, want, got)| got != *want)
        .map(|(path, want, got)| format!("{path}: {got}, not {want}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_rule_has_an_example() {
    let examples: Vec<&str> = CASES.iter().map(|(_, _, class)| *class).collect();
    for rule in Rules::built_in().all() {
        let start = rule.class.split('{').next().unwrap();
        assert!(examples.iter().any(|class| class.starts_with(start)), "{}", rule.class);
    }
}

#[test]
fn totals_of_classes_are_the_totals_of_paths() {
    let recorded = recorded(CASES.iter().map(|(path, found, _)| (*path, *found)));
    let classes = classify(&recorded, &Rules::built_in());
    for some in [&classes.classes, &classes.of_copper] {
        let sum = |of: fn(&Class) -> u64| some.iter().map(of).sum::<u64>();
        assert_eq!(sum(|class| class.paths), recorded.paths.len() as u64);
        assert_eq!(sum(|class| class.usage.calls), classes.total.usage.calls);
    }
}

#[test]
fn packages_have_what_was_there_and_what_was_looked_for_in_vain() {
    let packages = "/opt/env/lib/python3.11/site-packages";
    let cases = [
        // path beneath the directory of packages or absolute, found, owner
        ("torch/__init__.py", true, "Python: torch"),
        ("torch/lib/libtorch_cpu.so", true, "Python: torch"),
        ("torch/lib/libcuda.so.1", false, "Python: torch"),
        ("torch/gone.py", false, "Python: torch"),
        ("numpy.libs/libopenblas.so", true, "Python: numpy"),
        ("numpy-2.1.dist-info/METADATA", true, "dist_info_scan"),
        ("__pycache__/six.cpython-311.pyc", true, "Python: six"),
        ("/lus/target/rich/console.py", true, "Python: rich"), // pip install --target
        ("/opt/env/lib/python3.11/os.py", true, "Python: standard library"),
        ("/opt/env/lib/python3.11/torch.py", false, "Python: standard library"),
        ("/opt/env/lib/R/library/dplyr/libs/dplyr.so", true, "R: dplyr"),
        ("/opt/env/lib/R/library/dplyr/nothing", false, "R: dplyr"),
        ("/lus/u/.julia/packages/JSON/x1/src/JSON.jl", true, "Julia: JSON"),
        ("/opt/env/lib/libz.so.1", true, "shared_library"),
        ("/opt/env/bin/tool", true, "environment_bin"),
        ("/opt/env/nothing", false, "no package"),
    ];
    let found = Usage { found: 1, ..Usage::default() };
    let context = CONTEXT.iter().map(|path| (PathBuf::from(path), found));
    let asked = cases.iter().map(|(path, found, _)| (Path::new(packages).join(path), usage(*found, 1)));
    let recorded = Recorded { paths: context.chain(asked).collect(), ..Recorded::default() };
    let of = |owner: Class| (owner.name, (owner.usage.calls, owner.usage.absent));
    let owners: BTreeMap<String, (u64, u64)> = owners(&recorded).into_iter().map(of).collect();
    let mut want: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for (_, found, owner) in cases {
        let (calls, absent) = want.entry(owner.to_owned()).or_default();
        (*calls, *absent) = (*calls + 1, *absent + u64::from(!found));
    }
    for (owner, calls) in &want {
        assert_eq!(owners.get(owner), Some(calls), "{owner}: {owners:#?}");
    }
}

#[test]
fn a_users_rules_come_first() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rules.toml");
    let rule = "[[rule]]\nclass = \"ours:{name}\"\npath = [\"**/site-packages/our_{name}/**\"]\n";
    std::fs::write(&file, rule).unwrap();
    let rules = Rules::with_file(&file).unwrap();
    for (path, want) in [
        ("/e/lib/python3.11/site-packages/our_physics/x.so", "ours:physics"),
        ("/e/lib/python3.11/site-packages/your_physics/x.so", "native:your_physics"),
    ] {
        assert_eq!(rules.class(Path::new(path), &usage(true, 1), &Places::default()), want);
    }
}

#[test]
fn coppers_classes_are_what_copper_makes_of_a_path() {
    for (path, found, want) in [
        ("/e/lib/python311.zip", false, "python_zip_probe"),
        ("/e/lib/a.source", false, "missing_shared_library_probe"), // by its test
        ("/e/site-packages/torch/lib/a.so", true, "torch_native_library"),
        ("/e/site-packages/torchvision/a.so", true, "torch_python_package"), // by its test
        ("/e/lib/python3.11/os.py", true, "python_stdlib"),
        ("/target/rich/console.py", true, "environment_prefix"), // the bin for the rest
    ] {
        assert_eq!(copper_class(Path::new(path), &usage(found, 1)), want, "{path}");
    }
}

#[test]
fn the_busiest_paths_of_a_class_are_told() {
    let path = |n: u64| PathBuf::from(format!("/e/lib/python3.11/{n}.py"));
    let paths = (0..9).map(|n| (path(n), usage(true, n % 5 + 1))).collect();
    let classes = classify(&Recorded { paths, ..Recorded::default() }, &Rules::built_in());
    let top: Vec<_> =
        classes.classes[0].top.iter().map(|(path, usage)| (path.clone(), usage.calls)).collect();
    assert_eq!(top, [(path(4), 5), (path(3), 4), (path(8), 4)]);
}
