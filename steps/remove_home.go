package steps

import (
	"fmt"
	"slices"
	"strings"

	"provision/provision"
)

// lookAtCheckout reports a clone, whether we made it, and what would be lost
// with it: what git would not bring back, and what is not the user's, such as
// the data of a container. What ends here ends the script.
const lookAtCheckout = `
! [ -e ".$1.removed" ] || fact half yes
[ -e "$1" ] || return 0
fact there yes
[ -e "$1/.git" ] && command -v git >/dev/null || return 0
fact made "$(git -C "$1" config --local --get provision.deployment)"
override=$1/compose.override.yaml kept=''
if [ -f "$override" ] && [ "$(sha256sum <"$override" | cut -c 1-64)" = "$(git -C "$1" config --local --get provision.override)" ]; then
	fact override ours
	kept='.. compose\.override\.yaml'
fi
{
	git --no-optional-locks -C "$1" status --porcelain --ignored >/dev/null || echo '?? what git cannot tell'
	git --no-optional-locks -C "$1" status --porcelain --ignored | grep -vx "$kept" || :
	git -C "$1" log HEAD --branches --not --remotes --format='?? commit %h' || :
	git -C "$1" stash list --format='?? %gd' || :
	find "$1" ! -user "$(id -un)" -prune | sed 's|^[^/]*/|?? |' || :
} 2>/dev/null | head -n 100 | cut -c 4- | sort -u | facts changed
`

// goes tells whether a clone of which these are the facts is removed.
func goes(f provision.Facts) bool { return f.Get("made") != "" && len(f["changed"]) == 0 }

// checkout removes the clone, or where it stays what we put into it.
func (l leaving) checkout() provision.Step {
	script := provision.Script{User: l.User, Args: []string{l.Directory}, Text: lookAtCheckout}
	return undo{"checkout " + l.Name, provision.Probe{Script: script}, func(f provision.Facts) ([]provision.Change, error) {
		home := "~" + l.User + "/" + l.Directory
		var changes []provision.Change
		if f.Get("half") != "" {
			changes = append(changes, l.asUser("remove what is left of an earlier "+home, `rm -rf ".$1.removed"`, l.Directory))
		}
		switch {
		case f.Get("there") == "":
			return changes, nil
		case goes(f):
			// It moves away first: half of a clone would look like anything.
			return append(changes, l.asUser("remove "+home, `
mv "$1" ".$1.removed"
rm -rf ".$1.removed"
`, l.Directory)), nil
		}
		if f.Get("override") != "" {
			changes = append(changes, l.asUser("remove "+home+"/compose.override.yaml", `
rm -f "$1/compose.override.yaml"
git -C "$1" config --unset provision.override
git -C "$1" config --get-regexp '^provision[.]' >/dev/null || git -C "$1" config --remove-section provision 2>/dev/null || :
`, l.Directory))
		}
		if f.Get("made") == "" {
			return append(changes, provision.Note("%s stays, as somebody else has made it", home)), nil
		}
		return append(changes, provision.Note("%s stays, as it has what is nowhere else: %s", home, list(shorten(f["changed"])))), nil
	}}
}

// repoKey removes the key pair that the user clones with.
func (l leaving) repoKey() provision.Step {
	script := provision.Script{User: l.User, Text: lookAtOthers + `
for key in id_ed25519 id_ed25519.next; do
	case $(ssh-keygen -y -P '' -f ".ssh/$key" 2>/dev/null </dev/null) in
	*' ` + keyMark + `'*) fact made "$key" ;;
	esac
done
! [ -e .ssh/id_ed25519.retired.pub ] || fact made id_ed25519.retired
`}
	return undo{"repo-key " + l.User, provision.Probe{Script: script}, func(f provision.Facts) ([]provision.Change, error) {
		if len(f["made"]) == 0 || len(l.needed(f)) > 0 {
			return nil, nil
		}
		return []provision.Change{l.asUser("remove the key pair of "+l.User, `
for key; do
	rm -f ".ssh/$key.pub"
	rm -f ".ssh/$key"
done
rmdir .ssh 2>/dev/null || :
`, f["made"]...)}, nil
	}}
}

