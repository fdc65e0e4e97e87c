# $1 is what the deployment of the user $2 in the directory $3 is to be called. $4 is
# what the one is called from then on that has this name now, "" if there is nothing
# of that any more. $5 is relabel.sh, and $6 the verify script for the new name.
#
# A deploy that was asked for by a name of before goes on, and a key is let in by
# either. What the state folder and the kept images are called stays.

# move FROM TO. Whoever has come in by the old name is known by the key, so that is noted
# before the line of the key has the new name.
move() {
	read_settings "$settings/$1"
	_user=$user
	_home=$(getent passwd "$user" | cut -d : -f 6)
	for _file in "$settings"/*; do # this name is of no other one any more
		[ "${_file##*/}" != "$1" ] || continue
		read_settings "$_file" || continue
		case "$user$formerly" in
		"$_user "*" $1 "* | "$_user $1 "*) grep -vxF "was=$1" "$_file" | swap "$_file" ;;
		esac
	done
	{
		cat "$settings/$1"
		grep -q '^state=' "$settings/$1" || printf 'state=%s\n' "$1"
		{
			printf 'was=%s\n' "$1" "$2"
			[ ! -f "$_home/.ssh/authorized_keys" ] || head -c 1048576 "$_home/.ssh/authorized_keys" | keys_of "$1" "$2"
		} | grep -vxF -f "$settings/$1" || :
	} | swap "$settings/$1"
	if [ -n "$_home" ]; then
		runuser -u "$_user" -- env -i "HOME=$_home" "PATH=$PATH" LC_ALL=C /bin/sh -c "$relabel" sh "$1" "$2" || fail "the keys of $1 keep its name; run again"
	fi
	[ ! -e "/usr/local/lib/provision/look/$1" ] || mv -f "/usr/local/lib/provision/look/$1" "/usr/local/lib/provision/look/$2"
	mv -f "$settings/$1" "$settings/$2"
}

# keys_of FROM TO prints the fingerprints of the keys of FROM, each with both names.
keys_of() {
	awk -v from="$1" -v to="$2" '
		{
			gate = "/gate " from " "
			at = index($0, gate)
			if (!at) next
			key = substr($0, at + length(gate)); sub(/".*/, "", key)
			if (key ~ /^[A-Za-z0-9:+\/=]+$/) print "key=" from " " key "\nkey=" to " " key
		}' | sort -u
}

# swap FILE: as put, but what is new is not in the folder of the settings until it is whole.
swap() {
	put "$settings.next" 644 root:root
	mv -f "$settings.next" "$1"
}

relabel=$5
carried "$1" "$2" "$3"
from=$known
[ "$from" != "$1" ] || return 0
if [ -n "$4" ] && [ -e "$settings/$1" ]; then
	move "$1" "$4"
fi
[ -n "$from" ] || return 0
move "$from" "$1"
[ -z "$6" ] || {
	mkdir -p /usr/local/lib/provision/look
	printf '%s' "$6" | put "/usr/local/lib/provision/look/$1" 644 root:root
}
