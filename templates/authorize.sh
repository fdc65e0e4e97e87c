# $1 is the name of a deployment, and behind it those that it had; the secret is the line that
# lets its key in, and below it those of old keys that may still come in. (The lines are no
# secret, but with a new key they are made only when they are sent.)
# $2 is only, or keep: then other keys of the deployment stay for now; or none:
# then there is no line to put there, and those of the deployment go.
#
# Lines of ours stand in a block at the top: sshd takes the first line that
# has the key. Other lines with the same key or one of the names go; all other lines
# stay as they are, to the byte. The file as it was before us is kept as
# authorized_keys.before-provision, or once we are in it, what others have there
# that goes: nobody who restores that lets an old key of ours in. Where none of ours is left and nobody else has changed
# anything, the file is as it was kept, or as there was none, gone.
keys=.ssh/authorized_keys
sum() { [ ! -e "$1" ] || cksum <"$1"; }
foreign() { sed '/^# provision begin$/,/^# provision end$/d' "$1"; }
[ "$2" != none ] || [ -e "$keys" ] || return 0
[ -d .ssh ] || mkdir -m 700 .ssh
exec 9<.ssh
flock -w 60 9 || fail '.ssh/authorized_keys is locked by another process; run again'
[ ! -L "$keys" ] || fail '.ssh/authorized_keys is a link; replace it by a file'
[ ! -e "$keys" ] || [ -f "$keys" ] || fail '.ssh/authorized_keys is not a file'
before=$(sum "$keys")
file=/dev/null newline=yes
if [ -n "$before" ]; then
	file=$keys
	[ "$(tr -d '\000' <"$keys" | cksum)" = "$before" ] || fail '.ssh/authorized_keys has NUL bytes; take them out'
	[ -z "$(tail -c 1 "$keys")" ] || newline=no
fi

umask 077
new=$(mktemp -u "$keys.XXXXXX")
trap 'rm -f "$new" "$new.kept"' EXIT
secret | awk -v names="$1" -v others="$2" -v newline="$newline" '
	function same(  text, word, n, i) {
		text = $0
		sub(/[ \t\r]+$/, "", text)
		n = split(text, word, /[ \t]+/)
		for (i = 1; i <= n; i++) if (word[i] in blobs) return 1
		return others != "keep" && word[n] in mine
	}
	BEGIN {
		count = split(names, name, " ")
		for (k = 1; k <= count; k++) mine["provision:" name[k]] = 1
	}
	FILENAME == "-" && $0 == "" { next }
	FILENAME == "-" { lines = lines $0 "\n"; blobs[$(NF - 1) == "old" ? $(NF - 2) : $(NF - 1)]; next }
	$0 == "# provision begin" { ours = 1; next }
	$0 == "# provision end" { ours = 0; next }
	$0 !~ /^[ \t]*#/ && same() { next }
	ours { kept = kept $0 "\n"; next }
	{ foreign = foreign sep $0; sep = "\n"; some = 1 }
	END {
		kept = lines kept
		if (kept != "") printf "# provision begin\n%s# provision end\n", kept
		printf "%s%s", foreign, some && newline == "yes" ? "\n" : ""
	}' - "$file" >"$new"
chmod 600 "$new"
kept=$keys.before-provision
if [ "$2" != none ] && [ -n "$before" ] && [ ! -e "$kept" ]; then
	if ! grep -qx '# provision begin' "$keys"; then
		cp -p "$keys" "$new.kept"
	elif [ "$(foreign "$keys" | cksum)" != "$(foreign "$new" | cksum)" ]; then
		foreign "$keys" >"$new.kept"
	fi
fi
[ "$(sum "$keys")" = "$before" ] || fail 'somebody else changed .ssh/authorized_keys meanwhile; run again'
case $2 in
none)
	if [ "$(sum "$new")" = "$(sum "$kept")" ]; then
		mv -f "$kept" "$keys"
	elif [ -s "$new" ] || [ -e "$kept" ]; then
		mv -f "$new" "$keys"
	else
		rm -f "$keys"
	fi
	;;
*)
	[ ! -e "$new.kept" ] || mv "$new.kept" "$kept"
	mv -f "$new" "$keys"
	;;
esac
