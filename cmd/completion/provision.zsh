#compdef provision
# zsh completion of provision.

_provision() {
	local line word ending tab=$'\t'
	local -a lines found
	lines=("${(@f)$(${(Q)words[1]} __complete "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
	for line in $lines; do
		case $line in
		(:files*)
			ending=${line#:files}
			_files -g "*${ending# }(-.)"
			return
			;;
		(*)
			word=${line%%$tab*}
			found+=("${word//:/\\:}:${line#*$tab}")
			;;
		esac
	done
	_describe -t provision provision found
}

if [[ ${funcstack[1]} == _provision ]]; then
	_provision "$@"
else
	compdef _provision provision
fi
