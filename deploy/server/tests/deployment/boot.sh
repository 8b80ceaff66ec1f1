#!/bin/sh
# boot.sh <folder>: a machine of its own, in the namespaces that it is started in. Its disk is that of this one, to which nothing is
# written; systemd is its first process; the folder is /mnt there.
set -eu
mount --make-rprivate /
scratch=$1/scratch
mkdir -p "$scratch"
mount -t tmpfs tmpfs "$scratch"
mkdir "$scratch/upper" "$scratch/work" "$scratch/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$scratch/upper,workdir=$scratch/work" "$scratch/root"
cd "$scratch/root"
mount --bind "$1" mnt
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount --rbind /dev dev
# Nothing starts there but what a test starts.
rm -rf etc/systemd/system
mkdir -p etc/systemd/system
printf '[Unit]\nRequires=basic.target\nAfter=basic.target\n' > etc/systemd/system/bare.target
: > etc/machine-id
# The policy of containers, under which the scripts of packages start nothing.
rm -f usr/sbin/policy-rc.d
ip link set lo up
mkdir -p run/host
pivot_root . run/host
umount --lazy /run/host
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=bare.target --log-target=console --show-status=no < /dev/null
