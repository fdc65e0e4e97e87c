# $1 is the registry, $2 what stands for it in config.json; $3 is the folder where the
# login is kept that stands there, or empty where that one is not kept. The secret is
# the user name there, and on the next line the password. $4 is whose token that is, or
# empty.
#
# Docker itself would rewrite config.json and drop what it does not know, so it
# logs in with a configuration of its own, and only the login is taken over.
config=.docker/config.json
sum() { [ ! -e "$config" ] || cksum <"$config"; }
password() { secret | sed 1d; }
name=$(secret | sed 1q)
[ -d .docker ] || mkdir -m 700 .docker
exec 9<.docker
flock -w 60 9 || fail '.docker/config.json is locked by another process; run again'
[ ! -L "$config" ] || fail '.docker/config.json is a link; replace it by a file'
[ ! -e "$config" ] || [ -f "$config" ] || fail '.docker/config.json is not a file'
before=$(sum)
file=/dev/null
[ -z "$before" ] || file=$config

rm -rf .docker/login.?????? # of a run that was killed
trial=$(mktemp -u .docker/login.XXXXXX)
trap 'rm -rf "$trial"' EXIT
mkdir -m 700 "$trial"
printf '{"auths": {"%s": {"auth": ""}}}' "$2" >"$trial/config.json"
made=.docker/by-provision/$1 was='' owner='' tried=''
note() { # the name and the owner of the last login, and names that were tried since
	[ -d .docker/by-provision ] || mkdir -m 700 .docker/by-provision
	printf '%s\n' "$@" | put "$made" 600
}
if [ -n "${4-}" ]; then # should this end before the login stands, nobody else knows whose token this was
	if [ -f "$made" ]; then
		{ read -r was && read -r owner; } <"$made" || :
		tried=$(sed 1,2d "$made")
	fi
	note "$was" "$owner" ${tried:+"$tried"} "$name"
fi
password | within 30 env "DOCKER_CONFIG=$PWD/$trial" docker login --username "$name" --password-stdin "$1" >"$trial/said" 2>&1 || {
	[ "$?" != 124 ] || echo 'docker login has not answered within 30 s'
	cat "$trial/said"
	if [ -n "$was$tried" ]; then
		note "$was" "$owner" ${tried:+"$tried"}
	elif [ -n "${4-}" ]; then
		rm -f "$made"
		rmdir .docker/by-provision 2>/dev/null
	fi
	exit 1
}

if [ -n "$3" ]; then
	lost=$(pulls "$1" | while read -r image folder; do
		if ! can "$trial" "$image" && can .docker "$image"; then
			printf '%s of %s' "$image" "$folder"
			break
		fi
	done)
	[ -z "$lost" ] || fail "the new login cannot read $lost, and the one that is there can: that one stays"
	json entry "$2" "$file" >"$trial/kept"
fi

{
	printf '{\n\t\t\t"auth": "'
	{
		printf '%s:' "$name"
		password | tr -d '\n'
	} | base64 | tr -d '\n'
	printf '"\n\t\t}'
} | json put "$2" "$file" >"$trial/new" ||
	fail '.docker/config.json is not valid JSON; mend it or move it away'
[ -s "$trial/new" ] || fail '.docker/config.json could not be written'
chmod 600 "$trial/new"
[ "$(sum)" = "$before" ] || fail 'somebody else changed .docker/config.json meanwhile; run again'
if [ -s "$trial/kept" ]; then
	chmod 600 "$trial/kept"
	[ -d "$3" ] || mkdir -m 700 "$3"
	mv -f "$trial/kept" "$3/$1"
fi
if [ "$1" = "$2" ]; then # see logins.sh; Docker Hub has no tokens of ours
	note "$name" ${4:+"$4"}
fi
mv -f "$trial/new" "$config"
