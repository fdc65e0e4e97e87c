#!/bin/sh
# Gives a host its name, address and admin before it first boots. Runs in the
# host's root file system; the admin's password comes on standard input.
#
# usage: host.sh NAME ADDRESS/BITS PORT ADMIN BECOME PUBLIC-KEY
set -eu
umask 022
name=$1 address=$2 port=$3 admin=$4 become=$5 key=$6

echo "${name%%.*}" >/etc/hostname
printf '127.0.0.1 localhost\n%s %s %s\n' "${address%/*}" "$name" "${name%%.*}" >/etc/hosts
cat >/etc/network/interfaces.d/host0 <<END
auto host0
iface host0 inet static
	address $address
END
[ "$port" = 22 ] || echo "Port $port" >/etc/ssh/sshd_config.d/port.conf

[ "$admin" = root ] || useradd --create-home --shell /bin/bash "$admin"
read -r password || password=
[ -z "$password" ] || printf '%s:%s\n' "$admin" "$password" | chpasswd

case $become in
sudo) printf '%s ALL=(ALL:ALL) NOPASSWD: ALL\n' "$admin" >/etc/sudoers.d/lab ;;
sudo-password) usermod --append --groups sudo "$admin" ;;
doas) printf 'permit nopass %s as root\n' "$admin" >/etc/doas.conf ;;
none) ;;
esac

home=$(getent passwd "$admin" | cut -d: -f6)
mkdir -p "$home/.ssh"
chmod 700 "$home/.ssh"
(umask 077 && printf '%s\n' "$key" >"$home/.ssh/authorized_keys")
chown -R "$admin:" "$home/.ssh"
