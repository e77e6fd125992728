#%Module1.0
# For Environment Modules and Lmod. `make install` puts it into PREFIX/share/modulefiles/spinney, named after the version;
# what it offers is found from there: PREFIX/bin, PREFIX/share/man, PREFIX/share/bash-completion.
set version [file tail $ModulesCurrentModulefile]
set share [file dirname [file dirname [file dirname [file normalize $ModulesCurrentModulefile]]]]

proc ModulesHelp {} {
    puts stderr "Puts `spinney` into PATH. Then: srun -N 64 spinney run -- python3 train.py"
}
module-whatis "starts Python, R and other programs on many nodes as fast as on one"
conflict spinney

prepend-path PATH [file dirname $share]/bin
# Unless a site has set MANPATH, `man` finds pages from PATH, and setting it would hide all others.
if {[info exists ::env(MANPATH)]} {
    prepend-path MANPATH $share/man
}
# Unset, it means these two; bash-completion looks there.
if {![info exists ::env(XDG_DATA_DIRS)]} {
    append-path XDG_DATA_DIRS /usr/local/share:/usr/share
}
prepend-path XDG_DATA_DIRS $share
