package steps

import (
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"provision/provision"
	"provision/provision/visible"
)

// unrestrictedKeys tells which keys of a deploy user have no forced command. They stay:
// somebody may want them. But who has one is root, by way of the docker group.
type unrestrictedKeys struct{ user string }

func unrestrictedKeysOf(t target) unrestrictedKeys { return unrestrictedKeys{t.deployment.User} }

func (s unrestrictedKeys) Name() string { return "unrestricted-keys " + s.user }

func (s unrestrictedKeys) Scope() provision.Scope { return provision.Scope{User: s.user} }

func (s unrestrictedKeys) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{User: s.user, Text: lookAtKeys}}
}

func (s unrestrictedKeys) Plan(f provision.Facts) ([]provision.Change, error) {
	var notes []provision.Change
	for _, line := range f["line"] {
		if len(wordsOf(line)) == 0 {
			continue
		}
		key, comment, options, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil { // sshd may read what we cannot
			notes = append(notes, provision.Note("unreadable line in ~%s/.ssh/authorized_keys: it may be an unrestricted key (no forced command)", s.user))
			continue
		}
		if slices.ContainsFunc(options, func(o string) bool { return strings.HasPrefix(o, opensGate) }) {
			continue // it opens a gate, whatever else is wrong with it: see ciKey
		}
		name := strings.TrimSpace(ssh.FingerprintSHA256(key) + " " + visible.String(comment))
		notes = append(notes, provision.Note("unrestricted key in ~%s/.ssh/authorized_keys (no forced command): %s", s.user, name).WithHint("remove its line, if nobody needs it"))
	}
	return notes, nil
}
