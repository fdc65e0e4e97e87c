# What is put into a clone beside what git brings: lines in .env, and files with
# secrets. These functions are for the folder of the clone. In its .git the file
# provision-files has of each
#
#   wrote PATH SALT DIGEST   what was written there
#   made PATH                a folder that was made for it
#
# by which it is found again, and told from what somebody else has made of it. A
# short secret can be guessed from its digest, salted or not: so that file is for
# those alone who may read the secrets themselves. The salt is there for copies
# that get elsewhere without them, where equal secrets must not look equal.

# enter CLONE: fails where there is no clone.
enter() {
	cd "$1" 2>/dev/null && [ -e .git ] && command -v git >/dev/null || return 1
	notes=$PWD/.git/provision-files
	[ -d .git ] || notes=$(git rev-parse --absolute-git-dir 2>/dev/null)/provision-files
}

# lock_clone keeps two that write into it apart.
lock_clone() {
	exec 8<"${notes%/*}"
	flock -w 60 8 || fail 'the clone is locked by another process; run again'
}

# salted SALT: a digest of its input.
salted() {
	{
		printf '%s' "$1"
		cat
	} | sha256sum | cut -c 1-64
}

# inside FILE prints what stands between our marks, but for comments, and outside
# FILE all else. A mark without an end is a line like any other.
inside() { between yes "$1"; }
outside() { between '' "$1"; }
between() {
	awk -v inside="$1" '
		on && $0 == "# provision end" { if (inside) printf "%s", held; on = 0; next }
		on { if (!inside || !/^#/) held = held $0 "\n"; next }
		$0 == "# provision begin" { on = 1; held = ""; next }
		!inside
		END { if (on && !inside) printf "# provision begin\n%s", held }' "$2"
}

# as_written PATH COMMAND: whether what COMMAND prints is what was written there.
as_written() {
	_path=$1
	shift
	[ -f "$notes" ] || return 1
	while read -r _kind _at _salt _digest; do
		[ "$_kind $_at" != "wrote $_path" ] || [ "$("$@" | salted "$_salt")" != "$_digest" ] || return 0
	done <"$notes"
	return 1
}

# all_as_written prints the files that are as they were written.
all_as_written() {
	! [ -f "$notes" ] || sed -n 's/^wrote \([^ ]*\) .*/\1/p' "$notes" | sort -u | while read -r _file; do
		[ -f "$_file" ] || continue
		case $_file in
		.env) { [ -z "$(outside .env)" ] && as_written .env inside .env; } || continue ;;
		*) as_written "$_file" cat "$_file" || continue ;;
		esac
		printf '%s\n' "$_file"
	done
}

# odd PATH: why nothing can be written there, if so.
odd() {
	! git ls-files --error-unmatch -- "$1" >/dev/null 2>&1 || {
		printf 'git tracks %s\n' "$1"
		return
	}
	_at=$1
	while :; do
		if [ -L "$_at" ]; then
			printf '%s is a link\n' "$_at"
			return
		fi
		case $_at in
		*/*) _at=${_at%/*} ;;
		*) break ;;
		esac
		if [ -e "$_at" ] && [ ! -d "$_at" ]; then
			printf '%s is no folder\n' "$_at"
			return
		fi
	done
	[ ! -e "$1" ] || { [ -f "$1" ] && [ -r "$1" ]; } || printf '%s is no file that can be read\n' "$1"
}

# note PATH TEXT adds what TEXT prints of it, with a salt, before it is written.
note() {
	_new=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
	_new="wrote $1 $_new $("$2" | salted "$_new")"
	(umask 077 && printf '%s\n' "$_new" >>"$notes")
}

# keep_note PATH [NOTE]: leaves of what is noted of PATH only that. Without any notes
# at all the file goes. No note stands among arguments, which anybody can read.
keep_note() {
	_left=$(
		printf '%s\n' "${2-}"
		! [ -f "$notes" ] || cat "$notes"
	)
	_left=$(printf '%s\n' "$_left" | awk -v path="$1" 'NR == 1 { line = $0; next } $2 != path || $0 == line')
	if [ -n "$_left" ]; then
		printf '%s\n' "$_left" | put "$notes" 600
	else
		rm -f "$notes"
	fi
	ignore
}

# ignore keeps git from adding what is noted, and copies of it, to the project, and
# from cleaning it away.
ignore() {
	_exclude=$(git rev-parse --git-path info/exclude)
	mkdir -p "${_exclude%/*}"
	_lines=$(
		[ ! -f "$_exclude" ] || outside "$_exclude"
		! [ -f "$notes" ] || {
			echo '# provision begin'
			awk '$1 == "wrote" && !had[$2]++ { print "/" $2; print "/" $2 ".before-*" }' "$notes" | sort
			echo '# provision end'
		}
	)
	printf '%s\n' "$_lines" | put "$_exclude" 644
}

# keep_backup PATH: a copy beside it, which nobody else may read: it may hold secrets.
keep_backup() {
	put "$1.before-$(date -u +%Y%m%dT%H%M%SZ)" 600 <"$1"
}
