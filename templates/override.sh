# $1 is the compose.override.yaml of a clone, $2 its text to be, and $3 the digest
# of that. Compose judges it beside the project before it is in place.
compose_of_input() { within 30 docker compose --project-directory . --file - "$@"; }

# refused prints why Compose does not take the override: nothing where it does, or
# where it cannot read the project without one either.
refused() (
	cd "$1" || return 0
	override=$2
	files=$(set_files | grep -vxF -e compose.override.yaml -e ./compose.override.yaml) || :
	for file in compose.yaml compose.yml docker-compose.yml docker-compose.yaml; do
		[ -n "$files" ] || [ ! -f "$file" ] || files=$file
	done
	set -- --project-directory .
	while IFS= read -r file; do
		set -- "$@" --file "$file"
	done <<-END
		$files
	END
	within 30 docker compose "$@" config --quiet </dev/null >/dev/null 2>&1 || return 0
	! said=$(printf '%s' "$override" | within 30 docker compose "$@" --file - config --quiet 2>&1) || return 0
	printf '%s\n' "$said" | grep -v level=warning | grep -v '^[[:space:]]*$' | tail -n 1 | tr -c '\012\040-\176' '?' | cut -c 1-300
)
clone=${1%/*}
why=$(refused "$clone" "$2")
[ -z "$why" ] || fail "Compose does not take it beside compose.yaml: $why"
if [ -e "$1" ] && [ "$(sha256sum <"$1" | cut -c 1-64)" != "$(git -C "$clone" config --local --get provision.override)" ]; then
	cp -p "$1" "$1.before-$(date -u +%Y%m%dT%H%M%SZ)"
fi
git -C "$clone" config provision.override "$3"
printf '%s' "$2" | put "$1" 644
