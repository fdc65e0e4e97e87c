package steps

import (
	"context"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
	"provision/provision/visible"
)

// unrestrictedKeys tells which keys of a deploy user have no forced command. They stay:
// somebody may want them. But who has one is root, by way of the docker group.
//
// Of the key that CI holds nothing is told: its line gets a forced command, see
// ciKey.
type unrestrictedKeys struct {
	user string
	ci   []ci // of all deployments of the user
}

func unrestrictedKeysOf(t target) unrestrictedKeys {
	s := unrestrictedKeys{user: t.deployment.User}
	for _, d := range t.ofUser() {
		s.ci = append(s.ci, ciOf(d))
	}
	return s
}

func (s unrestrictedKeys) Name() string { return "unrestricted-keys " + s.user }

func (s unrestrictedKeys) Scope() provision.Scope { return provision.Scope{User: s.user} }

func (s unrestrictedKeys) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{User: s.user, Text: lookAtKeys + lookAtKeys2}, Ask: s.ask}
}

// ask reports the public halves of the keys that CI holds, as far as it is known.
func (s unrestrictedKeys) ask(ctx context.Context, f forge.Forge) (provision.Facts, error) {
	facts := provision.Facts{}
	for _, c := range s.ci {
		for _, owner := range c.owners {
			variables, err := f.Variables(ctx, owner)
			if err != nil && !notThere(err) {
				return nil, err
			}
			v, _ := c.find(variables, inventory.CIKeyVariable)
			if public := publicOf(v); public != "" {
				facts.Add("held", public)
			}
		}
	}
	return facts, nil
}

func (s unrestrictedKeys) Plan(f provision.Facts) ([]provision.Change, error) {
	held := func(line string) bool {
		return slices.ContainsFunc(f["held"], func(public string) bool { return hasKey(line, public) })
	}
	file := "~" + s.user + "/.ssh/authorized_keys"
	changes := unrestricted(file, f["line"], func(line string, options []string) bool {
		// Whatever else is wrong with a line that opens a gate: see ciKey.
		return held(line) || slices.ContainsFunc(options, func(o string) bool { return strings.HasPrefix(o, opensGate) })
	})
	// No key of CI is written there, and none is taken out: a rotation would leave it.
	return append(changes, unrestricted(file+"2", f["line2"], isRestrictedGate)...), nil
}

// unrestricted tells of the lines in a file of keys that are not fine.
func unrestricted(file string, lines []string, fine func(line string, options []string) bool) []provision.Change {
	var notes []provision.Change
	for _, line := range lines {
		if len(wordsOf(line)) == 0 {
			continue
		}
		key, comment, options, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil { // sshd may read what we cannot
			notes = append(notes, provision.Note("unreadable line in %s: it may be an unrestricted key (no forced command)", file))
			continue
		}
		if fine(line, options) {
			continue
		}
		name := strings.TrimSpace(ssh.FingerprintSHA256(key) + " " + visible.String(comment))
		notes = append(notes, provision.Note("unrestricted key in %s (no forced command): %s", file, name).WithHint("remove its line, if nobody needs it"))
	}
	return notes
}

// isRestrictedGate is about a line that opens a gate and nothing else. The gate refuses its
// key, unless it has a line in authorized_keys as well.
func isRestrictedGate(_ string, options []string) bool {
	return slices.Contains(options, "restrict") && slices.ContainsFunc(options, func(o string) bool { return strings.HasPrefix(o, opensGate) })
}
