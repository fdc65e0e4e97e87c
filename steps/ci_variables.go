package steps

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"provision/inventory"
	"provision/provision"
	"provision/provision/forge"
	"provision/provision/hint"
	"provision/provision/secret"
	"provision/provision/visible"
)

// ciVariables wants CI to know where a deployment is, and which keys its host
// has. The key that lets CI in is a step of its own, after this one: where
// GitLab cannot keep a variable to one environment, that shows before any
// secret is there.
type ciVariables struct{ ci }

// takenHint is for a deployment whose variables belong to another one, or to
// itself on another host.
const takenHint = "if it was on another host before, remove it there first; else give it another environment or a variables.prefix, or delete the variable"

func ciVariablesSteps(w wish) []provision.Step {
	return each(w, func(d *inventory.Deployment) ciVariables { return ciVariables{ciOf(d)} })
}

const (
	targetVariable     = "SSH_DEPLOY_TARGET"
	knownHostsVariable = "SSH_KNOWN_HOSTS"
)

func (s ciVariables) Name() string { return "ci-variables " + s.deployment }

func (s ciVariables) Probe() provision.Probe {
	return provision.Probe{
		Script: provision.Script{Text: `
for file in /etc/ssh/ssh_host_*_key.pub; do
	! [ -r "$file" ] || cut -d ' ' -f 1,2 "$file" | facts host-key
done
`},
		Ask: func(ctx context.Context, f forge.Forge) (provision.Facts, error) {
			facts := provision.Facts{}
			for _, owner := range s.owners {
				variables, err := f.Variables(ctx, owner)
				if err != nil {
					return nil, err
				}
				for _, base := range []string{targetVariable, knownHostsVariable} {
					v, ok := s.find(variables, base)
					if !ok {
						continue
					}
					text, err := v.Value.Reveal() // neither of the two is a secret
					if err != nil {
						return nil, fmt.Errorf("%s is hidden and cannot be compared; delete it", s.where(base, owner))
					}
					facts.Add(base+" "+owner.String(), text)
					if v.Description == s.description() {
						facts.Add("ours "+base, owner.String())
					}
					if v.File {
						facts.Add("file "+base, owner.String())
					}
				}
			}
			return facts, nil
		},
	}
}

func (s ciVariables) Plan(f provision.Facts) ([]provision.Change, error) {
	if len(f["host-key"]) == 0 {
		return nil, errors.New("the host has no SSH host keys in /etc/ssh")
	}
	var known []string
	for _, key := range f["host-key"] {
		known = append(known, s.known+" "+key)
	}
	slices.Sort(known)

	var changes []provision.Change
	set := func(base, text string, owner forge.Owner, there, ours bool) {
		verb, description := "set ", s.description()
		if there {
			verb = "update "
		}
		if !ours {
			description = "" // stays as it is
		}
		changes = append(changes, provision.Change{
			Summary: verb + s.where(base, owner),
			Do: provision.Call(func(ctx context.Context, g forge.Forge) error {
				return s.scoped(g.SetVariable(ctx, owner, forge.Variable{
					Key: s.variables.Key(base), Value: secret.New(text), Raw: true, Scope: s.scope, Description: description,
				}))
			}),
		})
	}
	for _, owner := range s.owners {
		targetIsFile, knownIsFile := f.Has("file "+targetVariable, owner.String()), f.Has("file "+knownHostsVariable, owner.String())
		target, ours := f.Get(targetVariable+" "+owner.String()), f.Has("ours "+targetVariable, owner.String())
		switch {
		case target == s.target() && !targetIsFile:
		case target == s.target():
			set(targetVariable, target, owner, true, ours)
		case target == "" || ours:
			set(targetVariable, s.target(), owner, target != "", true)
		default:
			return nil, hint.Add(fmt.Errorf("%s is %s: another deployment uses it", s.where(targetVariable, owner), visible.String(target)), takenHint)
		}

		there := f.Get(knownHostsVariable + " " + owner.String())
		lines := knownLines(there)
		missing := slices.DeleteFunc(slices.Clone(known), func(line string) bool { return slices.Contains(lines, line) })
		switch ours := there == "" || f.Has("ours "+knownHostsVariable, owner.String()); {
		case ours && (!slices.Equal(lines, known) || knownIsFile):
			set(knownHostsVariable, strings.Join(known, "\n")+"\n", owner, there != "", true)
		case !ours && (len(missing) > 0 || knownIsFile): // somebody's own lines stay
			set(knownHostsVariable, strings.TrimRight(strings.TrimRight(there, "\n")+"\n"+strings.Join(missing, "\n"), "\n")+"\n", owner, true, false)
		}
	}
	return changes, nil
}

// scoped adds the way out where GitLab has no scopes for groups.
func (c ci) scoped(err error) error {
	if errors.Is(err, forge.ErrScope) {
		return hint.Add(err, "that needs GitLab Premium; projects have scopes in every GitLab, so write variables = { projects = [\"…\"] }")
	}
	return err
}

// knownLines returns the lines of a known_hosts file without comments, each
// cut to address, type and key, sorted.
func knownLines(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) >= 3 && !strings.HasPrefix(words[0], "#") {
			lines = append(lines, strings.Join(words[:3], " "))
		}
	}
	slices.Sort(lines)
	return lines
}
