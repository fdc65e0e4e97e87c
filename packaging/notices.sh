#!/bin/sh
# notices.sh: prints the licences of all that is linked into the programs, on
# any system that there are releases for. They are read where the build has read
# the code: from Go, and from the modules in its cache.
set -eu
export LC_ALL=C CGO_ENABLED=0
cd "$(dirname "$0")/.."
go=${GO:-go}

# linked SYSTEM: the modules, each with its version and its directory.
linked() {
	GOOS=$1 "$go" list -deps -tags urfave_cli_no_docs \
		-f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' ./cmd/provision...
}

# notice NAME VERSION DIRECTORY: the licences in a directory.
notice() {
	found=
	for file in "$3"/LICEN[CS]E* "$3"/COPYING* "$3"/NOTICE*; do
		[ -s "$file" ] || continue
		found=$file
		printf '\n==== %s %s: %s ====\n\n' "$1" "$2" "${file##*/}"
		cat "$file"
		echo
	done
	[ "$found" ] || { echo "notices.sh: $1 $2 has no licence in $3" >&2; exit 1; }
}

cat <<'END'
Besides code of its own, provision contains what is named below, each under the
licence that follows. "go mod download MODULE@VERSION" gets the source of each.
END
notice Go "$("$go" env GOVERSION)" "$("$go" env GOROOT)"
linux=$(linked linux)
darwin=$(linked darwin)
modules=$(printf '%s\n' "$linux" "$darwin" | sort -u)
while read -r path version directory; do
	notice "$path" "$version" "$directory"
done <<END
$modules
END
