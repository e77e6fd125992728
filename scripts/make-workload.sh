#!/bin/sh
# Builds the workload of tests and benchmarks: a relocatable Python tree of some 22,000 entries.
#
#   scripts/make-workload.sh DIR
#
# DIR/bin/python3 is a copy of the python3 that runs here (PYTHON names another), with its whole standard library,
# so that sys.prefix is DIR; numpy, scipy and pandas are installed in it from PyPI, at the versions below, and all of
# it is compiled. Where PyPI cannot be reached, packages of the same shape are generated instead. DIR/workload.json
# says what it is and which import statement is the workload.
#
# A finished DIR is left alone, so calling it again costs nothing. Nothing outside DIR is changed, but for pip's own
# download cache. Copy it with `cp -a`: bytecode is valid only with the times of its sources.
set -eu

PACKAGES="numpy==2.3.5 scipy==1.16.3 pandas==2.3.3 python-dateutil==2.9.0.post0 pytz==2025.2 tzdata==2025.2 six==1.17.0"
IMPORT="import numpy, scipy, scipy.stats, pandas"
ENTRIES=22000
# Part of the mark of a finished tree: raise it when this script builds another tree.
FORMAT=1

say() { echo "make-workload: $*" >&2; }
die() { say "$*"; exit 1; }

# Asks the interpreter itself, because a pyenv shim or a venv's python is not what has to be copied.
look_at_python() {
    PYTHON=${PYTHON:-python3}
    command -v "$PYTHON" >/dev/null || die "no \`$PYTHON\`
hint: apt-get install python3 python3-pip python3-venv"
    eval "$("$PYTHON" -IB - <<'PY'
import os, shlex, sys, sysconfig
def show(name, value): print(f"{name}={shlex.quote(str(value))}")
base = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix, "installed_base": sys.base_prefix}
stdlib = os.path.dirname(os.path.realpath(os.__file__))
show("base_python", os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
show("base_prefix", os.path.realpath(sys.base_prefix))
show("stdlib", stdlib)
show("platstdlib", sysconfig.get_path("platstdlib", vars=base))
show("xy", "%d.%d" % sys.version_info[:2])
show("version", sys.version.split()[0])
PY
    )"
}

copy_python() {
    mkdir -p "$dir/bin"
    cp -a "$base_python" "$dir/bin/python$xy"
    ln -s "python$xy" "$dir/bin/python3"
    ln -s python3 "$dir/bin/python"
    copy_library "$stdlib"
    case $platstdlib in "$stdlib") ;; *) copy_library "$platstdlib" ;; esac
    copy_libpython
}