// gitHost lets the user forget the git server, as far as it was told by us.
func (l leaving) gitHost() provision.Step {
	g := l.inv.GitLab.SSH
	address := knownHostsName(g.Host, g.Port)
	script := provision.Script{User: l.User, Args: []string{address}, Text: lookAtOthers + `
[ -f .ssh/known_hosts ] || return 0
awk -v address="$1" '$NF == "` + lineMark + `" && ($1 == address || $2 == address)' .ssh/known_hosts | facts line
`}
	return undo{"git-host " + l.User, provision.Probe{Script: script}, func(f provision.Facts) ([]provision.Change, error) {
		if len(f["line"]) == 0 || len(l.needed(f)) > 0 {
			return nil, nil
		}
		return []provision.Change{l.asUser(fmt.Sprintf("let %s forget the %s of %s", l.User, count(len(f["line"]), "host key"), address), `
file=.ssh/known_hosts
exec 9<.ssh
flock -w 60 9 || fail 'somebody else is changing .ssh/known_hosts; run again'
[ ! -L "$file" ] || fail '.ssh/known_hosts is a link; replace it by a file'
sum=$(cksum <"$file")
umask 077
new=$(mktemp -u "$file.XXXXXX")
trap 'rm -f "$new"' EXIT
awk -v address="$1" '!($NF == "`+lineMark+`" && ($1 == address || $2 == address))' "$file" >"$new"
chmod "$(stat -c %a "$file")" "$new"
[ "$(cksum <"$file")" = "$sum" ] || fail 'somebody else changed .ssh/known_hosts meanwhile; run again'
if [ -s "$new" ]; then
	mv -f "$new" "$file"
else
	rm -f "$file" "$new"
	rmdir .ssh 2>/dev/null || :
fi
`, address)}, nil
	}}
}

// lookAtAccount reports a user, and what in the home is neither ours nor came
// with the account. $1 is the directory of the deployment.
const lookAtAccount = lookAtOthers + `
user=$(id -un)
getent passwd "$user" | facts passwd
for file in "/etc/provision/made/$user"/*; do
	! [ -f "$file" ] || fact before "${file##*/}"
done
! [ -r .ssh/authorized_keys ] || facts line <.ssh/authorized_keys
! command -v crontab >/dev/null || ! crontab -l >/dev/null 2>&1 || fact used 'a crontab'
for entry in * .[!.]* ..?* .ssh/*; do
	[ -e "$entry" ] || [ -L "$entry" ] || continue
	case $entry in
	"$1" | ".$1.removed" | ".$1."?????? | .ssh | .docker | .cache | .provision) ;;
	.ssh/authorized_keys | .ssh/known_hosts | .ssh/id_ed25519) ;;
	.ssh/authorized_keys.* | .ssh/known_hosts.* | .ssh/id_ed25519.* | .ssh/key.*) ;; # or what a kill left
	*) [ -e "/etc/skel/$entry" ] || fact entry "$entry" ;;
	esac
done
`

// account removes the user, if we made it and nothing else uses it, or gives
// the user of somebody else back what was changed.
func (l leaving) account() provision.Step {
	key := ciKey{ci: ciOf(l.Deployment)}
	script := provision.Script{User: l.User, Args: []string{l.Directory}, Text: lookAtAccount + lookAtCheckout}
	return undo{"user " + l.User, provision.Probe{Script: script}, func(f provision.Facts) ([]provision.Change, error) {
		passwd := strings.Split(f.Get("passwd"), ":")
		if len(passwd) < 7 {
			return nil, nil
		}
		if names := l.needed(f); len(names) > 0 {
			return []provision.Change{provision.Note("%s stays, for %s", l.User, list(names))}, nil
		}
		if strings.TrimRight(passwd[4], ",") != madeBy {
			if len(f["before"]) == 0 {
				return nil, nil
			}
			var words []string
			for _, what := range f["before"] {
				words = append(words, map[string]string{"docker": "groups", "shell": "shell", "password": "locked account"}[what])
			}
			return []provision.Change{asRoot(fmt.Sprintf("give %s back the %s of before", l.User, list(words)), giveBack, l.User)}, nil
		}
		used := slices.Clone(f["used"])
		for _, entry := range f["entry"] {
			used = append(used, "~/"+entry)
		}
		for _, line := range f["line"] {
			if len(wordsOf(line)) > 0 && !key.named(line) {
				used = append(used, "other lines of ~/.ssh/authorized_keys")
				break
			}
		}
		if f.Get("there") != "" && !goes(f) {
			used = append(used, "~/"+l.Directory)
		}
		if len(used) > 0 {
			return []provision.Change{provision.Note("%s stays, for %s", l.User, list(shorten(used)))}, nil
		}
		return []provision.Change{asRoot("remove the user "+l.User, removeUser, l.User)}, nil
	}}
}

// userdel(8) refuses while a process of the user runs. The one that systemd
// keeps for a while after the last login is none that anybody misses.
const removeUser = `
rm -rf "/etc/provision/made/$1"
rmdir /etc/provision/made 2>/dev/null || :
systemctl stop "user@$(id -u "$1").service" 2>/dev/null || :
userdel --remove "$1"
`

const giveBack = `
before=/etc/provision/made/$1
if [ -e "$before/docker" ] && id -nG "$1" | tr ' ' '\n' | grep -qx docker; then
	gpasswd --delete "$1" docker >/dev/null
fi
if [ -e "$before/shell" ] && [ "$(getent passwd "$1" | cut -d : -f 7)" = /bin/sh ]; then
	usermod --shell "$(cat "$before/shell")" "$1"
fi
if [ -e "$before/password" ] && [ "$(getent shadow "$1" | cut -d : -f 2)" = '*' ]; then
	usermod --password "$(cat "$before/password")" "$1"
fi
rm -rf "$before"
rmdir /etc/provision/made 2>/dev/null || :
`
