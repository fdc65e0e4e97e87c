# git for a deploy user: with the key that GitLab has for it, and no other, and
# without a question.

# git_key: what git and Git LFS log in with from here on.
git_key() {
	git_ssh="ssh -i '$HOME/.ssh/id_ed25519' -o IdentitiesOnly=yes -o IdentityAgent=none"
	export GIT_TERMINAL_PROMPT=0 GIT_SSH_COMMAND="$git_ssh -o BatchMode=yes -o StrictHostKeyChecking=yes"
}

# git_reason reads what git said, and prints why it failed.
git_reason() {
	tr -d '\r' | awk '/ERROR|[Dd]enied|[Rr]efused|verification|fatal|error: / && !why { why = $0 } { last = $0 } END { print why ? why : last }' | cut -c 1-300
}

# uses_lfs COMMIT: whether files of it are kept by Git LFS.
uses_lfs() {
	git grep -q filter=lfs "$1" -- ':(glob)**/.gitattributes' 2>/dev/null
}

# lfs_files URL COMMIT fetches the files that Git LFS has of a commit, and has
# checkouts of this clone put them in place.
lfs_files() {
	git lfs install --local --skip-repo >/dev/null && git -c remote.origin.url="$1" lfs fetch origin "$2" 9>&-
}

# submodules CLONE URL WEB clones and updates the submodules of a clone. Those of
# the same GitLab are read with the key, however .gitmodules writes their
# addresses: URL is that of the clone, and WEB where the pages of GitLab are.
submodules() {
	_server=${2#ssh://}
	_server=ssh://${_server%%/*}/
	_name=${_server#ssh://}
	_name=${_name%/}
	within 1800 git -C "$1" -c "url.$_server.insteadOf=$3" -c "url.$_server.insteadOf=${_name%:*}:" submodule --quiet update --init --recursive 9>&-
}

# submodules_failed reads what submodules said, and prints "PATH URL" of the first
# that could not be cloned.
submodules_failed() {
	sed -n "s/^fatal: clone of '\(.*\)' into submodule path '\(.*\)' failed.*/\2 \1/p" | head -n 1
}

# overwritten COMMIT prints files that the clone here does not track, and that
# checking out COMMIT would overwrite, ignored ones too.
overwritten() {
	git -c core.quotePath=false diff --name-only --no-renames --diff-filter=A HEAD "$1" | while IFS= read -r _path; do
		if [ -L "$_path" ] || [ -e "$_path" ]; then
			[ -d "$_path" ] && [ ! -L "$_path" ] && [ -z "$(ls -A "$_path")" ] || printf '%s\n' "$_path"
			continue
		fi
		while :; do
			case $_path in
			*/*) _path=${_path%/*} ;;
			*) break ;;
			esac
			if [ -L "$_path" ] || [ -e "$_path" ] && ! [ -d "$_path" ]; then
				git ls-files --error-unmatch -- "$_path" >/dev/null 2>&1 || printf '%s\n' "$_path"
				break
			fi
		done
	done | sort -u
}
