#compdef provision
# zsh completion of provision.

_provision() {
	local line
	local -a found
	for line in ${(f)"$(${(Q)words[1]} __complete "${(@Q)words[2,CURRENT]}" 2>/dev/null)}"; do
		case $line in
		:files*)
			local ending=${line#:files}
			_files -g "*${ending# }(-.)"
			return
			;;
		*) found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}") ;;
		esac
	done
	_describe -t provision provision found
}

if [[ ${funcstack[1]} == _provision ]]; then
	_provision "$@"
else
	compdef _provision provision
fi
