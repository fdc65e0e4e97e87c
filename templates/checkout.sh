# $1 is the directory that the clone is to be, $2 the address of the project, $3
# the branch, or "" for the default one, $4 the name of the deployment, and $5 the
# address of the pages of GitLab.
new=$(mktemp -u ".$1.XXXXXX")
trap 'rm -rf "$new"' EXIT
mkdir "$new"
git_key
folder=$1 url=$2 branch=$3 deployment=$4 web=$5
set -- --quiet --config "core.sshCommand=$git_ssh" # the user may have other keys, which GitLab knows elsewhere
[ -z "$branch" ] || set -- "$@" --branch "$branch"
said=$(GIT_LFS_SKIP_SMUDGE=1 git clone "$@" -- "$url" "$new/clone" 2>&1) || {
	printf '%s\n' "$said" | tr -d '\r'
	fail "$(printf '%s\n' "$said" | git_reason)"
}
git -C "$new/clone" config provision.deployment "$deployment"
[ ! -e "$folder" ] || fail "somebody else made $folder meanwhile; run again"
mv "$new/clone" "$folder"
rmdir "$new"
# What is wrong from here on leaves the clone as it is.
cd "$folder"
if uses_lfs HEAD && command -v git-lfs >/dev/null; then
	said=$(lfs_files "$url" HEAD 2>&1 && git lfs checkout 2>&1) || fail "the clone is there, but Git LFS gives no files: $(printf '%s\n' "$said" | git_reason)"
fi
if [ -f .gitmodules ]; then
	said=$(submodules . "$url" "$web" 2>&1) || {
		which=$(printf '%s\n' "$said" | submodules_failed)
		fail "the clone is there, but not its submodule $(printf '%s\n' "$which" | sed "s|^$PWD/||; s| .*||"), from ${which#* }: $(printf '%s\n' "$said" | git_reason)"
	}
fi
