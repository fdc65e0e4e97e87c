# no_deploy NAME DIRECTORY waits for the deploy of NAME that runs, if there is one, and lets
# none begin until this script ends.
no_deploy() {
	carried "$1" "$USER" "$2"
	_state=$HOME/.provision/${label:-$1}
	(umask 077 && mkdir -p "$_state")
	exec 9>>"$_state/lock"
	if ! flock -n 9; then
		echo "waiting for the deploy that began at $(cat "$_state/running" 2>/dev/null || date -u +%Y-%m-%dT%H:%M:%SZ)"
		flock -w 14400 9 || fail "a deploy does not end; run again"
	fi
}
