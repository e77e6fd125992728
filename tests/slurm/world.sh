#!/bin/sh
# Slurm on hosts of namespaces: first process of a network, host, mount and process namespace of its own, where it makes
# the controller `ctl` and a host with a slurmd for each of the names node1, node2... All of it ends with this process,
# and this process with its standard input.
#
# usage: world.sh DIRECTORY NODES
# With CGROUPS set the cgroup that it is in becomes the root of all cgroups that Slurm sees.
#   DIRECTORY has hosts, passwd, munge.key, slurm.conf and cgroup.conf; it gets logs and nodeN.pid, the first process of each host.
set -eu
directory=$1 nodes=$2

until_works() {
    until "$@" 2>/dev/null; do sleep 0.005; done
}

hostname ctl
mount --make-rprivate /
mount --bind "$directory/hosts" /etc/hosts
mount --bind "$directory/passwd" /etc/passwd
if [ -n "${CGROUPS:-}" ]; then
    mount -t tmpfs tmpfs /sys/fs/cgroup
    mkdir /sys/fs/cgroup/freezer
    mount -t cgroup -o freezer cgroup /sys/fs/cgroup/freezer
fi
ip link set lo up
ip link add bridge type bridge
ip addr add 10.77.0.254/24 dev bridge
ip link set bridge up

munged --force --key-file="$directory/munge.key" --socket="$directory/munge.socket" --seed-file="$directory/munge.seed" \
    --pid-file="$directory/munge.pid" --log-file="$directory/munge.log"
export SLURM_CONF="$directory/slurm.conf"
slurmctld -D -c >"$directory/slurmctld.log" 2>&1 &

host() {
    number=$1
    unshare --net --uts --ipc --mount --pid --fork --kill-child --mount-proc sh -euc "
        hostname node$number
        mount -t tmpfs tmpfs /mnt
        ip link set lo up
        until ip addr add 10.77.0.$number/24 dev eth0 2>/dev/null; do sleep 0.005; done
        ip link set eth0 up
        slurmd -D -N node$number & # beneath a shell, which reaps orphans
        wait" >"$directory/slurmd$number.log" 2>&1 </dev/null &
    outer=$!
    until_works grep -q . "/proc/$outer/task/$outer/children" # then it has made the namespaces
    inner=$(tr -d ' ' <"/proc/$outer/task/$outer/children")
    ip link add "port$number" type veth peer name eth0 netns "$inner"
    ip link set "port$number" master bridge up
    echo "$inner" >"$directory/node$number.pid"
}

number=1
while [ "$number" -le "$nodes" ]; do
    host "$number"
    number=$((number + 1))
done
are_idle() { [ "$(sinfo -h -t idle -o %D)" = "$nodes" ]; }
until_works are_idle
echo up
exec cat >/dev/null
