#!/bin/sh
# Makes this machine ready for the tests, as far as it is not; says what it changes.
#
# Needed: /dev/fuse that everyone may open (as a distribution's udev has it), a C compiler, strace, python3 with venv and
# library; what modulefiles, completions and manual pages are for; a browser without a window, which looks at the page of
# a profile; PostgreSQL's server, of which tests make clusters of their own; as root also `ip` and `tc`, since hosts are
# made of network namespaces, and Slurm with munge, Open MPI and MPICH, which tests start on such hosts and end, R, and
# two programs that start containers. Installing these must start no service, so a policy forbids it meanwhile.
# As root what is missing is installed with apt-get; as an ordinary user it is named.
# Not needed: fuse3. Where fusermount3 is installed the set-uid way is tested too.
set -eu

say() { echo "prepare-tests: $*" >&2; }
die() { say "$*"; exit 1; }
is_root() { [ "$(id -u)" -eq 0 ]; }

# Debian's own python3 by its path: a test compares an interactive one with and without Spinney.
missing_packages() {
    command -v cc >/dev/null || printf ' gcc libc6-dev'
    [ -x /usr/bin/python3 ] || printf ' python3'
    command -v strace >/dev/null || printf ' strace'
    /usr/bin/python3 -c 'import ensurepip' 2>/dev/null || printf ' python3-venv'
    ls /usr/lib/*/libpython3*.so.1.0 >/dev/null 2>&1 || printf ' libpython3-dev'
    command -v unshare >/dev/null || printf ' util-linux'
    { command -v chromium-headless-shell || command -v chromium; } >/dev/null || printf ' chromium-headless-shell'
    [ -e /usr/share/modules/init/bash ] || [ -e /usr/share/lmod ] || printf ' environment-modules'
    [ -e /usr/share/bash-completion/bash_completion ] || printf ' bash-completion'
    command -v man >/dev/null || printf ' man-db'
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || printf ' postgresql'
    is_root || return 0
    { command -v ip && command -v tc; } >/dev/null || printf ' iproute2'
    { command -v slurmctld && command -v slurmd && command -v srun; } >/dev/null || printf ' slurm-wlm'
    command -v munged >/dev/null || printf ' munge'
    { command -v mpicc.openmpi && command -v mpiexec.openmpi; } >/dev/null || printf ' openmpi-bin libopenmpi-dev'
    { command -v mpicc.mpich && command -v mpiexec.mpich; } >/dev/null || printf ' mpich libmpich-dev'
    [ -x /usr/bin/Rscript ] || printf ' r-base-core'
    command -v ch-run >/dev/null || printf ' charliecloud-runtime'
    command -v bwrap >/dev/null || printf ' bubblewrap'
}

# invoke-rc.d asks this program before it starts a service; 101 means no. One that is there already is left alone.
policy=/usr/sbin/policy-rc.d
forbid_services() {
    [ ! -e "$policy" ] || return 0
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
}

install_packages() {
    packages=$(missing_packages)
    [ -n "$packages" ] || return 0
    is_root || die "missing; ask root for: apt-get install$packages"
    command -v apt-get >/dev/null || die "missing, and there is no apt-get:$packages"
    say "installing:$packages"
    forbid_services
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
}

prepare_device() {
    if [ ! -e /dev/fuse ] && is_root; then
        say "no /dev/fuse; loading the module"
        modprobe fuse || true
    fi
    [ -e /dev/fuse ] || die "no /dev/fuse: the kernel has no FUSE, or this container was not given the device"
    mode=$(stat -c %a /dev/fuse)
    [ "$mode" != 666 ] || return 0
    if is_root; then
        say "/dev/fuse has mode $mode; setting 666, as udev would"
        chmod 666 /dev/fuse
    elif [ ! -r /dev/fuse ] || [ ! -w /dev/fuse ]; then
        die "you may not open /dev/fuse; ask root for: chmod 666 /dev/fuse"
    fi
}

install_packages
prepare_device
