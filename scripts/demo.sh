#!/bin/sh
# The main job on this machine: import numpy from a small environment, on four nodes, each with a view of its own.
#
#   scripts/demo.sh SPINNEY DIR
#
# DIR/env is a virtual environment with numpy from PyPI, made once. Where PyPI cannot be reached, packages of a similar
# shape are generated instead. Nothing outside DIR is changed, but for pip's own download cache; as root, python3 and
# python3-venv are installed with apt-get if they are missing.
set -eu

say() { echo "demo: $*" >&2; }
die() { say "$*"; exit 1; }

need_python() {
    python3 -c 'import ensurepip' 2>/dev/null && return 0
    [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null || die "needs Python with venv
hint: sudo apt-get install python3 python3-venv"
    say "installing python3 and python3-venv"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 python3-venv >/dev/null
}

make_environment() {
    need_python
    say "making a virtual environment in $dir/env"
    rm -rf "$dir/env"
    python3 -m venv "$dir/env"
    if "$dir/env/bin/python3" -m pip install --quiet --disable-pip-version-check --only-binary :all: numpy >&2; then
        echo numpy >"$dir/module"
    else
        say "numpy cannot be had from PyPI; generating modules instead"
        generate_modules
    fi
}

# 40 packages of 20 modules, of which one import loads all.
generate_modules() {
    "$dir/env/bin/python3" - <<'PY'
import compileall, pathlib, sysconfig
site = pathlib.Path(sysconfig.get_path("purelib"))
top = site / "generated"
for package in range(40):
    inner = top / f"package_{package}"
    inner.mkdir(parents=True)
    (inner / "__init__.py").write_text("".join(f"from . import module_{n}\n" for n in range(20)))
    for n in range(20):
        (inner / f"module_{n}.py").write_text(f"VALUES = {list(range(n * 100))}\n")
names = "".join(f"from . import package_{n}\n" for n in range(40))
(top / "__init__.py").write_text('__version__ = "1"\n' + names)
compileall.compile_dir(top, quiet=1)
PY
    echo generated >"$dir/module"
}

[ $# -eq 2 ] || die "usage: demo.sh SPINNEY DIR"
spinney=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd -P)
# Written last, so an environment that was interrupted is made again.
[ -s "$dir/module" ] || make_environment
module=$(cat "$dir/module")

set -- "$spinney" run -v --local-nodes 4 --require --report "$dir/report" -- "$dir/env/bin/python3" -c
code="import os, $module; print('node', os.environ['SPINNEY_NODE'], '$module', $module.__version__, $module.__file__)"
echo "+ $* \"$code\"" >&2
"$@" "$code" || {
    exit_code=$?
    say "hint: \`$spinney doctor\` tells what works on this machine and what to ask for"
    exit $exit_code
}
say "the report is $dir/report/run.json"
