#!/bin/sh
# Makes the root file system of the lab's hosts: Debian 13 with sshd and sudo, and
# beside it, as a package repository of its own, what hosts may install later.
# A host in the lab has no network, so that repository is its only apt source.
#
# usage: root.sh DIRECTORY [MIRROR]
# makes DIRECTORY/root
set -eu
umask 022
root=$1/root
shift

pool='auditd dbus-user-session docker-cli docker-compose docker.io git
	golang-docker-credential-helpers mksh opendoas python3 rootlesskit slirp4netns uidmap'

mmdebstrap --mode=root --variant=important --format=directory --skip=cleanup/apt \
	--include=bash,ca-certificates,curl,dash,dbus,iproute2,libpam-systemd,openssh-server,sudo,systemd-sysv \
	--dpkgopt='path-exclude=/usr/share/doc/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' \
	--dpkgopt='path-exclude=/usr/share/man/*' \
	trixie "$root" "$@"

rm -f "$root"/var/cache/apt/archives/*.deb
# shellcheck disable=SC2086 # a list of words
chroot "$root" apt-get install --quiet --yes --download-only --no-install-recommends $pool
mkdir "$root/usr/lib/lab-apt"
mv "$root"/var/cache/apt/archives/*.deb "$root/usr/lib/lab-apt/"

# dpkg-scanpackages would need perl modules that nothing else here wants.
cd "$root/usr/lib/lab-apt"
for deb in *.deb; do
	size=$(wc -c <"$deb")
	sum=$(sha256sum "$deb")
	dpkg-deb --field "$deb"
	printf 'Filename: ./%s\nSize: %d\nSHA256: %s\n\n' "$deb" "$size" "${sum%% *}"
done >Packages

rm -rf "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/* "$root"/var/lib/apt/lists/*
cat >"$root/etc/apt/sources.list.d/debian.sources" <<'END'
Types: deb
URIs: file:/usr/lib/lab-apt
Suites: ./
Trusted: yes
END
chroot "$root" apt-get update --quiet

# Every host gets an identity and keys of its own.
rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/resolv.conf" "$root/etc/hostname"
: >"$root/etc/machine-id"
