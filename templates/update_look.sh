# $1 is the directory of a deployment, $2 its name, $3 the address of its project
# and $4 that of the pages of its GitLab. $5 is the branch to be at, or "" for the
# one that the clone is at, and $6 the commit, or "" for the newest. This fetches,
# and lays the new commit beside the clone for Compose to read. The facts:
#
#   there, origin, branch, head   the clone as it is; the branch is - at none
#   unfetched                     why GitLab does not give the branch
#   to                            the commit to be at; unknown: there is none
#   ahead, back                   how many commits it has more, and fewer
#   commit                        of them: the short id, and the subject
#   off                           a branch of which the clone has commits that GitLab
#                                 does not have
#   astray                        the branch does not have that commit
#   changed, overwritten          what stands in the way
#   missing                       a submodule that is not cloned
#   lfs                           Git LFS is needed, and not there
#   submodule, refused            the path and address of a submodule that cannot
#                                 be had, and why
#   uncomposed                    there is no Compose to ask
#   was, will                     what Compose makes of the project now and then,
#                                 as in wants.sh, with paths as they are in the clone
#   other                         a service of which it makes something else, in what
#                                 is not told
#   mounted                       a service, file or folder, and the path of what
#                                 is mounted now and then, and changes
[ -e "$1" ] || return 0
fact there yes
command -v git >/dev/null && [ -e "$1/.git" ] || return 0
carried "$2" "$USER" "$1"
state=$HOME/.provision/${label:-$2}
cd "$1"
here=$PWD
branch=$(git symbolic-ref --quiet --short HEAD) || branch=-
origin=$(git config --get remote.origin.url | sed 's|^\([a-z+]*://\)\{0,1\}[^/@]*@|\1|')
fact branch "$branch"
fact origin "$origin"
head=$(git rev-parse --verify --quiet HEAD) || return 0
fact head "$head"
git --no-optional-locks status --porcelain --untracked-files=no | head -n 100 | cut -c 4- | facts changed
path=${3#ssh://}
path=${path#*/}
case ${origin%.git} in
*[:/]"${path%.git}") ;;
*) return 0 ;;
esac
[ "$branch" != - ] || return 0

git_key
wanted=${5:-$branch}
fetch() {
	within 600 git -c gc.auto=0 fetch --quiet --no-tags --no-recurse-submodules "$1" "+refs/heads/$2:refs/remotes/origin/$2" 2>&1
}
said=$(fetch "$3" "$wanted") || {
	fact unfetched "$(printf '%s\n' "$said" | git_reason)"
	return 0
}
[ "$wanted" = "$branch" ] || fetch "$3" "$branch" >/dev/null || : # it may be gone
tip=$(git rev-parse "refs/remotes/origin/$wanted")
to=$tip
if [ -n "$6" ]; then
	to=$(git rev-parse --verify --quiet "$6^{commit}") || {
		fact unknown yes
		return 0
	}
	git merge-base --is-ancestor "$to" "$tip" || fact astray yes
fi
fact to "$to"
ahead=$(git rev-list --count "HEAD..$to")
fact ahead "$ahead"
fact back "$(git rev-list --count "$to..HEAD")"
if [ "$wanted" = "$branch" ]; then
	git merge-base --is-ancestor HEAD "$tip" || fact off "$branch"
else
	for mine in "$branch" "$wanted"; do
		if git rev-parse --verify --quiet "refs/heads/$mine" >/dev/null && [ -n "$(git rev-list -n 1 "refs/heads/$mine" --not --remotes)" ]; then
			fact off "$mine"
			break
		fi
	done
fi
range=HEAD..$to
[ "$ahead" != 0 ] || range=$to..HEAD
git log --no-color --no-show-signature --abbrev=8 --format='%h %s' -n 20 "$range" | facts commit
git submodule status 2>/dev/null | sed -n 's/^-[0-9a-f]* //p' | facts missing
[ "$to" != "$head" ] || [ "$wanted" != "$branch" ] || return 0
overwritten "$to" | head -n 100 | facts overwritten
! uses_lfs "$to" || command -v git-lfs >/dev/null || fact lfs yes

