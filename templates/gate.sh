#!/bin/sh
# gate NAME FINGERPRINT
#
# The forced command of a deploy key: all that the key can do. It takes one
# word from the client: nothing or deploy pulls the images of the deployment
# NAME and restarts what changed; status tells what runs, as JSON. Whatever
# else is asked is refused and logged with the fingerprint of the key.
set -eu
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
export PATH LC_ALL
unset IFS ENV BASH_ENV CDPATH
umask 022

name=$1 key=$2 asked=${SSH_ORIGINAL_COMMAND-} who=$(id -un) from=${SSH_CLIENT-nowhere}

say() {
	logger -t provision -p "auth.$1" "$name: $2 (user $who, key $key, from ${from%% *})" || :
}

refuse() {
	say warning "refused: $1: $(printf '%.200s' "$asked" | tr -c '[:print:]' '?')"
	printf 'provision: refused: %s\n' "$1" >&2
	exit 126
}

case $name in
'' | *[!A-Za-z0-9._-]* | .*) refuse 'no such deployment' ;;
esac
settings=/etc/provision/deployments/$name
[ -r "$settings" ] || refuse 'no such deployment'
user='' directory=''
while IFS='=' read -r word value; do
	case $word in
	user) user=$value ;;
	directory) directory=$value ;;
	esac
done <"$settings"
[ "$who" = "$user" ] || refuse 'this deployment belongs to another user'

HOME=$(getent passwd "$user" | cut -d : -f 6)
export HOME
cd "$HOME/$directory" 2>/dev/null || refuse 'the deployment is not there yet'

case $asked in
'' | deploy)
	exec 9<.
	flock -w 1800 9 || refuse 'another deploy does not end'
	say info 'deploy'
	docker compose pull 9<&- && docker compose up -d 9<&- || {
		status=$?
		say err "deploy failed with status $status"
		exit "$status"
	}
	say info 'deployed'
	;;
status)
	docker compose ps --all --format json
	;;
*)
	refuse 'a deploy key can deploy and ask for the status, and nothing else'
	;;
esac
