# $1 is the directory of a deployment, $2 its name, $3 the address of its project,
# $4 that of the pages of its GitLab, $5 the branch to be at, $6 the commit that the
# clone was seen at, and $7 the one to be at. No deploy reads the project meanwhile.
cd "$1"
git_key
if uses_lfs "$7"; then
	said=$(lfs_files "$3" "$7" 2>&1) || fail "nothing was changed, as Git LFS gives no files: $(printf '%s\n' "$said" | git_reason)"
fi
no_deploy "$2" "$1"
branch=$(git symbolic-ref --quiet --short HEAD) || branch=''
[ -n "$branch" ] || fail "somebody else moved it meanwhile; run again"
[ "$(git rev-parse --verify --quiet HEAD)" = "$6" ] || fail "somebody else moved it meanwhile; run again"
[ -z "$(git status --porcelain --untracked-files=no)" ] || fail "somebody else changed files meanwhile; run again"
over=$(overwritten "$7" | head -n 1)
[ -z "$over" ] || fail "somebody else made $over meanwhile; run again"
# move BRANCH COMMIT: cut off in its midst, it would look like changes of somebody.
move() (
	trap '' HUP INT PIPE TERM
	git checkout --quiet --no-overwrite-ignore -B "$1" "$2" 9>&-
)
head=$6 url=$3 web=$4 half=''
# go_back undoes a move that is not done to the end.
go_back() {
	move "$branch" "$head"
	submodules . "$url" "$web" >/dev/null 2>&1 || :
}
trap '[ -z "$half" ] || go_back' EXIT
half=yes
move "$5" "$7"
if [ -f .gitmodules ]; then
	said=$(submodules . "$url" "$web" 2>&1) || fail "it goes back to what it was, as a submodule cannot be had: $(printf '%s\n' "$said" | git_reason)"
fi
half=''
git config --get "branch.$5.merge" >/dev/null || {
	git config "branch.$5.remote" origin
	git config "branch.$5.merge" "refs/heads/$5"
}
