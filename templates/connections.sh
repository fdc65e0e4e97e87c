# $1 is a user. Reports its SSH connections that sshd(8) would no longer let in: a key that is
# taken out of authorized_keys still has those that it opened before, and sshd starts
# programs for them. By which key one came in, only the log of sshd knows; what that
# does not tell is not guessed. Only root can look.
#
#   revoked PID START KEY   the process of a connection, when it started in ticks since
#                           the host did, and the fingerprint of its key
#   unknown PID START       nobody knows by which key it came in
#
# One in which a program of ours runs is left: that deploy or look was begun while the key
# was allowed, and when it has ended, so has its connection.
if [ "$(id -u)" != 0 ] || ! uid=$(id -u "$1" 2>/dev/null); then return 0; fi

# sessions prints, of each process of the user that sshd has made for a connection, its
# number, that of the process of root above it, and those below it. cat, unlike awk, goes
# on where a process has ended meanwhile.
sessions() {
	cat /proc/[0-9]*/status 2>/dev/null | awk -v uid="$uid" '
		$1 == "Name:" { name = $2 }
		$1 == "Pid:" { pid = $2 }
		$1 == "PPid:" { above[pid] = $2 }
		$1 == "Uid:" {
			below[above[pid]] = below[above[pid]] " " pid
			if (name == "sshd" || name == "sshd-session") owner[pid] = $2
		}
		END {
			for (pid in owner) if (owner[pid] == uid && above[pid] in owner && owner[above[pid]] == "0") print pid, above[pid] below[pid]
		}'
}

# started PID prints when a process started.
started() (
	read -r stat <"/proc/$1/stat" || exit 0
	# shellcheck disable=SC2086 # it is fields
	set -- ${stat##*) } # the name of the process may hold anything
	echo "${20}"
) 2>/dev/null

# key_of PROCESS START USER prints the fingerprint of the key by which the process of root let
# the user in. Another process may have had its number before.
key_of() {
	journalctl -q -b -o short-monotonic _UID=0 "_PID=$1" 2>/dev/null </dev/null | sed -n \
		"s/^\[ *\([0-9]*\)\.[0-9]*\] [^ ]* sshd[a-z-]*\[[0-9]*\]: Accepted publickey for $3 from [^ ]* port [0-9]* ssh2: [^ ]* \(SHA256:[^ ]*\)\$/\1 \2/p" |
		awk -v since="$(($2 / 100 - 2))" '$1 >= since { key = $2 } END { print key }'
}

# allowed_keys prints the fingerprints of all keys that sshd lets in for the user. It fails
# where not all can be known.
allowed_keys() {
	command -v ssh-keygen >/dev/null || return 1
	sshd=$(command -v sshd) || return 1
	options=$("$sshd" -T -C "user=$1,host=localhost,addr=127.0.0.1" 2>/dev/null) || return 1
	! printf '%s\n' "$options" | grep '^authorizedkeyscommand ' | grep -qv ' none$' || return 1
	home=$(getent passwd "$1" | cut -d : -f 6)
	lines=$(for file in $(printf '%s\n' "$options" | sed -n 's/^authorizedkeysfile //p'); do
		file=$(printf '%s\n' "$file" | awk -v home="$home" -v user="$1" -v uid="$uid" '{
			while (match($0, /%./)) {
				c = substr($0, RSTART + 1, 1)
				out = out substr($0, 1, RSTART - 1) (c == "h" ? home : c == "u" ? user : c == "U" ? uid : c)
				$0 = substr($0, RSTART + 2)
			}
			print out $0
		}')
		case $file in
		/*) ;;
		*) file=$home/$file ;;
		esac
		# shellcheck disable=SC2016 # it is for the other shell
		runuser -u "$1" -- /bin/sh -c '! [ -f "$1" ] || ! [ -r "$1" ] || head -c 1048576 "$1"' sh "$file" </dev/null || echo '# failed'
		echo
	done)
	! printf '%s\n' "$lines" | grep -qx '# failed' || return 1
	# A key whose time is over is let in no more.
	printf '%s\n' "$lines" | awk -v utc="$(date -u +%Y%m%d%H%M)" -v here="$(date +%Y%m%d%H%M)" '
		match($0, /expiry-time="[0-9]+Z?"/) {
			end = substr($0, RSTART + 13, RLENGTH - 14)
			now = sub(/Z$/, "", end) ? utc : here
			if (length(end) == 12 && end <= now) next
		}
		{ print }' | ssh-keygen -lf - 2>/dev/null | awk '{ print $2 }'
}

open=$(sessions)
[ -n "$open" ] || return 0
root=$(stat -L -c %d:%i /proc/self/root/)
read -r up _ </proc/uptime
allowed='' asked=''
while read -r process above below; do
	[ "$(stat -L -c %d:%i "/proc/$process/root/" 2>/dev/null)" = "$root" ] || continue # one of a container
	start=$(started "$process") began=$(started "$above")
	for child in $below; do
		! { tr '\000' ' ' <"/proc/$child/cmdline"; } 2>/dev/null | grep -qF /usr/local/lib/provision/ || start='' # busybox has a grep that stops at a NUL
	done
	if [ -z "$start" ] || [ -z "$began" ]; then continue; fi
	key=$(key_of "$above" "$began" "$1")
	if [ -n "$key" ] && [ -z "$asked" ]; then
		asked=yes
		allowed=$(allowed_keys "$1") || asked=no
	fi
	if [ -z "$key" ] || [ "$asked" = no ]; then
		[ "$((${up%%.*} - start / 100))" -lt 60 ] || fact unknown "$process $start"
	elif ! printf '%s\n' "$allowed" | grep -qxF -e "$key"; then
		fact revoked "$process $start $key"
	fi
done <<END
$open
END
