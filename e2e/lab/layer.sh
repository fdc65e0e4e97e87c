#!/bin/sh
# Makes an overlay layer: the root file system with more packages installed.
# Runs in mount and PID namespaces of its own, so nothing needs to be unmounted.
#
# usage: layer.sh DIRECTORY ROOT PACKAGE...
# makes DIRECTORY/upper, which is to lie over ROOT
set -eu
umask 022
cd "$1"
root=$2
shift 2

mkdir upper work merged
mount -t overlay -o "lowerdir=$root,upperdir=upper,workdir=work" overlay merged
merged=$PWD/merged
mount -t proc proc "$merged/proc"
mount -t tmpfs tmpfs "$merged/tmp"

# Nothing starts before the host boots.
printf '#!/bin/sh\nexit 101\n' >"$merged/usr/sbin/policy-rc.d"
chmod 755 "$merged/usr/sbin/policy-rc.d"
DEBIAN_FRONTEND=noninteractive chroot "$merged" \
	apt-get install --quiet --yes --no-install-recommends "$@"
rm "$merged/usr/sbin/policy-rc.d"
