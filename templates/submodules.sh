# $1 is a clone, $2 the address of its project, and $3 that of the pages of GitLab.
git_key
said=$(submodules "$1" "$2" "$3" 2>&1) || {
	which=$(printf '%s\n' "$said" | submodules_failed)
	fail "${which#* } cannot be cloned: $(printf '%s\n' "$said" | git_reason)"
}
