#!/bin/sh
# The services of tests/cluster from Debian's packages, where they are missing and can be installed.
set -eu
packages="postgresql rabbitmq-server slurmctld slurmd slurm-client munge openssh-server openssh-client"
for package in $packages; do
    dpkg -s "$package" >/dev/null 2>&1 || missing="${missing:-} $package"
done
[ -n "${missing:-}" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "not installed, and this is not root on Debian:$missing" >&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
install="apt-get install --yes --quiet --no-install-recommends $missing"
$install >/dev/null 2>&1 || { apt-get update --quiet >/dev/null; $install >/dev/null; }
