# bash completion of provision; needs nothing else, and works with bash 3.2.

_provision() {
	local line ending quotes=$'[\\\\"\']' # words stand here as they were typed
	local words=("${COMP_WORDS[@]//$quotes/}")
	local cur=${words[COMP_CWORD]}
	COMPREPLY=()
	[ "$cur" != = ] || cur=
	while IFS= read -r line; do
		case $line in
		:files*)
			ending=${line#:files}
			compopt -o filenames 2>/dev/null
			while IFS= read -r line; do
				COMPREPLY+=("$line")
			done < <(
				compgen -d -- "$cur"
				compgen -f -X "!*${ending# }" -- "$cur" | while IFS= read -r file; do
					[ -d "$file" ] || printf '%s\n' "$file"
				done
			)
			;;
		?*) COMPREPLY+=("${line%%$'\t'*}") ;;
		esac
	done < <("${1/#\~/$HOME}" __complete "${words[@]:1:COMP_CWORD-1}" "$cur" 2>/dev/null)
}

complete -F _provision provision
