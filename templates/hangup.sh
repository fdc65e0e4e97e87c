# connection prints the process of sshd(8) that has the connection of a client that came
# through the gate, and when it started; nothing where there is none, or it is hidden.
connection() {
	_pid=$$ _below=''
	while [ "$_pid" -gt 1 ]; do
		_stat=''
		{ read -r _stat <"/proc/$_pid/stat"; } 2>/dev/null || return 0
		_name=${_stat%)*}
		# shellcheck disable=SC2086 # it is fields
		set -- ${_stat##*) }
		case ${_name#*(} in
		sshd | sshd-session)
			! is_ours "/proc/$_below/cmdline" || echo "$_pid ${20}"
			return 0
			;;
		esac
		_below=$_pid _pid=$2
	done
}

# is_ours FILE...: whether one of the command lines is that of a program of ours. The grep of
# busybox reads no further than to a NUL.
is_ours() {
	cat "$@" </dev/null 2>/dev/null | tr '\000' ' ' | grep -qF /usr/local/lib/provision/
}

# still_open CONNECTION: whether that is there; where none was seen, nobody knows better.
still_open() {
	[ -n "$1" ] || return 0
	_stat=''
	{ read -r _stat <"/proc/${1% *}/stat"; } 2>/dev/null || return 1
	# shellcheck disable=SC2086 # it is fields
	set -- "${1#* }" ${_stat##*) }
	[ "$2" != Z ] && [ "${21}" = "$1" ]
}

# hang_up CONNECTION ends one whose key is let in no more, when its client has had the time to
# read what this program said: sshd would let it stay. What else of ours runs in it is left
# to end, and then hangs up itself.
hang_up() {
	[ -n "$1" ] || return 0
	(
		sleep 2
		_others=$(cat /proc/[0-9]*/status 2>/dev/null | awk -v above="${1% *}" '$1 == "Pid:" { pid = $2 } $1 == "PPid:" && $2 == above { print "/proc/" pid "/cmdline" }')
		# shellcheck disable=SC2086 # it is words
		if still_open "$1" && ! is_ours $_others; then
			kill "${1% *}"
		fi
	) </dev/null >/dev/null 2>&1 3>&- 4>&- 6>&- 7>&- 8>&- 9>&- &
}
