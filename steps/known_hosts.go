package steps

import (
	"strings"

	"provision/provision"
)

// knownHosts wants the keys of the git server in known_hosts of a user, so that nobody can
// pose as it: a first connection trusts nothing.
type knownHosts struct {
	user, address string   // address as in known_hosts
	keys          []string // lines "TYPE BASE64"
}

func knownHostsOf(t target) knownHosts {
	g := t.inv.GitLab
	return knownHosts{t.deployment.User, knownHostsName(g.SSH.Host, g.SSH.Port), g.HostKeys}
}

func (s knownHosts) Name() string { return "known-hosts " + s.user }

func (s knownHosts) Scope() provision.Scope { return provision.Scope{User: s.user} }

func (s knownHosts) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{User: s.user, Args: []string{s.address}, Text: `
[ -f .ssh/known_hosts ] || return 0
ssh-keygen -F "$1" -f .ssh/known_hosts 2>/dev/null | awk '/^#/ { next } /^@/ { print $1, $3, $4; next } { print $2, $3 }' | facts key
`}}
}

// hostKeys is how many keys of the server a change is about.
func (s knownHosts) hostKeys(n int) string {
	if n == 1 {
		return s.address + "'s host key"
	}
	return s.address + "'s " + plural(n, "host key")
}

func (s knownHosts) Plan(f provision.Facts) ([]provision.Change, error) {
	known := map[string]bool{}
	for _, line := range f["key"] {
		known[keyOf(line)] = true
	}
	var lines []string
	for _, key := range s.keys {
		if known[key] {
			delete(known, key)
			continue
		}
		if ca, ok := strings.CutPrefix(key, "@cert-authority "); ok {
			lines = append(lines, "@cert-authority "+s.address+" "+ca+" "+lineMark)
		} else {
			lines = append(lines, s.address+" "+key+" "+lineMark)
		}
	}
	var changes []provision.Change
	if len(lines) > 0 {
		changes = append(changes, provision.Change{
			Verb: provision.Add, Object: s.hostKeys(len(lines)), Remark: "to ~" + s.user + "/.ssh/known_hosts",
			Do: provision.Script{User: s.user, Args: []string{strings.Join(lines, "\n")}, Text: `
[ -d .ssh ] || mkdir -m 700 .ssh
exec 9<.ssh
flock -w 60 9 || fail '.ssh/known_hosts is locked by another process; run again'
[ ! -L .ssh/known_hosts ] || fail '.ssh/known_hosts is a link; replace it by a file'
[ ! -e .ssh/known_hosts ] || [ -f .ssh/known_hosts ] || fail '.ssh/known_hosts is not a file'
before=/dev/null
[ ! -e .ssh/known_hosts ] || before=.ssh/known_hosts
sum=$(cksum <"$before")
new=$(mktemp -u .ssh/known_hosts.XXXXXX)
trap 'rm -f "$new"' EXIT
{
	cat "$before"
	[ -z "$(tail -c 1 "$before")" ] || echo
	printf '%s\n' "$1"
} >"$new"
chmod 644 "$new"
[ "$(cksum <"$before")" = "$sum" ] || fail 'somebody else changed .ssh/known_hosts meanwhile; run again'
mv -f "$new" .ssh/known_hosts
`},
		})
	}
	if len(known) > 0 && len(f["key"]) > 0 {
		changes = append(changes, provision.Note("~%s/.ssh/known_hosts has %s of %s that the inventory does not name", s.user, plural(len(known), "other key"), s.address))
	}
	return changes, nil
}

// undo removes the lines that were added here.
func (s knownHosts) undo(t target) undo {
	script := provision.Script{User: s.user, Args: []string{s.address}, Text: lookAtOthers + `
[ -f .ssh/known_hosts ] || return 0
awk -v address="$1" '$NF == "` + lineMark + `" && ($1 == address || $2 == address)' .ssh/known_hosts | facts line
`}
	return undo{s.Name(), provision.Probe{Script: script}, func(f provision.Facts) ([]provision.Change, error) {
		if len(f["line"]) == 0 || len(t.others(f)) > 0 {
			return nil, nil
		}
		return []provision.Change{asUser(s.user, provision.Change{Verb: provision.Remove, Object: s.hostKeys(len(f["line"])), Remark: "from ~" + s.user + "/.ssh/known_hosts"}, `
file=.ssh/known_hosts
exec 9<.ssh
flock -w 60 9 || fail '.ssh/known_hosts is locked by another process; run again'
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
`, s.address)}, nil
	}}
}

// keyOf cuts what stands behind the key in a line "[MARKER ]TYPE BASE64 COMMENT".
func keyOf(line string) string {
	words := strings.Fields(line)
	n := 2
	if strings.HasPrefix(line, "@") {
		n = 3
	}
	return strings.Join(words[:min(n, len(words))], " ")
}
