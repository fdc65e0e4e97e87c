package steps

import (
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"provision/provision"
	"provision/provision/visible"
)

// otherKeys tells which keys log in as a deploy user past the gate. They stay:
// somebody may want them. But who has one is root, by way of the group docker.
type otherKeys struct{ user string }

func otherKeysOf(w wish) otherKeys { return otherKeys{w.deployment.User} }

func (s otherKeys) Name() string { return "other-keys " + s.user }

func (s otherKeys) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{User: s.user, Text: lookAtKeys}}
}

func (s otherKeys) Plan(f provision.Facts) ([]provision.Change, error) {
	var notes []provision.Change
	for _, line := range f["line"] {
		if len(wordsOf(line)) == 0 {
			continue
		}
		key, comment, options, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil { // sshd may read what we cannot
			notes = append(notes, provision.Note("another line of authorized_keys may let somebody log in as %s, past the gate", s.user))
			continue
		}
		if slices.ContainsFunc(options, func(o string) bool { return strings.HasPrefix(o, opensGate) }) {
			continue // it opens a gate, whatever else is wrong with it: see ciKey
		}
		name := strings.TrimSpace(ssh.FingerprintSHA256(key) + " " + visible.String(comment))
		notes = append(notes, provision.Note("another key logs in as %s, past the gate: %s", s.user, name).WithHint("if nobody needs it, take its line out of ~%s/.ssh/authorized_keys", s.user))
	}
	return notes, nil
}
