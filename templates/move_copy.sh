# $1 is what to do with a volume of the deployment $2, which moves; $3 is the volume. It
# is copied as it is while containers write to it, and then what has changed is copied
# while none does. In /var/lib/provision/moves/NAME there are
#
#   V.since, V.first   when it was looked at first, and what there was
#   V.second           what is there in the end
#   V.paths            of that, all paths with their kinds, for the new host
#   V.changed          what differs from V.first, or may
#
# What is fed comes from the file descriptor 3, all of which has to be read.
move=/var/lib/provision/moves/$2
volume=$3
mkdir -p "$move"

# enter goes to the volume.
enter() {
	_place=$(docker volume inspect --format '{{.Mountpoint}}' "$volume")
	cd "$_place"
}

# tar_with ARGUMENTS: tar that keeps as much as the one of this host can.
tar_with() {
	_flags=''
	if tar --version 2>/dev/null | grep -q 'GNU tar'; then
		_flags='--numeric-owner --sparse --no-unquote --xattrs --xattrs-include=*'
		! tar --acls --create --file=/dev/null --files-from=/dev/null 2>/dev/null || _flags="$_flags --acls"
	fi
	set -f
	# shellcheck disable=SC2086 # words
	tar $_flags "$@"
}

# entries: all in the folder here, sorted. A socket is of no use to anybody else.
entries() {
	find . -xdev ! -type s -exec stat -c '%f %u %g %s %Y %Z %i %h %n' {} + | sort
}

# paths: the kind of each entry, and its path.
paths() {
	sed 's/^\(.\)\([^ ]* \)\{8\}/\1 /' | sort
}

# summary: what is in the volume, but for what no tar keeps; and what is in the
# files that came last.
summary() {
	find . -xdev ! -type s ! -type d ! -type l -exec stat -c '%f %u %g %s %Y %h %n' {} +
	find . -xdev -type d -exec stat -c '%f %u %g %n' {} +
	# shellcheck disable=SC2016 # the shell that find starts expands it
	find . -xdev -type l -exec sh -c 'for link; do printf "%s %s -> %s\n" "$(stat -c "%u %g" "$link")" "$link" "$(readlink "$link")"; done' sh {} +
	while IFS= read -r file; do
		[ ! -f "$file" ] || [ -L "$file" ] || printf '%s\000' "$file"
	done <"$move/$volume.changed" | xargs -0 -r sha256sum
}

case $1 in
# --- The old host -------------------------------------------------------------

# first: notes what is in the volume. What is dirty in memory is written, as a file
# shows a change only when its pages were clean before.
first)
	umask 077
	date +%s >"$move/$volume.since" # before: what is made dirty meanwhile is new
	sync
	enter
	entries >"$move/$volume.first"
	;;

# send: all of it, while it may change.
send)
	enter
	tar_with -c -f - . || [ "$?" = 1 ]
	;;

# lists: what is there, by its paths, and what has changed since.
lists)
	enter
	umask 077
	entries >"$move/$volume.second"
	{
		comm -13 "$move/$volume.first" "$move/$volume.second"
		awk -v since="$(cat "$move/$volume.since")" '$6 >= since - 2' "$move/$volume.second"
	} | sed 's/^\([^ ]* \)\{8\}//' | sort -u >"$move/$volume.changed"
	paths <"$move/$volume.second" | sed 's/^/=/'
	sed 's/^/+/' "$move/$volume.changed"
	;;

# changes: that, as an archive.
changes)
	enter
	tar_with -c -f - --no-recursion -T "$move/$volume.changed"
	;;

# --- The new host -------------------------------------------------------------

# create LABEL…
create)
	shift 3
	! docker volume inspect "$volume" >/dev/null 2>&1 || return 0
	for label; do
		set -- "$@" --label "$label"
		shift
	done
	docker volume create "$@" "$volume" >/dev/null
	;;

# receive: all of it.
receive)
	enter
	find . ! -name . -prune -exec rm -rf {} +
	tar_with -x -p -f - <&3
	cat <&3 >/dev/null
	;;

# keep_lists: what the old host does not have goes.
keep_lists)
	umask 077
	cat <&3 >"$move/$volume.lists"
	sed -n 's/^+//p' "$move/$volume.lists" >"$move/$volume.changed"
	sed -n 's/^=//p' "$move/$volume.lists" >"$move/$volume.paths"
	enter
	entries | paths | comm -23 - "$move/$volume.paths" | cut -c 3- | tr '\n' '\000' | xargs -0 -r rm -rf --
	;;

# renewed: what has changed of it.
renewed)
	enter
	tar_with -x -p -f - <&3
	cat <&3 >/dev/null
	;;

# summary: the same of both hosts, where the copy is right.
summary)
	enter
	fact summary "$(summary | sort | sha256sum | cut -c 1-64)"
	;;
esac
