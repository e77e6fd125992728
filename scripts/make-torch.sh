#!/bin/sh
# Builds a Python tree with PyTorch in it, for the benchmark only: several GB, most of them libraries for graphics cards.
#
#   scripts/make-torch.sh PYTHON DIR
#
# PYTHON is a finished tree of make-workload.sh. DIR gets its interpreter and standard library, and torch with all it
# needs from PyPI: the wheels of x86_64 do not import without the libraries for graphics cards. A finished DIR is left
# alone. Nothing outside DIR is changed.
set -eu

PACKAGES="torch==2.15.0 numpy==2.3.5"

say() { echo "make-torch: $*" >&2; }

[ $# -eq 2 ] || { say "usage: make-torch.sh PYTHON DIR"; exit 1; }
python=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd -P)
exec 9<"$dir"
flock 9
[ "$(cat "$dir/.finished" 2>/dev/null)" != "$PACKAGES" ] || exit 0
find "$dir" -mindepth 1 -delete

say "copying $python"
tar -C "$python" --exclude='*/site-packages/*' --exclude='*/dist-packages/*' --exclude=./workload.json -cf - . |
    tar -C "$dir" -xpf -
site=$("$dir/bin/python3" -IB -c '
import site, sys
print(next(p for p in site.getsitepackages() if p.startswith(sys.prefix + "/")))')
mkdir -p "$site"
say "installing $PACKAGES"
"${PIP_PYTHON:-python3}" -B -m pip install --quiet --disable-pip-version-check --only-binary :all: --no-compile \
    --no-cache-dir --no-warn-script-location --root-user-action=ignore --target "$site" $PACKAGES >&2
say "compiling"
"$dir/bin/python3" -IB -m compileall -q -j 0 "$site" >/dev/null 2>&1 || true
"$dir/bin/python3" -IB -c 'import sys, torch; assert torch.__file__.startswith(sys.prefix)'
echo "$PACKAGES" >"$dir/.finished"
say "$dir: $(find "$dir" | wc -l) entries"
