#!/bin/sh
# gate NAME FINGERPRINT
# gate NAME - WHO
#
# The forced command of a CI key: all that the key can do with the deployment
# NAME, by that name or one that it has got since. Without a key, WHO is an admin who acts as the user of the deployment. It
# takes one line from the client, as SSH_ORIGINAL_COMMAND:
#
#   deploy          or nothing: pull the images, and restart what changed
#   deploy VERSION  the same with this version, where the settings allow it
#   status          what runs, and how the last deploy ended: one line of JSON
#   verify NONCE 2  look whether the deployment is as it should be; 2 is the
#                   version of this protocol
#
# Whatever else is asked is refused with the exit status 126 and one line on
# standard error, in which programs read the code:
#
#   provision: refused: CODE: SENTENCE
#
#   unknown-deployment wrong-user key-revoked no-version bad-version old-program
#   bad-nonce not-installed not-allowed not-cloned home-read-only too-many-sessions
#
# The code, what was asked and the fingerprint of the key are logged.
set -eu
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
export PATH LC_ALL
unset IFS ENV BASH_ENV CDPATH
umask 022

name=$1 key=$2 asked=${SSH_ORIGINAL_COMMAND-} who=$(id -un) from=${SSH_CLIENT-nowhere}
from=${from%% *}
[ "$key" != - ] || from=${3-an admin}

# refuse CODE SENTENCE
refuse() {
	logger -t provision -p auth.warning \
		"$name: refused: $1: $(printf '%.200s' "$asked" | tr -c '\040-\176' '?') (user $who, key $key, from $from)" || :
	printf 'provision: refused: %s: %s\n' "$1" "$2" >&2
	exit 126
}

case $name in
'' | *[!A-Za-z0-9._-]* | .*) refuse unknown-deployment 'no such deployment' ;;
esac
HOME=$(getent passwd "$who" | cut -d : -f 6)
export HOME
line=$key
if [ -f "$settings/$name" ] && stands "$name" "$key"; then line=-; fi # a rename writes the line first
if ! called "$name" "$who" "$line"; then
	[ ! -f "$settings/$name" ] || refuse wrong-user 'this deployment belongs to another user'
	refuse unknown-deployment 'no such deployment'
fi

# sshd has looked at the key when the connection began, which may be long ago.
[ "$key" = - ] || let_in "$key" || refuse key-revoked 'this key is no longer allowed'

version=''
case $asked in
'' | deploy | status) ;;
'deploy '*)
	version=${asked#deploy }
	[ -n "$variable" ] || refuse no-version 'the inventory lets nobody choose a version of this deployment'
	case $version in
	sha256:*[!0-9a-f]* | '' | [.-]*) refuse bad-version 'a version is a tag or a digest' ;;
	sha256:*) [ "${#version}" -eq 71 ] || refuse bad-version 'a digest has 64 digits' ;;
	*[!A-Za-z0-9_.-]*) refuse bad-version 'a version is a tag or a digest' ;;
	esac
	[ "${#version}" -le 128 ] || refuse bad-version 'a version has at most 128 characters'
	;;
'verify '*)
	nonce=${asked#verify }
	case $nonce in
	*' 2') nonce=${nonce% 2} ;;
	????????????????????????????????) refuse old-program 'the program that asks is older than this gate: upgrade provision there' ;;
	esac
	case $nonce in
	*[!0-9a-f]*) refuse bad-nonce 'a nonce has hexadecimal digits' ;;
	????????????????????????????????) ;;
	*) refuse bad-nonce 'a nonce has 32 digits' ;;
	esac
	look=/usr/local/lib/provision/look/$known
	[ -r "$look" ] || refuse not-installed 'there is nothing installed to look with'
	;;
*) refuse not-allowed 'this key allows only: deploy, status, verify' ;;
esac
case $asked in
verify*) ;;
*) [ -d "$HOME/$directory" ] || refuse not-cloned 'the deployment is not there yet' ;;
esac

# One key holds so many sessions at a time, whatever it asks for.
state=$HOME/.provision/$label
[ -d "$state" ] || (umask 077 && mkdir -p "$state") 2>/dev/null || refuse home-read-only 'the home of the user cannot be written: is the disk full?'
slot=0
while :; do
	exec 3>>"$state/session.$slot"
	! flock -n 3 || break
	slot=$((slot + 1))
	[ "$slot" -lt 32 ] || refuse too-many-sessions 'too many sessions; try again later'
done

# clean runs a program with nothing in its environment that a client of sshd
# could have put there, and ends it after so many seconds.
clean() {
	limit=$1
	shift
	exec env -i "HOME=$HOME" "USER=$user" "LOGNAME=$user" SHELL=/bin/sh "PATH=$PATH" LC_ALL=C \
		timeout "$limit" /bin/sh "$@"
}

deploy=/usr/local/lib/provision/deploy
case $asked in
'' | deploy*) clean 14400 "$deploy" ask "$known" "$key" "$from" deploy "$version" ;;
status) clean 60 "$deploy" status "$known" ;;
*)
	printf '%s look %s\n' "$nonce" "$(sha256sum <"$look" | cut -c 1-64)"
	clean 300 "$look" "$nonce" </dev/null 2>&1
	;;
esac
