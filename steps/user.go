package steps

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"provision/provision"
	"provision/provision/hint"
)

// user wants a Unix user who can do nothing but use Docker and log in with a
// key. One who is there already is adopted.
type user struct{ name string }

func userOf(t target) user { return user{t.deployment.User} }

func (s user) Name() string { return "user " + s.name }

func (s user) Scope() provision.Scope { return provision.Scope{User: s.name} }

// The password itself is not reported, only what kind it is: "*" is none, "!"
// is locked, and "set" is one that somebody may know. sshd(8) is asked what it
// would really do for this user.
func (s user) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{Args: []string{s.name}, Text: `
getent passwd "$1" | facts passwd
if [ "$(id -u)" = 0 ] && sshd=$(command -v sshd); then
	"$sshd" -T -C "user=$1,host=localhost,addr=127.0.0.1" 2>/dev/null |
		grep -E '^(allowusers|allowgroups|denyusers|denygroups|authorizedkeysfile|pubkeyauthentication) ' | facts sshd || :
fi
if [ -z "$(getent passwd "$1")" ]; then
	fact group "$1" # as it will be
	fact group docker
	[ -z "$(getent group "$1")" ] || fact namesake yes
	return 0
fi
id -nG "$1" | tr ' ' '\n' | facts group
! command -v loginctl >/dev/null || loginctl show-session -p KillUserProcesses -p KillOnlyUsers -p KillExcludeUsers 2>/dev/null | facts logind
home=$(getent passwd "$1" | cut -d : -f 6)
! [ -d "$home" ] || fact home "$(stat -c '%U %a' "$home")"
if [ "$(id -u)" != 0 ]; then
	fact unseen 'without rights of an admin: what kind of password the user has'
	fact unseen 'whom sshd_config lets in'
	return 0
fi
if ! entry=$(getent shadow "$1") || [ -z "$entry" ]; then
	fact password elsewhere # of a directory service, say
	return 0
fi
days=$(printf '%s\n' "$entry" | cut -d : -f 8)
[ -z "$days" ] || [ "$days" -gt "$(($(date +%s) / 86400))" ] || fact expired yes
case $(printf '%s\n' "$entry" | cut -d : -f 2) in
'*') fact password '*' ;;
'!' | '!!' | '!*') fact password '!' ;;
'!'*) fact password locked ;;
'') fact password empty ;;
*) fact password set ;;
esac
`}}
}

func (s user) Plan(f provision.Facts) ([]provision.Change, error) {
	script := func(verb provision.Verb, object, remark, text string, args ...string) provision.Change {
		return asRoot(provision.Change{Verb: verb, Object: object, Remark: remark}, text, append([]string{s.name}, args...)...)
	}
	passwd := strings.Split(f.Get("passwd"), ":")
	if len(passwd) < 7 {
		if err := s.sshdAllows(f); err != nil {
			return nil, err
		}
		if f.Get("namesake") != "" {
			return nil, hint.Add(fmt.Errorf("there is a group %s, and no user of that name", s.name), "groupdel %s, if nobody needs it; or choose another user", s.name)
		}
		// "*" is a password that no one has; the "!" that useradd leaves is a
		// locked account, whose keys sshd refuses where UsePAM is off.
		return []provision.Change{
			script(provision.Create, "system user "+s.name, "",
				`useradd --system --user-group --create-home --home-dir "/home/$1" --shell /bin/sh --password '*' --comment '`+madeBy+`' "$1"`),
			s.join(),
		}, nil
	}
	uid, home, shell := passwd[2], passwd[5], passwd[6]
	if uid == "0" {
		return nil, fmt.Errorf("%s is root under another name; a deployment needs a user without rights", s.name)
	}
	var changes []provision.Change
	made := passwd[4] == madeBy
	switch {
	case f.Get("home") == "" && made: // useradd was stopped half way, or the disk was full
		changes = append(changes, script(provision.Create, "home directory "+home, "", `install -d -m 700 -o "$1" -g "$(id -g "$1")" "$2"`, home))
	case f.Get("home") == "":
		advice := "choose another user"
		if plainWord.MatchString(home) {
			advice = fmt.Sprintf("choose another user, or make it: mkdir -m 700 %s; chown %s: %[1]s", home, s.name)
		}
		return nil, hint.Add(fmt.Errorf("the existing user %s has no home: there is no directory %s", s.name, home), "%s", advice)
	case !strings.HasPrefix(f.Get("home"), s.name+" "):
		return nil, fmt.Errorf("the home %s of the existing user does not belong to it", home)
	}
	if err := s.sshdAllows(f); err != nil {
		return nil, err
	}
	switch path.Base(shell) {
	case "nologin", "false", "rbash", "rksh", "rzsh", "git-shell":
		changes = append(changes, script(provision.Set, "login shell of "+s.name,
			fmt.Sprintf("to /bin/sh (sshd runs a forced command with it, and %s refuses)", shell),
			keepBefore+`usermod --shell /bin/sh "$1"`, "shell", shell))
	}
	switch expired := f.Get("expired") != ""; {
	case expired && made: // by a removal that somebody has cut short
		changes = append(changes, script(provision.Set, "account of "+s.name, "not to expire", `usermod --expiredate '' "$1"`))
	case expired:
		return nil, hint.Add(fmt.Errorf("the account of the existing user %s has expired", s.name), "chage --expiredate -1 %s, if it may log in again; or choose another user", s.name)
	}
	switch f.Get("password") {
	case "!":
		changes = append(changes, script(provision.Set, "password of "+s.name, "to * (unlocks the account, matches no password)",
			`set -- "$1" password "$(getent shadow "$1" | cut -d : -f 2)"`+keepBefore+`usermod --password '*' "$1"`))
	case "set":
		changes = append(changes, provision.Note("%s has a password; if nobody needs it: usermod --password '*' %s", s.name, s.name))
	case "empty":
		return nil, hint.Add(fmt.Errorf("%s has an empty password", s.name), "usermod --password '*' %s", s.name)
	}
	if !f.Has("group", "docker") {
		changes = append(changes, s.join())
	}
	if s.endsWithItsSession(f) {
		changes = append(changes, provision.Note("logind ends the processes of %s when a job's connection ends, a deploy too (KillUserProcesses)", s.name).WithHint("write KillExcludeUsers=root %s into /etc/systemd/logind.conf, and: systemctl restart systemd-logind", s.name))
	}
	return changes, nil
}