# The folder has the name of the clone's, which may be that of the Compose project.
beside=$state/update
next=$beside/${1##*/}
umask 077
mkdir -p "$beside"
exec 8<"$beside"
flock -w 600 8 || fail "another update of $2 looks, and does not end"
trap 'rm -rf "$next"' EXIT
rm -rf "$next" # of a look that was ended
git -c init.defaultBranch=next init --quiet --template= "$next"
objects=$(git rev-parse --git-path objects)
case $objects in
/*) ;;
*) objects=$here/$objects ;;
esac
mkdir -p "$next/.git/objects/info"
printf '%s\n' "$objects" >"$next/.git/objects/info/alternates"
shallow=$(git rev-parse --git-path shallow)
! [ -f "$shallow" ] || cp "$shallow" "$next/.git/shallow"
git -C "$next" config remote.origin.url "$3"
GIT_LFS_SKIP_SMUDGE=1 git -C "$next" -c advice.detachedHead=false checkout --quiet --detach "$to"
if git cat-file -e "$to:.gitmodules" 2>/dev/null; then
	said=$(export GIT_LFS_SKIP_SMUDGE=1 && submodules "$next" "$3" "$4" 2>&1) || {
		fact submodule "$(printf '%s\n' "$said" | submodules_failed | sed "s|^$next/||")"
		fact refused "$(printf '%s\n' "$said" | git_reason)"
		return 0
	}
fi
# What stands in the clone beside the project is there too, as links.
physical=$(cd -P "$next" && pwd -P)
git -c core.quotePath=false ls-files --others --directory | head -n 1000 | while IFS= read -r path; do
	path=${path%/}
	if [ -e "$next/$path" ] || [ -L "$next/$path" ]; then
		continue
	fi
	folder=$next/$path
	folder=${folder%/*}
	mkdir -p "$folder" 2>/dev/null || continue
	case $(cd -P "$folder" && pwd -P) in
	"$physical" | "$physical"/*) ln -s "$here/$path" "$next/$path" ;;
	esac
done

compose() { within 30 docker compose "$@" </dev/null; }
compose_of_input() { within 30 docker compose --project-directory . --file - "$@"; }
docker compose version >/dev/null 2>&1 || {
	fact uncomposed yes
	return 0
}
# in_place reads what is said of the folder beside the clone, and prints it as if
# that were the clone.
in_place() {
	awk -v next_="$next" -v here="$here" '
	function place(text, from, to,   out, at, after) {
		while (at = index(text, from)) {
			after = substr(text, at + length(from), 1)
			out = out substr(text, 1, at - 1) (after ~ /[A-Za-z0-9._-]/ ? from : to)
			text = substr(text, at + length(from))
		}
		return out text
	}
	BEGIN {
		for (n = 1; n <= 4; n++) { # as far up as the deploy user has folders of ours
			from[n] = next_; to[n] = here
			sub(/\/[^\/]*$/, "", next_); sub(/\/[^\/]*$/, "", here)
		}
	}
	{
		for (n = 1; n <= 4; n++) $0 = place($0, from[n], to[n])
		print
	}'
}
was=$(resolve)
will=$(cd "$next" && resolve | in_place)
printf '%s\n' "$was" | grep -v '^/digest ' | head -n 5000 | facts was
printf '%s\n' "$will" | grep -v '^/digest ' | head -n 5000 | facts will
{
	compose config --format json 2>/dev/null | sed 's/^/1/'
	(cd "$next" && compose config --format json 2>/dev/null) | in_place | sed 's/^/2/'
} | awk '
	{ side = substr($0, 1, 1); $0 = substr($0, 2) }
	/^  [^ ]/ { services = /^  "services": \{/; next }
	services && /^    "/ { name = $0; sub(/^    "/, "", name); sub(/".*/, "", name); key = ""; there[side, name] = 1 }
	services && /^      "/ { key = $0; sub(/^      "/, "", key); sub(/".*/, "", key); if (key ~ /^(image|ports|volumes|container_name)$/) key = "" }
	services && key != "" { text[side, name, key] = text[side, name, key] "\n" $0; sub(/,$/, "", text[side, name, key]); all[name, key] = 1 }
	END {
		for (one in all) {
			split(one, f, SUBSEP)
			if (((2, f[1]) in there) && text[1, f[1], f[2]] != text[2, f[1], f[2]]) print f[1], f[2]
		}
	}' |
	sort | facts other
printf '%s\n' "$will" | sed -n 's,^/mount ,,p' | while read -r service file; do
	case $file in
	"$here") path=. kind=folder ;;
	"$here"/*) path=${file#"$here"/} kind=file ;;
	*) continue ;;
	esac
	printf '%s\n' "$was" | grep -qxF "/mount $service $file" || continue
	! [ -d "$file" ] || kind=folder
	git diff --quiet HEAD "$to" -- ":(literal)$path" || fact mounted "$service $kind $path"
done
