# $1 is what a deployment of this user is called, and $2 what from now on: in the lines
# of its keys in authorized_keys. All other lines stay as they are, to the byte.
set -eu
cd
keys=.ssh/authorized_keys
[ -f "$keys" ] && [ ! -L "$keys" ] || exit 0
exec 9<.ssh
flock -w 60 9 || {
	echo '.ssh/authorized_keys is locked by another process; run again'
	exit 1
}
before=$(cksum <"$keys")
[ "$(tr -d '\000' <"$keys" | cksum)" = "$before" ] || exit 0
newline=no
[ -n "$(tail -c 1 "$keys")" ] || newline=yes
umask 077
new=$(mktemp -u "$keys.XXXXXX")
trap 'rm -f "$new"' EXIT
awk -v from="$1" -v to="$2" -v newline="$newline" '
	BEGIN { gate = "command=\"/usr/local/lib/provision/gate "; mark = " provision:" from }
	{
		at = index($0, gate from " ")
		if (at && substr($0, length($0) - length(mark) + 1) == mark) {
			at += length(gate)
			rest = substr($0, at + length(from))
			$0 = substr($0, 1, at - 1) to substr(rest, 1, length(rest) - length(from)) to
		}
		printf "%s%s", sep, $0
		sep = "\n"
	}
	END { if (newline == "yes") print "" }' "$keys" >"$new"
[ "$(cksum <"$new")" != "$before" ] || exit 0
[ "$(cksum <"$keys")" = "$before" ] || {
	echo 'somebody else changed .ssh/authorized_keys meanwhile; run again'
	exit 1
}
mv -f "$new" "$keys"
