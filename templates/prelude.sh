# What every script may use. This text stands at the head of each program.

# fact KEY VALUE: reports what a probe saw. A value is one line.
fact() {
	printf '%s fact %s=%s\n' "$mark" "$1" "$2"
}

# facts KEY: reports each line of its input.
facts() {
	while IFS= read -r _line || [ -n "$_line" ]; do
		fact "$1" "$_line"
	done
}

# fail MESSAGE: ends the script; the message becomes the reason.
fail() {
	printf '%s\n' "$1"
	exit 1
}

# log MESSAGE: writes a line to the log of the host, if it keeps one.
log() {
	logger -t provision -p auth.notice "$1" </dev/null >/dev/null 2>&1 || :
}

# secret: prints the secret of this script.
# printf is built into every shell that is used here, so no process ever has
# the secret among its arguments.
secret() {
	printf '%s' "$_secret"
}

# put FILE MODE [OWNER]: writes its input to FILE, which is never seen half
# written, nor with another owner or mode.
put() (
	umask 077
	_new=$(mktemp -u "$1.XXXXXX") || exit
	trap 'rm -f "$_new"' EXIT
	trap 'exit 1' HUP INT PIPE TERM
	cat >"$_new" && chmod "$2" "$_new" && { [ $# -lt 3 ] || chown "$3" "$_new"; } && mv -f "$_new" "$1"
)

# within SECONDS COMMAND: runs COMMAND, and ends it with status 124 when it takes
# longer. It stays in the process group, with which an interrupt ends it; only
# the timeout of busybox does that unasked.
within() {
	if timeout --foreground 1 true 2>/dev/null; then
		timeout --foreground "$@"
	else
		timeout "$@"
	fi
}

# as USER PROGRAM: runs a program as USER, in an environment like that of a login.
as() {
	_home=$(getent passwd "$1" | cut -d : -f 6)
	printf '%s' "$2" | runuser -u "$1" -- env -i "HOME=$_home" "USER=$1" "LOGNAME=$1" \
		SHELL=/bin/sh "PATH=$PATH" LC_ALL=C /bin/sh -s
}
