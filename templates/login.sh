# $1 is the registry; the secret is the user name there, and on the next line
# the password.
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
printf '{"auths": {"%s": {"auth": ""}}}' "$1" >"$trial/config.json"
password | within 30 env "DOCKER_CONFIG=$PWD/$trial" docker login --username "$name" --password-stdin "$1" >"$trial/said" 2>&1 || {
	[ "$?" != 124 ] || echo 'docker login has not answered within 30 s'
	cat "$trial/said"
	exit 1
}

{
	printf '%s:' "$name"
	password | tr -d '\n'
} | base64 | tr -d '\n' | json login "$1" "$file" >"$trial/new" ||
	fail '.docker/config.json is not valid JSON; mend it or move it away'
[ -s "$trial/new" ] || fail '.docker/config.json could not be written'
chmod 600 "$trial/new"
[ "$(sum)" = "$before" ] || fail 'somebody else changed .docker/config.json meanwhile; run again'
mv -f "$trial/new" "$config"
