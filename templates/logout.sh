# $1 is what stands for the registry in config.json, $2 the user name there: the login
# goes if it still has that one. $3 is the login that was there before, if it was kept.
config=.docker/config.json
sum() { cksum <"$config"; }
if ! [ -e "$config" ]; then # none got into place
	rm -f ".docker/by-provision/$1"
	rmdir .docker/by-provision .docker 2>/dev/null || :
	return 0
fi
exec 9<.docker
flock -w 60 9 || fail '.docker/config.json is locked by another process; run again'
[ ! -L "$config" ] || fail '.docker/config.json is a link; replace it by a file'
[ -f "$config" ] || fail '.docker/config.json is not a file'
before=$(sum)
said=$(json look "$1" "$config") || fail '.docker/config.json is not valid JSON; mend it or move it away'
held=$(printf '%s\n' "$said" | sed -n 's/^auth //p' | base64 -d | sed 's/:.*//;q')
[ "$held" = "$2" ] || fail "somebody else has logged in to $1 meanwhile; run again"

umask 077
new=$(mktemp -u "$config.XXXXXX")
trap 'rm -f "$new"' EXIT
if [ -f "$3" ]; then
	json put "$1" "$config" <"$3" >"$new" || fail '.docker/config.json is not valid JSON; mend it or move it away'
	[ -s "$new" ] || fail '.docker/config.json could not be written'
else
	json logout "$1" "$config" </dev/null >"$new" || fail '.docker/config.json is not valid JSON; mend it or move it away'
fi
chmod 600 "$new"
[ "$(sum)" = "$before" ] || fail 'somebody else changed .docker/config.json meanwhile; run again'
if [ -s "$new" ]; then
	mv -f "$new" "$config"
else
	rm -f "$config" "$new"
fi
rm -f ".docker/by-provision/$1"
rmdir .docker/by-provision 2>/dev/null || :
if [ -n "$3" ]; then
	rm -f "$3"
	rmdir "${3%/*}" 2>/dev/null || :
fi
[ -e "$config" ] || rmdir .docker 2>/dev/null || :
