package steps

import (
	"context"
	"slices"

	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
)

// unrestrictedKeys tells which keys of a deploy user have no forced command. They stay:
// somebody may want them. But who has one is root, by way of the docker group.
//
// Of the key that CI holds nothing is told: its line gets a forced command, see
// ciKey.
type unrestrictedKeys struct {
	user string
	ci   []ci // of all deployments of the user
	key  ciKey
}

func unrestrictedKeysOf(t target) unrestrictedKeys {
	s := unrestrictedKeys{user: t.deployment.User, key: ciKeyOf(t)}
	for _, d := range t.ofUser() {
		s.ci = append(s.ci, ciOf(d))
	}
	return s
}

func (s unrestrictedKeys) Name() string { return "unrestricted-keys " + s.user }

func (s unrestrictedKeys) Scope() provision.Scope { return provision.Scope{User: s.user} }

func (s unrestrictedKeys) Probe() provision.Probe {
	return provision.Probe{Script: provision.Script{User: s.user, Text: lookAtKeys + lookAtKeys2}, Ask: s.ask, Keys: []string{"held"}}
}

// LookAsCI implements [provision.CIStep]. It is the look of ciKey, which is run once.
func (s unrestrictedKeys) LookAsCI() provision.CIProbe { return s.key.LookAsCI() }

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
	file := "~" + s.user + "/.ssh/authorized_keys"
	changes := unrestricted(file, fileLines(f, "line", "key"), func(l fileLine) bool {
		// Whatever else is wrong with a line that opens a gate: see ciKey.
		return slices.ContainsFunc(f["held"], l.has) || l.opensGate()
	})
	// No key of CI is written there, and none is taken out: a rotation would leave it.
	return append(changes, unrestricted(file+"2", fileLines(f, "line2", "key2"), fileLine.isRestrictedGate)...), nil
}

// unrestricted tells of the lines in a file of keys that are not fine.
func unrestricted(file string, lines []fileLine, fine func(fileLine) bool) []provision.Change {
	var notes []provision.Change
	for _, line := range lines {
		name, ok := line.name()
		switch {
		case !ok, name != "" && fine(line):
		case name == "": // sshd may read what we cannot
			notes = append(notes, provision.Note("unreadable line in %s: it may be an unrestricted key (no forced command)", file))
		default:
			notes = append(notes, provision.Note("unrestricted key in %s (no forced command): %s", file, name).WithHint("remove its line, if nobody needs it"))
		}
	}
	return notes
}
