if [ ! -f "$SSH_AUTH" ]; then # its text would be the key, and in no log
	echo "${PROVISION_PREFIX-}SSH_AUTH is not a file: set the type of the variable to File" >&2
	exit 1
fi
# The files of this job alone, removed at its end. Nothing is read or written in
# the home directory: other jobs may share it, or there is none.
files=$(mktemp -d)
trap 'rm -rf "$files"' EXIT
trap 'exit 143' HUP INT TERM
(umask 077 && { cat "$SSH_AUTH" && echo; } >"$files/key") # no key without a newline at its end
printf '%s\n' "$SSH_KNOWN_HOSTS" >"$files/known_hosts"
export SHELL=/bin/sh # runs the LocalCommand, which tells that the host let this job in
cat >"$files/config" <<EOC
IdentityFile "$files/key"
IdentitiesOnly yes
IdentityAgent none
UserKnownHostsFile "$files/known_hosts"
GlobalKnownHostsFile /dev/null
StrictHostKeyChecking yes
UpdateHostKeys no
BatchMode yes
ConnectTimeout 30
ServerAliveInterval 30
PermitLocalCommand yes
LocalCommand : >"$files/connected"
EOC
# OpenSSH refuses to run as a uid without a name, which some runners choose.
if ! id -un >/dev/null 2>&1; then
	if [ -w /etc/passwd ]; then
		echo "job:x:$(id -u):$(id -g)::/:/bin/sh" >>/etc/passwd
	elif unshare --map-root-user true 2>/dev/null; then
		ssh() { unshare --map-root-user ssh "$@"; }
	else
		echo "this job runs as uid $(id -u), which has no entry in /etc/passwd, and OpenSSH needs one: run it as a user of its image (image:docker:user or image:kubernetes:user), or let the group write /etc/passwd in the image" >&2
		exit 1
	fi
fi
