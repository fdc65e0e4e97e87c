# $1 is the compose.override.yaml of a clone, $2 its text to be, and $3 the digest
# of that; then come the Compose files of the project, if the inventory names them.
# Compose judges it beside the project before it is in place.
compose() { within 30 docker compose "$@"; }
compose_of_input() { compose --project-directory . --file - "$@"; }

# refused prints why Compose does not take the override: nothing where it does, or
# where it cannot read the project without one either.
refused() (
	cd "$1" || return 0
	override=$2
	shift 2
	files=$(printf '%s\n' "$@")
	[ -n "$files" ] || files=$(set_files | grep -vxF -e compose.override.yaml -e ./compose.override.yaml) || :
	for file in compose.yaml compose.yml docker-compose.yml docker-compose.yaml; do
		[ -n "$files" ] || [ ! -f "$file" ] || files=$file
	done
	folder=$(printf '%s\n' "$files" | sed -n '1s,/*[^/]*$,,p')
	set --
	while IFS= read -r file; do
		set -- "$@" --file "$file"
	done <<-END
		$files
	END
	compose_in "$PWD${folder:+/$folder}" "$@" config --quiet </dev/null >/dev/null 2>&1 || return 0
	! said=$(printf '%s' "$override" | compose_in "$PWD${folder:+/$folder}" "$@" --file - config --quiet 2>&1) || return 0
	printf '%s\n' "$said" | grep -v level=warning | grep -v '^[[:space:]]*$' | tail -n 1 | tr -c '\012\040-\176' '?' | cut -c 1-300
)
file=$1 text=$2 digest=$3 clone=${1%/*}
shift 3
why=$(refused "$clone" "$text" "$@")
[ -z "$why" ] || fail "Compose does not take it beside compose.yaml: $why"
if [ -e "$file" ] && [ "$(sha256sum <"$file" | cut -c 1-64)" != "$(git -C "$clone" config --local --get provision.override)" ]; then
	cp -p "$file" "$file.before-$(date -u +%Y%m%dT%H%M%SZ)"
fi
git -C "$clone" config provision.override "$digest"
printf '%s' "$text" | put "$file" 644
