#!/bin/sh
# Installs one program, its manual page, its completions and its modulefile beneath a directory. Needs no root.
#
#   scripts/install.sh SPINNEY PREFIX
#
# PREFIX is such as ~/.local or /opt/spinney. What an earlier run has put there is replaced in one step, so that programs
# that run from it go on.
set -eu

[ $# -eq 2 ] || { echo "usage: install.sh SPINNEY PREFIX" >&2; exit 2; }
spinney=$1
module=$(dirname "$0")/../examples/module/spinney.tcl
mkdir -p "$2"
prefix=$(cd "$2" && pwd -P)

# Standard input becomes PREFIX/NAME, with that mode.
put() {
    mkdir -p "$(dirname "$prefix/$2")"
    cat >"$prefix/$2.new"
    chmod "$1" "$prefix/$2.new"
    mv -f "$prefix/$2.new" "$prefix/$2"
    echo "$prefix/$2"
}

version=$("$spinney" --version)
put 755 bin/spinney <"$spinney"
"$spinney" man | put 644 share/man/man1/spinney.1
"$spinney" completions bash | put 644 share/bash-completion/completions/spinney
"$spinney" completions zsh | put 644 share/zsh/site-functions/_spinney
"$spinney" completions fish | put 644 share/fish/vendor_completions.d/spinney.fish
put 644 "share/modulefiles/spinney/${version#* }" <"$module"