# Packages of the site are left out: they are not the workload, and some are links to places elsewhere.
copy_library() {
    target=$dir/${1#"$base_prefix"/}
    mkdir -p "$target"
    tar -C "$1" --exclude=./site-packages --exclude=./dist-packages --exclude=__pycache__ --exclude='./config-*' \
        -cf - . | tar -C "$target" -xpf -
}

# An interpreter whose libpython lies beside it finds it by an absolute path, which must lead into the copy. The path
# is replaced in place, shorter by what is filled with zeroes: no tool has to be installed for that.
copy_libpython() {
    library=$(LC_ALL=C ldd "$base_python" | sed -n "s|.*=> \($base_prefix/lib[^ ]*libpython[^ ]*\).*|\1|p" | head -n 1)
    [ -n "$library" ] || return 0
    mkdir -p "$dir/lib"
    cp -aL "$library" "$dir/lib/"
    "$PYTHON" -IB - "$dir/bin/python$xy" "$(dirname "$library")" <<'PY'
import sys
program, old = sys.argv[1], sys.argv[2].encode() + b"\0"
content = open(program, "rb").read()
new = b"$ORIGIN/../lib\0"
if old not in content or len(new) > len(old):
    sys.exit(f"make-workload: {program} does not name {old} as the place of its library")
open(program, "r+b").write(content.replace(old, new.ljust(len(old), b"\0")))
PY
}

install_packages() {
    # Debian's python looks in dist-packages, others in site-packages: the copy itself knows where.
    site=$("$dir/bin/python3" -IB -c '
import site, sys
print(next(p for p in site.getsitepackages() if p.startswith(sys.prefix + "/")))')
    mkdir -p "$site"
    if from_pypi; then
        origin=pypi
    else
        say "PyPI cannot be reached or has no fitting packages; generating some of the same shape"
        rm -rf "$site"
        mkdir -p "$site"
        IMPORT=$("$PYTHON" -IB "$scripts/generate_packages.py" packages "$site" "$dir/bin/python3")
        origin=generated
    fi
}

from_pypi() {
    [ "${SPINNEY_WORKLOAD:-}" != generated ] || return 1
    pip="$PYTHON -B -m pip"
    if ! $pip --version >/dev/null 2>&1; then
        "$PYTHON" -B -m venv "$dir/.pip" >/dev/null 2>&1 || return 1
        pip="$dir/.pip/bin/python -m pip"
    fi
    # shellcheck disable=SC2086 # both are lists of words
    $pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --no-compile \
        --no-warn-script-location --root-user-action=ignore --target "$site" $PACKAGES >&2 || return 1
    rm -rf "$dir/.pip"
}

# Some files of CPython's tests are no valid Python on purpose, so failures to compile are not errors.
compile_all() {
    "$dir/bin/python3" -IB -m compileall -q -j 0 "$dir" >/dev/null 2>&1 || true
}

# A python without its test suite, as distributions package it, makes a smaller tree: filled up with modules that nobody
# imports.
fill_up() {
    missing=$((ENTRIES - $(find "$dir" | wc -l)))
    [ "$missing" -le 20 ] || "$PYTHON" -IB "$scripts/generate_packages.py" filler "$site" "$missing"
}

check() {
    "$dir/bin/python3" -IB - "$dir" "$IMPORT" <<'PY'
import os, sys
directory, statement = sys.argv[1:]
assert sys.prefix == directory, f"sys.prefix is {sys.prefix}"
exec(statement)
# What the workload imports must have bytecode that Python itself accepts, or every run compiles it again.
import importlib.util, struct
stale = []
for name, module in list(sys.modules.items()):
    source, cached = getattr(module, "__file__", None), getattr(module, "__cached__", None)
    if not cached or not source or not source.endswith(".py"):
        continue
    assert source.startswith(directory), f"{name} comes from {source}"
    stat = os.stat(source)
    want = struct.pack("<III", 0, int(stat.st_mtime) & 0xFFFFFFFF, stat.st_size & 0xFFFFFFFF)
    try:
        with open(cached, "rb") as file:
            if file.read(16) != importlib.util.MAGIC_NUMBER + want:
                stale.append(name)
    except OSError:
        stale.append(name)
assert not stale, f"no valid bytecode: {stale}"
for line in open("/proc/self/maps"):
    path = line.split(maxsplit=5)[5:]
    assert not path or "libpython" not in path[0] or path[0].startswith(directory), path
PY
}

describe() {
    entries=$(find "$dir" | wc -l)
    cat >"$dir/workload.json" <<JSON
{
  "mark": "$mark",
  "import": "$IMPORT",
  "python": "$base_python",
  "version": "$version",
  "packages": "$origin",
  "entries": $entries
}
JSON
}

main() {
    [ $# -eq 1 ] || die "usage: make-workload.sh DIR"
    scripts=$(cd "$(dirname "$0")" && pwd)
    mkdir -p "$1"
    dir=$(cd "$1" && pwd -P)
    exec 9<"$dir"
    flock 9
    look_at_python
    mark="$FORMAT $base_python $version $PACKAGES ${SPINNEY_WORKLOAD:-}"
    if [ -f "$dir/workload.json" ] && grep -qF "\"mark\": \"$mark\"" "$dir/workload.json"; then
        say "$dir is there already"
        return
    fi
    # Only what an earlier call began may be cleared away.
    if [ -n "$(ls -A "$dir")" ] && [ ! -e "$dir/.unfinished" ] && [ ! -e "$dir/workload.json" ]; then
        die "$dir holds something else"
    fi
    : >"$dir/.unfinished"
    find "$dir" -mindepth 1 ! -name .unfinished -delete
    say "copying $base_python ($version)"
    copy_python
    say "installing packages"
    install_packages
    say "compiling"
    compile_all
    fill_up
    compile_all
    check || die "the tree in $dir does not work"
    describe
    rm "$dir/.unfinished"
    say "$dir: $entries entries, Python $version from $base_python, packages: $origin"
}

main "$@"
