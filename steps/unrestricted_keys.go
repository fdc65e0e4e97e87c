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
	return provision.Probe{Script: provision.Script{User: s.user, Text: lookAtKeys}, Ask: s.ask}
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
		if slices.ContainsFunc(f["held"], func(public string) bool { return hasKey(line, public) }) {
			continue
		}
		name := strings.TrimSpace(ssh.FingerprintSHA256(key) + " " + visible.String(comment))
		notes = append(notes, provision.Note("unrestricted key in ~%s/.ssh/authorized_keys (no forced command): %s", s.user, name).WithHint("remove its line, if nobody needs it"))
	}
	return notes, nil
}
