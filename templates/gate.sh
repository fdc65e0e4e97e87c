#!/bin/sh
# gate NAME FINGERPRINT
#
# The forced command of a deploy key: all that the key can do. It takes one
# word from the client: nothing or deploy pulls the images of the deployment
# NAME and restarts what changed; status tells what runs, as JSON; verify NONCE
# looks whether the deployment is as it should be, and changes nothing. Whatever
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
	say warning "refused: $1: $(printf '%.200s' "$asked" | tr -c '\040-\176' '?')"
	printf 'provision: refused: %s\n' "$1" >&2
	exit 126
}

case $name in
'' | *[!A-Za-z0-9._-]* | .*) refuse 'no such deployment' ;;
esac
settings=/etc/provision/deployments/$name
[ -r "$settings" ] || refuse 'no such deployment'
user='' directory='' wait='' rollback=''
while IFS='=' read -r word value; do
	case $word in
	user) user=$value ;;
	directory) directory=$value ;;
	wait) wait=$value ;;
	rollback) rollback=$value ;;
	esac
done <"$settings"
[ "$who" = "$user" ] || refuse 'this deployment belongs to another user'
HOME=$(getent passwd "$user" | cut -d : -f 6)
export HOME

# clean runs a program with nothing in its environment that a client of sshd
# could have put there.
clean() {
	env -i "HOME=$HOME" "USER=$user" "LOGNAME=$user" SHELL=/bin/sh "PATH=$PATH" LC_ALL=C "$@"
}

compose() {
	clean docker compose "$@"
}

# pulled_back IMAGES: makes the names of images mean what they meant before,
# and starts what ran before. A line of IMAGES is an id and a name. A name with
# a digest means the same for ever, and cannot be given.
pulled_back() {
	[ -n "$1" ] || return 1
	printf '%s\n' "$1" | while read -r id image; do
		case $image in
		*@* | sha256:*) continue ;;
		esac
		clean docker tag "$id" "$image" || exit 1
	done && compose up --detach --pull never 9<&-
}

deploy() {
	exec 9<.
	flock -w 1800 9 || refuse 'another deploy does not end'
	say info 'deploy'
	set -- --detach
	[ -z "$wait" ] || set -- "$@" --wait --wait-timeout "$wait"
	before=''
	if [ "$rollback" = yes ]; then
		before=$(for id in $(compose ps --quiet); do
			clean docker inspect --format '{{.Image}} {{.Config.Image}}' "$id" || : # it has ended meanwhile
		done)
	fi
	if compose pull 9<&- && compose up "$@" 9<&-; then
		say info 'deployed'
		return 0
	fi
	outcome='the deploy failed'
	if [ "$rollback" != yes ]; then
		:
	elif ! pulled_back "$before"; then
		outcome="$outcome, and going back to the images before it failed too"
	elif compose up --detach --pull never --wait --wait-timeout "$wait" 9<&-; then
		outcome="$outcome, and the images that ran before run again"
	else # it was not the images
		outcome="$outcome, and the images that ran before run again, but are not healthy either"
	fi
	say err "$outcome"
	printf 'provision: %s\n' "$outcome" >&2
	return 1
}

enter() {
	cd "$HOME/$directory" 2>/dev/null || refuse 'the deployment is not there yet'
}

case $asked in
'' | deploy)
	enter
	deploy
	;;
status)
	enter
	compose ps --all --format json
	;;
'verify '*)
	nonce=${asked#verify }
	case $nonce in
	*[!0-9a-f]*) refuse 'a nonce has hexadecimal digits' ;;
	????????????????????????????????) ;;
	*) refuse 'a nonce has 32 digits' ;;
	esac
	look=/usr/local/lib/provision/look/$name
	[ -r "$look" ] || refuse 'there is nothing installed to look with'
	printf '%s look %s\n' "$nonce" "$(sha256sum <"$look" | cut -c 1-64)"
	clean /bin/sh "$look" "$nonce" </dev/null 2>&1
	;;
*)
	refuse 'a deploy key can deploy, ask for the status and verify, and nothing else'
	;;
esac