// endsWithItsSession tells whether logind ends what the user has left running,
// see logind.conf(5).
func (s user) endsWithItsSession(f provision.Facts) bool {
	options := map[string][]string{}
	for _, line := range f["logind"] {
		option, value, _ := strings.Cut(line, "=")
		options[option] = strings.Fields(value)
	}
	only := options["KillOnlyUsers"]
	return slices.Equal(options["KillUserProcesses"], []string{"yes"}) && !slices.Contains(options["KillExcludeUsers"], s.name) &&
		(len(only) == 0 || slices.Contains(only, s.name))
}

func (s user) join() provision.Change {
	return provision.Change{
		Verb:   provision.Add,
		Object: s.name,
		Remark: "to the docker group",
		Do:     provision.Script{Args: []string{s.name, "docker", "no"}, Text: keepBefore + `usermod --append --groups docker "$1"`},
	}
}

// sshdAllows returns an error if sshd would not let the user in with a key from
// ~/.ssh/authorized_keys, see sshd_config(5).
func (s user) sshdAllows(f provision.Facts) error {
	options := map[string][]string{}
	for _, line := range f["sshd"] {
		option, values, _ := strings.Cut(line, " ")
		options[option] = append(options[option], strings.Fields(values)...)
	}
	home := "/home/" + s.name // of one who is yet to be made
	if passwd := strings.Split(f.Get("passwd"), ":"); len(passwd) >= 7 {
		home = passwd[5]
	}
	ours := func(file string) bool {
		file = strings.NewReplacer("%h", home, "%u", s.name).Replace(file)
		return file == ".ssh/authorized_keys" || file == home+"/.ssh/authorized_keys"
	}
	matches := func(option string, names ...string) bool {
		for _, pattern := range options[option] {
			pattern, _, _ = strings.Cut(pattern, "@") // a host part narrows it further; we cannot tell for whom
			if slices.ContainsFunc(names, func(name string) bool { ok, _ := path.Match(pattern, name); return ok }) {
				return true
			}
		}
		return false
	}
	switch {
	case slices.Equal(options["pubkeyauthentication"], []string{"no"}):
		return errors.New("sshd_config has PubkeyAuthentication no")
	case len(options["authorizedkeysfile"]) > 0 && !slices.ContainsFunc(options["authorizedkeysfile"], ours):
		return hint.Add(fmt.Errorf("sshd_config has AuthorizedKeysFile %s for %s", strings.Join(options["authorizedkeysfile"], " "), s.name),
			"add .ssh/authorized_keys to it, for this user at least (Match User %s)", s.name)
	case matches("denyusers", s.name), matches("denygroups", f["group"]...):
		return fmt.Errorf("sshd_config denies %s (DenyUsers or DenyGroups)", s.name)
	case len(options["allowusers"]) > 0 && !matches("allowusers", s.name):
		return hint.Add(fmt.Errorf("sshd_config lets in AllowUsers %s only", strings.Join(options["allowusers"], " ")), "add %s there", s.name)
	case len(options["allowgroups"]) > 0 && !matches("allowgroups", f["group"]...):
		return hint.Add(fmt.Errorf("sshd_config lets in AllowGroups %s only", strings.Join(options["allowgroups"], " ")), "add %s to one of these groups", s.name)
	}
	return nil
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

// undo removes the user, if we made it and nothing else uses it, or gives the
// user of somebody else back what was changed.
func (s user) undo(t target) undo {
	directory, key := t.deployment.Directory, ciKeyOf(t)
	script := provision.Script{User: s.name, Args: []string{directory, t.deployment.Name}, Text: lookAtNames + `formerly "$2" "$1"` + lookAtAccount + lookAtCheckout}
	return undo{s.Name(), provision.Probe{Script: script}, func(f provision.Facts) ([]provision.Change, error) {
		passwd := strings.Split(f.Get("passwd"), ":")
		if len(passwd) < 7 {
			return nil, nil
		}
		if names := t.others(f); len(names) > 0 {
			return []provision.Change{provision.Note("%s stays, for %s", s.name, joinAnd(names))}, nil
		}
		if strings.TrimRight(passwd[4], ",") != madeBy {
			stays := provision.Note("%s stays, as somebody else has made it", s.name)
			if len(f["before"]) == 0 {
				return []provision.Change{stays}, nil
			}
			var words []string
			for _, what := range f["before"] {
				words = append(words, map[string]string{"docker": "groups", "shell": "shell", "password": "locked account"}[what])
			}
			return []provision.Change{asRoot(provision.Change{Verb: provision.Restore, Object: joinAnd(words) + " of " + s.name}, giveBack, s.name), stays}, nil
		}
		used := slices.Clone(f["used"])
		for _, entry := range f["entry"] {
			used = append(used, "~/"+entry)
		}
		for _, line := range f["line"] {
			if len(wordsOf(line)) > 0 && !key.named(f, line) {
				used = append(used, "other lines of ~/.ssh/authorized_keys")
				break
			}
		}
		if f.Get("there") != "" && !losesNothing(f) {
			used = append(used, "~/"+directory)
		}
		if len(used) > 0 {
			return []provision.Change{provision.Note("%s stays, for %s", s.name, joinAnd(shorten(used)))}, nil
		}
		return []provision.Change{asRoot(provision.Change{Verb: provision.Remove, Object: "user " + s.name}, removeUser, s.name)}, nil
	}}
}

// Nobody gets in any more before what the user still runs is ended: an expired account
// is refused by sshd(8) and by PAM alike, whatever key or session there may be. The number
// of the user may mean another one in a container, whose processes have another root;
// userdel(8), which refuses while a process of the user runs, tells them apart by that, too.
const removeUser = `
rm -rf "/etc/provision/made/$1"
rmdir /etc/provision/made 2>/dev/null || :
uid=$(id -u "$1")
usermod --expiredate 1 --lock "$1"
! id -nG "$1" | tr ' ' '\n' | grep -qx docker || gpasswd --delete "$1" docker >/dev/null

# left prints the processes of the user; those that are dead have no root.
left() {
	root=$(stat -L -c %d:%i /proc/self/root/)
	grep -lE "^Uid:([[:space:]]+[0-9]+)*[[:space:]]+$uid([[:space:]]|\$)" /proc/[0-9]*/status 2>/dev/null | while IFS=/ read -r _ _ process _; do
		[ "$(stat -L -c %d:%i "/proc/$process/root/" 2>/dev/null)" != "$root" ] || echo "$process"
	done
}

# signal NAME: signals what left has printed into processes.
signal() {
	for process in $processes; do
		kill -s "$1" "$process" 2>/dev/null || :
	done
}

# ends SECONDS [SIGNAL]: waits until the user runs nothing, and nothing that is started
# anew either, and signals what there is. It fails where something is left so long.
ends() {
	until=$(($(date +%s) + $1)) quiet=0
	while processes=$(left); do
		if [ -z "$processes" ]; then
			quiet=$((quiet + 1))
			[ "$quiet" -lt 4 ] || return 0
		else
			quiet=0
			[ "$(date +%s)" -lt "$until" ] || return 1
			[ $# -lt 2 ] || signal "$2"
		fi
		sleep 0.1
	done
}

# Each of the two asks systemd, and neither waits.
! command -v loginctl >/dev/null || within 10 loginctl terminate-user "$1" >/dev/null 2>&1 || :
! command -v systemctl >/dev/null || within 10 systemctl stop --no-block "user@$uid.service" 2>/dev/null || :
processes=$(left)
signal TERM
closed="$1 is out of the group docker and can no longer log in, but is not removed"
[ -z "$processes" ] || ends 10 || ends 10 KILL || {
	process=${processes%%[!0-9]*}
	unit=$(sed -n 's|.*/\(.*\.service\)$|, of \1|p' "/proc/$process/cgroup" 2>/dev/null | head -n 1)
	fail "$closed, as its process $process ($(cat "/proc/$process/comm" 2>/dev/null)$unit) does not end: end it, and run remove again"
}
said=$(userdel --remove "$1" 2>&1) || fail "$closed: $(printf '%s\n' "$said" | tail -n 1); run remove again when that is mended"
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
