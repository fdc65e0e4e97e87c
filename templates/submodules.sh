# $1 is a clone, $2 the name of its deployment, $3 the address of its project, and $4
# that of the pages of GitLab.
no_deploy "$2" "$1"
git_key
said=$(submodules "$1" "$3" "$4" 2>&1) || {
	which=$(printf '%s\n' "$said" | submodules_failed)
	fail "${which#* } cannot be cloned: $(printf '%s\n' "$said" | git_reason)"
}
